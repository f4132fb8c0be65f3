"""Blends the class probabilities of overlapping windows, on the device, a strip at a time.

Each window's softmax enters a running weighted mean (``mean += share * (value - mean)``, see
:func:`engine.inference.plan.running_shares`), first along its row, then down the rows; the weights fall towards the
windows' edges and are strictly positive.

On the processor the steps are compiled kernels (:mod:`engine.inference.pixels`), elsewhere tensor operations.

Guarantees: where windows agree the mean is their value to the last bit; the state is one row of windows plus the
rows the next one overlaps, so memory follows the grid's width; rows leave the device once, as codes of one byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.inference.info import NODATA_CLASS
from engine.inference.pixels import blend_across, finish_rows
from engine.inference.plan import PlanWindow, WindowPlan, running_shares


@dataclass(frozen=True, slots=True)
class FinalRows:
    """Rows that no later window touches.

    Attributes:
        classes: Most probable class, uint8 ``[h, W]``.
        confidence: Its probability in percent, 1 to 100.
        runner_up: Second most probable class; 255 for a model of one class.
        tail: State behind these rows, float32 ``[K, overlap rows, W]``.
    """

    classes: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]
    runner_up: npt.NDArray[np.uint8]
    tail: npt.NDArray[np.float32]


class StripBlender:
    """Running state of the blending.

    Args:
        plan: The windows.
        classes: Classes K.
        device: Where the probabilities are.
    """

    def __init__(self, plan: WindowPlan, classes: int, device: torch.device) -> None:
        self._plan = plan
        self._device = device
        rows = min(plan.window_px, plan.height)
        self._row = torch.zeros(classes, rows, plan.width, device=device)
        self._tail = torch.zeros(classes, 0, plan.width, device=device)
        self._across = [torch.from_numpy(s).to(device) for s in self._shares(plan.col_starts)]
        self._down = [torch.from_numpy(s).to(device).view(-1, 1) for s in self._shares(plan.row_starts)]
        self._host = device.type == "cpu"

    def restore(self, tail: npt.NDArray[np.float32]) -> None:
        """Go on from the state that :meth:`finish_row` gave out."""
        self._tail = torch.from_numpy(np.array(tail, dtype=np.float32)).to(self._device)

    def clear_row(self) -> None:
        """Forget the row of windows before; needed where windows of a row are skipped."""
        self._row.zero_()

    def add(self, window: PlanWindow, probabilities: Tensor) -> None:
        """Blend a window ``[K, window, window]`` into its row, windows left to right."""
        share = self._across[window.index % self._plan.cols]
        if self._host:
            row, given = self._row.numpy(), probabilities.contiguous().numpy()
            blend_across(row, given, window.col, window.height, window.width, share.numpy())
            return
        values = probabilities[:, : window.height, : window.width]
        place = self._row[:, : window.height, window.col : window.col + window.width]
        seen = share.shape[0]
        if seen:
            place[:, :, :seen].lerp_(values[:, :, :seen], share)
        place[:, :, seen:].copy_(values[:, :, seen:])

    def finish_row(self, row_index: int) -> FinalRows:
        """Blend the row with those above it and take out the rows that are final.

        Raises:
            CheckpointError: A probability is not a number.
        """
        start, stop = self._plan.final_rows(row_index)
        final, height = stop - start, self._plan.band_stop(row_index) - start
        finish = self._finish_host if self._host else self._finish_device
        codes, finite = finish(self._down[row_index], final, height)
        if not finite:
            raise CheckpointError(
                "the model answered with values that are not numbers",
                remedy="Use float32 precision; if that does not help, the checkpoint is damaged.",
            )
        return FinalRows(codes[0], codes[1], codes[2], self._tail.cpu().numpy())

    def _finish_host(self, share: Tensor, final: int, height: int) -> tuple[npt.NDArray[np.uint8], bool]:
        classes, _, width = self._row.shape
        codes = np.empty((3, final, width), np.uint8)
        tail = torch.empty(classes, height - final, width)
        row, above = self._row.numpy(), self._tail.numpy()
        finite = finish_rows(row, above, share.numpy().reshape(-1), final, height, codes, tail.numpy())
        self._tail = tail
        return codes, finite

    def _finish_device(self, share: Tensor, final: int, height: int) -> tuple[npt.NDArray[np.uint8], bool]:
        seen = share.shape[0]
        if seen:
            self._row[:, :seen].copy_(self._tail.lerp(self._row[:, :seen], share))
        self._tail = self._row[:, final:height].clone()
        best, first, second = rank(self._row[:, :final])
        percent = (best * 100).round_().clamp_(1, 100)
        packed = torch.stack((first, percent.to(torch.uint8), second)).cpu().numpy()
        return packed, bool(torch.isfinite(best.sum()))

    def _shares(self, starts: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], ...]:
        return running_shares(starts, self._plan.window_px, self._plan.overlap_px)


def token_map(claims: Tensor) -> Tensor:
    """Token that claims each pixel most, ``[B, H, W]`` from ``[B, N, H, W]``; the first wins a tie.

    One byte a pixel up to 255 tokens, else int16 (32767 tokens at most). Torch's argmax on the processor is fast only
    where the tokens of a pixel lie side by side; maps that lie one after the other are compared map by map.
    """
    batch, count, height, width = claims.shape
    small = count <= np.iinfo(np.uint8).max
    if claims.device.type != "cpu" or claims.stride(1) == 1:
        return claims.argmax(dim=1).to(torch.uint8 if small else torch.int16)
    values = claims.float().numpy()
    found = np.zeros((batch, height, width), np.uint8 if small else np.int16)
    for index in range(batch):
        best = values[index, 0].copy()
        ahead = np.empty(best.shape, np.bool_)
        number = np.empty(best.shape, found.dtype)
        for token in range(1, count):
            value = values[index, token]
            np.greater(value, best, out=ahead)
            np.multiply(ahead.view(np.uint8), found.dtype.type(token), out=number)
            # An earlier number is never larger, so the maximum of numbers is the latest token that got ahead.
            np.maximum(found[index], number, out=found[index])
            np.maximum(best, value, out=best)
    return torch.from_numpy(found)


def rank(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Highest probability of ``[K, h, W]``, its class and the second best class (255: none); the first wins a tie."""
    best, next_best = values[0].clone(), torch.full_like(values[0], -1.0)
    first = torch.zeros(best.shape, dtype=torch.uint8, device=values.device)
    second = torch.full_like(first, NODATA_CLASS)
    for code in range(1, len(values)):
        value = values[code]
        ahead = value > best
        loser = torch.minimum(best, value)
        loser_code = torch.where(ahead, first, torch.full_like(first, code))
        second = torch.where(ahead | (loser > next_best), loser_code, second)
        next_best = torch.maximum(next_best, loser)
        first = torch.where(ahead, torch.full_like(first, code), first)
        best = torch.maximum(best, value)
    return best, first, second
