"""Rasters placed by ground control points or RPCs, put on a map grid as they are read.

Guarantees: the grid is north-up, in metres (UTM, or polar stereographic beyond 84 degrees) where the control points are
longitudes and latitudes; what lies outside the raster is invalid; the grid is computed in fixed blocks, so what a pixel
holds never depends on the window that asks for it; the warning says what was done.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import calculate_default_transform, reproject
from rasterio.windows import Window

from engine.errors import GeolocationWarning, SceneError
from engine.scene.grid import Grid
from engine.scene.header import Header, open_dataset

_BLOCK_PX = 512
_BLOCKS_KEPT = 8
_SMALLEST_LEVEL_PX = 256

Level = tuple[int, int, Callable[[], Any]]


def needs_warp(header: Header) -> bool:
    """Whether only control points or RPCs place the raster (complex data are left as they lie)."""
    return not header.is_complex and ((header.gcps >= 3 and header.gcps_crs is not None) or header.rpcs)


def warped_backing(header: Header) -> tuple[Grid, tuple[Level, ...], Header, GeolocationWarning]:
    """Grid, levels, facts as seen through the warp, and the warning.

    Raises:
        SceneError: The control points or RPCs cannot be used.
    """
    by_rpc = header.rpcs
    source_crs: Any = CRS.from_epsg(4326) if by_rpc else header.gcps_crs
    target: Any = source_crs
    with open_dataset(header.source, where=header.where) as dataset:
        placing = _placing(dataset)
        try:
            if source_crs.is_geographic:
                rough = calculate_default_transform(source_crs, source_crs, header.width, header.height, **placing)
                target = _metric_crs(*(rough[0] @ (rough[1] / 2, rough[2] / 2)))
            transform, width, height = calculate_default_transform(
                source_crs, target, header.width, header.height, **placing
            )
        except (RasterioError, ValueError) as error:
            raise SceneError(
                f"the raster cannot be placed by its {'RPCs' if by_rpc else 'control points'}: {error}",
                where=header.where,
                remedy="Warp it to a map grid first (gdalwarp).",
            ) from error
    grid = Grid(int(width), int(height), transform, target)
    seen = replace(
        header,
        width=grid.width,
        height=grid.height,
        crs=target,
        transform=transform,
        mask="alpha",
        alpha_band=PlacedRaster.COVERAGE,
        overviews=(),
    )
    levels: list[Level] = []
    factor = 1
    while factor == 1 or max(grid.width, grid.height) / factor > _SMALLEST_LEVEL_PX:
        size = max(1, round(grid.width / factor)), max(1, round(grid.height / factor))
        levels.append((*size, _opener(header, source_crs, grid, size, factor)))
        factor *= 2
    words = "rational polynomial coefficients, without terrain" if by_rpc else f"{header.gcps} ground control points"
    notice = GeolocationWarning(
        f"The raster was put on a map grid ({target.to_string()}) from {words}; positions are approximate."
    )
    return grid, tuple(levels), seen, notice


class PlacedRaster:
    """A dataset seen through its control points; reads like a dataset on the grid. For one thread at a time.

    Args:
        dataset: The open dataset.
        header: Its facts.
        source_crs: CRS of its control points.
        grid: Grid to put it on.
    """

    COVERAGE = -1
    """Number of the band that says where there is data."""

    def __init__(self, dataset: Any, header: Header, source_crs: CRS, grid: Grid) -> None:
        self._dataset = dataset
        self._header = header
        self._source_crs = source_crs
        self._grid = grid
        self._placing = _placing(dataset)
        self._blocks: OrderedDict[tuple[int, int, tuple[int, ...]], npt.NDArray[Any]] = OrderedDict()

    def read(self, numbers: Sequence[int] | int, *, window: Window, out_dtype: Any = None) -> npt.NDArray[Any]:
        """Bands of a window, coverage among them if asked for."""
        wanted = [numbers] if isinstance(numbers, int) else list(numbers)
        bands = tuple(n for n in wanted if n != self.COVERAGE)
        left, top, width, height = (int(v) for v in (window.col_off, window.row_off, window.width, window.height))
        out = np.empty((len(bands) + 1, height, width), self._header.dtype)
        for row in range(top // _BLOCK_PX, -(-(top + height) // _BLOCK_PX)):
            for col in range(left // _BLOCK_PX, -(-(left + width) // _BLOCK_PX)):
                block = self._block(col, row, bands)
                x, y = col * _BLOCK_PX, row * _BLOCK_PX
                x0, x1 = max(left, x), min(left + width, x + block.shape[2])
                y0, y1 = max(top, y), min(top + height, y + block.shape[1])
                out[:, y0 - top : y1 - top, x0 - left : x1 - left] = block[:, y0 - y : y1 - y, x0 - x : x1 - x]
        order = [len(bands) if n == self.COVERAGE else bands.index(n) for n in wanted]
        result = out[order].astype(out_dtype or out.dtype, copy=False)
        return result[0] if isinstance(numbers, int) else result

    def close(self) -> None:
        """Close the dataset."""
        self._blocks.clear()
        self._dataset.close()

    def _block(self, col: int, row: int, bands: tuple[int, ...]) -> npt.NDArray[Any]:
        key = col, row, bands
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = self._warp(col, row, bands)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return block

    def _warp(self, col: int, row: int, bands: tuple[int, ...]) -> npt.NDArray[Any]:
        """One block: the bands, then coverage (0 where there is no data)."""
        header, grid = self._header, self._grid
        x, y = col * _BLOCK_PX, row * _BLOCK_PX
        shape = min(_BLOCK_PX, grid.height - y), min(_BLOCK_PX, grid.width - x)
        alpha = [header.alpha_band] if header.alpha_band is not None else []
        out = np.zeros((len(bands) + len(alpha) + 1, *shape), header.dtype)
        reproject(
            rasterio.band(self._dataset, [*bands, *alpha]),
            out,
            src_crs=self._source_crs,
            src_nodata=header.nodata,
            dst_crs=grid.crs,
            dst_transform=grid.window_transform(Window(x, y, shape[1], shape[0])),
            dst_alpha=len(out),
            resampling=Resampling.nearest if header.palette is not None else Resampling.bilinear,
            UNIFIED_SRC_NODATA="YES",
            **self._placing,
        )
        if alpha:
            out[-1] = np.where(out[-2] > 0, out[-1], 0)
            out = np.delete(out, -2, axis=0)
        return out


def _placing(dataset: Any) -> dict[str, Any]:
    points, crs = dataset.gcps
    return {"gcps": points} if points and crs is not None else {"rpcs": dataset.rpcs}


def _opener(
    header: Header, source_crs: CRS, grid: Grid, size: tuple[int, int], factor: int
) -> Callable[[], PlacedRaster]:
    """Opens the raster, or the overview with enough detail, on a grid ``factor`` times as coarse."""
    fitting = [i for i, reduction in enumerate(header.overviews) if reduction <= factor]
    coarse = Grid(*size, grid.transform @ Affine.scale(grid.width / size[0], grid.height / size[1]), grid.crs)
    level = fitting[-1] if fitting else None

    def open_level() -> PlacedRaster:
        dataset = open_dataset(header.source, where=header.where, overview_level=level)
        return PlacedRaster(dataset, header, source_crs, coarse)

    return open_level


def _metric_crs(lon: float, lat: float) -> CRS:
    """UTM zone, or polar stereographic where UTM ends."""
    if lat > 84:
        return CRS.from_epsg(32661)
    if lat < -80:
        return CRS.from_epsg(32761)
    zone = int((lon + 180) // 6) % 60 + 1
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)
