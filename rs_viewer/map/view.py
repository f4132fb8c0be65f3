"""The map: a canvas with mouse, wheel, touchpad and keyboard, tools, outlines and the region of interest.

Guarantees: the middle button always pans, as does the left one with the space bar; signals about the cursor come at
most sixty times a second, and its last position always comes; drops are left to the window around the map.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

from PySide6.QtCore import QEasingCurve, QEvent, QPointF, Qt, QVariantAnimation, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QColor,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QNativeGestureEvent,
    QPainter,
    QPalette,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QWidget

from rs_viewer.map.canvas import DEFAULT_CACHE_BYTES, MapCanvas
from rs_viewer.map.layers import RasterLayer
from rs_viewer.map.outlines import OutlineLayer, Rings
from rs_viewer.map.rate import RateLimiter
from rs_viewer.map.roi_tool import Point, RoiDrawing, paint_polygon

Tool = Literal["pan", "inspect", "roi"]
TOOLS: tuple[Tool, ...] = ("pan", "inspect", "roi")

_CURSOR_MS = 17
_GLIDE_MS = 140
_PAN_STEP = 0.2
_CURSORS = {
    "pan": Qt.CursorShape.OpenHandCursor,
    "inspect": Qt.CursorShape.ArrowCursor,
    "roi": Qt.CursorShape.CrossCursor,
}
_ARROWS = {
    Qt.Key.Key_Left: (1, 0),
    Qt.Key.Key_Right: (-1, 0),
    Qt.Key.Key_Up: (0, 1),
    Qt.Key.Key_Down: (0, -1),
}


class MapView(MapCanvas):
    """A map to look at and to point into."""

    cursorMoved = Signal(float, float)
    """Map x, y under the cursor, at most 60 a second; nan, nan when it leaves."""
    clicked = Signal(float, float)
    """Map x, y of a click with the inspect tool."""
    hovered = Signal(float, float)
    """Map x, y under the cursor of the inspect tool, at most 60 a second; nan, nan when it leaves."""
    roiDrawn = Signal(object)
    """The polygon that was drawn, as a list of (x, y) in map coordinates."""

    def __init__(self, parent: QWidget | None = None, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        super().__init__(parent, cache_bytes=cache_bytes)
        self._tool: Tool = "pan"
        self._space = False
        self._grip: QPointF | None = None
        self._pressed: QPointF | None = None
        self._drawing = RoiDrawing()
        self._roi: list[Point] | None = None
        self._hover_outline = OutlineLayer(None, QColor(255, 255, 255), width=1.5)
        self._outline = OutlineLayer(None, self.accent, width=2.2)
        self._cursor = RateLimiter(self.cursorMoved.emit, _CURSOR_MS, self)
        self._hover = RateLimiter(self.hovered.emit, _CURSOR_MS, self)
        self._glide_from, self._glide_to = 1.0, 1.0
        self._glide_at = QPointF()
        self._glide = QVariantAnimation(self)
        self._glide.setDuration(_GLIDE_MS)
        self._glide.setStartValue(0.0)
        self._glide.setEndValue(1.0)
        self._glide.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._glide.valueChanged.connect(self._glide_step)
        self.layers.gridChanged.connect(self._forget_places)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Map")
        self.setAccessibleDescription("Arrow keys move the map, plus and minus zoom, Home shows everything.")
        self._show_cursor()

    # --- what it shows besides layers -----------------------------------------------------------------------------

    @property
    def accent(self) -> QColor:
        """The colour of what is selected."""
        return self.palette().color(QPalette.ColorRole.Highlight)

    @property
    def tool(self) -> Tool:
        """What the left button does."""
        return self._tool

    def set_tool(self, tool: Tool) -> None:
        """Choose what the left button does: ``pan``, ``inspect`` or ``roi``."""
        if tool not in TOOLS:
            raise ValueError(f"there is no map tool {tool!r}: use one of {', '.join(TOOLS)}")
        if tool == self._tool:
            return
        self._drawing.clear()
        self._hover.stop()
        self._tool = tool
        self._show_cursor()
        self.update()

    def set_outline(
        self,
        rings: Rings | None,
        color: QColor | None = None,
        *,
        kind: Literal["selected", "hovered"] = "selected",
        grid: Any = None,
    ) -> None:
        """Outline a region, or nothing.

        Args:
            rings: Closed rings [n, 2] of (col, row) in pixels of the grid; None outlines nothing.
            color: Colour of the line; None takes the accent colour (white for hovering).
            kind: The thick line of the selected region or the thin one of that under the cursor.
            grid: The grid the rings count in; None takes that of the analysis on the map, or the map's own.
        """
        layer = self._outline if kind == "selected" else self._hover_outline
        if color is None:
            color = self.accent if kind == "selected" else QColor(255, 255, 255)
        if grid is None:
            shown = [other.grid for other in self.layers if isinstance(other, RasterLayer)]
            grid = shown[-1] if shown else self.layers.grid
        layer.set_rings(rings, color, grid)
        self.update()

    def set_highlights(self, regions: Collection[int] | Mapping[int, float]) -> None:
        """Tint regions in the accent colour, by strength 0 to 1 where given; an empty set tints none."""
        for layer in self.layers:
            if isinstance(layer, RasterLayer):
                layer.set_highlights(regions, self.accent)

    @property
    def roi(self) -> list[Point] | None:
        """The region of interest shown, as (x, y) in map coordinates."""
        return self._roi

    def set_roi(self, polygon: list[Point] | None) -> None:
        """Show a region of interest, or none."""
        self._roi = [(float(x), float(y)) for x, y in polygon] if polygon else None
        self.update()

    def paint_overlays(self, painter: QPainter) -> None:
        """Outlines and the region of interest below the scale bar."""
        if self.layers.grid is not None:
            if self._roi:
                paint_polygon(painter, self.viewport, self._roi, self.accent)
            self._hover_outline.paint(painter, self.viewport)
            self._outline.paint(painter, self.viewport)
            self._drawing.paint(painter, self.viewport, self.accent)
        super().paint_overlays(painter)

    # --- moving ---------------------------------------------------------------------------------------------------

    def zoom_in(self) -> None:
        """One step closer."""
        self.glide(math.sqrt(2.0))

    def zoom_out(self) -> None:
        """One step back."""
        self.glide(math.sqrt(0.5))

    def glide(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom smoothly around a screen position, the middle unless given; further calls add up."""
        running = self._glide.state() == QVariantAnimation.State.Running
        goal = self._glide_to if running else self.viewport.scale
        self._glide.stop()
        self._glide_at = at or QPointF(self.width() / 2, self.height() / 2)
        self._glide_from = self.viewport.scale
        self._glide_to = self.viewport.clamped(goal / factor)
        if not math.isclose(self._glide_from, self._glide_to):
            self._glide.start()

    def _glide_step(self, part: float) -> None:
        if self._glide.state() != QVariantAnimation.State.Running:
            return
        scale = self._glide_from * (self._glide_to / self._glide_from) ** float(part)
        self.zoom_by(self.viewport.scale / scale, (self._glide_at.x(), self._glide_at.y()))

    def _pan(self, dx: float, dy: float) -> None:
        self._glide.stop()
        self._look(self.viewport.panned(dx, dy))

    # --- events ---------------------------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom around the cursor: smoothly by notches, directly by the fine steps of a touchpad."""
        fine = event.pixelDelta().y()
        if fine and event.phase() != Qt.ScrollPhase.NoScrollPhase:
            self._glide.stop()
            self.zoom_by(2.0 ** (fine / 200.0), (event.position().x(), event.position().y()))
        elif event.angleDelta().y():
            self.glide(2.0 ** (event.angleDelta().y() / 240.0), event.position())
        event.accept()

    def event(self, event: QEvent) -> bool:
        """Pinching a touchpad zooms."""
        zoom = Qt.NativeGestureType.ZoomNativeGesture
        if isinstance(event, QNativeGestureEvent) and event.gestureType() == zoom:
            self._glide.stop()
            at = event.position()
            self.zoom_by(max(1.0 + event.value(), 0.1), (at.x(), at.y()))
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to pan, to click or to draw."""
        left = event.button() == Qt.MouseButton.LeftButton
        if event.button() == Qt.MouseButton.MiddleButton or (left and (self._space or self._tool == "pan")):
            self._grip = event.position()
        elif left and self._tool == "inspect":
            self._pressed = event.position()
        elif left and self.layers.grid is not None:
            point = self._map_point(event.position())
            if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self._drawing.clear()
                self._drawing.corner = point
            else:
                self._drawing.add(point)
            self.update()
        else:
            event.ignore()
            return
        self._show_cursor()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Pan, draw, and tell where the cursor is."""
        at = event.position()
        if self._pressed is not None:
            moved = at - self._pressed
            if moved.manhattanLength() >= QApplication.startDragDistance():
                self._grip, self._pressed = self._pressed, None
                self._show_cursor()
        if self._grip is not None:
            delta = at - self._grip
            self._grip = at
            self._pan(delta.x(), delta.y())
        if self.layers.grid is None:
            return
        x, y = self._map_point(at)
        if self._tool == "roi":
            self._drawing.cursor = (x, y)
            if self._drawing.active:
                self.update()
        self._cursor.push(x, y)
        if self._tool == "inspect" and self._grip is None:
            self._hover.push(x, y)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End panning, clicking or a rectangle."""
        self._grip = None
        if event.button() == Qt.MouseButton.LeftButton:
            if self._pressed is not None and self.layers.grid is not None:
                self.clicked.emit(*self._map_point(self._pressed))
            if self._drawing.corner is not None:
                self._drawing.cursor = self._map_point(event.position())
                self._finish(self._drawing.finished_rectangle())
            self._pressed = None
        self._show_cursor()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Zoom in (out with Shift), or end the polygon being drawn."""
        if event.button() != Qt.MouseButton.LeftButton:
            self.mousePressEvent(event)
        elif self._tool == "roi" and not self._space:
            self._finish(self._drawing.finished())
        else:
            out = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            self.glide(0.5 if out else 2.0, event.position())

    def leaveEvent(self, event: QEvent) -> None:
        """The cursor is gone."""
        self._drawing.cursor = None
        self._cursor.push(math.nan, math.nan)
        if self._tool == "inspect":
            self._hover.push(math.nan, math.nan)
        self.update()
        super().leaveEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move, plus and minus zoom, Home shows all; Enter, Escape and Backspace while drawing."""
        key = Qt.Key(event.key())
        if key in _ARROWS:
            dx, dy = _ARROWS[key]
            self._pan(dx * _PAN_STEP * self.width(), dy * _PAN_STEP * self.height())
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom_in()
        elif key in (Qt.Key.Key_Minus, Qt.Key.Key_Underscore):
            self.zoom_out()
        elif key == Qt.Key.Key_Home:
            self._glide.stop()
            self.zoom_to_fit()
        elif key == Qt.Key.Key_Space:
            self._space = True
            self._show_cursor()
        elif not (self._drawing.active and self._drawing_key(key)):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """The space bar is let go."""
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self._show_cursor()
        else:
            super().keyReleaseEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """No key is held any more."""
        self._space = False
        self._show_cursor()
        super().focusOutEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop everything that would still come."""
        self._glide.stop()
        self._cursor.stop()
        self._hover.stop()
        super().closeEvent(event)

    def _forget_places(self, _grid: object) -> None:
        """Places on another map mean nothing on this one."""
        self._drawing.clear()
        self._roi = None
        for outline in (self._outline, self._hover_outline):
            outline.set_rings(None)

    def _drawing_key(self, key: Qt.Key) -> bool:
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._finish(self._drawing.finished())
        elif key == Qt.Key.Key_Escape:
            self._drawing.clear()
        elif key == Qt.Key.Key_Backspace:
            self._drawing.undo()
        else:
            return False
        self.update()
        return True

    def _finish(self, polygon: list[Point] | None) -> None:
        if polygon is not None:
            self.set_roi(polygon)
            self.roiDrawn.emit(polygon)
        self.update()

    def _map_point(self, at: QPointF) -> Point:
        return self.viewport.to_map(at.x(), at.y())

    def _show_cursor(self) -> None:
        if self._grip is not None:
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        else:
            self.setCursor(_CURSORS["pan" if self._space else self._tool])
