"""Cells -> GeoParquet and back: a rectangle a cell, its likeliest classes with their scores, how much of it has data.

Guarantees: the file has its final name only when it is complete; readable by ``geopandas.read_parquet`` and QGIS, with
plain columns only (``class``, ``score``, ``class_2``, ``score_2``, …), so that every format takes them; cells are
numbered from 1, row by row; equal cells give equal bytes. Importing this module does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from engine.errors import AnalysisError
from engine.inference.recognition.cells import CellPlan, FoundCells
from engine.inference.store import writing
from engine.regions.parquet import geo_metadata
from engine.scene import Grid

if TYPE_CHECKING:
    import geopandas as gpd

TABLE_NAME = "cells.parquet"
ROW_GROUP = 4096
_BOX_COLUMNS = ("col", "row", "width_px", "height_px")


def write_table(path: Path, cells: FoundCells, plan: CellPlan, grid: Grid, class_names: Sequence[str]) -> None:
    """Write the cells of a finished run.

    Raises:
        OutputError: The file cannot be written.
    """
    schema = _schema(grid, cells.codes.shape[1])
    with writing(path), pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for start in range(0, max(1, len(cells)), ROW_GROUP):
            part = cells.take(slice(start, start + ROW_GROUP))
            writer.write_table(_rows(part, start, plan, grid, class_names, schema), row_group_size=ROW_GROUP)


def read_table(path: Path) -> gpd.GeoDataFrame:
    """The table with rectangles, indexed by ``cell_id``.

    Raises:
        AnalysisError: The file is missing or damaged.
    """
    import geopandas as gpd

    try:
        return gpd.read_parquet(path).set_index("cell_id", drop=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def read_cells(path: Path, class_names: Sequence[str]) -> FoundCells:
    """The cells of a table.

    Raises:
        AnalysisError: The file is missing or damaged.
    """
    code_of = {name: code for code, name in enumerate(class_names)}
    try:
        table = pq.read_table(path)
        ranks = sum(name.startswith("score") for name in table.column_names)
        names = [table.column(_ranked("class", rank)).to_pylist() for rank in range(ranks)]
        codes = np.array([[code_of[name] for name in column] for column in names], np.int32).reshape(ranks, -1).T
        scores = [table.column(_ranked("score", rank)).to_numpy() for rank in range(ranks)]
        window, valid = (table.column(name).to_numpy() for name in ("window", "valid_share"))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    return FoundCells(window.astype(np.int64), codes, np.stack(scores, axis=1).astype(np.float32), valid)


def _ranked(name: str, rank: int) -> str:
    return name if rank == 0 else f"{name}_{rank + 1}"


def _schema(grid: Grid, ranks: int) -> pa.Schema:
    place = ("x", "y") if grid.crs is None else ("lon", "lat")
    ranking = [
        column
        for rank in range(ranks)
        for column in ((_ranked("class", rank), pa.string()), (_ranked("score", rank), pa.float64()))
    ]
    columns = [
        ("cell_id", pa.int64()),
        ("class_code", pa.int32()),
        *ranking,
        ("valid_share", pa.float64()),
        ("area_m2", pa.float64()),
        *((name, pa.float64()) for name in place),
        *((name, pa.int32()) for name in _BOX_COLUMNS),
        ("window", pa.int64()),
        ("geometry", pa.binary()),
    ]
    return pa.schema(columns, metadata={"geo": json.dumps(geo_metadata(grid))})


def _rows(
    cells: FoundCells, start: int, plan: CellPlan, grid: Grid, class_names: Sequence[str], schema: pa.Schema
) -> pa.Table:
    left, top, right, bottom = plan.boxes(cells.windows).T
    width, height = right - left, bottom - top
    x, y = left + width / 2, top + height / 2
    names = np.array(class_names, dtype=object)
    area = grid.ground(y, x).area_m2 * width * height
    ranking: list[Any] = []
    for rank in range(cells.codes.shape[1]):
        ranking += [names[cells.codes[:, rank]], cells.scores[:, rank].astype(np.float64)]
    columns: list[Any] = [
        np.arange(start + 1, start + 1 + len(cells)),
        cells.codes[:, 0],
        *ranking,
        cells.valid,
        pa.array(area, pa.float64(), mask=np.full(len(cells), grid.crs is None) | ~np.isfinite(area)),
        *(grid.xy if grid.crs is None else grid.lonlat)(x, y),
        *(part.astype(np.int32) for part in (left, top, width, height)),
        cells.windows,
        pa.array(shapely.to_wkb(outlines(plan.boxes(cells.windows), grid)), pa.binary()),
    ]
    return pa.Table.from_arrays(
        [pa.array(c, f.type) if isinstance(c, np.ndarray) else c for c, f in zip(columns, schema, strict=True)],
        schema=schema,
    )


def outlines(boxes: npt.NDArray[np.int64], grid: Grid) -> Any:
    """Rectangles ``[n, 4]`` of grid pixels as polygons on the map; counterclockwise where the grid is not mirrored."""
    left, top, right, bottom = boxes.T.astype(np.float64)
    cols = np.stack((left, left, right, right), axis=1)
    rows = np.stack((top, bottom, bottom, top), axis=1)
    return shapely.polygons(np.stack(grid.xy(cols, rows), axis=-1))


def _unreadable(path: Path, error: Exception) -> AnalysisError:
    return AnalysisError(f"the table of cells cannot be read: {error}", where=path, remedy="Run the analysis again.")
