"""What objects measure on the ground: length, width and the bearing of the long side.

Lengths are geodesic, bearings count clockwise from true north, 0 up to 180 degrees: a box does not tell bow from stern.
Guarantees: right on rotated grids, in degrees and on other planets, each on the ellipsoid of its own CRS; without a CRS
there are no metres and bearings count from the image's top. Importing this module does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj

from engine.errors import SceneError
from engine.inference.detection.objects import Floats
from engine.scene import Grid


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of objects, one value each.

    Attributes:
        length_m: The longer side; NaN where the ground is unknown.
        width_m: The shorter side; NaN likewise.
        angle_deg: Bearing of the longer side.
    """

    length_m: Floats
    width_m: Floats
    angle_deg: Floats


def measure(boxes: Floats, grid: Grid) -> Measures:
    """Measure boxes ``[n, 5]`` on a grid."""
    first_m, first_deg = _side(boxes, grid, boxes[:, 2], boxes[:, 4])
    second_m, second_deg = _side(boxes, grid, boxes[:, 3], boxes[:, 4] + np.pi / 2)
    # Where pixels are longer one way than the other, the longer side in pixels need not be the longer one in metres.
    swap = second_m > first_m
    return Measures(
        np.where(swap, second_m, first_m), np.where(swap, first_m, second_m), np.where(swap, second_deg, first_deg)
    )


def _side(boxes: Floats, grid: Grid, length: Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Ground length and bearing of a line through the middle of each box."""
    step_x, step_y = 0.5 * length * np.cos(angle), 0.5 * length * np.sin(angle)
    begin, end = (boxes[:, 0] - step_x, boxes[:, 1] - step_y), (boxes[:, 0] + step_x, boxes[:, 1] + step_y)
    metres = np.full(len(boxes), np.nan)
    bearing = np.degrees(np.arctan2(step_x, -step_y))
    if grid.crs is None:
        return metres, bearing % 180.0
    crs = pyproj.CRS.from_wkt(grid.crs.to_wkt())
    try:
        ends = np.stack((*grid.lonlat(*begin), *grid.lonlat(*end)))
    except SceneError:  # a local CRS: a plane, whose y axis stands for north
        dx, dy = np.subtract(grid.xy(*end), grid.xy(*begin))
        return np.hypot(dx, dy) * crs.axis_info[0].unit_conversion_factor, np.degrees(np.arctan2(dx, dy)) % 180.0
    geod = pyproj.Geod(ellps="WGS84") if grid.is_earth else crs.get_geod()
    known = np.isfinite(ends).all(axis=0)
    if geod is not None and known.any():
        west, south, east, north = ends[:, known]
        bearing[known], _, metres[known] = geod.inv(west, south, east, north)
    return metres, bearing % 180.0
