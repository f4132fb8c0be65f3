"""Outlines in lon/lat as RFC 7946 wants them: seven digits, valid after rounding, whole across the antimeridian.

Guarantees: shared edges stay shared (points move one by one, never a whole outline); an outline that crosses the
antimeridian leaves with longitudes beyond 180, so that GDAL can cut it there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely

from engine.errors import ExportError
from engine.export.stream import Outlines

if TYPE_CHECKING:
    from engine.scene.grid import Grid

DIGITS = 7
_OTHER_FORMAT = "Export to .gpkg, which keeps the scene's own CRS."


def to_lonlat(grid: Grid) -> Callable[[Outlines], Outlines] | None:
    """What brings outlines on this grid to lon/lat; None where a pole lies inside and GDAL must cut round it.

    Raises:
        ExportError: The grid has no CRS, or one that does not lead to lon/lat on Earth.
    """
    if grid.crs is None:
        raise ExportError(
            "GeoJSON is in lon/lat, and the scene has no CRS",
            remedy="Export to .gpkg, which keeps pixel coordinates, or analyse the scene again with its CRS (--crs).",
        )
    source = pyproj.CRS.from_wkt(grid.crs.to_wkt())
    elsewhere = f"GeoJSON is in lon/lat on Earth, and the scene's CRS {source.name!r} does not lead there"
    if not grid.is_earth:
        raise ExportError(elsewhere, remedy=_OTHER_FORMAT)
    try:
        forward = pyproj.Transformer.from_crs(source, "OGC:CRS84", always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise ExportError(elsewhere, remedy=_OTHER_FORMAT) from error
    if not source.is_geographic and _holds_pole(grid, source):
        return None

    def reproject(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        lon, lat = forward.transform(points[:, 0], points[:, 1])
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            raise ExportError(
                f"some outlines lie outside the area where the CRS {source.name!r} is defined", remedy=_OTHER_FORMAT
            )
        return np.column_stack([lon, lat])

    def reshape(outlines: Outlines) -> Outlines:
        moved = shapely.transform(outlines, reproject)
        wide = _width(moved) > 180
        if wide.any() and source.is_geographic:
            # Whole-Earth outlines: an edge of 360 degrees would read as one across the antimeridian.
            moved[wide] = shapely.segmentize(moved[wide], 90.0)
        elif wide.any():
            moved[wide] = shapely.transform(moved[wide], _beyond_180)
        return _rounded(moved)

    return reshape


def _rounded(outlines: Outlines) -> Outlines:
    rounded: Outlines = shapely.transform(outlines, lambda points: np.round(points, DIGITS))
    broken = ~shapely.is_valid(rounded)
    if broken.any():
        repaired = shapely.set_precision(outlines[broken], 10.0**-DIGITS, mode="valid_output")
        gone = shapely.is_empty(repaired)
        rounded[broken] = np.where(gone, _smallest_boxes(outlines[broken]), repaired)
    return rounded


def _smallest_boxes(outlines: Outlines) -> Outlines:
    """Boxes round outlines that are thinner than the last digit (a centimetre), so that none is lost."""
    bounds = shapely.bounds(outlines) * 10.0**DIGITS
    low, high = np.floor(bounds[:, :2]), np.ceil(bounds[:, 2:])
    high = np.maximum(high, low + 1) / 10.0**DIGITS
    low = low / 10.0**DIGITS
    return np.asarray(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))


def _beyond_180(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.column_stack([np.where(points[:, 0] < 0, points[:, 0] + 360, points[:, 0]), points[:, 1]])


def _width(outlines: Outlines) -> np.ndarray[Any, Any]:
    bounds = shapely.bounds(outlines)
    return np.asarray(bounds[:, 2] - bounds[:, 0])


def _holds_pole(grid: Grid, source: pyproj.CRS) -> bool:
    back = pyproj.Transformer.from_crs("OGC:CRS84", source, always_xy=True)
    for lat in (90.0, -90.0):
        x, y = back.transform(0.0, lat)
        if np.isfinite([x, y]).all():
            col, row = grid.colrow(x, y)
            if 0 <= col <= grid.width and 0 <= row <= grid.height:
                return True
    return False
