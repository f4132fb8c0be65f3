"""A made-up but natural-looking scene with its own truth, to try everything on and to train with.

Rivers and lakes, parcels of many crops, woods, meadows, a town and villages, in UTM at 4 m a pixel, with red, green,
blue and near infrared bytes. Guarantees: the same seed and size give the same pixels; the truth has a class for each
pixel; files appear under their names only when they are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError

from engine.errors import OptionError, OutputError
from engine.scene.demo.render import paint
from engine.scene.overviews import build_overviews

CLASSES: tuple[tuple[str, str], ...] = (
    ("built-up", "#e63c3c"),
    ("farmland", "#f0dc5a"),
    ("forest", "#147828"),
    ("meadow", "#96dc64"),
    ("water", "#326eeb"),
)
"""Names and colours of the codes of the truth."""

DEMO_SEED = 7
GSD_M = 4.0
MIN_SIZE_PX = 32

_VERSION = 1  # rises when the same seed paints another scene
_CRS = "EPSG:32632"
_ORIGIN = (612_400.0, 5_318_800.0)


@dataclass(frozen=True)
class DemoScene:
    """Files of a demo scene.

    Attributes:
        scene_path: The image, GeoTIFF.
        truth_path: Its true classes, GeoTIFF with palette.
    """

    scene_path: Path
    truth_path: Path


def demo_arrays(size_px: int | tuple[int, int], seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Image [4, height, width] and truth [height, width] of a scene of this size (or height and width).

    Raises:
        OptionError: The size is too small to hold anything.
    """
    shape = (size_px, size_px) if isinstance(size_px, int) else (int(size_px[0]), int(size_px[1]))
    if min(shape) < MIN_SIZE_PX:
        raise OptionError(f"a demo scene of {shape[1]} x {shape[0]} pixels is too small", remedy="Use 32 or more.")
    return paint(seed, shape)


def make_demo_scene(
    folder: str | Path, *, size_px: int | tuple[int, int] = (3072, 3072), seed: int = DEMO_SEED
) -> DemoScene:
    """Write a demo scene and its truth, once: what an earlier call of the same size and seed wrote is used again.

    Args:
        folder: Where to; it is made if need be.
        size_px: Edge, or height and width.
        seed: Another seed is another place.

    Raises:
        OptionError: The size is too small.
        OutputError: The folder cannot be written to.
    """
    height, width = (size_px, size_px) if isinstance(size_px, int) else (int(size_px[0]), int(size_px[1]))
    place = Path(folder).expanduser()
    stem = f"demo-{width}x{height}-{seed}-v{_VERSION}"
    scene = DemoScene(place / f"{stem}.tif", place / f"{stem}-truth.tif")
    if scene.scene_path.exists() and scene.truth_path.exists():
        return scene
    image, truth = demo_arrays((height, width), seed)
    try:
        place.mkdir(parents=True, exist_ok=True)
        _write(scene.truth_path, truth[None], truth=True)
        _write(scene.scene_path, image, truth=False)
    except (OSError, RasterioError) as error:
        raise OutputError(
            f"the demo scene cannot be written: {error}", where=place, remedy="Choose a folder with room to write in."
        ) from error
    return scene


def _write(path: Path, data: npt.NDArray[np.uint8], *, truth: bool) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": data.shape[2], "height": data.shape[1], "count": data.shape[0], "dtype": "uint8",
        "crs": _CRS, "transform": Affine(GSD_M, 0, _ORIGIN[0], 0, -GSD_M, _ORIGIN[1]), "tiled": True,
        "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1, "predictor": 1 if truth else 2,
        "interleave": "pixel",
    }  # fmt: skip
    part = path.with_name(f".{path.name}.part.tif")
    try:
        with rasterio.open(part, "w", **profile) as file:
            if truth:
                file.write_colormap(1, {i: _rgba(color) for i, (_, color) in enumerate(CLASSES)})
                file.update_tags(1, **{f"CLASS_{i}": name for i, (name, _) in enumerate(CLASSES)})
                file.descriptions = ("land cover",)
            else:
                file.descriptions = ("red", "green", "blue", "nir")
                file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
            file.write(data)
        factors = [2**i for i in range(1, 8) if max(data.shape[1:]) / 2**i >= 128]
        build_overviews(part, factors, Resampling.nearest if truth else Resampling.average)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _rgba(color: str) -> Sequence[int]:
    return (*(int(color[i : i + 2], 16) for i in (1, 3, 5)), 255)
