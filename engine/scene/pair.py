"""Two scenes of one place on one grid, read as a single scene that has the bands of both.

The grid has the first scene's CRS and covers the overlap, nothing else. Its pixels are the first scene's; where the
second one is coarser they are the second's, or, in another CRS, as large as those. So one scene at most is resampled,
but for that last case: averaged where it is finer, interpolated where it lies between pixels. Positions in another CRS
are transformed every few pixels and interpolated between, which errs by less than a hundredth of a pixel.
Guarantees: scenes that differ by whole pixels are not interpolated; a pixel is valid where both scenes have data; what
it holds never depends on the window that asks for it; what cannot be compared is refused with a sentence, and what was
done to bring both onto one grid is in :attr:`ScenePair.warnings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from engine.errors import EngineWarning, OptionError, PairError, PairWarning
from engine.scene.aligned import AlignedScene, Placing, is_upright
from engine.scene.bands import Band
from engine.scene.grid import Grid
from engine.scene.resample import Resampling
from engine.scene.scene import Raster, Scene

LEAST_OVERLAP_PX = 32
"""Fewer rows or columns than this are no overlap worth comparing."""
_COARSER = 1.1
"""From here on a difference of resolutions counts as one."""
_EDGE_PARTS = 32
_ROUNDING_PX = 1e-3
_ALL = 0.995
"""A share from here on is all of a scene."""
_ONE_BODY = 0.01
"""Largest relative difference of ellipsoids of one planet."""

Mask = npt.NDArray[np.bool_]


class ScenePair:
    """Two scenes on one grid, made with :func:`pair_scenes`; it reads as a scene does.

    Attributes:
        before: The first scene.
        after: The second scene.
        name: Both names.
        grid: The grid both are brought to.
        bands: The first scene's bands, then the second's, ``before_`` and ``after_`` in front of their names.
        dtype: The type that holds the values of both.
        warnings: What the user should know about the scenes and about their way to one grid.
    """

    def __init__(
        self, before: Scene, after: Scene, grid: Grid, placing: Placing, notices: tuple[EngineWarning, ...]
    ) -> None:
        self.before, self.after, self.grid = before, after, grid
        self.name = f"{before.name} and {after.name}"
        named = (before.name, after.name) if before.name != after.name else ("The earlier scene", "The later scene")
        bands = [
            replace(band, name=f"{date}_{band.name}")
            for date, scene in (("before", before), ("after", after))
            for band in scene.bands
        ]
        self.bands: tuple[Band, ...] = tuple(replace(band, index=number) for number, band in enumerate(bands, 1))
        self.dtype: str = np.result_type(before.dtype, after.dtype).name
        scenes = zip(named, (before, after), strict=True)
        own = [type(said)(f"{name}: {said.message}") for name, scene in scenes for said in scene.warnings]
        self.warnings: tuple[EngineWarning, ...] = (*own, *notices)
        self._placing, self._notices = placing, notices
        self._views = AlignedScene(before, grid, ~before.transform), AlignedScene(after, grid, placing)

    @property
    def width(self) -> int:
        """Columns."""
        return self.grid.width

    @property
    def height(self) -> int:
        """Rows."""
        return self.grid.height

    @property
    def crs(self) -> CRS | None:
        """Coordinate reference system of the grid."""
        return self.grid.crs

    @property
    def gsd_m(self) -> float | None:
        """Ground metres a pixel of the grid; None without a CRS."""
        return self.grid.gsd_m

    def read(
        self,
        window: Window | None = None,
        *,
        bands: Sequence[int] | None = None,
        out_shape: tuple[int, int] | None = None,
        resampling: Resampling = "average",
    ) -> Raster:
        """Read a window of both scenes; what is :meth:`Scene.read` for one.

        Args:
            window: Rectangle of the grid in whole pixels; everything by default.
            bands: Numbers of :attr:`bands`, all by default.
            out_shape: Rows and columns of the result.
            resampling: As for a scene; a second scene in another CRS is interpolated whatever is asked for.
        """
        window = Window(0, 0, self.width, self.height) if window is None else window
        if out_shape is not None:
            scale = Affine.scale(window.width / out_shape[1], window.height / out_shape[0])
            coarse = Grid(out_shape[1], out_shape[0], self.grid.window_transform(window) @ scale, self.crs)
            return self._on(coarse).read(bands=bands)
        count = len(self.before.bands)
        numbers = range(1, len(self.bands) + 1) if bands is None else tuple(bands)
        own = [number for number in numbers if number <= count], [n - count for n in numbers if n > count]
        parts = [view.read(window, chosen) for view, chosen in zip(self._views, own, strict=True)]
        valid = parts[0][1] & parts[1][1]
        data = np.concatenate([part.astype(self.dtype, copy=False) for part, _ in parts])
        place = {number: index for index, number in enumerate([*own[0], *(n + count for n in own[1])])}
        order = [place[number] for number in numbers]
        if order != sorted(order):
            data = data[order]
        if not valid.all():
            data[:, ~valid] = 0
        chosen = tuple(self.bands[number - 1] for number in numbers)
        return Raster(data, valid, chosen, self.grid.window_transform(window), self.crs)

    def band_indices(self, roles: Sequence[str]) -> tuple[int, ...]:
        """Numbers of the first scene's bands with these roles, then of the second's.

        Raises:
            BandError: A scene has no band of a role.
        """
        return self.numbers_of(self.before.band_indices(roles), self.after.band_indices(roles))

    def numbers_of(self, before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
        """Numbers of :attr:`bands` from numbers of both scenes' own bands."""
        return (*before, *(len(self.before.bands) + number for number in after))

    def at_gsd(self, gsd_m: float) -> ScenePair:
        """The same pair on a grid of another resolution, covering the same ground.

        Raises:
            PairError: The pair has no CRS, so its resolution is unknown.
            OptionError: The resolution is not positive.
        """
        if not (gsd_m > 0 and np.isfinite(gsd_m)):
            raise OptionError(f"{gsd_m} is no resolution", remedy="Use a positive number of metres.")
        if self.crs is None:
            raise PairError(
                "the scenes have no coordinate reference system, so they cannot be brought to a resolution in metres",
                where=self.name,
                remedy="Run at native resolution.",
            )
        ground = self.grid.ground(np.array([self.height / 2]), np.array([self.width / 2]))
        width = max(1, round(self.width * float(ground.dx_m[0]) / gsd_m))
        height = max(1, round(self.height * float(ground.dy_m[0]) / gsd_m))
        scale = Affine.scale(self.width / width, self.height / height)
        return self._on(Grid(width, height, self.grid.transform @ scale, self.crs))

    def close(self) -> None:
        """Let go of both scenes' files."""
        self.before.close()
        self.after.close()

    def __repr__(self) -> str:
        return f"<ScenePair {self.name!r} {self.width}x{self.height}>"

    def _on(self, grid: Grid) -> ScenePair:
        return ScenePair(self.before, self.after, grid, self._placing, self._notices)


def pair_scenes(before: Scene, after: Scene) -> ScenePair:
    """Bring two scenes onto one grid.

    Without a CRS pixels lie on pixels, so both must have the same size.

    Args:
        before: The earlier scene; its CRS, and mostly its pixels, are those of the pair.
        after: The later scene.

    Raises:
        PairError: They do not overlap, hardly overlap, lie on different planets, or have no CRS and differ in size.
    """
    if any(scene.dtype.startswith("complex") for scene in (before, after)):
        raise PairError(
            "complex values cannot be compared",
            where=f"{before.name}, {after.name}",
            remedy="Convert them to their magnitude first, for example with gdal_calc.",
        )
    if before.crs is None or after.crs is None:
        return _by_pixel(before, after)
    _same_body(before, after)
    notices: list[EngineWarning] = []
    if before.crs != after.crs:
        notices.append(
            PairWarning(
                f"{after.name} is in {_name(after.crs)}: it is brought to {_name(before.crs)} of {before.name}."
            )
        )
        placing = _through(before.crs, after)
    else:
        placing = ~after.transform
    seen = _seen_from(before.grid, after.grid)
    if seen.is_empty:
        raise PairError(
            "the scenes do not overlap",
            where=f"{_where(before)}; {_where(after)}",
            remedy="Choose two scenes of one place, and check their coordinate reference systems.",
        )
    box = _box(before.grid)
    shared = shapely.intersection(seen, box)
    coarser = float(np.sqrt(seen.area / (after.width * after.height)))  # pixels of the first along one of the second
    if coarser <= _COARSER:
        grid = _cropped(before.grid, shared, before, after)
    elif before.crs == after.crs and is_upright(~after.transform @ before.transform):
        own = _seen_from(after.grid, before.grid)
        grid = _cropped(after.grid, shapely.intersection(own, _box(after.grid)), before, after)
    else:
        fine = _cropped(before.grid, shared, before, after)
        width, height = max(1, round(fine.width / coarser)), max(1, round(fine.height / coarser))
        scale = Affine.scale(fine.width / width, fine.height / height)
        grid = Grid(width, height, fine.transform @ scale, fine.crs)
    _enough(grid, before, after)
    notices += _notices(before, after, grid, (shared.area / box.area, shared.area / seen.area))
    return ScenePair(before, after, grid, placing, tuple(notices))


def _by_pixel(before: Scene, after: Scene) -> ScenePair:
    if before.grid.shape != after.grid.shape:
        sizes = ", ".join(f"{scene.name} {scene.width} x {scene.height}" for scene in (before, after))
        without = [scene.name for scene in (before, after) if scene.crs is None]
        lost = "neither says where it lies" if len(without) == 2 else f"{without[0]} does not say where it lies"
        raise PairError(
            f"the images differ in size and {lost}",
            where=sizes,
            remedy="Bring both onto one grid first, or name the coordinate reference system.",
        )
    notices: tuple[EngineWarning, ...] = ()
    if (before.crs is None) != (after.crs is None):
        known, unknown = (before, after) if after.crs is None else (after, before)
        notices = (
            PairWarning(
                f"{unknown.name} does not say where it lies: it is taken to lie pixel on pixel on {known.name}."
            ),
        )
    _enough(before.grid, before, after)
    return ScenePair(before, after, before.grid, ~before.transform, notices)


def _same_body(before: Scene, after: Scene) -> None:
    radii = []
    for scene in (before, after):
        assert scene.crs is not None
        ellipsoid = pyproj.CRS.from_wkt(scene.crs.to_wkt()).ellipsoid
        radii.append(6378137.0 if ellipsoid is None else ellipsoid.semi_major_metre)
    if abs(radii[0] - radii[1]) > _ONE_BODY * radii[0]:
        raise PairError(
            "the scenes lie on different planets or moons",
            where=f"{before.name}: radius {radii[0] / 1000:.0f} km; {after.name}: {radii[1] / 1000:.0f} km",
            remedy="Choose two scenes of one place.",
        )


def _through(crs: CRS | None, scene: Scene) -> pyproj.Transformer:
    """The way from map positions of the pair to those of a scene in another CRS."""
    assert crs is not None
    assert scene.crs is not None
    return pyproj.Transformer.from_crs(crs.to_wkt(), scene.crs.to_wkt(), always_xy=True)


def _box(grid: Grid) -> Any:
    return shapely.box(0, 0, grid.width, grid.height)


def _seen_from(grid: Grid, other: Grid) -> Any:
    """Outline of another grid in pixel positions of a grid; empty where it cannot be seen from there."""
    along = np.linspace(0.0, 1.0, _EDGE_PARTS, endpoint=False)
    cols = np.concatenate((along, np.ones_like(along), 1 - along, np.zeros_like(along))) * other.width
    rows = np.concatenate((np.zeros_like(along), along, np.ones_like(along), 1 - along)) * other.height
    x, y = other.xy(cols, rows)
    if grid.crs != other.crs:
        assert grid.crs is not None
        assert other.crs is not None
        way = pyproj.Transformer.from_crs(other.crs.to_wkt(), grid.crs.to_wkt(), always_xy=True)
        x, y = way.transform(x, y)
    points = np.stack(grid.colrow(x, y), axis=1)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        return shapely.Polygon()
    outline = shapely.make_valid(shapely.Polygon(points))
    return outline if shapely.intersection(outline, _box(grid)).area > 0 else shapely.Polygon()


def _cropped(grid: Grid, shared: Any, before: Scene, after: Scene) -> Grid:
    """The pixels of a grid whose middles lie in the box round the overlap."""
    left, top, right, bottom = shared.bounds
    first = [int(np.ceil(low - 0.5 - _ROUNDING_PX)) for low in (left, top)]
    last = [int(np.floor(high - 0.5 + _ROUNDING_PX)) for high in (right, bottom)]
    col, row = (max(0, value) for value in first)
    width = min(grid.width, last[0] + 1) - col
    height = min(grid.height, last[1] + 1) - row
    if width < 1 or height < 1:
        raise _too_small(max(width, 0), max(height, 0), before, after)
    window = Window(col, row, width, height)
    return Grid(width, height, grid.window_transform(window), grid.crs)


def _enough(grid: Grid, before: Scene, after: Scene) -> None:
    if min(grid.width, grid.height) < LEAST_OVERLAP_PX:
        raise _too_small(grid.width, grid.height, before, after)


def _too_small(width: int, height: int, before: Scene, after: Scene) -> PairError:
    return PairError(
        f"the scenes share only {width} x {height} pixels, too few to compare",
        where=f"{before.name}, {after.name}",
        remedy=f"Choose scenes that share at least {LEAST_OVERLAP_PX} pixels each way.",
    )


def _notices(before: Scene, after: Scene, grid: Grid, shares: tuple[float, float]) -> list[EngineWarning]:
    said: list[EngineWarning] = []
    if min(shares) < _ALL:
        said.append(
            PairWarning(
                f"Only the overlap is compared, {grid.width} x {grid.height} pixels: {shares[0]:.0%} of {before.name} "
                f"and {shares[1]:.0%} of {after.name}."
            )
        )
    sizes = before.gsd_m, after.gsd_m
    if sizes[0] is not None and sizes[1] is not None and not 1 / _COARSER <= sizes[0] / sizes[1] <= _COARSER:
        said.append(
            PairWarning(
                f"{before.name} has pixels of {sizes[0]:.3g} m and {after.name} of {sizes[1]:.3g} m: both are compared "
                f"at {max(sizes[0], sizes[1]):.3g} m."
            )
        )
    elif before.crs == after.crs and not AlignedScene(after, grid, ~after.transform).whole:
        said.append(PairWarning(f"{after.name} lies between the pixels of {before.name} and is interpolated."))
    return said


def _name(crs: CRS | None) -> str:
    return "no CRS" if crs is None else crs.to_string() if crs.to_epsg() else pyproj.CRS.from_wkt(crs.to_wkt()).name


def _where(scene: Scene) -> str:
    """A scene's name and the middle of it, for people."""
    lon, lat = scene.grid.lonlat(scene.width / 2, scene.height / 2)
    return f"{scene.name} at {float(lon):.3f}, {float(lat):.3f}"
