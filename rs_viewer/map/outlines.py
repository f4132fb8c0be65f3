"""Outlines on the map: the region under the cursor, the selected one, the region of interest.

Guarantees: drawing costs what shows on the screen, not what the polygon holds: vertices that fall on the same screen
pixel as the one before are left out, those far off the screen as well; a path is made once for a view. Lines keep
their width at every zoom and are cased, so they show on any ground.
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

_RIM_PX = 40.0
_SMOOTH_VERTICES = 1000
"""Beyond this, smooth wide lines cost Qt more than a frame."""


def path_of(rings: Rings, to_screen: Affine2, width: float = np.inf, height: float = np.inf) -> QPainterPath:
    """Rings as a screen path, thinned to what a screen of this size can show."""
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.OddEvenFill)
    for ring in rings:
        points = np.asarray(ring, dtype=float)
        if len(points) < 2:
            continue
        u, v = points[:, 0], points[:, 1]
        x, y = to_screen.a * u + to_screen.b * v + to_screen.c, to_screen.d * u + to_screen.e * v + to_screen.f
        screen = _clamped(np.stack([x, y], axis=1), width, height)
        cells = np.round(screen)
        keep = np.ones(len(screen), dtype=bool)
        keep[1:] = (cells[1:] != cells[:-1]).any(axis=1)
        screen = screen[keep]
        if len(screen) == 1:  # smaller than a pixel: a speck
            screen = screen + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        path.addPolygon(QPolygonF([QPointF(x, y) for x, y in screen.tolist()]))
        path.closeSubpath()
    return path


def _clamped(points: np.ndarray, width: float, height: float) -> np.ndarray:
    """Move vertices of edges that cannot show to the rim of the screen, on the side where they are."""
    low, high = np.array([-_RIM_PX, -_RIM_PX]), np.array([width + _RIM_PX, height + _RIM_PX])
    following = np.roll(points, -1, axis=0)
    shows = ((np.maximum(points, following) >= low) & (np.minimum(points, following) <= high)).all(axis=1)
    near = shows | np.roll(shows, 1)
    return np.where(near[:, None], points, np.clip(points, low, high))


def draw_cased(painter: QPainter, path: QPainterPath, color: QColor, width: float, *, dashed: bool = False) -> None:
    """Draw a line in a colour: a thick one cased in white and black, a thin one in black."""
    simple = path.elementCount() <= _SMOOTH_VERTICES
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, simple)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    pen = QPen()
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin if simple else Qt.PenJoinStyle.BevelJoin)
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
        self._path: tuple[Viewport, QPainterPath] | None = None

    @property
    def rings(self) -> tuple[np.ndarray, ...]:
        """What is outlined."""
        return self._rings

    def set_rings(self, rings: Rings | None, color: QColor | None = None, grid: Any = None) -> None:
        """Outline something else, or nothing; the rings count in pixels of the grid."""
        self._rings = tuple(np.asarray(ring, dtype=float) for ring in rings or ())
        self._path = None
        self.color = color or self.color
        self.grid = grid if grid is not None else self.grid
        self.changed.emit()

    def paint(self, painter: QPainter, viewport: Viewport) -> None:
        """Draw it in logical pixels."""
        if not self._rings or not self.visible or self.grid is None:
            return
        if self._path is None or self._path[0] != viewport:
            to_screen = viewport.grid_to_screen(self.transform)
            self._path = viewport, path_of(self._rings, to_screen, viewport.width, viewport.height)
        draw_cased(painter, self._path[1], self.color, self.width)
