"""The patches of a quadtree that an analysis takes as its regions: one budget for its whole region of interest.

Guarantees: scores are kept in the run's folder once they are made, so a run that goes on has the same patches, on every
device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from engine.errors import AnalysisError
from engine.inference.options import AnalysisOptions
from engine.inference.quadtree.file import open_quadtree, save_quadtree
from engine.inference.quadtree.scenes import score_scene
from engine.inference.quadtree.tree import SceneQuadtree, Selection
from engine.scene import Scene, Window
from engine.scene.roi import rasterize_roi

if TYPE_CHECKING:
    from engine.models.loaded import LoadedModel

FILE_NAME = "patches.quadtree"
_ROWS = 512


def region_patches(
    scene: Scene,
    model: LoadedModel,
    options: AnalysisOptions,
    roi_px: BaseGeometry | None,
    folder: Path,
    progress: Callable[[float], None],
    cancel: Callable[[], bool],
) -> Selection:
    """Patches for a run.

    Args:
        scene: The scene on the analysis grid.
        model: The run's model.
        options: The run's options, with a quadtree.
        roi_px: Region of interest in pixels; patches beyond it are not counted. None is everything.
        folder: Where scores are kept; those of an earlier call are taken from there.
        progress: Told the share that is done.
        cancel: Asked whether to stop.

    Raises:
        EngineError: The scene cannot be scored so, or the budget cannot be met; the message says what would work.
    """
    assert options.quadtree is not None
    tree = _kept(folder / FILE_NAME)
    if tree is None:
        scoring = options.quadtree.scoring(options.device)
        tree = score_scene(scene, scoring, model=model, progress=progress, cancel=cancel)
        save_quadtree(tree, folder / FILE_NAME)
    if roi_px is not None:
        tree = replace(tree, occupied=tree.occupied & _touched(roi_px, tree))
    return tree.select(tree.default_tokens if options.quadtree.tokens is None else options.quadtree.tokens)


def _kept(path: Path) -> SceneQuadtree | None:
    """Scores of an earlier call; None where there are none, or not whole."""
    if not path.exists():
        return None
    try:
        return open_quadtree(path)
    except AnalysisError:  # damaged: it is made anew
        return None


def _touched(roi_px: BaseGeometry, tree: SceneQuadtree) -> npt.NDArray[np.bool_]:
    """Cells of the smallest patch that hold a pixel of the region of interest."""
    edge, found = tree.min_size, np.zeros_like(tree.occupied)
    step = max(1, _ROWS // edge) * edge
    for top in range(0, tree.grid.height, step):
        rows = -(-min(step, tree.grid.height - top) // edge)
        inside = rasterize_roi(roi_px, Window(0, top, found.shape[1] * edge, rows * edge))
        cells = inside.reshape(rows, edge, found.shape[1], edge).any(axis=(1, 3))
        found[top // edge : top // edge + rows] = cells
    return found
