"""The regions of an analysis as a stream of Arrow batches: filtered, simplified, checked, cancellable.

Guarantees: memory holds one batch, whatever the number of regions (simplifying needs all outlines at once: shared
edges must stay shared); outlines that leave are valid polygons; an error raised inside the stream is kept, because
the libraries that consume it replace it by their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from engine.errors import CancelledError
from engine.regions.polygons import simplify

BATCH_ROWS = 4096
GEOMETRY = "geometry"

Outlines = np.ndarray[tuple[int], np.dtype[np.object_]]


class RegionStream:
    """Batches of ``regions.parquet`` on their way to a file.

    Args:
        path: The Parquet file.
        classes: Names of the classes to keep; None keeps all.
        tolerance: How far outlines may move to become simpler, in units of the CRS; 0 keeps pixel edges.
        multi: Whether the layer wants multipolygons only.
        nested: Whether the format holds lists (feature vectors); otherwise such columns are left out.
        decimals: Decimals that numbers are rounded to, for text formats; None keeps them whole.
        reshape: Last step for the outlines of a batch (reprojection); None keeps them.
        progress: Called with the share that is done.
        cancel: Asked before each batch.
    """

    def __init__(
        self,
        path: Path,
        *,
        classes: Sequence[str] | None,
        tolerance: float,
        multi: bool,
        nested: bool,
        decimals: int | None,
        reshape: Callable[[Outlines], Outlines] | None,
        progress: Callable[[float], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self._file = pq.ParquetFile(path)
        self._classes = pa.array(list(classes), pa.string()) if classes is not None else None
        self._tolerance = tolerance
        self._reshape = reshape
        self._multi = multi
        self._decimals = decimals
        self._progress = progress
        self._cancel = cancel
        self.error: BaseException | None = None
        self.rows_out = 0
        self.bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self.geometry_types: set[str] = set()
        fields = [self._field(field) for field in self._file.schema_arrow if nested or not _is_nested(field.type)]
        self.schema = pa.schema(fields)

    @property
    def source_metadata(self) -> dict[bytes, bytes]:
        """Key-value metadata of the Parquet file."""
        return dict(self._file.schema_arrow.metadata or {})

    def reader(self) -> pa.RecordBatchReader:
        """The stream for a library that consumes Arrow."""
        return pa.RecordBatchReader.from_batches(self.schema, self._guarded())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches themselves."""
        simplified = self._simplified() if self._tolerance > 0 else None
        total = max(self._file.metadata.num_rows, 1)
        rows_in = 0
        for batch in self._file.iter_batches(batch_size=BATCH_ROWS, columns=self.schema.names):
            self._check_cancel()
            outlines = batch.column(GEOMETRY)
            if simplified is not None:
                outlines = simplified.slice(rows_in, len(batch))
            rows_in += len(batch)
            keep = pc.is_in(batch.column("class"), self._classes) if self._classes is not None else None
            columns = {name: batch.column(name) for name in self.schema.names}
            columns[GEOMETRY] = outlines
            if keep is not None:
                columns = {name: pc.filter(column, keep) for name, column in columns.items()}
            if self._decimals is not None:
                columns = {name: self._rounded(column) for name, column in columns.items()}
            columns[GEOMETRY] = self._finish(columns[GEOMETRY])
            self.rows_out += len(columns[GEOMETRY])
            yield pa.RecordBatch.from_arrays(
                [columns[field.name].cast(field.type) for field in self.schema], schema=self.schema
            )
            if self._progress is not None:
                self._progress(rows_in / total)

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.batches()
        except BaseException as error:
            self.error = error
            raise

    def _simplified(self) -> pa.Array:
        """All outlines, simplified together."""
        self._check_cancel()
        outlines = shapely.from_wkb(self._file.read(columns=[GEOMETRY]).column(GEOMETRY).to_numpy())
        self._check_cancel()
        return pa.array(shapely.to_wkb(simplify(outlines, self._tolerance)), pa.binary())

    def _finish(self, column: pa.Array) -> pa.Array:
        outlines: Outlines = shapely.from_wkb(np.asarray(column.to_numpy(zero_copy_only=False), dtype=object))
        if self._reshape is not None:
            outlines = self._reshape(outlines)
        outlines = valid_polygons(outlines)
        if self._multi:
            outlines = as_multi(outlines)
        if len(outlines):
            bounds = shapely.total_bounds(outlines)
            self.bounds[:2] = np.fmin(self.bounds[:2], bounds[:2])
            self.bounds[2:] = np.fmax(self.bounds[2:], bounds[2:])
            self.geometry_types |= set(shapely.get_type_id(outlines).astype(str))
        return pa.array(shapely.to_wkb(outlines), pa.binary())

    def _rounded(self, column: pa.Array) -> pa.Array:
        return pc.round(column, ndigits=self._decimals) if pa.types.is_floating(column.type) else column

    def _field(self, field: pa.Field) -> pa.Field:
        if field.name == GEOMETRY:
            return pa.field(GEOMETRY, pa.binary(), metadata={b"ARROW:extension:name": b"geoarrow.wkb"})
        if pa.types.is_dictionary(field.type):
            return pa.field(field.name, field.type.value_type)
        return pa.field(field.name, field.type)

    def _check_cancel(self) -> None:
        if self._cancel is not None and self._cancel():
            raise CancelledError("the export was cancelled", remedy="Nothing was written; export again to start over.")


def valid_polygons(outlines: Outlines) -> Outlines:
    """The same outlines, those that are not valid repaired; only their areas are kept, never stray lines."""
    broken = ~shapely.is_valid(outlines)
    if broken.any():
        outlines = outlines.copy()
        outlines[broken] = [_areas(part) for part in shapely.make_valid(outlines[broken])]
    return outlines


def as_multi(outlines: Outlines) -> Outlines:
    """Every polygon as a multipolygon of one part: layers of those formats hold one type."""
    single = shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON
    outlines = outlines.copy()
    outlines[single] = shapely.multipolygons(outlines[single], indices=np.arange(single.sum()))
    return outlines


def _areas(geometry: shapely.Geometry) -> shapely.Geometry:
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [p for p in shapely.get_parts(shapely.get_parts(geometry)) if p.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.MultiPolygon()


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind)) and not pa.types.is_dictionary(kind)
