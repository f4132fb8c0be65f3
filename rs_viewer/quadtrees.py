"""Quadtrees of scenes as layers: scored once in the background, then cut to any budget of patches at once.

Guarantees: nothing is scored or selected on the GUI thread; while the slider moves, the newest budget that is there is
shown and the last one always comes; a tree stays usable when its scene is closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QFileDialog

from engine.inference.quadtree.colours import level_colours
from rs_viewer import format as fmt
from rs_viewer.jobs import Context, Failure, Job, Jobs
from rs_viewer.map.boxes import BoxLayer
from rs_viewer.panels.facts import Fact
from rs_viewer.panels.inspector import Inspector
from rs_viewer.panels.legend import Count
from rs_viewer.panels.quadtree import QuadtreeDialog, TokenBudget
from rs_viewer.parts import Parts
from rs_viewer.workspace import OpenScene, OpenTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from PySide6.QtWidgets import QWidget

    from engine.inference.quadtree import SceneQuadtree, Selection
    from rs_viewer.session import Session

PLAIN = "#ffd54a"
EXPORTS = "GeoPackage (*.gpkg);;GeoJSON (*.geojson);;FlatGeobuf (*.fgb);;GeoParquet (*.parquet)"


@dataclass(frozen=True, slots=True)
class Cut:
    """A tree cut to a budget.

    Attributes:
        tree: What was cut.
        tokens: The budget.
        selection: The patches.
        hulls: Left, top, right, bottom of each, inside the scene.
    """

    tree: SceneQuadtree
    tokens: int
    selection: Selection
    hulls: npt.NDArray[np.float64]


def score(context: Context, source: Sequence[str], chosen: dict[str, Any]) -> SceneQuadtree:
    """Score a scene, opened anew so that closing it on the map does no harm."""
    from engine.inference.quadtree import QuadtreeOptions, score_scene
    from engine.scene import Scene

    with Scene.open(source[0] if len(source) == 1 else list(source)) as scene:
        tree = score_scene(scene, QuadtreeOptions(**chosen), progress=context.report, cancel=context.cancelled)
    return tree.prepare()


def cut(context: Context, tree: SceneQuadtree, tokens: int) -> Cut:
    """The patches of a budget, with what drawing and pointing need."""
    selection = tree.select(tokens)
    left, top, size = selection.boxes.T
    hulls = np.empty((4, len(selection)))
    hulls[0], hulls[1] = left, top
    np.minimum(left + size, tree.grid.width, out=hulls[2])
    np.minimum(top + size, tree.grid.height, out=hulls[3])
    selection.index.shape  # noqa: B018 - made here, so that pointing finds it made
    return Cut(tree, tokens, selection, hulls.T)


def write_patches(context: Context, tree: SceneQuadtree, selection: Selection, path: str) -> Path:
    """Export patches to a file."""
    from engine.export.quadtree import export_patches

    return export_patches(tree, selection, path, cancel=context.cancelled)


class Quadtrees(QObject):
    """Connects quadtrees with map, slider, legend and inspector.

    Signals:
        added: A tree is on the map.
        counted: Patches by size of the tree that is meant.
        failed: Something did not work: title and :class:`Failure`.
        told: A sentence for the status bar.
        shown: A patch is in the inspector.
    """

    added = Signal(object)
    counted = Signal(object)
    failed = Signal(str, object)
    told = Signal(str)
    shown = Signal()

    def __init__(self, parts: Parts, inspector: Inspector, budget: TokenBudget, window: QWidget) -> None:
        super().__init__(window)
        self._jobs: Jobs = parts.jobs
        self._workspace, self._map, self._panel = parts.workspace, parts.map, parts.panel
        self._inspector, self._budget, self._window = inspector, budget, window
        self._job: Job | None = None
        self._cutting: Job | None = None
        self._hovered = -1
        self._picked: tuple[float, float] | None = None
        self._stopped = False
        self.dialog: QuadtreeDialog | None = None
        budget.hide()
        budget.changed.connect(self.set_tokens)
        budget.colouredChanged.connect(self._colour)
        parts.map.hovered.connect(self.hover)
        parts.map.clicked.connect(self.pick)
        parts.workspace.treeChanged.connect(self._tree_changed)
        inspector.cleared.connect(self._forget_picked)

    # Scoring --------------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask how the scene is to be scored."""
        scene = self._workspace.scene
        if scene is None:
            return
        if self.dialog is not None:
            self.dialog.raise_()
            return
        dialog = QuadtreeDialog(scene.scene.name, self._panel.models, self._panel.chosen, self._window)
        self.dialog = dialog
        dialog.requested.connect(lambda chosen: self._start(scene, chosen))
        dialog.cancelRequested.connect(lambda: self._job.cancel() if self._job is not None else None)
        dialog.finished.connect(self._closed)
        dialog.open()

    def _closed(self) -> None:
        if self.dialog is not None:
            self.dialog.deleteLater()
        self.dialog = None

    def _start(self, scene: OpenScene, chosen: dict[str, Any]) -> None:
        dialog = self.dialog
        if dialog is None:
            return
        dialog.begin()
        source, options = scene.source, chosen | {"device": self._panel.device.currentData() or "auto"}
        job = self._jobs.submit(
            "Scoring the quadtree",
            lambda context: score(context, source, options),
            lane="device",
            asks_on_close=True,
        )
        self._job = job
        job.reported.connect(lambda share: dialog.show_progress(float(share)))
        job.succeeded.connect(lambda tree: self._scored(dialog, scene, tree))
        job.failed.connect(lambda failure: self._score_failed(dialog, failure))
        job.cancelled.connect(lambda: dialog.stopped("Cancelled; nothing was kept."))

    def _score_failed(self, dialog: QuadtreeDialog, failure: Failure) -> None:
        dialog.stopped("")
        self.failed.emit("Cannot make a quadtree", failure)

    def _scored(self, dialog: QuadtreeDialog, scene: OpenScene, tree: SceneQuadtree) -> None:
        dialog.stopped("")
        dialog.accept()
        if not self._workspace.fits(tree.grid):
            self.told.emit("The quadtree's scene was closed meanwhile; nothing was kept.")
            return
        layer = BoxLayer("Quadtree", tree.grid, width=1.0, cased=False)
        item = OpenTree(tree, layer, scene if scene in self._workspace.scenes else None, tree.default_tokens)
        self._workspace.add_tree(item)
        self.added.emit(item)

    def stop(self) -> None:
        """Start nothing any more: the window closes."""
        self._stopped = True

    # The budget -----------------------------------------------------------------------------------------------------

    def set_tokens(self, tokens: int) -> None:
        """Cut the tree that is meant to another budget."""
        item = self._workspace.tree
        if item is not None:
            item.tokens = tokens
            self._cut(item)

    def _cut(self, item: OpenTree) -> None:
        """One selection runs at a time; the newest budget follows when it is there."""
        if self._cutting is not None:
            return
        tree, tokens = item.tree, item.tokens
        self._cutting = self._jobs.submit("Cutting the quadtree", lambda context: cut(context, tree, tokens))
        self._cutting.succeeded.connect(lambda found: self._show(item, found))
        self._cutting.failed.connect(lambda failure: self.failed.emit("Cannot cut the quadtree", failure))
        self._cutting.ended.connect(self._cut_ended)

    def _cut_ended(self) -> None:
        self._cutting = None
        item = self._workspace.tree
        if item is not None and item.shown_tokens != item.tokens and not self._stopped:
            self._cut(item)

    def _show(self, item: OpenTree, found: Cut) -> None:
        if item not in self._workspace.trees:
            return
        item.selection, item.shown_tokens = found.selection, found.tokens
        self._forget_place()
        selection = found.selection
        sides = item.tree.sizes[::-1]
        item.layer.set_patches(
            found.hulls, selection.levels, sides, self._colors(item), selection.index, selection.min_size
        )
        if item is self._workspace.tree:
            self._count(item)
            if self._picked is not None:
                self.pick(*self._picked)  # another patch lies there now

    def _colors(self, item: OpenTree) -> list[QColor]:
        levels = len(item.tree.sizes)
        return [QColor(name) for name in (level_colours(levels) if item.coloured else [PLAIN] * levels)]

    def _colour(self, coloured: bool) -> None:
        item = self._workspace.tree
        if item is not None:
            item.coloured = coloured
            item.layer.set_colors(self._colors(item))
            self._count(item)

    def _count(self, item: OpenTree) -> None:
        if item.selection is None:
            return
        counts = np.bincount(item.selection.levels, minlength=len(item.tree.sizes))
        colors = self._colors(item)
        self.counted.emit(
            [
                Count(f"{size} px", colors[level].name(), int(counts[level]))
                for level, size in enumerate(reversed(item.tree.sizes))
            ]
        )

    def _tree_changed(self, item: OpenTree | None) -> None:
        self._forget_place()
        self._forget_picked()
        self._budget.setVisible(item is not None)
        if item is None:
            return
        self._budget.show_budget(item.tokens, item.tree.min_tokens, item.tree.max_tokens, item.coloured)
        if item.shown_tokens != item.tokens:
            self._cut(item)
        else:
            self._count(item)

    # Export ---------------------------------------------------------------------------------------------------------

    def export(self, session: Session) -> None:
        """Write the patches that are shown to a vector file chosen in a dialog."""
        item = self._workspace.tree
        if item is None or item.selection is None:
            return
        name = item.scene.scene.name if item.scene is not None else "scene"
        proposed = str(Path(session.folder("export")) / f"{name}_patches.gpkg")
        path, kind = QFileDialog.getSaveFileName(self._window, "Export the patches", proposed, EXPORTS)
        if not path:
            return
        target = path if Path(path).suffix else path + kind[kind.index("*") + 1 : -1]
        session.set_folder("export", Path(target).parent)
        tree, selection = item.tree, item.selection
        job = self._jobs.submit(
            f"Exporting {Path(target).name}",
            lambda context: write_patches(context, tree, selection, target),
            asks_on_close=True,
        )
        job.succeeded.connect(lambda written: self.told.emit(f"{written.name} is written, its style beside it"))
        job.failed.connect(lambda failure: self.failed.emit("Cannot export the patches", failure))

    # Pointing -------------------------------------------------------------------------------------------------------

    def _forget_place(self) -> None:
        """A patch that was pointed at may be another one now."""
        self._hovered = -1
        for kind in ("selected", "hovered"):
            self._map.set_outline(None, kind=kind)

    def _forget_picked(self) -> None:
        self._picked = None

    def _at(self, x: float, y: float) -> int:
        item = self._workspace.tree
        if item is None or item.selection is None or math.isnan(x):
            return -1
        col, row = item.tree.grid.colrow(np.array([x]), np.array([y]))
        found = item.selection.patch_at(float(col[0]), float(row[0]))
        return -1 if found is None else found

    def hover(self, x: float, y: float) -> None:
        """Outline the patch at a map position; NaN outlines none."""
        item = self._workspace.tree
        if self._workspace.pointed != "patches" or item is None:
            return
        found = self._at(x, y)
        if found != self._hovered:
            self._hovered = found
            rings = None if found < 0 else [item.layer.ring(found)]
            self._map.set_outline(rings, kind="hovered", grid=item.tree.grid)

    def pick(self, x: float, y: float) -> None:
        """Inspect the patch at a map position."""
        item = self._workspace.tree
        if self._workspace.pointed != "patches" or item is None:
            return
        found = self._at(x, y)
        if found < 0 or item.selection is None:
            self.told.emit("There is no patch here.")
            return
        self._picked = x, y
        grid, selection = item.tree.grid, item.selection
        left, top, size = (int(v) for v in selection.boxes[found])
        level = int(selection.levels[found])
        ring = item.layer.ring(found)
        self._map.set_outline([ring], grid=grid)
        across = fmt.length(size * grid.gsd_m) if grid.gsd_m else fmt.NONE
        col, row = ring[:4].mean(axis=0)
        facts = (
            Fact("Size", f"{size} px", "Edge in pixels of the scene"),
            Fact("On the ground", across, "Edge in the middle of the scene"),
            Fact("Level", f"{level} of 0 to {len(item.tree.sizes) - 1}", "Halvings that are left: 0 is the smallest"),
            Fact(
                "Score",
                fmt.significant(float(selection.scores[found]), 4),
                "The lower, the more there is to see. The smallest patches have that of the one they were cut from",
            ),
            Fact("Looks at", item.tree.scorer, "What the scores measure"),
            Fact("Upper left", f"column {fmt.count(left)}, row {fmt.count(top)}", "In pixels of the scene"),
            Fact("Centre", self._place(item, float(col), float(row)), "The middle of the patch"),
            Fact("Patch", f"{fmt.count(found + 1)} of {fmt.count(len(selection))}", "By size, the smallest first"),
        )
        title = f"{size} px patch"
        self._inspector.show_facts(title, title, self._colors(item)[level].name(), facts)
        self.shown.emit()

    def _place(self, item: OpenTree, col: float, row: float) -> str:
        grid = item.tree.grid
        x, y = (grid.xy if grid.crs is None else grid.lonlat)(np.array([col]), np.array([row]))
        return f"{x[0]:.1f}, {y[0]:.1f}" if grid.crs is None else fmt.lonlat(float(x[0]), float(y[0]))
