"""Rasters placed by ground control points or RPCs, put on a map grid as they are read.

Guarantees: the grid is north-up, in metres (UTM, or polar stereographic beyond 84 degrees) where the control points are
longitudes and latitudes; what lies outside the raster is invalid; the warning says what was done.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform

from engine.errors import GeolocationWarning, SceneError
from engine.scene.grid import Grid
from engine.scene.header import Header, open_dataset

_LEVEL_STOP_PX = 512


def needs_warp(header: Header) -> bool:
    """Whether only control points or RPCs place the raster (complex data are left as they lie)."""
    return not header.is_complex and ((header.gcps >= 3 and header.gcps_crs is not None) or header.rpcs)


def warped_backing(
    header: Header,
) -> tuple[Grid, tuple[tuple[int, int, Callable[[], Any]], ...], Header, GeolocationWarning]:
    """Grid, levels, facts as seen through the warp, and the warning.

    Raises:
        SceneError: The control points or RPCs cannot be used.
    """
    by_rpc = header.rpcs
    with open_dataset(header.source, where=header.where) as dataset:
        source_crs: Any = CRS.from_epsg(4326) if by_rpc else header.gcps_crs
        placing: dict[str, Any] = {"rpcs": dataset.rpcs} if by_rpc else {"gcps": dataset.gcps[0]}
        try:
            target: Any = source_crs
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
    alpha = header.nodata is None and header.alpha_band is None
    seen = replace(
        header,
        width=grid.width,
        height=grid.height,
        crs=target,
        transform=transform,
        mask="alpha" if header.nodata is None else "nodata",
        alpha_band=max(header.data_bands) + 1 if alpha else header.alpha_band,
        overviews=(),
    )
    levels = []
    factor = 1
    while factor == 1 or max(grid.width, grid.height) / factor > _LEVEL_STOP_PX / 2:
        size = max(1, round(grid.width / factor)), max(1, round(grid.height / factor))
        levels.append((*size, _opener(header, source_crs, grid, size, alpha)))
        factor *= 2
    words = "rational polynomial coefficients, without terrain" if by_rpc else f"{header.gcps} ground control points"
    return (
        grid,
        tuple(levels),
        seen,
        GeolocationWarning(
            f"The raster was put on a map grid ({target.to_string()}) from {words}; positions are approximate."
        ),
    )


def _opener(header: Header, source_crs: CRS, grid: Grid, size: tuple[int, int], alpha: bool) -> Callable[[], Any]:
    transform = grid.transform @ Affine.scale(grid.width / size[0], grid.height / size[1])
    how = Resampling.nearest if header.palette is not None else Resampling.bilinear

    def open_level() -> Any:
        dataset = open_dataset(header.source, where=header.where)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return WarpedVRT(
                dataset, src_crs=source_crs, crs=grid.crs, transform=transform, width=size[0], height=size[1],
                resampling=how, add_alpha=alpha,
            )  # fmt: skip

    return open_level


def _metric_crs(lon: float, lat: float) -> CRS:
    """UTM zone, or polar stereographic where UTM ends."""
    if lat > 84:
        return CRS.from_epsg(32661)
    if lat < -80:
        return CRS.from_epsg(32761)
    zone = int((lon + 180) // 6) % 60 + 1
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)
