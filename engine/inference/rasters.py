"""Writes the maps of an analysis as GeoTIFFs: tiled, compressed, with overviews, palette and category names.

Guarantees: rows are taken once, top to bottom, and held for one row of tiles at most; equal rows give equal bytes;
a file is complete with its overviews when :func:`write_map` returns, and is written where it is told to, so that
the caller renames it. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from engine.errors import CancelledError, OutputError
from engine.inference.info import NODATA_CLASS, NODATA_CONFIDENCE, NODATA_REGION
from engine.inference.pam import class_palette, sidecar
from engine.models.card import CardClass
from engine.scene import Grid
from engine.scene.overviews import build_overviews

TILE_PX = 512
_SMALLEST_OVERVIEW_PX = 512
_DEFLATE_LEVEL = 1

Progress = Callable[[float], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class MapKind:
    """What sort of map is written.

    Attributes:
        dtype: Type of its values.
        nodata: Value of pixels without data.
        description: Name of its band.
        overviews: How overviews are made.
        predictor: TIFF predictor; 2 suits runs of equal large numbers.
    """

    dtype: str
    nodata: int
    description: str
    overviews: Resampling
    predictor: int = 1


CLASSES = MapKind("uint8", NODATA_CLASS, "class", Resampling.mode)
CONFIDENCE = MapKind("uint8", NODATA_CONFIDENCE, "confidence in percent", Resampling.nearest)
SCORE = MapKind("uint8", NODATA_CONFIDENCE, "probability of change in percent", Resampling.nearest)
REGIONS = MapKind("uint32", NODATA_REGION, "region id", Resampling.nearest, predictor=2)


def overview_factors(width: int, height: int) -> list[int]:
    """Powers of two down to a picture of about 512 pixels."""
    factors = []
    factor = 2
    while max(width, height) * 2 / factor > _SMALLEST_OVERVIEW_PX:
        factors.append(factor)
        factor *= 2
    return factors


def write_map(
    path: Path,
    grid: Grid,
    kind: MapKind,
    rows: Iterable[npt.NDArray[Any]],
    *,
    classes: Sequence[CardClass] = (),
    tags: dict[str, str] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> None:
    """Write one map.

    Args:
        path: The file, replaced if it is there.
        grid: Where its pixels lie.
        kind: What sort of map it is.
        rows: Strips ``[h, W]``, top to bottom, together the whole grid.
        classes: Their palette and names, for a class map.
        tags: Metadata of the file.
        progress: Told the share that is written.
        cancel: Asked between rows of tiles.

    Raises:
        OutputError: The disk is full or the folder refuses.
        CancelledError: ``cancel`` said so.
    """
    try:
        _write(path, grid, kind, rows, classes, tags or {}, progress, cancel)
        if classes:
            _write_names(path, classes)
    except (RasterioError, OSError) as error:
        if isinstance(error, OutputError):
            raise
        reason = str(error.__cause__ or error).strip().rstrip(".")
        raise OutputError(
            f"the map cannot be written: {reason}", where=path, remedy="Free some space or choose another folder."
        ) from error


def _write(
    path: Path,
    grid: Grid,
    kind: MapKind,
    rows: Iterable[npt.NDArray[Any]],
    classes: Sequence[CardClass],
    tags: dict[str, str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": kind.dtype,
        "nodata": kind.nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": TILE_PX,
        "blockysize": TILE_PX,
        "compress": "deflate",
        "zlevel": _DEFLATE_LEVEL,
        "predictor": kind.predictor,
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }
    factors = overview_factors(grid.width, grid.height)
    with rasterio.open(path, "w", **profile) as target:
        target.set_band_description(1, kind.description)
        target.update_tags(**tags)
        if classes:
            target.colorinterp = [ColorInterp.palette]
            target.write_colormap(1, {**_palette(classes), NODATA_CLASS: (0, 0, 0, 0)})
            target.update_tags(1, **{f"CLASS_{code}": entry.name for code, entry in enumerate(classes)})
        done = 0
        for block in _tile_rows(rows, grid.width, np.dtype(kind.dtype)):
            if cancel is not None and cancel():
                raise CancelledError("writing the maps was cancelled", where=path)
            target.write(block, 1, window=Window(0, done, grid.width, block.shape[0]))
            done += block.shape[0]
            if progress is not None:
                progress(0.8 * done / grid.height)
        if done != grid.height:
            raise ValueError(f"{done} rows were given for a map of {grid.height}")
    build_overviews(path, factors, kind.overviews, cancel)
    if progress is not None:
        progress(1.0)


def _tile_rows(strips: Iterable[npt.NDArray[Any]], width: int, dtype: np.dtype[Any]) -> Iterable[npt.NDArray[Any]]:
    """Whole rows of tiles, so that no tile is compressed twice."""
    buffer = np.empty((TILE_PX, width), dtype)
    held = 0
    for strip in strips:
        taken = 0
        while taken < len(strip):
            count = min(TILE_PX - held, len(strip) - taken)
            buffer[held : held + count] = strip[taken : taken + count]
            held += count
            taken += count
            if held == TILE_PX:
                yield buffer
                held = 0
    if held:
        yield buffer[:held]


def _palette(classes: Sequence[CardClass]) -> dict[int, tuple[int, int, int, int]]:
    found = {}
    for code, entry in enumerate(classes):
        red, green, blue = bytes.fromhex(entry.color[1:])
        found[code] = red, green, blue, 255
    return found


def _write_names(path: Path, classes: Sequence[CardClass]) -> None:
    text = sidecar(class_palette(classes), category_names=True)
    path.with_name(path.name + ".aux.xml").write_text(text, encoding="utf-8")
