"""Boxes on the map: objects that a detector found, the patches of a quadtree.

Guarantees: painting costs what is on the screen, and of many patches what the screen has pixels; lines keep their
width at every zoom; a turned box too small to show stays visible as a speck; what lies under the cursor is found
without reading anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF

from rs_viewer.map.colours import colour_of, image_of
from rs_viewer.map.layers import Layer
from rs_viewer.map.viewport import Affine2, Viewport

Floats = npt.NDArray[np.float64]

_MANY_BOXES = 2000
"""Beyond this, patches are drawn pixel by pixel in one image."""
_DENSE_PX = 6.0
"""Boxes smaller than this on the screen are drawn fainter, so that the ground still shows."""
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
        self._corners: Floats | None = None
        self._hulls: Floats = np.zeros((0, 4))
        self._groups: npt.NDArray[np.intp] = np.zeros(0, np.intp)
        self._colors: tuple[QColor, ...] = ()
        self._patches: tuple[npt.NDArray[np.int32], int] | None = None
        self._sides: tuple[float, ...] = ()

    @property
    def count(self) -> int:
        """How many boxes there are."""
        return len(self._hulls)

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
        self._corners, self._patches = np.asarray(corners, dtype=float).reshape(-1, 4, 2), None
        self._groups = np.asarray(groups, dtype=np.intp)
        self._colors = tuple(colors)
        self._hulls = np.concatenate((self._corners.min(axis=1), self._corners.max(axis=1)), axis=1)
        self.changed.emit()

    def set_patches(
        self,
        hulls: npt.NDArray[Any],
        groups: npt.NDArray[Any],
        sides: Sequence[float],
        colors: Sequence[QColor],
        index: npt.NDArray[np.int32],
        cell_px: int,
    ) -> None:
        """Show upright boxes that do not overlap.

        Args:
            hulls: ``[n, 4]`` of left, top, right, bottom.
            groups: ``[n]`` group of each box, an index into ``colors``.
            sides: Edge of the boxes of each group in pixels of the grid.
            colors: Colour of each group.
            index: ``[rows, cols]`` number of the box that covers each cell, -1 for none.
            cell_px: Edge of a cell in pixels of the grid.
        """
        self._corners, self._hulls = None, np.asarray(hulls, dtype=float).reshape(-1, 4)
        self._groups, self._patches = np.asarray(groups, dtype=np.intp), (index, cell_px)
        self._colors = tuple(colors)
        self._sides = tuple(sides)
        self.changed.emit()

    def _corners_of(self, which: npt.NDArray[np.intp]) -> Floats:
        """Corners ``[n, 4, 2]`` of some boxes."""
        if self._corners is not None:
            return self._corners[which]
        return self._hulls[which][:, [[0, 1], [2, 1], [2, 3], [0, 3]]]

    def set_colors(self, colors: Sequence[QColor]) -> None:
        """Show the groups in other colours."""
        self._colors = tuple(colors)
        self.changed.emit()

    def ring(self, index: int) -> Floats:
        """The closed outline of a box."""
        corners = self._corners_of(np.array([index]))[0]
        return np.concatenate((corners, corners[:1]))

    def at(self, col: float, row: float) -> int | None:
        """The smallest box that holds a place of the grid, None where there is none."""
        left, top, right, bottom = self._hulls.T
        near = np.flatnonzero((left <= col) & (col < right) & (top <= row) & (row < bottom))
        corners = self._corners_of(near)
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
        painter.save()
        painter.setOpacity(self.opacity)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._corners is None and to_screen.b == 0 and to_screen.d == 0:
            self._paint_upright(painter, viewport, to_screen, shows)
        else:
            self._paint_turned(painter, to_screen, shows)
        painter.restore()

    def _paint_turned(self, painter: QPainter, to_screen: Affine2, shows: npt.NDArray[np.intp]) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, len(shows) <= _SMOOTH_BOXES)
        corners, groups = self._corners_of(shows), self._groups[shows]
        col, row = corners[..., 0], corners[..., 1]
        x = to_screen.a * col + to_screen.b * row + to_screen.c
        y = to_screen.d * col + to_screen.e * row + to_screen.f
        for group, color in enumerate(self._colors):
            mine = groups == group
            if mine.any():
                self._draw_polygons(painter, x[mine], y[mine], color)

    def _paint_upright(
        self, painter: QPainter, viewport: Viewport, to_screen: Affine2, shows: npt.NDArray[np.intp]
    ) -> None:
        if self._patches is not None and len(shows) > _MANY_BOXES:
            image = image_of(self._patch_edges(viewport, to_screen, *self._patches))
            painter.drawImage(QRectF(0, 0, image.width(), image.height()), image)
            return
        hulls, groups = self._hulls[shows], self._groups[shows]
        x = np.sort(np.rint(to_screen.a * hulls[:, [0, 2]] + to_screen.c), axis=1)
        y = np.sort(np.rint(to_screen.e * hulls[:, [1, 3]] + to_screen.f), axis=1)
        for group, color in reversed(tuple(enumerate(self._colors))):
            mine = groups == group
            if mine.any():
                self._draw_rectangles(painter, x[mine], y[mine], color)

    def _patch_edges(
        self, viewport: Viewport, to_screen: Affine2, index: npt.NDArray[np.int32], cell_px: int
    ) -> npt.NDArray[np.uint32]:
        """Packed colours of a screen: each logical pixel whose left or upper neighbour lies in another patch."""
        columns, lines = (np.arange(-0.5, size) for size in (viewport.width, viewport.height))
        cols = _cells(columns, to_screen.a, to_screen.c, self.grid.width, cell_px)
        rows = _cells(lines, to_screen.e, to_screen.f, self.grid.height, cell_px)
        label = index[rows].take(cols, axis=1)
        label[rows < 0] = -1
        label[:, cols < 0] = -1
        here, left, above = label[1:, 1:], label[1:, :-1], label[:-1, 1:]
        edge = (here != left) | (here != above)
        owner = np.where(here >= 0, here, np.maximum(left, above))
        table = np.zeros(len(self._colors), np.uint32)
        for group, (color, side) in enumerate(zip(self._colors, self._sides, strict=True)):
            dense = side * abs(to_screen.a) / _DENSE_PX
            table[group] = _premultiplied(color, min(1.0, 0.25 + 0.75 * dense))
        return np.where(edge, table[self._groups[owner]], np.uint32(0))

    def _pens(self, color: QColor) -> list[QPen]:
        pens = [QPen(color, self._width)]
        if self._cased:
            pens.insert(0, QPen(_RIM, self._width + 2.0))
        for pen in pens:
            pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        return pens

    def _draw_rectangles(self, painter: QPainter, x: Floats, y: Floats, color: QColor) -> None:
        parts = np.concatenate((x[:, :1], y[:, :1], x[:, 1:] - x[:, :1], y[:, 1:] - y[:, :1]), axis=1)
        rectangles = [QRectF(*part) for part in parts.tolist()]
        for pen in self._pens(color):
            painter.setPen(pen)
            painter.drawRects(rectangles)

    def _draw_polygons(self, painter: QPainter, x: Floats, y: Floats, color: QColor) -> None:
        small = np.maximum(np.ptp(x, axis=1), np.ptp(y, axis=1)) < _SPECK_PX
        half = 0.5 * _SPECK_PX
        x[small] = x[small].mean(axis=1, keepdims=True) + np.array([-half, half, half, -half])
        y[small] = y[small].mean(axis=1, keepdims=True) + np.array([-half, -half, half, half])
        polygons = [QPolygonF([QPointF(u, v) for u, v in box]) for box in np.stack((x, y), axis=2).tolist()]
        for pen in self._pens(color):
            painter.setPen(pen)
            for polygon in polygons:
                painter.drawPolygon(polygon)


def _cells(screen: Floats, step: float, origin: float, size: int, cell_px: int) -> npt.NDArray[np.int64]:
    """Cells of an axis that screen positions lie in, -1 off the grid."""
    place = (screen - origin) / step
    return np.where((place >= 0) & (place < size), np.floor(place / cell_px), -1).astype(np.int64)


def _premultiplied(color: QColor, opacity: float) -> np.uint32:
    faded = QColor(color)
    faded.setAlphaF(color.alphaF() * opacity)
    return colour_of(faded)
