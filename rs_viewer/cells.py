"""Cells of a scene classifier: hover outlines one, a click opens it in the inspector with its likeliest classes.

Guarantees: all reading happens off the GUI thread, newest request wins; while a run goes on, the cells of the rows so
far can be inspected; nothing is shown of an analysis that is no longer the one that is meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal

from rs_viewer import format as fmt
from rs_viewer.attention import TokenLooks
from rs_viewer.jobs import Context
from rs_viewer.latest import Latest
from rs_viewer.panels.bars import Score
from rs_viewer.panels.facts import Fact
from rs_viewer.panels.inspector import Inspector
from rs_viewer.parts import Parts

if TYPE_CHECKING:
    import numpy.typing as npt

    from engine.inference.analysis import Analysis
    from engine.inference.recognition.cells import Cell
    from rs_viewer.workspace import OpenAnalysis


@dataclass(frozen=True, slots=True)
class FoundCell:
    """What lies at a place.

    Attributes:
        analysis: The analysis that was asked.
        cell: The cell, None where there is none.
        area_m2: Its area, None where the ground is unknown.
        place: Longitude and latitude of its middle, or its place in the scene's own units.
    """

    analysis: Analysis
    cell: Cell | None
    area_m2: float | None = None
    place: tuple[float, float] = (math.nan, math.nan)


def cell_at(context: Context, analysis: Analysis, x: float, y: float) -> FoundCell:
    """Look up and measure the cell at a map position."""
    grid = analysis.grid
    col, row = grid.colrow(np.array([x]), np.array([y]))
    cell = analysis.cell_at(float(col[0]), float(row[0]))
    if cell is None:
        return FoundCell(analysis, None)
    left, top, right, bottom = cell.box
    middle = np.array([(left + right) / 2]), np.array([(top + bottom) / 2])
    area = None
    if grid.crs is not None:
        area = float(grid.ground(middle[1], middle[0]).area_m2[0]) * (right - left) * (bottom - top)
    lon, lat = (grid.xy if grid.crs is None else grid.lonlat)(*middle)
    return FoundCell(analysis, cell, area, (float(np.ravel(lon)[0]), float(np.ravel(lat)[0])))


def ring(cell: Cell) -> npt.NDArray[np.float64]:
    """The closed outline of a cell in pixels of the grid."""
    left, top, right, bottom = cell.box
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], dtype=float)


class Cells(QObject):
    """Connects analyses of cells with map and inspector.

    Signals:
        failed: Something could not be read.
        told: A sentence for the status bar.
        shown: A cell is in the inspector.
    """

    failed = Signal(object)
    told = Signal(str)
    shown = Signal()

    def __init__(self, parts: Parts, inspector: Inspector, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._map = parts.workspace, parts.map
        self._inspector = inspector
        self._hovered: tuple[int, ...] = ()
        self.looks = TokenLooks(parts, inspector.cell.tokens, self)
        self._hover = Latest(parts.jobs, "Finding the cell under the cursor", parent=self)
        self._pick = Latest(parts.jobs, "Reading the cell", parent=self)
        self._hover.answered.connect(self._show_hover)
        self._pick.answered.connect(self._show_cell)
        for request in (self._hover, self._pick, self.looks):
            request.failed.connect(self.failed)
        self.looks.told.connect(self.told)
        parts.map.hovered.connect(self.hover)
        parts.map.clicked.connect(self.pick)
        inspector.cleared.connect(self.clear)
        parts.workspace.analysisChanged.connect(lambda _item: self.clear())

    def _open(self) -> OpenAnalysis | None:
        return self._workspace.analysis if self._workspace.pointed == "cells" else None

    def hover(self, x: float, y: float) -> None:
        """Outline the cell at a map position; NaN outlines none."""
        item = self._open()
        if item is None:
            return
        if math.isnan(x):
            self._hover.forget()
            self._hovered = ()
            self._map.set_outline(None, kind="hovered")
            return
        analysis = item.analysis
        self._hover.ask(lambda context: cell_at(context, analysis, x, y))

    def _show_hover(self, found: FoundCell) -> None:
        item = self._open()
        if item is None or item.analysis is not found.analysis:
            return
        box = found.cell.box if found.cell is not None else ()
        if box == self._hovered:
            return
        self._hovered = box
        if found.cell is None:
            self._map.set_outline(None, kind="hovered")
        else:
            self._map.set_outline([ring(found.cell)], kind="hovered", grid=found.analysis.grid)

    def pick(self, x: float, y: float) -> None:
        """Inspect the cell at a map position."""
        item = self._open()
        if item is not None:
            analysis = item.analysis
            self._pick.ask(lambda context: cell_at(context, analysis, x, y))

    def _show_cell(self, found: FoundCell) -> None:
        item = self._open()
        if item is None or item.analysis is not found.analysis:
            return
        cell, analysis = found.cell, found.analysis
        if cell is None:
            self.told.emit("There is no cell here." if item.complete else "There is no cell here yet.")
            return
        self._map.set_outline([ring(cell)], grid=analysis.grid)
        classes = [analysis.card.classes[code] for code in cell.codes]
        scores = [Score(kind.name, kind.color, share) for kind, share in zip(classes, cell.scores, strict=True)]
        left, top, right, bottom = cell.box
        facts = (
            Fact(
                "Valid",
                fmt.percent(cell.valid_share),
                "Share of the cell with data, within the area of the run",
            ),
            Fact("Area", fmt.area(found.area_m2), "On the ellipsoid, whatever the projection"),
            Fact(
                "Centre",
                fmt.lonlat(*found.place) if analysis.grid.crs is not None else "{:.1f}, {:.1f}".format(*found.place),
                "The middle of the cell",
            ),
            Fact("Pixels", f"{right - left} by {bottom - top}", "Of the analysis grid"),
            Fact("Window", fmt.count(cell.window), "The window that was classified; the cell is its own part of it"),
        )
        self._inspector.show_cell(f"Cell of window {cell.window}: {classes[0].name}", scores, facts)
        self.looks.be_about(item, cell.window)
        self.shown.emit()

    def clear(self) -> None:
        """Remove what is shown of a cell."""
        self._hover.forget()
        self._pick.forget()
        self._hovered = ()
        self.looks.put_away()
