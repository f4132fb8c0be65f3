"""A scene: a georeferenced raster that can be read at any window, any scale and in any bands.

It may be one file, several files of a mosaic, a folder of tiles, a stack of one-band files, a VRT or anything else that
GDAL opens, by path or URL. Opening reads headers only. Reads give stored values, never stretched ones.
Guarantees: reads are thread-safe; windows may reach outside (those pixels come back invalid); adjacent windows of one
scene fit together exactly, whatever the scale; a scene never changes after it was opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from engine.errors import BandError, EngineWarning, OptionError, SceneError
from engine.scene.bands import Band, describe_bands, find_roles, rgb_bands
from engine.scene.describe import describe_scene, identify
from engine.scene.grid import Grid
from engine.scene.header import Header
from engine.scene.pixels import PixelReader, complex_error
from engine.scene.resample import Resampling, axis, resample
from engine.scene.sources import Backing, open_backing

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Raster:
    """Pixels together with what they mean.

    Attributes:
        data: Values [bands, height, width] as stored; 0 where invalid.
        valid: Where there is data [height, width].
        bands: The bands, in the order of ``data``.
        transform: Pixel to map positions of this raster.
        crs: Coordinate reference system.
    """

    data: Array
    valid: npt.NDArray[np.bool_]
    bands: tuple[Band, ...]
    transform: Affine
    crs: CRS | None


class Scene:
    """A georeferenced raster, opened with :meth:`open`.

    Attributes:
        name: Short name for people.
        sources: Files or addresses it is made of.
        grid: Where its pixels lie.
        bands: Its bands; alpha is no band, a palette counts as red, green and blue.
        dtype: Type of its values.
        nodata: Value that marks missing pixels in the file.
        warnings: What the user should know about it.
    """

    def __init__(
        self,
        backing: Backing,
        grid: Grid,
        bands: tuple[Band, ...],
        warnings: tuple[EngineWarning, ...],
        levels: tuple[PixelReader, ...],
        scale: tuple[float, float] | None = None,
    ) -> None:
        self._backing = backing
        self._levels = levels
        self._scale = scale
        self.name: str = backing.name
        self.sources: tuple[str, ...] = backing.sources
        self.grid: Grid = grid
        self.bands: tuple[Band, ...] = bands
        self.dtype: str = "uint8" if backing.header.palette else backing.header.dtype
        self.nodata: float | None = backing.header.nodata
        rgb, notice = rgb_bands(bands)
        self._rgb = rgb
        self.warnings: tuple[EngineWarning, ...] = warnings if notice is None or scale else (*warnings, notice)

    @classmethod
    def open(
        cls,
        source: str | Path | Sequence[str | Path],
        *,
        roles: Mapping[str, int] | None = None,
        crs: str | None = None,
    ) -> Scene:
        """Open a scene.

        Args:
            source: A file, folder, VRT or GDAL address; or several files of one mosaic or one band each.
            roles: Roles of bands set by hand, such as ``{"red": 3}``.
            crs: CRS to use instead of the raster's own.

        Raises:
            SceneError: It cannot be opened, or its files do not belong together.
            BandError: A role set by hand cannot be used.
        """
        backing = open_backing(source, roles or {})
        bands, notices = describe_bands(backing.band_facts, roles)
        grid = backing.grid if crs is None else replace(backing.grid, crs=_crs(crs))
        levels = tuple(PixelReader(backing.header, *level) for level in backing.levels)
        warnings = (*backing.warnings_for(grid), *notices)
        return cls(backing, grid, bands, warnings, levels)

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
        """Coordinate reference system."""
        return self.grid.crs

    @property
    def transform(self) -> Affine:
        """Pixel to map positions."""
        return self.grid.transform

    @property
    def gsd_m(self) -> float | None:
        """Ground metres a pixel in the middle of the scene; None without a CRS."""
        return self.grid.gsd_m

    @property
    def overviews(self) -> tuple[int, ...]:
        """Reduction factors at which reads cost less."""
        width = self._levels[0].width / (self._scale[0] if self._scale else 1.0)
        factors = (round(width / level.width) for level in self._levels[1:])
        return tuple(factor for factor in factors if factor > 1)

    @property
    def header(self) -> Header:
        """What the file, or the mosaic's first file, says about itself."""
        return self._backing.header

    def read(
        self,
        window: Window | None = None,
        *,
        bands: Sequence[int] | None = None,
        out_shape: tuple[int, int] | None = None,
        resampling: Resampling = "average",
    ) -> Raster:
        """Read a window, at its own resolution or resampled to a shape.

        Args:
            window: Rectangle of scene pixels, which may reach outside; the whole scene by default. Without
                ``out_shape`` it is rounded to whole pixels.
            bands: Band numbers from 1, in the order wanted; all by default.
            out_shape: Rows and columns of the result.
            resampling: ``average``, ``bilinear`` or ``nearest``, where the scale changes.

        Raises:
            SceneError: The file cannot be read there.
            BandError: There is no such band.
        """
        window = Window(0, 0, self.width, self.height) if window is None else window
        numbers = self._band_numbers(bands)
        if self._backing.header.is_complex:
            raise complex_error(self._backing.header)
        if out_shape is None:
            window = Window(
                round(window.col_off), round(window.row_off), max(1, round(window.width)), max(1, round(window.height))
            )
            out_shape = (window.height, window.width)
        elif min(out_shape) < 1 or window.width <= 0 or window.height <= 0:
            raise OptionError(f"a window of {window.width} x {window.height} cannot be read as {out_shape}")
        native = self._scale is None and all(
            float(v).is_integer() for v in (window.col_off, window.row_off, window.width, window.height)
        )
        if native and out_shape == (int(window.height), int(window.width)):
            data, valid = self._read_native(window, numbers)
        else:
            data, valid = self._read_scaled(window, numbers, out_shape, resampling)
        transform = self.grid.window_transform(window) @ Affine.scale(
            window.width / out_shape[1], window.height / out_shape[0]
        )
        return Raster(data, valid, tuple(self.bands[i - 1] for i in numbers), transform, self.crs)

    def band_indices(self, roles: Sequence[str]) -> tuple[int, ...]:
        """Numbers of the bands with these roles, in this order.

        Raises:
            BandError: No band has a role; the message lists the bands.
        """
        return find_roles(self.bands, roles, where=self.name)

    def rgb_indices(self) -> tuple[int, int, int]:
        """Numbers of the bands to show as red, green and blue; what was chosen for want of names is in ``warnings``."""
        return self._rgb

    def at_gsd(self, gsd_m: float) -> Scene:
        """The same scene on a grid of another resolution, covering exactly the same ground.

        The number of pixels is rounded, so the resolution is met to within half a pixel over the whole scene; pixels
        are square on the ground in the middle of the scene. Coarser pixels are area averages, finer ones bilinear.

        Raises:
            SceneError: The scene has no CRS, so its resolution is unknown.
            OptionError: The resolution is not positive.
        """
        if not (gsd_m > 0 and math.isfinite(gsd_m)):
            raise OptionError(f"{gsd_m} is no resolution", remedy="Use a positive number of metres.")
        if self.crs is None or self.gsd_m is None:
            raise SceneError(
                "the scene has no coordinate reference system, so it cannot be brought to a resolution in metres",
                where=self.name,
                remedy="Name its CRS, or run at native resolution.",
            )
        base = self._base_grid()
        ground = base.ground(np.array([base.height / 2]), np.array([base.width / 2]))
        width = max(1, round(base.width * float(ground.dx_m[0]) / gsd_m))
        height = max(1, round(base.height * float(ground.dy_m[0]) / gsd_m))
        scale = base.width / width, base.height / height
        grid = Grid(width, height, base.transform @ Affine.scale(*scale), base.crs)
        return Scene(self._backing, grid, self.bands, self.warnings, self._levels, scale)

    def identity(self) -> dict[str, Any]:
        """What tells whether a scene is the same input as another: files, sizes, times, headers, grid and roles."""
        return identify(self)

    def describe(self) -> dict[str, Any]:
        """The scene's facts in plain types, as ``rs-engine info`` prints them."""
        return describe_scene(self)

    def close(self) -> None:
        """Let go of the files. Scenes made by :meth:`at_gsd` leave that to the scene they came from."""
        if self._scale is None:
            for level in self._levels:
                level.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Scene {self.name!r} {self.width}x{self.height}, {len(self.bands)} bands {self.dtype}>"

    def _base_grid(self) -> Grid:
        if self._scale is None:
            return self.grid
        x, y = self._scale
        level = self._levels[0]
        return Grid(level.width, level.height, self.grid.transform @ Affine.scale(1 / x, 1 / y), self.crs)

    def _band_numbers(self, bands: Sequence[int] | None) -> tuple[int, ...]:
        if bands is None:
            return tuple(range(1, len(self.bands) + 1))
        numbers = tuple(int(i) for i in bands)
        wrong = [i for i in numbers if not 1 <= i <= len(self.bands)]
        if wrong or not numbers:
            raise BandError(
                f"there is no band {wrong[0]}" if wrong else "no band was asked for",
                where=self.name,
                remedy=f"Use numbers from 1 to {len(self.bands)}.",
            )
        return numbers

    def _read_native(self, window: Window, bands: tuple[int, ...]) -> tuple[Array, npt.NDArray[np.bool_]]:
        col, row, width, height = (int(v) for v in (window.col_off, window.row_off, window.width, window.height))
        left, top = max(col, 0), max(row, 0)
        right, bottom = min(col + width, self.width), min(row + height, self.height)
        if (left, top, right, bottom) == (col, row, col + width, row + height):
            data, inside = self._levels[0].read(col, row, width, height, bands)
            return data, np.ones((height, width), bool) if inside is None else inside
        data = np.zeros((len(bands), height, width), self.dtype)
        valid = np.zeros((height, width), bool)
        if right > left and bottom > top:
            part, inside = self._levels[0].read(left, top, right - left, bottom - top, bands)
            place = np.s_[top - row : bottom - row, left - col : right - col]
            data[(slice(None), *place)] = part
            valid[place] = True if inside is None else inside
        return data, valid

    def _read_scaled(
        self, window: Window, bands: tuple[int, ...], shape: tuple[int, int], how: Resampling
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        scale_x, scale_y = self._scale or (1.0, 1.0)
        edges_x = (window.col_off + np.arange(shape[1] + 1) * (window.width / shape[1])) * scale_x
        edges_y = (window.row_off + np.arange(shape[0] + 1) * (window.height / shape[0])) * scale_y
        step = min(window.width / shape[1] * scale_x, window.height / shape[0] * scale_y)
        if how == "average" and self._scale is not None and step < 1:
            how = "bilinear"
        level = self._level_for(step)
        base = self._levels[0]
        cols = axis(edges_x * (level.width / base.width), level.width, how)
        rows = axis(edges_y * (level.height / base.height), level.height, how)
        return resample(
            lambda col, row, width, height: level.read(col, row, width, height, bands),
            rows, cols, len(bands), self.dtype, how,
        )  # fmt: skip

    def _level_for(self, step: float) -> PixelReader:
        """The coarsest level that still has the detail.

        Scenes brought to a resolution feed models, so they average from twice that detail; the screen need not.
        """
        limit = step * 1.1 if self._scale is None else step / 2
        base = self._levels[0]
        return min(
            (lv for lv in self._levels if lv is base or base.width / lv.width <= limit), key=lambda level: level.width
        )


def _crs(text: str) -> CRS:
    from rasterio.errors import CRSError

    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise SceneError(
            f"{text!r} is no coordinate reference system", remedy="Use a code such as EPSG:32632, or WKT."
        ) from error


open_scene = Scene.open
