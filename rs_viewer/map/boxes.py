"""Boxes on the map: objects that a detector found, the patches of a quadtree.

Guarantees: painting costs what is on the screen; lines keep their width at every zoom; a box too small to show stays
visible as a speck; what lies under the cursor is found without reading anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF

from rs_viewer.map.layers import Layer
from rs_viewer.map.viewport import Viewport

_SMOOTH_BOXES = 3000
"""Beyond this, smooth lines cost Qt more than a frame."""
_SPECK_PX = 3.0
_RIM = QColor(0, 0, 0, 150)


class BoxLayer(Layer):
    """Outlines of four-cornered boxes in pixels of a grid, each in the colour of its group.

    Args:
        name: Name in the list of layers.
        grid: The grid the boxes count in.
        width: Width of the lines in logical pixels.
        cased: Whether lines have a dark rim, which shows them on any ground.
    """

    def __init__(self, name: str, grid: Any, *, width: float = 2.0, cased: bool = True) -> None:
        super().__init__(name, grid)
        self._width, self._cased = width, cased
        self._corners: npt.NDArray[np.float64] = np.zeros((0, 4, 2))
        self._groups: npt.NDArray[np.intp] = np.zeros(0, np.intp)
        self._colors: tuple[QColor, ...] = ()
        self._hulls: npt.NDArray[np.float64] = np.zeros((0, 4))
        self._upright = True

    @property
    def count(self) -> int:
        """How many boxes there are."""
        return len(self._corners)

    @property
    def colors(self) -> tuple[QColor, ...]:
        """Colours of the groups."""
        return self._colors

    def set_boxes(self, corners: npt.NDArray[Any], groups: npt.NDArray[Any], colors: Sequence[QColor]) -> None:
        """Show other boxes.

        Args:
            corners: ``[n, 4, 2]`` of (col, row), around each box.
            groups: ``[n]`` group of each box, an index into ``colors``.
            colors: Colour of each group.
        """
        self._corners = np.asarray(corners, dtype=float).reshape(-1, 4, 2)
        self._groups = np.asarray(groups, dtype=np.intp)
        self._colors = tuple(colors)
        self._hulls = np.concatenate((self._corners.min(axis=1), self._corners.max(axis=1)), axis=1)
        edges = self._corners - np.roll(self._corners, 1, axis=1)
        self._upright = bool((np.abs(edges).min(axis=2) == 0).all())
        self.changed.emit()

    def set_colors(self, colors: Sequence[QColor]) -> None:
        """Show the groups in other colours."""
        self._colors = tuple(colors)
        self.changed.emit()

    def ring(self, index: int) -> npt.NDArray[np.float64]:
        """The closed outline of a box."""
        corners = self._corners[index]
        return np.concatenate((corners, corners[:1]))

    def at(self, col: float, row: float) -> int | None:
        """The smallest box that holds a place of the grid, None where there is none."""
        left, top, right, bottom = self._hulls.T
        near = np.flatnonzero((left <= col) & (col < right) & (top <= row) & (row < bottom))
        corners = self._corners[near]
        edges = np.roll(corners, -1, axis=1) - corners
        rest = np.array([col, row]) - corners
        turns = edges[..., 0] * rest[..., 1] - edges[..., 1] * rest[..., 0]
        inside = (turns >= 0).all(axis=1) | (turns <= 0).all(axis=1)
        if not inside.any():
            return None
        near, corners = near[inside], corners[inside]
        following = np.roll(corners, -1, axis=1)
        doubled = (corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]).sum(axis=1)
        return int(near[np.argmin(np.abs(doubled))])

    def paint(self, painter: QPainter, viewport: Viewport) -> None:
        """Draw the boxes in logical pixels."""
        to_screen = viewport.grid_to_screen(self.transform)
        view = to_screen.inverse().box(0, 0, viewport.width, viewport.height)
        left, top, right, bottom = self._hulls.T
        shows = np.flatnonzero((left <= view[2]) & (right >= view[0]) & (top <= view[3]) & (bottom >= view[1]))
        if not len(shows):
            return
        col, row = self._corners[shows, :, 0], self._corners[shows, :, 1]
        x = to_screen.a * col + to_screen.b * row + to_screen.c
        y = to_screen.d * col + to_screen.e * row + to_screen.f
        groups = self._groups[shows]
        upright = self._upright and to_screen.b == 0 and to_screen.d == 0
        painter.save()
        painter.setOpacity(self.opacity)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not upright and len(shows) <= _SMOOTH_BOXES)
        for group, color in enumerate(self._colors):
            mine = groups == group
            if not mine.any():
                continue
            if upright:
                self._draw_rectangles(painter, x[mine], y[mine], color)
            else:
                self._draw_polygons(painter, x[mine], y[mine], color)
        painter.restore()

    def _pens(self, color: QColor) -> list[QPen]:
        pens = [QPen(color, self._width)]
        if self._cased:
            pens.insert(0, QPen(_RIM, self._width + 2.0))
        for pen in pens:
            pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        return pens

    def _draw_rectangles(
        self, painter: QPainter, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], color: QColor
    ) -> None:
        left, top = np.rint(x.min(axis=1)), np.rint(y.min(axis=1))
        width = np.maximum(np.rint(x.max(axis=1)) - left, 1.0)
        height = np.maximum(np.rint(y.max(axis=1)) - top, 1.0)
        parts = np.stack((left, top, width, height), axis=1)
        rectangles = [QRectF(*part) for part in np.unique(parts, axis=0).tolist()]
        for pen in self._pens(color):
            painter.setPen(pen)
            painter.drawRects(rectangles)

    def _draw_polygons(
        self, painter: QPainter, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], color: QColor
    ) -> None:
        small = np.maximum(np.ptp(x, axis=1), np.ptp(y, axis=1)) < _SPECK_PX
        half = 0.5 * _SPECK_PX
        x[small] = x[small].mean(axis=1, keepdims=True) + np.array([-half, half, half, -half])
        y[small] = y[small].mean(axis=1, keepdims=True) + np.array([-half, -half, half, half])
        polygons = [QPolygonF([QPointF(u, v) for u, v in box]) for box in np.stack((x, y), axis=2).tolist()]
        for pen in self._pens(color):
            painter.setPen(pen)
            for polygon in polygons:
                painter.drawPolygon(polygon)
