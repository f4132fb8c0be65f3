"""Objects -> GeoParquet and back: oriented polygons with class, score, angle and size.

Guarantees: the file has its final name only when it is complete; readable by ``geopandas.read_parquet`` and QGIS;
objects are numbered from 1, the surest first; equal objects give equal bytes. Importing this module does not import
torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from engine.errors import AnalysisError
from engine.inference.detection.measures import measure
from engine.inference.detection.objects import FoundObjects, corners
from engine.inference.store import writing
from engine.regions.parquet import geo_metadata
from engine.scene import Grid

if TYPE_CHECKING:
    import geopandas as gpd

TABLE_NAME = "detections.parquet"
ROW_GROUP = 4096
_PIXEL_COLUMNS = ("col", "row", "length_px", "width_px", "image_angle_deg")


def write_table(path: Path, objects: FoundObjects, grid: Grid, class_names: Sequence[str]) -> None:
    """Write settled objects.

    Raises:
        OutputError: The file cannot be written.
    """
    schema = _schema(grid)
    with writing(path), pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for start in range(0, max(1, len(objects)), ROW_GROUP):
            part = objects.take(np.arange(start, min(start + ROW_GROUP, len(objects))))
            writer.write_table(_rows(part, start, grid, class_names, schema), row_group_size=ROW_GROUP)


def read_table(path: Path) -> gpd.GeoDataFrame:
    """The table with polygons, indexed by ``detection_id``.

    Raises:
        AnalysisError: The file is missing or damaged.
    """
    import geopandas as gpd

    try:
        return gpd.read_parquet(path).set_index("detection_id", drop=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def read_objects(path: Path) -> FoundObjects:
    """The objects of a table, in pixels of the analysis grid.

    Raises:
        AnalysisError: The file is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=[*_PIXEL_COLUMNS, "score", "class_code", "window"])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    boxes = np.stack([table.column(name).to_numpy() for name in _PIXEL_COLUMNS], axis=1)
    boxes[:, 4] = np.radians(boxes[:, 4])
    score, code, window = (table.column(name).to_numpy() for name in ("score", "class_code", "window"))
    return FoundObjects(boxes, score.astype(np.float32), code.astype(np.int32), window.astype(np.int64))


def _schema(grid: Grid) -> pa.Schema:
    place = ("x", "y") if grid.crs is None else ("lon", "lat")
    columns = [
        ("detection_id", pa.int64()),
        ("class_code", pa.int32()),
        ("class", pa.string()),
        ("score", pa.float64()),
        ("angle_deg", pa.float64()),
        ("length_m", pa.float64()),
        ("width_m", pa.float64()),
        *((name, pa.float64()) for name in place),
        *((name, pa.float64()) for name in _PIXEL_COLUMNS),
        ("window", pa.int32()),
        ("geometry", pa.binary()),
    ]
    return pa.schema(columns, metadata={"geo": json.dumps(geo_metadata(grid))})


def _rows(objects: FoundObjects, start: int, grid: Grid, class_names: Sequence[str], schema: pa.Schema) -> pa.Table:
    x, y, w, h, angle = objects.boxes.T
    sizes = measure(objects.boxes, grid)
    place = grid.xy if grid.crs is None else grid.lonlat
    names = np.array(class_names, dtype=object)
    columns: list[Any] = [
        np.arange(start + 1, start + 1 + len(objects)),
        objects.labels,
        names[objects.labels],
        objects.scores.astype(np.float64),
        sizes.angle_deg,
        pa.array(sizes.length_m, mask=~np.isfinite(sizes.length_m)),
        pa.array(sizes.width_m, mask=~np.isfinite(sizes.width_m)),
        *place(x, y),
        x,
        y,
        w,
        h,
        np.degrees(angle),
        objects.windows.astype(np.int32),
        pa.array(shapely.to_wkb(_outlines(objects, grid)), pa.binary()),
    ]
    return pa.Table.from_arrays(
        [pa.array(c, f.type) if isinstance(c, np.ndarray) else c for c, f in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _outlines(objects: FoundObjects, grid: Grid) -> Any:
    """Polygons on the map; counterclockwise where the grid is not mirrored, as that of the regions."""
    points = corners(objects.boxes)[:, ::-1]
    x, y = grid.xy(points[..., 0], points[..., 1])
    return shapely.polygons(np.stack((x, y), axis=-1))


def _unreadable(path: Path, error: Exception) -> AnalysisError:
    return AnalysisError(f"the table of objects cannot be read: {error}", where=path, remedy="Run the analysis again.")
