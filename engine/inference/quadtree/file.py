"""Quadtrees on disk: one file holds the scores of a scene, so that any budget can be selected later.

Guarantees: a file bears its name only when it is whole, checksums tell damage, nothing in it is ever run; what was
opened selects the same patches as what was saved. Opening imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from engine.errors import AnalysisError, OutputError
from engine.inference.quadtree.tree import SceneQuadtree
from engine.inference.rowfile import RowDamagedError, RowFile, write_rowfile
from engine.scene.grid import Grid

SUFFIX = ".quadtree"
"""What files of quadtrees are called by habit; any name will do."""

_VERSION = 1
_REMEDY = "Score the scene again with `rs-engine quadtree`."


def save_quadtree(tree: SceneQuadtree, path: str | Path) -> Path:
    """Write a tree to a file; an existing one is replaced at the end.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path).expanduser().absolute()
    grid = tree.grid
    meta = {
        "kind": "quadtree",
        "version": _VERSION,
        "width": grid.width,
        "height": grid.height,
        "transform": list(grid.transform)[:6],
        "crs": None if grid.crs is None else grid.crs.to_wkt(),
        "min_size": tree.min_size,
        "max_size": tree.max_size,
        "scorer": tree.scorer,
        "facts": dict(tree.facts),
    }
    arrays: dict[str, npt.NDArray[Any]] = {"occupied": np.packbits(tree.occupied)}
    arrays |= {f"scores_{size}": values for size, values in tree.scores.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rowfile(path, arrays, meta=meta, raw=[name for name in arrays if name != "occupied"])
    except OSError as error:
        raise OutputError(
            f"the quadtree cannot be saved: {error.strerror or error}", where=path, remedy="Choose another file."
        ) from error
    return path


def open_quadtree(path: str | Path) -> SceneQuadtree:
    """Open a tree that :func:`save_quadtree` wrote.

    Raises:
        AnalysisError: It is no such file, is damaged, or was written by a newer program.
    """
    path = Path(path).expanduser().absolute()
    try:
        file = RowFile(path)
        meta = file.meta
        if meta.get("kind") != "quadtree":
            raise AnalysisError("this file holds no quadtree", where=path, remedy=_REMEDY)
        if meta.get("version") != _VERSION:
            raise AnalysisError("the quadtree was saved by a newer program", where=path, remedy="Update RS Viewer.")
        return _tree(file, meta)
    except (OSError, RowDamagedError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged or no quadtree"
        raise AnalysisError(f"the quadtree cannot be opened: {reason}", where=path, remedy=_REMEDY) from error


def same_scores(tree: SceneQuadtree, facts: dict[str, Any]) -> bool:
    """Whether a tree holds the scores that ``facts`` (see ``options.score_facts``) would lead to."""
    return bool(json.loads(json.dumps(dict(tree.facts))) == json.loads(json.dumps(facts)))


def _tree(file: RowFile, meta: dict[str, Any]) -> SceneQuadtree:
    min_size, max_size = int(meta["min_size"]), int(meta["max_size"])
    crs = None
    if meta["crs"] is not None:
        try:
            crs = CRS.from_wkt(meta["crs"])
        except CRSError as error:
            raise RowDamagedError(str(error)) from error
    grid = Grid(int(meta["width"]), int(meta["height"]), Affine(*meta["transform"]), crs)
    rows, cols = -(-grid.height // min_size), -(-grid.width // min_size)
    occupied = np.unpackbits(file.read("occupied"), count=rows * cols).astype(np.bool_).reshape(rows, cols)
    empty = SceneQuadtree(grid, min_size, min_size, {}, occupied, meta["scorer"], meta["facts"])
    sizes = [max_size >> level for level in range((max_size // min_size).bit_length() - 1)]
    return replace(empty, max_size=max_size, scores={size: file.read(f"scores_{size}") for size in sizes})
