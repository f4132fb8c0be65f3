"""How values are brought to brightness on the screen; models never see any of this.

Guarantees: limits come from valid pixels of an overview-sized read, so they are the same for every tile of a scene and
cost the same for every size of scene; a band without contrast is shown in mid grey rather than as noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import OptionError
from engine.scene.scene import Raster, Scene

_SAMPLE_PX = 1024


@dataclass(frozen=True)
class Stretch:
    """Values shown as black and as full brightness, one pair a band."""

    low: tuple[float, ...]
    high: tuple[float, ...]


def percentile_stretch(
    scene: Scene, bands: Sequence[int], low_percent: float = 2.0, high_percent: float = 98.0
) -> Stretch:
    """Limits that leave out the darkest and the brightest few percent of the valid pixels.

    A palette's colours are meant as they are and get limits of 0 and 255.

    Args:
        scene: The scene.
        bands: Band numbers.
        low_percent: Percentile shown as black.
        high_percent: Percentile shown as full brightness.

    Raises:
        OptionError: The percentiles are not in order.
        SceneError: The scene cannot be read.
    """
    if not 0 <= low_percent < high_percent <= 100:
        raise OptionError(f"percentiles {low_percent} and {high_percent} are not in order", remedy="Use 2 and 98.")
    if scene.header.palette is not None:
        return Stretch((0.0,) * len(bands), (255.0,) * len(bands))
    unique = sorted(set(bands))
    factor = max(1.0, max(scene.width, scene.height) / _SAMPLE_PX)
    shape = max(1, round(scene.height / factor)), max(1, round(scene.width / factor))
    sample = scene.read(bands=unique, out_shape=shape)
    limits: dict[int, tuple[float, float]] = {}
    for number, values in zip(unique, sample.data, strict=True):
        good = values[sample.valid]
        low, high = np.percentile(good, (low_percent, high_percent)) if good.size else (0.0, 1.0)
        if high <= low and good.size:  # nearly all pixels alike: the few others still deserve their contrast
            low, high = float(good.min()), float(good.max())
        if high <= low:
            low, high = float(low) - 0.5, float(low) + 0.5
        limits[number] = float(low), float(high)
    return Stretch(tuple(limits[i][0] for i in bands), tuple(limits[i][1] for i in bands))


def to_rgba(raster: Raster, stretch: Stretch) -> npt.NDArray[np.uint8]:
    """Colours [height, width, 4] of a raster with one band (grey) or three; invalid pixels are transparent.

    Raises:
        OptionError: The raster has neither one band nor three, or the stretch is for another number.
    """
    count = raster.data.shape[0]
    if count not in (1, 3) or len(stretch.low) != count:
        raise OptionError(
            f"{count} bands and {len(stretch.low)} limits cannot be shown", remedy="Use one band or three."
        )
    out = np.empty((*raster.valid.shape, 4), np.uint8)
    for channel in range(3):
        band = min(channel, count - 1)
        if band < channel:
            out[..., channel] = out[..., 0]
        else:
            out[..., channel] = _brightness(raster.data[band], stretch.low[band], stretch.high[band])
    out[..., 3] = np.where(raster.valid, 255, 0)
    out[~raster.valid, :3] = 0
    return out


def _brightness(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(_scaled(np.arange(256, dtype=np.float32), low, high)[values])
    return _scaled(values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64), low, high)


def _scaled(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    return np.clip((values - low) * (255.0 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
