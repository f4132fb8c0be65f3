"""Regions, objects and cells as polygons: GeoJSON, GeoPackage, FlatGeobuf and GeoParquet.

Guarantees: one feature a region, object or cell (of the classes asked for), counted again in the finished file;
outlines are streamed, so memory does not grow with their number; provenance travels in the layer's metadata.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pyogrio

from engine.errors import OutputError
from engine.export.formats import Format, Layer
from engine.export.geopackage import add_style
from engine.export.lonlat import DIGITS, to_lonlat
from engine.export.provenance import provenance
from engine.export.stream import GEOMETRY, RegionStream

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from engine.scene.grid import Grid

_GPKG_VERSION = "1.2"  # what QGIS of the last years opens without a warning
_FIGURES = 9  # of attributes in text formats: more than any of them means, a third of the file less
_GEOMETRY_TYPES = {"3": "Polygon", "6": "MultiPolygon"}


def write_polygons(
    analysis: Analysis,
    layer: Layer,
    fmt: Format,
    draft: Path,
    qml: str,
    *,
    simplify_px: float,
    classes: Sequence[str] | None,
    progress: Callable[[float], None] | None,
    cancel: Callable[[], bool] | None,
) -> None:
    """Write regions, objects or cells to ``draft``.

    Args:
        analysis: A complete analysis.
        layer: ``regions``, ``detections`` or ``cells``; also the name of the layer in the file.
        fmt: A vector format.
        draft: File to write.
        qml: Style to put inside where the format has room for it.
        simplify_px: Tolerance in pixels; 0 keeps pixel edges.
        classes: Names of the classes to keep; None keeps all.
        progress: Called with the share that is done.
        cancel: Asked before each batch.
    """
    write_layer(
        analysis.path / f"{layer}.parquet",
        layer,
        fmt,
        draft,
        analysis.grid,
        provenance(analysis),
        description=f"{layer.capitalize()} by {analysis.card.name}",
        qml=qml,
        style_name=f"{analysis.card.name} classes",
        simplify_px=simplify_px,
        classes=classes,
        progress=progress,
        cancel=cancel,
    )


def write_layer(
    source: Path,
    layer: str,
    fmt: Format,
    draft: Path,
    grid: Grid,
    facts: dict[str, str],
    *,
    description: str,
    qml: str,
    style_name: str,
    simplify_px: float = 0.0,
    classes: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> None:
    """Write polygons from a GeoParquet file in the grid's CRS to ``draft``.

    Args:
        source: The GeoParquet file.
        layer: Name of the layer.
        fmt: A vector format.
        draft: File to write.
        grid: Where the polygons lie.
        facts: Where they come from, for the layer's metadata.
        description: What they are, a line for people.
        qml: Style to put inside where the format has room for it.
        style_name: The style's name for people.
        simplify_px: Tolerance in pixels; 0 keeps outlines as they are.
        classes: Values of the column ``class`` to keep; None keeps all rows.
        progress: Called with the share that is done.
        cancel: Asked before each batch.
    """
    reshape = to_lonlat(grid) if fmt.driver == "GeoJSON" else None
    stream = RegionStream(
        source,
        classes=classes,
        tolerance=simplify_px * math.sqrt(abs(grid.transform.determinant)),
        multi=fmt.driver in ("GPKG", "FlatGeobuf"),
        nested=fmt.driver is None,
        decimals=_FIGURES if fmt.driver == "GeoJSON" else None,
        reshape=reshape,
        progress=progress,
        cancel=cancel,
    )
    if fmt.driver is None:
        _write_parquet(stream, draft, facts)
    else:
        crs = "OGC:CRS84" if reshape is not None else (grid.crs.to_wkt() if grid.crs is not None else None)
        _write_gdal(stream, layer, fmt, draft, crs, facts, description)
    if fmt.driver == "GPKG":
        add_style(draft, layer, "geom", qml, name=style_name)
    _check_count(layer, fmt, draft, stream.rows_out)


def _write_gdal(
    stream: RegionStream,
    layer: str,
    fmt: Format,
    draft: Path,
    crs: str | None,
    facts: dict[str, str],
    description: str,
) -> None:
    dataset_options: dict[str, str] = {}
    options: dict[str, Any] = {}
    if fmt.driver == "GeoJSON":
        member = {"type": "FeatureCollection", "provenance": facts}
        options = {
            "RFC7946": "YES",
            "COORDINATE_PRECISION": str(DIGITS),
            "SIGNIFICANT_FIGURES": str(_FIGURES),
            "NATIVE_DATA": json.dumps(member),
            "NATIVE_MEDIA_TYPE": "application/vnd.geo+json",
        }
    elif fmt.driver == "GPKG":
        dataset_options = {"VERSION": _GPKG_VERSION}
        options = {"IDENTIFIER": layer, "GEOMETRY_NAME": "geom", "DESCRIPTION": description}
    try:
        pyogrio.write_arrow(
            stream.reader(),
            draft,
            layer=layer,
            driver=fmt.driver,
            geometry_name=GEOMETRY,
            geometry_type="Unknown" if fmt.driver == "GeoJSON" else "MultiPolygon",
            crs=crs,
            layer_metadata=None if fmt.driver == "GeoJSON" else facts,
            dataset_options=dataset_options,
            layer_options=options,
        )
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise


def _write_parquet(stream: RegionStream, draft: Path, facts: dict[str, str]) -> None:
    geo = json.loads(stream.source_metadata[b"geo"])
    with pq.ParquetWriter(draft, stream.schema, compression="zstd") as writer:
        for batch in stream.batches():
            writer.write_batch(batch)
        column = geo["columns"][GEOMETRY]
        column["geometry_types"] = sorted(_GEOMETRY_TYPES[kind] for kind in stream.geometry_types)
        column.pop("bbox", None)
        if stream.rows_out:
            column["bbox"] = [float(side) for side in stream.bounds]
        writer.add_key_value_metadata({"geo": json.dumps(geo), "provenance": json.dumps(facts)})


def _check_count(layer: str, fmt: Format, draft: Path, expected: int) -> None:
    if fmt.driver is None:
        found = pq.read_metadata(draft).num_rows
    elif fmt.driver == "GeoJSON":
        found = _count_geojson(draft)
    else:
        found = pyogrio.read_info(draft, layer=layer, force_feature_count=True)["features"]
    if found != expected:
        raise OutputError(
            f"only {found} of {expected} {layer} arrived in the file",
            remedy="Check that the disk has room and is sound, then export again.",
        )


def _count_geojson(draft: Path) -> int:
    """Features of a GeoJSON file that ends as it should; -1 where its end is missing."""
    mark = re.compile(rb'"type": ?"Feature"')
    count, tail = 0, b""
    with draft.open("rb") as file:
        while block := file.read(1 << 22):
            block = tail + block
            found = list(mark.finditer(block))
            count += len(found)
            keep = max(found[-1].end() if found else 0, len(block) - 20)
            tail = block[keep:]
    return count if tail.rstrip().endswith(b"}") else -1
