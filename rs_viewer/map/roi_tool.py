"""Drawing a region of interest: vertices by click, or a rectangle by dragging with Shift.

Guarantees: positions are kept in map coordinates, so the drawing stays in its place when the map moves meanwhile;
a polygon is handed over only with three different vertices or more, a rectangle only with an area.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPolygonF

from rs_viewer.map.outlines import draw_cased
from rs_viewer.map.viewport import Viewport

Point = tuple[float, float]


class RoiDrawing:
    """The state of a drawing in progress."""

    def __init__(self) -> None:
        self.vertices: list[Point] = []
        self.cursor: Point | None = None
        self.corner: Point | None = None
        """Where a rectangle was begun."""

    @property
    def active(self) -> bool:
        """Whether anything has been drawn."""
        return bool(self.vertices) or self.corner is not None

    def clear(self) -> None:
        """Forget the drawing."""
        self.vertices.clear()
        self.corner = None
        self.cursor = None

    def add(self, point: Point) -> None:
        """Add a vertex."""
        if not self.vertices or self.vertices[-1] != point:
            self.vertices.append(point)

    def undo(self) -> None:
        """Take the last vertex back."""
        if self.vertices:
            self.vertices.pop()

    def finished(self) -> list[Point] | None:
        """End the polygon: its vertices, or None if it has no area yet (the drawing then goes on)."""
        if len(set(self.vertices)) < 3:
            return None
        done = list(self.vertices)
        self.clear()
        return done

    def finished_rectangle(self) -> list[Point] | None:
        """End the rectangle: its corners, or None if it has no area."""
        corners = self._rectangle()
        self.clear()
        return corners

    def _rectangle(self) -> list[Point] | None:
        if self.corner is None or self.cursor is None:
            return None
        (x0, y0), (x1, y1) = self.corner, self.cursor
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)] if x0 != x1 and y0 != y1 else None

    def paint(self, painter: QPainter, viewport: Viewport, color: QColor) -> None:
        """Draw what there is so far, the line to the cursor included."""
        points = self._rectangle() or (self.vertices + ([self.cursor] if self.cursor and self.vertices else []))
        if points:
            paint_polygon(painter, viewport, points, color, closed=len(points) > 2)
        painter.setPen(QColor(20, 22, 26))
        painter.setBrush(color)
        for vertex in self.vertices:
            painter.drawEllipse(QPointF(*viewport.to_screen(*vertex)), 3.5, 3.5)


def paint_polygon(
    painter: QPainter, viewport: Viewport, points: list[Point], color: QColor, *, closed: bool = True
) -> None:
    """Draw a polygon given in map coordinates: dashed and cased, lightly filled."""
    polygon = QPolygonF([QPointF(*viewport.to_screen(*p)) for p in points])
    path = QPainterPath()
    path.addPolygon(polygon)
    if closed:
        path.closeSubpath()
        fill = QColor(color)
        fill.setAlpha(36)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill)
        painter.drawPath(path)
    draw_cased(painter, path, color, 2.0, dashed=True)
