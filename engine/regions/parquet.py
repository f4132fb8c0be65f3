"""Regions -> GeoParquet, row group by row group.

Polygons become complete in the order of their last rows; they wait in a spool file until all are there, and the table
is then written in the order of region ids, so that a reader finds region ``i`` in row ``i - 1``.

Guarantees: the file has its final name only when it is complete; readable by ``geopandas.read_parquet`` and QGIS;
memory holds one row group and numbers by region.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from engine.errors import CancelledError, OutputError
from engine.jit import kernel
from engine.regions.ahead import made_ahead
from engine.regions.polygons import EAST, SOUTH, WEST, Traced, trace_rows
from engine.scene import Grid

if TYPE_CHECKING:
    from engine.regions.result import RegionResult

Array = npt.NDArray[Any]

GROUP_REGIONS = 2048
GROUP_BYTES = 8 << 20
"""Regions, and bytes of outlines, in a row group at most: what has to be read for one region, and held to write it."""
_ENCODING: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["class", "runner_up"]}


class PolygonSpool:
    """Polygons on disk in the order in which they became complete.

    Args:
        path: The file.
        count: Regions.
        grid: Where they lie.
    """

    def __init__(self, path: Path, count: int, grid: Grid) -> None:
        self._path, self._grid = path, grid
        self._offset = np.zeros(count, np.int64)
        self._length = np.zeros(count, np.int64)
        self._end = 0
        self._borders = np.zeros((4, count))
        self._path.write_bytes(b"")

    def add(self, traced: Traced) -> None:
        """Store some polygons and measure their outlines."""
        if traced.label.size == 0:
            return
        index = traced.label - 1
        blobs = shapely.to_wkb(traced.polygons(self._grid.transform))
        sizes = np.fromiter(map(len, blobs), np.int64, len(blobs))
        self._offset[index] = self._end + np.cumsum(sizes) - sizes
        self._length[index] = sizes
        with self._path.open("ab") as file:
            file.write(b"".join(blobs))
        self._end += int(sizes.sum())
        part = traced.segments
        _add_borders(part.label, part.col, part.row, part.length, part.heading, self._borders)

    def blobs(self, start: int, stop: int) -> list[bytes]:
        """WKB of regions ``start + 1`` to ``stop``."""
        found = []
        with self._path.open("rb") as file:
            for offset, length in zip(
                self._offset[start:stop].tolist(), self._length[start:stop].tolist(), strict=True
            ):
                file.seek(offset)
                found.append(file.read(length))
        return found

    def groups(self) -> list[int]:
        """Where row groups begin, and the number of regions."""
        count = len(self._length)
        ends = np.concatenate(([0], np.cumsum(self._length)))
        found = [0]
        while found[-1] < count:
            start = found[-1]
            full = int(np.searchsorted(ends, ends[start] + GROUP_BYTES, "right")) - 1
            found.append(min(max(full, start + 1), start + GROUP_REGIONS, count))
        return found if count else [0, 0]

    def perimeters_m(self, start: int, stop: int) -> Array:
        """Length of all borders of regions ``start + 1`` to ``stop``, by the pixel size amid the borders of each."""
        if self._grid.crs is None:
            return np.full(stop - start, np.nan)
        level, upright, row, col = self._borders[:, start:stop]
        total = np.maximum(level + upright, 1)
        scale = self._grid.ground(row / total, col / total)
        return np.asarray(level * scale.dx_m + upright * scale.dy_m)


@kernel
def _add_borders(label: Array, col: Array, row: Array, length: Array, heading: Array, borders: Array) -> None:
    """Add to each label's level and upright border, and the rows and columns of its middles times its length."""
    for i in range(label.size):
        at, steps = label[i] - 1, length[i]
        level = heading[i] == EAST or heading[i] == WEST
        borders[0 if level else 1, at] += steps
        half = steps / 2 if heading[i] == EAST or heading[i] == SOUTH else -steps / 2
        borders[2, at] += steps * (row[i] + (0 if level else half))
        borders[3, at] += steps * (col[i] + (half if level else 0))


def write_regions(
    result: RegionResult,
    path: Path,
    work_dir: Path,
    progress: Callable[[float], None] | None,
    cancel: Callable[[], bool] | None,
) -> None:
    """Draw, measure and write all regions of a result.

    Args:
        result: The regions.
        path: The file.
        work_dir: Where polygons wait.
        progress: Told the share that is done.
        cancel: Asked whether to stop.

    Raises:
        CancelledError: ``cancel`` said so.
        OutputError: The file cannot be written.
    """

    def step(share: float) -> None:
        if cancel is not None and cancel():
            raise CancelledError("the polygons were cancelled", remedy="Run again to continue.")
        if progress is not None:
            progress(share)

    temporary = path.with_name(path.name + ".part")
    spool = PolygonSpool(work_dir / "polygons.wkb", result.count, result.grid)
    try:
        last_row = np.concatenate(([0], result.sums.bbox[:, 1]))
        with closing(made_ahead(trace_rows(result.rows(), result.grid.width, last_row))) as parts:
            for traced in parts:
                spool.add(traced)
                top = int(traced.segments.row.max(initial=0))
                step(0.7 * min(1.0, top / result.grid.height))
        with pq.ParquetWriter(temporary, _schema(result), **_ENCODING) as writer:
            for start, stop in pairwise(spool.groups()):
                writer.write_table(_table(result, spool, start, stop), row_group_size=GROUP_REGIONS)
                step(0.7 + 0.3 * stop / max(result.count, 1))
        temporary.replace(path)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"the regions cannot be written: {error}",
            where=path,
            remedy="Free some space or choose another output folder, then run again to continue.",
        ) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
        with suppress(FileNotFoundError):
            (work_dir / "polygons.wkb").unlink()


def _schema(result: RegionResult) -> pa.Schema:
    place = ("x", "y") if result.grid.crs is None else ("lon", "lat")
    columns: list[tuple[str, pa.DataType]] = [
        ("region_id", pa.int64()),
        ("class_code", pa.int32()),
        ("class", pa.string()),
        ("class_share", pa.float64()),
        (result.certainty, pa.float64()),
        ("runner_up", pa.string()),
        ("pixels", pa.int64()),
        ("area_m2", pa.float64()),
        ("perimeter_m", pa.float64()),
        *((name, pa.float64()) for name in place),
        *((f"{kind}_{name}", pa.float64()) for kind in ("mean", "std") for name in result.band_names),
        ("homogeneity", pa.float64()),
        ("token", pa.int32()),
        ("window", pa.int32()),
        ("windows", pa.int32()),
        ("features", pa.list_(pa.float32())),
        ("geometry", pa.binary()),
    ]
    return pa.schema(columns, metadata={"geo": json.dumps(geo_metadata(result.grid))})


def geo_metadata(grid: Grid) -> dict[str, Any]:
    """The ``geo`` entry of a GeoParquet file of polygons on a grid."""
    crs = None if grid.crs is None else pyproj.CRS.from_wkt(grid.crs.to_wkt()).to_json_dict()
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": crs,
        "edges": "planar",
        "bbox": list(grid.bounds),
    }
    if grid.transform.determinant < 0:
        column["orientation"] = "counterclockwise"
    return {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _table(result: RegionResult, spool: PolygonSpool, start: int, stop: int) -> pa.Table:
    """Rows ``start`` to ``stop`` of the table."""
    sums = result.sums
    part = slice(start, stop)
    pixels = np.maximum(sums.pixels[part], 1).astype(np.float64)
    names = np.array([*result.class_names, ""], dtype=object)
    code = sums.classes[part].argmax(axis=1)
    second = np.where(sums.runner_up[part].any(axis=1), sums.runner_up[part].argmax(axis=1), len(result.class_names))
    centre_col, centre_row = (sums.position[part] / pixels[:, None]).T
    place = result.grid.xy if result.grid.crs is None else result.grid.lonlat
    mean = sums.sums[part] / pixels[:, None]
    variance = np.maximum(sums.squares[part] / pixels[:, None] - mean * mean, 0.0)
    vectors = result.features(start, stop)
    metres, perimeters = sums.area_m2[part], spool.perimeters_m(start, stop)
    columns = [
        np.arange(start + 1, stop + 1),
        code.astype(np.int32),
        names[code],
        sums.classes[part].max(axis=1, initial=0) / pixels,
        sums.confidence[part] / pixels / 100.0,
        pa.array(names[second], pa.string(), mask=second == len(result.class_names)),
        sums.pixels[part],
        pa.array(metres, mask=~np.isfinite(metres)),
        pa.array(perimeters, mask=~np.isfinite(perimeters)),
        *place(centre_col, centre_row),
        *mean.T,
        *np.sqrt(variance).T,
        _homogeneity(variance, result),
        pa.array(sums.token[part].astype(np.int32), mask=sums.token[part] < 0),
        pa.array(sums.window[part].astype(np.int32), mask=sums.window[part] < 0),
        sums.windows[part].astype(np.int32),
        pa.ListArray.from_arrays(
            np.arange(stop - start + 1, dtype=np.int32) * vectors.shape[1], pa.array(vectors.reshape(-1))
        ),
        pa.array(spool.blobs(start, stop), pa.binary()),
    ]
    schema = _schema(result)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) if isinstance(c, np.ndarray) else c for c, f in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _homogeneity(variance: Array, result: RegionResult) -> Array:
    """Share of the scene's variance that is gone inside a region, averaged over bands that vary at all."""
    sums = result.sums
    total = max(float(sums.pixels.sum()), 1.0)
    mean = sums.sums.sum(axis=0) / total
    scene = sums.squares.sum(axis=0) / total - mean * mean
    varies = scene > 1e-9 * np.maximum(mean * mean, 1e-12)
    if not varies.any():
        return np.ones(variance.shape[0])
    return np.asarray(np.clip(1.0 - (variance[:, varies] / scene[varies]).mean(axis=1), 0.0, 1.0))
