"""Device work of a run: integers in, class probabilities and token maps out, a batch at a time.

:class:`BatchStage` is what runs of every kind share; a kind says what it makes of the model's answer.
Guarantees: stored values travel to the device and are scaled and normalised there; when the device's memory does not
hold a batch it is halved, said once each time, and the run goes on with the windows that were not done; nothing is
copied back but one byte (or two) a pixel and the tokens' vectors, once a row of windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.errors import DeviceError, DeviceWarning, EngineWarning
from engine.inference.blend import token_map
from engine.inference.device import DeviceInfo
from engine.inference.info import BandScaling
from engine.inference.pixels import draw_convex
from engine.inference.plan import PlanWindow
from engine.inference.refine import refine_assignment
from engine.models.hook_competitive import ConvexUpsampling
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput

_BATCH_CPU = 2
"""So few that what a layer writes is still in the cache when the next one reads it."""
_BATCH_CUDA = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WindowMaps:
    """What the model says about some windows, on the device.

    Attributes:
        windows: Where they lie.
        probabilities: ``[B, K, window, window]`` float32.
        token_maps: ``[B, window, window]`` number of the token that claims each pixel.
        features: ``[B, N, D]`` float32.
    """

    windows: tuple[PlanWindow, ...]
    probabilities: Tensor
    token_maps: Tensor
    features: Tensor


def default_batch(device: DeviceInfo) -> int:
    """Windows a batch on a device where nobody asked for a number."""
    return _BATCH_CPU if device.kind == "cpu" else _BATCH_CUDA


class BatchStage(Generic[T]):
    """Brings batches to the device and through a model.

    Args:
        model: The model, on its device.
        scaling: How the scene's values come into the card's range, None where they are as stored.
        window_px: Edge of a window.
    """

    def __init__(self, model: LoadedModel, scaling: BandScaling | None, window_px: int) -> None:
        self._model, self._window_px = model, window_px
        self._warnings: deque[EngineWarning] = deque()
        self._device = model.device
        self._limit: int | None = None
        self._gain = self._offset = torch.empty(0)
        self._scaling = scaling
        if scaling is not None:
            self._gain = torch.tensor(scaling.gain, dtype=torch.float32, device=self._device).view(1, -1, 1, 1)
            self._offset = torch.tensor(scaling.offset, dtype=torch.float32, device=self._device).view(1, -1, 1, 1)

    def answer(self, windows: tuple[PlanWindow, ...], pixels: npt.NDArray[Any]) -> T:
        """What the model says about some windows."""
        raise TypeError(f"{type(self).__name__} does not say what it asks the model")

    def run(self, windows: Sequence[PlanWindow], pixels: npt.NDArray[Any]) -> list[T]:
        """Run a batch, in pieces where the device's memory asks for it.

        Raises:
            DeviceError: Not even one window fits.
        """
        done = 0
        pieces = []
        while done < len(windows):
            size = min(self._limit or len(windows), len(windows) - done)
            piece = slice(done, done + size)
            try:
                found = self.answer(tuple(windows[piece]), pixels[piece])
            except torch.cuda.OutOfMemoryError as error:
                self._shrink(size, error)
                continue
            done += size
            pieces.append(found)
        return pieces

    def warnings(self) -> list[EngineWarning]:
        """What the user should know since the last call."""
        return [self._warnings.popleft() for _ in range(len(self._warnings))]

    @torch.inference_mode()
    def images(self, pixels: npt.NDArray[Any]) -> Tensor:
        """Normalised images of some windows, as the model sees them."""
        return self._model.normalise(self.stored(pixels))

    @torch.inference_mode()
    def stored(self, pixels: npt.NDArray[Any]) -> Tensor:
        """Values of some windows on the device, in the card's range."""
        raw = upload(pixels, self._device)
        if self._scaling is not None:
            raw = torch.addcmul(self._offset, raw.float(), self._gain)
            if self._scaling.clip is not None:
                raw.clamp_(*self._scaling.clip)
        return raw

    def _shrink(self, size: int, error: Exception) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise DeviceError(
                f"the device's memory does not hold one window of {self._window_px} pixels",
                where=str(self._device),
                remedy="Use a smaller window, the precision bfloat16, or the device cpu.",
            ) from error
        self._limit = size // 2
        self._warnings.append(
            DeviceWarning(f"The device's memory does not hold {size} windows at once: going on with {self._limit}.")
        )


class DeviceStage(BatchStage[WindowMaps]):
    """Runs a model that draws class maps."""

    @torch.inference_mode()
    def output(self, pixels: npt.NDArray[Any]) -> tuple[TokenOutput, Tensor]:
        """The model's output for some windows and the normalised images it saw."""
        images = self.images(pixels)
        return self._model(images), images

    @torch.inference_mode()
    def answer(self, windows: tuple[PlanWindow, ...], pixels: npt.NDArray[Any]) -> WindowMaps:
        """Class probabilities, token maps and token vectors of some windows."""
        output, images = self.output(pixels)
        probabilities, token_maps = self._judge(output, images)
        return WindowMaps(windows, probabilities, token_maps, output.tokens.features.float())

    def _judge(self, output: TokenOutput, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities and token maps."""
        edge, upsample = self._window_px, output.upsample
        if isinstance(upsample, ConvexUpsampling) and self._device.type == "cpu":
            drawn, token_maps = draw_convex(output.logits, output.tokens.assignment, upsample)
            return drawn[:, :, :edge, :edge], token_maps[:, :edge, :edge]
        maps = output.at_pixels(edge, edge)
        claims = maps.assignment if upsample is not None else refine_assignment(output.tokens.assignment, images)
        return maps.logits.float().softmax(dim=1), token_map(claims)


def upload(pixels: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Bring stored values to a device in as few bytes as they have."""
    if pixels.dtype == np.uint16:
        return _to_device(torch.from_numpy(pixels.view(np.int16)), device).to(torch.int32).bitwise_and_(0xFFFF)
    if pixels.dtype == np.uint32 or pixels.dtype == np.uint64 or pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    return _to_device(torch.from_numpy(pixels), device)


def _to_device(host: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)
