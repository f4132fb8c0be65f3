"""The patches of a scene's quadtree as polygons with score, size and level, in every vector format.

Guarantees: one feature a patch, cut to the scene where it hangs over the edge; patches of all sizes share their edges
point by point; the file bears its name only when it is whole; its style colours outlines by size and leaves the scene
visible. Memory holds some thousand patches and a flag for each of the smallest.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from engine.errors import ExportError
from engine.export.formats import FORMATS, Format, format_for
from engine.export.lonlat import to_lonlat
from engine.export.qml import style
from engine.export.vector import write_layer
from engine.export.writing import check_target, whole_file, write_text
from engine.inference.quadtree.colours import level_colours
from engine.models.card import CardClass
from engine.regions.parquet import geo_metadata

if TYPE_CHECKING:
    from engine.inference.quadtree import SceneQuadtree, Selection
    from engine.scene.grid import Grid

Ints = npt.NDArray[np.int64]

LAYER = "patches"
_BATCH_ROWS = 65_536


def export_patches(
    tree: SceneQuadtree,
    selection: Selection,
    path: str | Path,
    *,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Write the patches of a budget to a GIS file and its style beside it. An existing file is replaced at the end.

    Attributes are ``patch`` (number), ``score`` (the lower, the more there is to see; the smallest patches carry that
    of the patch they were cut from), ``size_px``, ``level`` (0 is the smallest size), ``left_px``, ``top_px`` and,
    where the scene has a CRS, ``area_m2``.

    Args:
        tree: The scene's tree.
        selection: Patches of it.
        path: The file; its suffix decides the format.
        progress: Called with the share that is done, 0 to 1.
        cancel: Asked between batches.

    Returns:
        The file.

    Raises:
        ExportError: The suffix names no vector format.
        OutputError: The file cannot be written.
        CancelledError: ``cancel`` said so; nothing was written.
    """
    path = Path(path).expanduser().absolute()
    fmt = vector_format(path)
    check_target(path)
    colours = level_colours(len(tree.sizes))
    present = sorted(set(selection.levels.tolist()))
    classes = [CardClass(name=str(tree.min_size << level), color=colours[level]) for level in present]
    qml = style(classes, (), attribute="size_px", filled=False)
    with tempfile.TemporaryDirectory(prefix="rs-patches-") as folder, whole_file(path) as draft:
        table = Path(folder) / "patches.parquet"
        _write_table(tree.grid, selection, table)
        write_layer(
            table,
            LAYER,
            fmt,
            draft,
            tree.grid,
            _facts(tree, selection),
            description=f"Quadtree of {len(selection)} patches by {tree.scorer}",
            qml=qml,
            style_name="patch sizes",
            progress=progress,
            cancel=cancel,
        )
    write_text(path.with_suffix(".qml"), qml)
    return path


def vector_format(path: Path, grid: Grid | None = None) -> Format:
    """The vector format that a file name asks for.

    Args:
        path: The file.
        grid: Where patches will lie, if that is known already: not every format takes every grid.

    Raises:
        ExportError: The name asks for none, or for one that the grid does not go into.
    """
    fmt, _ = format_for(path, None)
    if not fmt.is_vector:
        known = ", ".join(one.suffix for one in FORMATS if one.is_vector)
        raise ExportError(f"{fmt.title} cannot hold patches", where=path, remedy=f"Use one of {known}.")
    if grid is not None and fmt.driver == "GeoJSON":
        to_lonlat(grid)
    return fmt


def _facts(tree: SceneQuadtree, selection: Selection) -> dict[str, str]:
    try:
        program = f"rs-viewer {version('rs-viewer')}"
    except PackageNotFoundError:
        program = "rs-viewer"
    facts = {
        "software": program,
        "scorer": tree.scorer,
        "patches": str(len(selection)),
        "options": json.dumps(tree.facts.get("options", {}), sort_keys=True),
        "input": json.dumps(tree.facts.get("scene", {}), sort_keys=True),
    }
    return {key: value for key, value in facts.items() if value != "{}"}


def _write_table(grid: Grid, selection: Selection, path: Path) -> None:
    fields = [
        ("patch", pa.int32()),
        ("score", pa.float32()),
        ("size_px", pa.int32()),
        ("level", pa.int16()),
        ("left_px", pa.int32()),
        ("top_px", pa.int32()),
        *([("area_m2", pa.float64())] if grid.crs is not None else []),
        ("geometry", pa.binary()),
    ]
    schema = pa.schema(fields, metadata={"geo": json.dumps(geo_metadata(grid))})
    corners = _corners(selection)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(selection), _BATCH_ROWS):
            part = slice(start, start + _BATCH_ROWS)
            left, top, size = selection.boxes[part].T
            right, bottom = np.minimum(left + size, grid.width), np.minimum(top + size, grid.height)
            outlines = _outlines(grid, selection, part, corners)
            columns = {
                "patch": np.arange(start, start + len(left)),
                "score": selection.scores[part],
                "size_px": size,
                "level": selection.levels[part],
                "left_px": left,
                "top_px": top,
                "geometry": shapely.to_wkb(outlines),
            }
            if grid.crs is not None:
                ground = grid.ground((top + bottom) / 2, (left + right) / 2)
                columns["area_m2"] = ground.area_m2 * (right - left) * (bottom - top)
            arrays = [pa.array(columns[name], kind, from_pandas=True) for name, kind in fields]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _cells(selection: Selection, part: slice) -> tuple[Ints, Ints, Ints, Ints]:
    """First row and column of cells of some patches, and one past the last, inside the scene."""
    left, top, size = selection.boxes[part].T // selection.min_size
    rows, cols = selection.shape
    return top, left, np.minimum(top + size, rows), np.minimum(left + size, cols)


def _corners(selection: Selection) -> npt.NDArray[np.bool_]:
    """Where the corners of patches lie, ``[rows + 1, cols + 1]`` of cells."""
    found = np.zeros((selection.shape[0] + 1, selection.shape[1] + 1), np.bool_)
    top, left, bottom, right = _cells(selection, slice(None))
    for row in (top, bottom):
        for col in (left, right):
            found[row, col] = True
    return found


def _outlines(grid: Grid, selection: Selection, part: slice, corners: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    """Outlines of some patches, with a point wherever another patch has a corner on them.

    So neighbours of other sizes stay neighbours in every projection.
    """
    found = []
    top, left, bottom, right = _cells(selection, part)
    levels = selection.levels[part]  # rising
    for level in np.unique(levels).tolist():
        start, stop = np.searchsorted(levels, (level, level + 1))
        r0, c0, r1, c1 = (edge[start:stop, None] for edge in (top, left, bottom, right))
        step = np.arange(1 << level)
        # Along the lower edge, up, back along the upper one, down; each without its last point.
        rows = np.concatenate(np.broadcast_arrays(r1, r1 - step, r0, r0 + step), axis=1)
        cols = np.concatenate(np.broadcast_arrays(c0 + step, c1, c1 - step, c0), axis=1)
        within = np.concatenate((c0 + step < c1, r1 - step > r0, c1 - step > c0, r0 + step < r1), axis=1)
        rows, cols = np.where(within, rows, 0), np.where(within, cols, 0)
        within &= corners[rows, cols]
        x, y = grid.xy(
            np.minimum(cols[within] * selection.min_size, grid.width),
            np.minimum(rows[within] * selection.min_size, grid.height),
        )
        rings = shapely.linearrings(np.stack((x, y), axis=1), indices=np.nonzero(within)[0])
        found.append(shapely.polygons(rings))
    return np.concatenate(found)
