"""Where pixels lie: size, affine transform and CRS of a raster, and how large its pixels are on the ground.

Pixel positions are (column, row) with (0, 0) at the outer corner of the first pixel, so pixel centres lie at halves.
Guarantees: nothing here reads pixels; ground sizes are geodesic (right for degrees, Web Mercator, rotated grids and
other planets, each on the ellipsoid of its own CRS), not those of the projection; a grid without CRS
keeps its own units and says so by ``gsd_m = None``. Grids are immutable and may be shared by threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from engine.errors import SceneError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

EARTH_RADIUS_RANGE_M = (6.30e6, 6.40e6)
"""Semi-major axes that count as the Earth's (all historical ellipsoids lie within)."""

_NODE_SPACING_M = 25_000.0
_MAX_NODES = 257


@dataclass(frozen=True)
class GroundScale:
    """Size of pixels on the ground, one value for each position asked for.

    Attributes:
        dx_m: Length of a step of one column.
        dy_m: Length of a step of one row.
        area_m2: Area of a pixel.
    """

    dx_m: Floats
    dy_m: Floats
    area_m2: Floats


@dataclass(frozen=True)
class Grid:
    """A pixel grid on a map.

    Attributes:
        width: Columns.
        height: Rows.
        transform: Pixel position (column, row) to map position (x, y).
        crs: Coordinate reference system, None where the raster says nothing about its place.
    """

    width: int
    height: int
    transform: Affine
    crs: CRS | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, as arrays are shaped."""
        return self.height, self.width

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in map coordinates; of the enclosing box where the grid is rotated."""
        x, y = self.xy(np.array([0, self.width, self.width, 0]), np.array([0, 0, self.height, self.height]))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @cached_property
    def gsd_m(self) -> float | None:
        """Ground metres a pixel at the middle of the grid (root of its area); None without a CRS."""
        if self.crs is None:
            return None
        area = self._jacobian(np.array([self.width / 2]), np.array([self.height / 2]))
        value = float(np.sqrt(abs(area[0, 0] * area[3, 0] - area[1, 0] * area[2, 0])))
        return value if math.isfinite(value) and value > 0 else None

    @cached_property
    def lonlat_bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in degrees on the CRS's own body; west > east across the antimeridian.

        None without a CRS, or where the grid lies outside what its projection can express.
        """
        if self.crs is None:
            return None
        steps = np.linspace(0.0, 1.0, 33)
        cols, rows = np.meshgrid(steps * self.width, steps * self.height)
        lon, lat = self.lonlat(cols, rows)
        middle, _ = self.lonlat(self.width / 2, self.height / 2)
        good = np.isfinite(lon) & np.isfinite(lat)
        if not good.any():
            return None
        if self._geographic is None:
            origin = float(middle) if np.isfinite(middle) else float(lon[good][0])
            lon = origin + _wrap_degrees(lon - origin)
        west, east = float(lon[good].min()), float(lon[good].max())
        south, north = float(lat[good].min()), float(lat[good].max())
        if east - west >= 360.0 - 1e-9:
            west, east = -180.0, 180.0
        elif west < -180.0 or east > 180.0:
            west, east = (float(_wrap_degrees(np.asarray(v))) for v in (west, east))
        return west, max(south, -90.0), east, min(north, 90.0)

    @cached_property
    def is_earth(self) -> bool:
        """False where the CRS belongs to another planet or moon."""
        low, high = EARTH_RADIUS_RANGE_M
        return self.crs is None or low <= self._axes[0] <= high

    def xy(self, cols: npt.ArrayLike, rows: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Map positions of pixel positions."""
        c, r = np.asarray(cols, np.float64), np.asarray(rows, np.float64)
        t = self.transform
        return t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f

    def colrow(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Pixel positions of map positions."""
        t = ~self.transform
        px, py = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return t.a * px + t.b * py + t.c, t.d * px + t.e * py + t.f

    def lonlat(self, cols: npt.ArrayLike, rows: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Longitudes and latitudes of pixel positions (WGS 84 on Earth, else on the body of the CRS).

        Positions outside what the projection can express come back infinite.

        Raises:
            SceneError: The grid has no CRS.
        """
        if self.crs is None:
            raise SceneError(
                "the raster has no coordinate reference system, so its longitudes and latitudes are unknown",
                remedy="Name its CRS when opening it, for example EPSG:32632.",
            )
        lon, lat = self._to_lonlat.transform(*self.xy(cols, rows))
        return np.asarray(lon), np.asarray(lat)

    def window_transform(self, window: Window) -> Affine:
        """Transform of a window of this grid."""
        return self.transform @ Affine.translation(window.col_off, window.row_off)

    def ground(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> GroundScale:
        """Size of the pixels at pixel positions (take centres: 0.5, 1.5, …).

        Without a CRS the units of the transform stand for metres.
        """
        r, c = np.broadcast_arrays(np.asarray(rows, np.float64), np.asarray(cols, np.float64))
        if self.crs is None:
            one = np.ones_like(r)
            t = self.transform
            jac = np.stack([one * t.a, one * t.b, one * t.d, one * t.e])
        elif self._geographic is not None:
            jac = self._jacobian(c, r)
        else:
            jac = self._interpolated(c, r)
        return GroundScale(
            dx_m=np.hypot(jac[0], jac[2]),
            dy_m=np.hypot(jac[1], jac[3]),
            area_m2=np.abs(jac[0] * jac[3] - jac[1] * jac[2]),
        )

    @cached_property
    def _projection(self) -> pyproj.CRS:
        assert self.crs is not None
        return pyproj.CRS.from_wkt(self.crs.to_wkt())

    @cached_property
    def _axes(self) -> tuple[float, float]:
        """Semi-major and semi-minor axis of the CRS's ellipsoid, WGS 84's where it names none."""
        ellipsoid = self._projection.ellipsoid
        if ellipsoid is None:
            return 6378137.0, 6356752.314245179
        return ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre

    @cached_property
    def _to_lonlat(self) -> pyproj.Transformer:
        target = pyproj.CRS.from_epsg(4326) if self.is_earth else self._projection.geodetic_crs
        if target is None:
            raise SceneError(
                "the raster's coordinate reference system is a local one, without a place on any planet",
                remedy="Name a CRS when opening it, for example EPSG:32632.",
            )
        return pyproj.Transformer.from_crs(self._projection, target, always_xy=True)

    @cached_property
    def _geographic(self) -> float | None:
        """Degrees of one CRS unit where map coordinates are longitude and latitude, else None."""
        crs = self._projection
        if not crs.is_geographic:
            return None
        return math.degrees(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0

    def _jacobian(self, cols: Floats, rows: Floats) -> Floats:
        """East and north metres of a step of one column and one row: [dE/dc, dE/dr, dN/dc, dN/dr]."""
        t = self.transform
        major, minor = self._axes
        e2 = 1.0 - (minor / major) ** 2
        if self._geographic is not None:
            lat = np.clip(self.xy(cols, rows)[1] * self._geographic, -90.0, 90.0)
            unit = self._geographic
            steps = [np.full_like(lat, v * unit) for v in (t.a, t.b, t.d, t.e)]
        elif self._projection.geodetic_crs is None:
            factor = self._projection.axis_info[0].unit_conversion_factor if self._projection.axis_info else 1.0
            return np.stack([np.full_like(cols, v * factor) for v in (t.a, t.b, t.d, t.e)])
        else:
            factor = self._projection.axis_info[0].unit_conversion_factor if self._projection.axis_info else 1.0
            pixel_m = math.sqrt(abs(t.a * t.e - t.b * t.d)) * factor
            half = max(0.5, 500.0 / pixel_m) if pixel_m > 0 else 0.5
            _, lat = self.lonlat(cols, rows)
            east = self.lonlat(cols + half, rows), self.lonlat(cols - half, rows)
            south = self.lonlat(cols, rows + half), self.lonlat(cols, rows - half)
            steps = [
                _wrap_degrees(_difference(east[0][0], east[1][0])) / (2 * half),
                _wrap_degrees(_difference(south[0][0], south[1][0])) / (2 * half),
                _difference(east[0][1], east[1][1]) / (2 * half),
                _difference(south[0][1], south[1][1]) / (2 * half),
            ]
            lat = np.where(np.isfinite(lat), lat, np.nan)
        phi = np.radians(lat)
        root = np.sqrt(1.0 - e2 * np.sin(phi) ** 2)
        across = np.radians(1.0) * major / root * np.abs(np.cos(phi))
        along = np.radians(1.0) * major * (1.0 - e2) / root**3
        return np.stack([steps[0] * across, steps[1] * across, steps[2] * along, steps[3] * along])

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats, Floats]:
        """Columns, rows and Jacobians of the coarse grid that ``ground`` interpolates."""
        gsd = self.gsd_m or 1.0
        cols, rows = (
            np.linspace(0.0, size, int(np.clip(math.ceil(size * gsd / _NODE_SPACING_M) + 1, 3, _MAX_NODES)))
            for size in (self.width, self.height)
        )
        jac = self._jacobian(*np.meshgrid(cols, rows))
        bad = ~np.isfinite(jac).all(axis=0)
        if bad.any():  # nodes beyond the projection's reach: no pixel of them can be measured, NaN says so
            jac[:, bad] = np.nan
        return cols, rows, jac

    def _interpolated(self, cols: Floats, rows: Floats) -> Floats:
        node_cols, node_rows, jac = self._nodes
        i, u = _locate(cols, self.width, node_cols.size)
        j, v = _locate(rows, self.height, node_rows.size)
        top = jac[:, j, i] * (1 - u) + jac[:, j, i + 1] * u
        bottom = jac[:, j + 1, i] * (1 - u) + jac[:, j + 1, i + 1] * u
        return np.asarray(top * (1 - v) + bottom * v)


def _locate(positions: Floats, size: int, nodes: int) -> tuple[npt.NDArray[np.intp], Floats]:
    scaled = np.clip(positions / size, 0.0, 1.0) * (nodes - 1)
    index = np.minimum(scaled.astype(np.intp), nodes - 2)
    return index, scaled - index


def _difference(a: Floats, b: Floats) -> Floats:
    """A - b, NaN where either is infinite."""
    bad = ~(np.isfinite(a) & np.isfinite(b))
    return np.where(bad, np.nan, np.where(bad, 0.0, a) - np.where(bad, 0.0, b))


def _wrap_degrees(values: Floats) -> Floats:
    """Into [-180, 180)."""
    return np.asarray((values + 180.0) % 360.0 - 180.0)
