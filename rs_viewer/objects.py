"""Objects that a detector found: their boxes on the map, how many there are, and what is known about one.

Guarantees: files are read and objects measured off the GUI thread; while a run goes on, the objects of the rows so far
are shown and can be inspected; nothing is shown of an analysis that is no longer open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QColor

from rs_viewer import format as fmt
from rs_viewer.jobs import Context
from rs_viewer.latest import Latest
from rs_viewer.map.boxes import BoxLayer
from rs_viewer.panels.facts import Fact
from rs_viewer.panels.inspector import Inspector
from rs_viewer.panels.legend import Count
from rs_viewer.parts import Parts

if TYPE_CHECKING:
    import numpy.typing as npt

    from engine.inference.analysis import Analysis
    from engine.inference.detection.objects import FoundObjects
    from rs_viewer.workspace import OpenAnalysis


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of an analysis."""

    item: OpenAnalysis
    analysis: Analysis
    objects: FoundObjects
    corners: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """One object with what it measures; metres are NaN where the ground is unknown."""

    item: OpenAnalysis
    index: int
    length_m: float
    width_m: float
    angle_deg: float
    place: tuple[float, float]


def counts_of(analysis: Analysis, objects: FoundObjects) -> list[Count]:
    """Objects by class, in the order of the card."""
    counts = np.bincount(objects.labels, minlength=len(analysis.card.classes))
    return [Count(c.name, c.color, int(counts[code])) for code, c in enumerate(analysis.card.classes)]


def read_objects(context: Context, item: OpenAnalysis, analysis: Analysis) -> Read:
    """Read the objects of an analysis, finished or growing."""
    from engine.inference.detection.objects import corners

    objects = analysis.objects()
    context.raise_if_cancelled()
    return Read(item, analysis, objects, corners(objects.boxes))


def measure_object(
    context: Context, item: OpenAnalysis, analysis: Analysis, found: FoundObjects, index: int
) -> Measured:
    """Measure one object on the ground."""
    from engine.inference.detection.measures import measure

    boxes, grid = found.boxes[index : index + 1], analysis.grid
    size = measure(boxes, grid)
    x, y = (grid.xy if grid.crs is None else grid.lonlat)(boxes[:, 0], boxes[:, 1])
    return Measured(
        item,
        index,
        float(size.length_m[0]),
        float(size.width_m[0]),
        float(size.angle_deg[0]),
        (float(np.ravel(x)[0]), float(np.ravel(y)[0])),
    )


class Objects(QObject):
    """Connects analyses of objects with map, legend and inspector.

    Signals:
        counted: Objects by class of the analysis that is meant.
        failed: Something could not be read.
        told: A sentence for the status bar.
        shown: An object is in the inspector.
    """

    counted = Signal(object)
    failed = Signal(object)
    told = Signal(str)
    shown = Signal()

    def __init__(self, parts: Parts, inspector: Inspector, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._map = parts.workspace, parts.map
        self._inspector = inspector
        self._hovered: tuple[OpenAnalysis, int] | None = None
        self._read = Latest(parts.jobs, "Reading objects", parent=self)
        self._pick = Latest(parts.jobs, "Measuring the object", parent=self)
        self._read.answered.connect(self._show)
        self._pick.answered.connect(self._show_object)
        for request in (self._read, self._pick):
            request.failed.connect(self.failed)
        parts.map.hovered.connect(self.hover)
        parts.map.clicked.connect(self.pick)

    def follow(self, item: OpenAnalysis | None) -> None:
        """Another analysis is meant, or it has new contents: read its objects unless it has none."""
        self._pick.forget()
        self._hovered = None
        if item is not None and item.analysis.kind == "detection":
            if item.objects is not None:
                self.counted.emit(counts_of(item.analysis, item.objects))
            self._ask(item)

    def grow(self, item: OpenAnalysis) -> None:
        """A running analysis has more rows; they are read when the rows before them are there."""
        if not self._read.busy:
            self._ask(item)

    def _ask(self, item: OpenAnalysis) -> None:
        analysis = item.analysis
        self._read.ask(lambda context: read_objects(context, item, analysis))

    def _show(self, read: Read) -> None:
        item = read.item
        if item not in self._workspace.analyses or item.analysis is not read.analysis:
            return
        item.objects = read.objects
        layer = item.layers["objects"]
        assert isinstance(layer, BoxLayer)
        layer.set_boxes(read.corners, read.objects.labels, [QColor(c.color) for c in read.analysis.card.classes])
        if item is self._workspace.analysis:
            self.counted.emit(counts_of(read.analysis, read.objects))

    # Pointing -------------------------------------------------------------------------------------------------------

    def _at(self, x: float, y: float) -> tuple[OpenAnalysis, int] | None:
        item = self._workspace.analysis
        if item is None or item.objects is None or math.isnan(x):
            return None
        layer = item.layers["objects"]
        assert isinstance(layer, BoxLayer)
        col, row = item.analysis.grid.colrow(np.array([x]), np.array([y]))
        index = layer.at(float(col[0]), float(row[0]))
        return None if index is None else (item, index)

    def _outline(self, found: tuple[OpenAnalysis, int] | None, **options: object) -> None:
        if found is None:
            self._map.set_outline(None, **options)  # type: ignore[arg-type]
            return
        item, index = found
        layer = item.layers["objects"]
        assert isinstance(layer, BoxLayer)
        self._map.set_outline([layer.ring(index)], grid=item.analysis.grid, **options)  # type: ignore[arg-type]

    def hover(self, x: float, y: float) -> None:
        """Outline the object at a map position; NaN outlines none."""
        if self._workspace.pointed != "objects":
            return
        found = self._at(x, y)
        if found != self._hovered:
            self._hovered = found
            self._outline(found, kind="hovered")

    def pick(self, x: float, y: float) -> None:
        """Inspect the object at a map position."""
        if self._workspace.pointed != "objects":
            return
        found = self._at(x, y)
        if found is None:
            self.told.emit("There is no object here.")
            return
        item, index = found
        analysis, objects = item.analysis, item.objects
        assert objects is not None
        self._outline(found)
        self._pick.ask(lambda context: measure_object(context, item, analysis, objects, index))

    def _show_object(self, found: Measured) -> None:
        item = found.item
        if item is not self._workspace.analysis or item.objects is None:
            return
        objects, analysis, index = item.objects, item.analysis, found.index
        kind = analysis.card.classes[int(objects.labels[index])]
        across, down = sorted((float(v) for v in objects.boxes[index, 2:4]), reverse=True)
        x, y = found.place
        earth = analysis.grid.crs is not None
        facts = (
            Fact("Score", fmt.percent(float(objects.scores[index])), "How sure the model is of class and box"),
            Fact(
                "Angle",
                f"{found.angle_deg:.1f}° from {'north' if earth else 'the top'}",
                "Bearing of the long side, clockwise, 0 to 180: a box does not tell bow from stern",
            ),
            Fact("Length", fmt.length(found.length_m), "The longer side on the ground"),
            Fact("Width", fmt.length(found.width_m), "The shorter side on the ground"),
            Fact("Area", fmt.area(found.length_m * found.width_m), "Length times width, the area of the box"),
            Fact("Centre", fmt.lonlat(x, y) if earth else f"{x:.1f}, {y:.1f}", "The middle of the box"),
            Fact("Pixels", f"{across:.1f} by {down:.1f}", "The box's sides in pixels of the analysis grid"),
            Fact("Object", f"{fmt.count(index + 1)} of {fmt.count(len(objects))}", "Its number, the surest first"),
        )
        self._inspector.show_facts(kind.name, f"Object {index + 1}: {kind.name}", kind.color, facts)
        self.shown.emit()
