"""Maps as cloud-optimised GeoTIFF: classes, confidence or regions, with palette and names.

Guarantees: rows are copied block by block, so memory does not grow with the scene; pixels are the analysis's own
(those of classes left out become no data), read again from the finished file; 8-bit maps carry their palette inside.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from engine.errors import CancelledError, OutputError, RegionWarning
from engine.export.formats import Layer
from engine.export.provenance import provenance
from engine.inference.info import map_file
from engine.inference.pam import PaletteEntry, class_palette, rgb

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis

BLOCK_PX = 512
MAX_NAMED_REGIONS = 200_000
"""Region maps with more regions get no palette: QGIS would take long to read it."""

_COPY_SHARE = 0.7  # of the work; the rest is overviews and reordering
_RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")


def palette_for(analysis: Analysis, layer: Layer, classes: Sequence[str] | None) -> list[PaletteEntry]:
    """Values of a layer with their names and colours.

    Args:
        analysis: The analysis.
        layer: Which map.
        classes: Names of the classes that are exported; None is all.
    """
    card = analysis.card
    if layer == "classes":
        return [entry for entry in class_palette(card.classes) if classes is None or entry.name in classes]
    if layer == "confidence":
        of = "probable" if analysis.kind == "change" else "sure"
        return [PaletteEntry(percent, f"{percent} % {of}", _ramp(percent / 100)) for percent in range(1, 101)]
    count = pq.read_metadata(analysis.path / "regions.parquet").num_rows
    if count > MAX_NAMED_REGIONS:
        text = f"The map of {count} regions is written without colours; export to .gpkg for regions coloured by class."
        warnings.warn(RegionWarning(text), stacklevel=2)
        return []
    table = pq.read_table(analysis.path / "regions.parquet", columns=["region_id", "class"])
    if classes is not None:
        table = table.filter(pc.field("class").isin(list(classes)))
    colors = {cls.name: cls.color for cls in card.classes}
    rows = zip(table.column("region_id").to_pylist(), table.column("class").to_pylist(), strict=True)
    return [PaletteEntry(number, f"{name} {number}", colors[name]) for number, name in rows]


def write_map(
    analysis: Analysis,
    layer: Layer,
    draft: Path,
    palette: Sequence[PaletteEntry],
    *,
    classes: Sequence[str] | None,
    progress: Callable[[float], None] | None,
    cancel: Callable[[], bool] | None,
) -> None:
    """Write one map of an analysis to ``draft``.

    Args:
        analysis: A complete analysis.
        layer: Which map.
        draft: File to write.
        palette: Values with names and colours.
        classes: Names of the classes to keep; None keeps all.
        progress: Called with the share that is done.
        cancel: Asked before each row of blocks.
    """
    plain = draft.with_name(draft.name + ".plain.tif")
    expected = _write_plain(analysis, layer, plain, palette, classes=classes, progress=progress, cancel=cancel)
    rasterio.shutil.copy(
        plain,
        draft,
        driver="COG",
        compress="DEFLATE",
        blocksize=BLOCK_PX,
        overview_resampling="NEAREST" if layer != "classes" else "MODE",
        bigtiff="IF_SAFER",
    )
    plain.unlink()
    with rasterio.open(draft) as written:
        found = 0
        for window in _rows(written.width, written.height):
            found = zlib.crc32(written.read(1, window=window), found)
    if found != expected:
        raise OutputError(
            "pixels in the file differ from those of the analysis",
            where=draft.parent,
            remedy="Check that the disk has room and is sound, then export again.",
        )
    if progress is not None:
        progress(1.0)


def _write_plain(
    analysis: Analysis,
    layer: Layer,
    plain: Path,
    palette: Sequence[PaletteEntry],
    *,
    classes: Sequence[str] | None,
    progress: Callable[[float], None] | None,
    cancel: Callable[[], bool] | None,
) -> int:
    """Write a plain GeoTIFF; its pixels' checksum."""
    codes, checksum = None, 0
    if classes is not None:
        codes = np.array([code for code, cls in enumerate(analysis.card.classes) if cls.name in classes])
    wanted, drawn = (analysis.path / map_file(analysis.kind, name) for name in (layer, "classes"))
    with rasterio.open(wanted) as source, rasterio.open(drawn) as kinds:
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "width": source.width,
            "height": source.height,
            "count": 1,
            "dtype": source.dtypes[0],
            "nodata": source.nodata,
            "crs": source.crs,
            "transform": source.transform,
            "tiled": True,
            "blockxsize": BLOCK_PX,
            "blockysize": BLOCK_PX,
            "compress": "LZW",
            "bigtiff": "IF_SAFER",
        }
        with rasterio.open(plain, "w", **profile) as target:
            if source.dtypes[0] == "uint8":
                target.write_colormap(1, {entry.value: (*rgb(entry.color), 255) for entry in palette})
            target.update_tags(layer=layer, **provenance(analysis))
            target.set_band_description(1, layer)
            for window in _rows(source.width, source.height):
                if cancel is not None and cancel():
                    raise CancelledError(
                        "the export was cancelled", remedy="Nothing was written; export again to start over."
                    )
                values = source.read(1, window=window)
                if codes is not None:
                    values[~np.isin(kinds.read(1, window=window), codes)] = source.nodata
                target.write(values, 1, window=window)
                checksum = zlib.crc32(values, checksum)
                if progress is not None:
                    progress(_COPY_SHARE * (window.row_off + window.height) / source.height)
    return checksum


def _rows(width: int, height: int) -> Iterator[Window]:
    for row in range(0, height, BLOCK_PX):
        yield Window(0, row, width, min(BLOCK_PX, height - row))


def _ramp(share: float) -> str:
    place = share * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    pairs = zip(rgb(_RAMP[low]), rgb(_RAMP[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in pairs)
