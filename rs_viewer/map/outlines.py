"""Outlines on the map: the region under the cursor, the selected one, the region of interest.

Guarantees: drawing costs what shows on the screen, not what the polygon holds: vertices that fall on the same screen
pixel as the one before are left out. Lines keep their width at every zoom and are cased, so they show on any ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPolygonF

from rs_viewer.map.layers import Layer
from rs_viewer.map.viewport import Affine2, Viewport

Rings = Sequence[np.ndarray]
"""Closed rings [n, 2] of (col, row) in grid pixels; holes are rings as well."""


def path_of(rings: Rings, to_screen: Affine2, resolution_px: float = 0.5) -> QPainterPath:
    """Rings as a screen path, thinned to what the screen can show."""
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.OddEvenFill)
    for ring in rings:
        points = np.asarray(ring, dtype=float)
        if len(points) < 2:
            continue
        u, v = points[:, 0], points[:, 1]
        screen = np.stack(
            [to_screen.a * u + to_screen.b * v + to_screen.c, to_screen.d * u + to_screen.e * v + to_screen.f], axis=1
        )
        cells = np.round(screen / resolution_px)
        keep = np.ones(len(screen), dtype=bool)
        keep[1:] = (cells[1:] != cells[:-1]).any(axis=1)
        screen = screen[keep]
        path.addPolygon(QPolygonF([QPointF(x, y) for x, y in screen.tolist()]))
        path.closeSubpath()
    return path


def draw_cased(painter: QPainter, path: QPainterPath, color: QColor, width: float, *, dashed: bool = False) -> None:
    """Draw a line in a colour: a thick one cased in white and black, a thin one in black."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    pen = QPen()
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    rims = [(QColor(0, 0, 0, 150), width + 2.0)]
    if width >= 2.0 and color.lightness() < 230:
        rims = [(QColor(0, 0, 0, 150), width + 3.4), (QColor(255, 255, 255), width + 2.0)]
    for rim, rim_width in rims:
        pen.setColor(rim)
        pen.setWidthF(rim_width)
        painter.setPen(pen)
        painter.drawPath(path)
    pen.setColor(color)
    pen.setWidthF(width)
    if dashed:
        pen.setStyle(Qt.PenStyle.DashLine)
    painter.setPen(pen)
    painter.drawPath(path)


class OutlineLayer(Layer):
    """The outline of one region (or of several), above all other layers."""

    def __init__(self, grid: Any, color: QColor, *, width: float = 2.5, name: str = "outline") -> None:
        super().__init__(name, grid)
        self.color = color
        self.width = width
        self._rings: tuple[np.ndarray, ...] = ()

    @property
    def rings(self) -> tuple[np.ndarray, ...]:
        """What is outlined."""
        return self._rings

    def set_rings(self, rings: Rings | None, color: QColor | None = None, grid: Any = None) -> None:
        """Outline something else, or nothing; the rings count in pixels of the grid."""
        self._rings = tuple(np.asarray(ring, dtype=float) for ring in rings or ())
        self.color = color or self.color
        self.grid = grid if grid is not None else self.grid
        self.changed.emit()

    def paint(self, painter: QPainter, viewport: Viewport) -> None:
        """Draw it in logical pixels."""
        if self._rings and self.visible and self.grid is not None:
            draw_cased(painter, path_of(self._rings, viewport.grid_to_screen(self.transform)), self.color, self.width)
