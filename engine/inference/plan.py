"""Where the windows of a run lie: rows of equal squares that cover a grid to its last pixel.

Guarantees: every pixel of the grid lies in a window; windows start a stride apart, the last of a row or column is
snapped back so that it ends on the edge; a grid smaller than a window gets one window that hangs over its edge
(readers pad it). Blending factors are exact where windows agree: :func:`running_shares` says how much of a pixel's
running mean the next window takes, so that equal values stay equal to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.errors import OptionError


def window_starts(length_px: int, window_px: int, overlap_px: int) -> tuple[int, ...]:
    """First pixels of the windows along one axis, increasing.

    Args:
        length_px: Pixels of the axis.
        window_px: Edge of a window.
        overlap_px: Pixels that neighbouring windows share.
    """
    if length_px <= window_px:
        return (0,)
    stride = window_px - overlap_px
    last = length_px - window_px
    return (*range(0, last, stride), last)


def taper(window_px: int, overlap_px: int) -> npt.NDArray[np.float64]:
    """Weight of each pixel along a window's edge: 1 inside, falling as sine squared over the overlap, never zero."""
    depth = np.minimum(np.arange(window_px), np.arange(window_px)[::-1]) + 0.5
    if overlap_px == 0:
        return np.ones(window_px)
    ramp = np.clip(depth / overlap_px, 0.0, 1.0)
    return np.asarray(np.sin(0.5 * np.pi * ramp) ** 2)


def running_shares(starts: tuple[int, ...], window_px: int, overlap_px: int) -> tuple[npt.NDArray[np.float32], ...]:
    """For each window along an axis: its share of the running weighted mean at each pixel seen before.

    Windows are blended one after the other as ``mean += share * (value - mean)`` with
    ``share = weight / (sum of weights so far)``. Only the pixels that earlier windows cover are listed, from the
    window's first pixel on; at the others the window's value is the mean.
    """
    weight = taper(window_px, overlap_px)
    length = starts[-1] + window_px
    total = np.zeros(length)
    shares = []
    covered = 0
    for start in starts:
        total[start : start + window_px] += weight
        seen = max(0, covered - start)
        shares.append((weight[:seen] / total[start : start + seen]).astype(np.float32))
        covered = start + window_px
    return tuple(shares)


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """One window of a plan; ``height`` and ``width`` are what of it lies on the grid.

    Attributes:
        index: Number of the window in the whole plan, row by row.
        row: First row on the grid.
        col: First column on the grid.
        height: Rows on the grid.
        width: Columns on the grid.
    """

    index: int
    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class WindowPlan:
    """Windows over a grid of ``width`` x ``height`` pixels.

    Attributes:
        width: Columns of the grid.
        height: Rows of the grid.
        window_px: Edge of a window.
        overlap_px: Pixels that neighbouring windows share.
    """

    width: int
    height: int
    window_px: int
    overlap_px: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise OptionError(f"a grid of {self.width} x {self.height} pixels holds nothing to analyse")
        if not 0 <= self.overlap_px < self.window_px:
            raise OptionError(
                f"an overlap of {self.overlap_px} pixels does not fit windows of {self.window_px}",
                where="overlap",
                remedy=f"Give an overlap from 0 to {self.window_px - 1}, a quarter of the window works well.",
            )

    @cached_property
    def row_starts(self) -> tuple[int, ...]:
        """First grid row of each row of windows."""
        return window_starts(self.height, self.window_px, self.overlap_px)

    @cached_property
    def col_starts(self) -> tuple[int, ...]:
        """First grid column of each column of windows."""
        return window_starts(self.width, self.window_px, self.overlap_px)

    @property
    def rows(self) -> int:
        """Rows of windows."""
        return len(self.row_starts)

    @property
    def cols(self) -> int:
        """Columns of windows."""
        return len(self.col_starts)

    def row_windows(self, row_index: int) -> tuple[PlanWindow, ...]:
        """Windows of one row, left to right."""
        top = self.row_starts[row_index]
        height = min(self.window_px, self.height - top)
        first = row_index * self.cols
        return tuple(
            PlanWindow(first + i, top, left, height, min(self.window_px, self.width - left))
            for i, left in enumerate(self.col_starts)
        )

    def window(self, index: int) -> PlanWindow:
        """Window number ``index`` of the plan."""
        return self.row_windows(index // self.cols)[index % self.cols]

    def band_stop(self, row_index: int) -> int:
        """One past the last grid row that row of windows covers."""
        return min(self.row_starts[row_index] + self.window_px, self.height)

    def final_rows(self, row_index: int) -> tuple[int, int]:
        """Grid rows ``[start, stop)`` that are final once this row of windows is blended and were not before."""
        last = row_index == self.rows - 1
        return self.row_starts[row_index], self.height if last else self.row_starts[row_index + 1]
