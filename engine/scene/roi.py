"""Regions of interest: places on the map, brought onto a scene's pixels when they are needed.

Guarantees: a region keeps the CRS it was given in; edges are densified before they are reprojected, so long straight
edges stay where they belong; a region that misses the scene is refused, never silently empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
import shapely.geometry
from affine import Affine
from pyproj.exceptions import CRSError
from rasterio.features import rasterize
from rasterio.windows import Window

from engine.errors import RoiError
from engine.scene.grid import Grid

_EDGE_PARTS = 64


@dataclass(frozen=True)
class Roi:
    """An area of interest.

    Attributes:
        geometry: Polygon or multipolygon (shapely).
        crs: Its CRS, such as ``EPSG:4326``; empty for the coordinates of a scene without CRS.
    """

    geometry: Any
    crs: str

    def to_json(self) -> dict[str, Any]:
        """Plain types, as run options keep it."""
        return {"geometry": shapely.geometry.mapping(self.geometry), "crs": self.crs}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Roi:
        """The region that :meth:`to_json` made plain.

        Raises:
            RoiError: It is not of that form, or no area.
        """
        try:
            geometry, crs = shapely.geometry.shape(raw["geometry"]), str(raw.get("crs") or "")
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            raise RoiError(
                f"the region of interest is not of the form {{geometry, crs}}: {error}",
                remedy="Draw it again, or read it from a vector file.",
            ) from error
        return cls(_area(geometry, None), crs)

    def on_grid(self, grid: Grid) -> Any:
        """The region in pixel coordinates of a grid, clipped to it.

        Raises:
            RoiError: It lies outside the grid, or one of both has no CRS.
        """
        geometry = self.geometry
        if bool(self.crs) != (grid.crs is not None):
            raise RoiError(
                "the region of interest has a CRS and the scene has none"
                if self.crs
                else "the scene has a CRS and the region of interest has none",
                remedy="Name the missing CRS, or draw the region on the scene.",
            )
        if grid.crs is not None:
            geometry = _reprojected(geometry, self.crs, grid)
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise RoiError(
                "the region of interest lies outside the scene, beyond what the scene's CRS can express",
                remedy="Choose a region that touches the scene, and check that its CRS is right.",
            )
        pixels = shapely.transform(geometry, lambda xy: np.column_stack(grid.colrow(xy[:, 0], xy[:, 1])))
        clipped = _polygons(
            shapely.intersection(shapely.make_valid(pixels), shapely.box(0, 0, grid.width, grid.height))
        )
        if clipped.is_empty:
            raise RoiError(
                "the region of interest lies outside the scene",
                where=_places(pixels, grid),
                remedy="Choose a region that touches the scene, and check that its CRS is right.",
            )
        return clipped


def read_roi(path: str | Path) -> Roi:
    """Read a region of interest from any vector file: the union of its polygons.

    Raises:
        RoiError: It cannot be read or holds no areas.
    """
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    file = Path(path).expanduser()
    if not file.exists():
        raise RoiError("there is no such file", where=file, remedy="Check the path and its spelling.")
    try:
        meta, _, wkb, _ = pyogrio.raw.read(file, columns=[])
        geometries = shapely.from_wkb(wkb)
    except (DataSourceError, DataLayerError, FeatureError, shapely.errors.ShapelyError, ValueError, TypeError) as error:
        raise RoiError(
            f"the region of interest cannot be read: {error}",
            where=file,
            remedy="Use a GeoJSON, GeoPackage, Shapefile, KML or FlatGeobuf file with polygons.",
        ) from error
    return Roi(_area(shapely.union_all(shapely.make_valid(geometries)), file), str(meta.get("crs") or ""))


def rasterize_roi(geom_px: Any, window: Window) -> npt.NDArray[np.bool_]:
    """Pixels of a window whose centre lies in a region given in pixel coordinates."""
    shape = int(window.height), int(window.width)
    box = shapely.box(window.col_off, window.row_off, window.col_off + shape[1], window.row_off + shape[0])
    if not shapely.intersects(geom_px, box):
        return np.zeros(shape, bool)
    if shapely.covers(geom_px, box):
        return np.ones(shape, bool)
    offset = Affine.translation(window.col_off, window.row_off)
    return np.asarray(rasterize([(geom_px, 1)], out_shape=shape, transform=offset, fill=0, dtype="uint8")).astype(bool)


def _area(geometry: Any, file: Path | None) -> Any:
    area = _polygons(shapely.make_valid(geometry)) if geometry is not None else None
    if area is None or area.is_empty:
        raise RoiError("the region of interest has no area", where=file, remedy="Use polygons, not points or lines.")
    return area


def _polygons(geometry: Any) -> Any:
    """Only the areas of a geometry."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def _reprojected(geometry: Any, crs: str, grid: Grid) -> Any:
    assert grid.crs is not None
    try:
        source = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise RoiError(f"{crs!r} is no coordinate reference system", remedy="Use a code such as EPSG:4326.") from error
    target = pyproj.CRS.from_wkt(grid.crs.to_wkt())
    if source == target:
        return geometry
    left, bottom, right, top = geometry.bounds
    step = max(right - left, top - bottom) / _EDGE_PARTS
    if step > 0 and math.isfinite(step):
        geometry = shapely.segmentize(geometry, step)
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def _places(pixels: Any, grid: Grid) -> str:
    left, top, right, bottom = (round(v) for v in pixels.bounds)
    return f"columns {left} to {right}, rows {top} to {bottom} of {grid.width} x {grid.height}"
