"""Keeps the legend at what is chosen: shares of classes, objects by class, patches by size, or a model's classes.

Guarantees: shares are counted in the background; an answer that comes too late is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from rs_viewer.jobs import Jobs
from rs_viewer.latest import Latest
from rs_viewer.panels.legend import LegendPanel
from rs_viewer.workspace import OpenAnalysis, OpenTree, Workspace

if TYPE_CHECKING:
    from rs_viewer.objects import Objects
    from rs_viewer.quadtrees import Quadtrees
    from rs_viewer.runs import Runs

DRAWN = ("segmentation", "classification", "change")
"""Kinds of analyses that have a class map."""


class Legends(QObject):
    """Connects the legend with what can be chosen.

    Args:
        jobs: Where shares are counted.
        workspace: Knows what is chosen.
        legend: The panel.
        runs: Counts classes while a run goes on.
        objects: Counts objects.
        quadtrees: Counts patches.
    """

    def __init__(
        self, jobs: Jobs, workspace: Workspace, legend: LegendPanel, runs: Runs, objects: Objects, quadtrees: Quadtrees
    ) -> None:
        super().__init__(legend)
        self._workspace, self._legend = workspace, legend
        self._shares = Latest(jobs, "Counting classes", parent=self)
        self._shares.answered.connect(legend.show_shares)
        runs.counted.connect(legend.show_shares)
        objects.counted.connect(legend.show_objects)
        quadtrees.counted.connect(legend.show_patches)
        workspace.analysisChanged.connect(self._analysis_changed)
        workspace.treeChanged.connect(self._tree_changed)

    def _tree_changed(self, tree: OpenTree | None) -> None:
        if tree is None:
            self._analysis_changed(self._workspace.analysis)

    def _analysis_changed(self, item: OpenAnalysis | None) -> None:
        self._shares.forget()
        if item is None:
            self._legend.clear()
        elif item.complete and item.analysis.kind in DRAWN:
            analysis = item.analysis
            self._shares.ask(lambda context: analysis.class_shares())
        else:
            self._legend.show_card(item.analysis.card)
