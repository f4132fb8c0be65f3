"""A scene read on a grid that is not its own.

Guarantees: a grid of the scene's own pixels, shifted by whole ones, gives the stored values; what a pixel holds does
not depend on the window that asks for it; memory follows the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from rasterio.windows import Window

from engine.scene.grid import Grid
from engine.scene.scene import Scene

Placing = Affine | pyproj.Transformer
"""From map positions of the grid to pixel positions of the scene, or to map positions in the scene's CRS."""

_NODE_PX = 32
"""Positions in another CRS are transformed at every so many pixels and interpolated between."""
_WHOLE_PX = 1e-3
"""Positions this near to whole pixels are whole."""
_FINER = 1.5
"""A scene finer than this many pixels along one of the grid is averaged before it is interpolated."""
_LEAST_WEIGHT = 0.5
"""An interpolated pixel is valid where at least this much of what it is made of is."""

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class AlignedScene:
    """A scene on another grid.

    Args:
        scene: The scene.
        grid: The grid to read it on.
        placing: The way from that grid's map positions to the scene.

    Attributes:
        whole: Whether pixels of the grid are pixels of the scene.
    """

    def __init__(self, scene: Scene, grid: Grid, placing: Placing) -> None:
        self._scene, self._grid, self._placing = scene, grid, placing
        step = placing @ grid.transform if isinstance(placing, Affine) else None
        self._step = step if step is not None and is_upright(step) else None
        self.whole = self._step is not None and _is_whole(self._step, grid)
        self._base = scene
        own, wanted = scene.gsd_m, grid.gsd_m
        if self._step is None and own is not None and wanted is not None and wanted > _FINER * own:
            self._base = scene.at_gsd(wanted)

    def read(self, window: Window, bands: Sequence[int]) -> tuple[Array, Mask]:
        """Values ``[bands, h, w]`` of a window of the grid in whole pixels, and where there are some."""
        col, row, width, height = (round(v) for v in (window.col_off, window.row_off, window.width, window.height))
        if not bands:
            return np.zeros((0, height, width), self._scene.dtype), self.read(window, (1,))[1]
        if self._step is None:
            return self._interpolated(col, row, width, height, bands)
        step = self._step
        left, top = step.c + step.a * col, step.f + step.e * row
        if self.whole:
            raster = self._scene.read(Window(round(left), round(top), width, height), bands=bands)
        else:
            part = Window(left, top, step.a * width, step.e * height)
            how: Any = "average" if min(step.a, step.e) > 1 else "bilinear"
            raster = self._scene.read(part, bands=bands, out_shape=(height, width), resampling=how)
        return raster.data, raster.valid

    def _interpolated(self, col: int, row: int, width: int, height: int, bands: Sequence[int]) -> tuple[Array, Mask]:
        x, y = self._positions(col, row, width, height)
        base = self._base
        with np.errstate(invalid="ignore"):
            inside = (x >= 0) & (x < base.width) & (y >= 0) & (y < base.height)
        data = np.zeros((len(bands), height, width), base.dtype)
        if not inside.any():
            return data, inside
        x, y = x[inside] - 0.5, y[inside] - 0.5
        left, top = int(np.floor(x.min())), int(np.floor(y.min()))
        right, bottom = int(np.floor(x.max())) + 2, int(np.floor(y.max())) + 2
        raster = base.read(Window(left, top, right - left, bottom - top), bands=bands)
        first, above = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
        across, down = x - first, y - above
        total = np.zeros((len(bands), x.size))
        weight = np.zeros(x.size)
        for rows, cols, share in (
            (above, first, (1 - down) * (1 - across)),
            (above, first + 1, (1 - down) * across),
            (above + 1, first, down * (1 - across)),
            (above + 1, first + 1, down * across),
        ):
            place = rows - top, cols - left
            counted = share * raster.valid[place]
            total += counted * raster.data[:, place[0], place[1]]
            weight += counted
        valid = weight >= _LEAST_WEIGHT
        values = total / np.where(valid, weight, 1.0)
        if data.dtype.kind in "iu":
            limits = np.iinfo(data.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        data[:, inside] = np.where(valid, values, 0).astype(data.dtype)
        inside[inside] = valid
        return data, inside

    def _positions(self, col: int, row: int, width: int, height: int) -> tuple[Floats, Floats]:
        """Pixel positions in the scene of a window's pixel centres, from nodes that lie the same for every window."""
        cols, rows = (
            np.arange(start // _NODE_PX, (start + length) // _NODE_PX + 2) * _NODE_PX
            for start, length in ((col, width), (row, height))
        )
        x, y = self._grid.xy(*np.meshgrid(cols, rows))
        if isinstance(self._placing, pyproj.Transformer):
            x, y = self._base.grid.colrow(*self._placing.transform(x, y))
        else:
            x, y = _apply(~self._base.transform @ self._scene.transform @ self._placing, x, y)
        across = (np.arange(col, col + width) + 0.5 - cols[0]) / _NODE_PX
        down = (np.arange(row, row + height) + 0.5 - rows[0]) / _NODE_PX
        return _between(x, across, down), _between(y, across, down)


def _between(nodes: Floats, across: Floats, down: Floats) -> Floats:
    """Bilinear interpolation of a lattice at positions counted in its steps."""
    i, j = across.astype(np.intp), down.astype(np.intp)
    u, v = across - i, (down - j)[:, None]
    upper = nodes[j][:, i] * (1 - u) + nodes[j][:, i + 1] * u
    lower = nodes[j + 1][:, i] * (1 - u) + nodes[j + 1][:, i + 1] * u
    return np.asarray(upper * (1 - v) + lower * v)


def _apply(step: Affine, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return step.a * x + step.b * y + step.c, step.d * x + step.e * y + step.f


def is_upright(step: Affine) -> bool:
    """Whether a step along columns or rows of one grid is one along columns or rows of the other, and not back."""
    return abs(step.b) + abs(step.d) < 1e-9 * (abs(step.a) + abs(step.e)) and step.a > 0 and step.e > 0


def _is_whole(step: Affine, grid: Grid) -> bool:
    """Whether every pixel of the grid lies on one of the scene."""
    ends = (step.c, step.c + (step.a - 1) * grid.width, step.f, step.f + (step.e - 1) * grid.height)
    starts = (step.c, step.c, step.f, step.f)
    return all(abs(end - round(start)) < _WHOLE_PX for end, start in zip(ends, starts, strict=True))
