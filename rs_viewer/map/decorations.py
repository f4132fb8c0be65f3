"""What lies over the map: scale bar, north arrow, the words on an empty map.

Guarantees: lengths are metres on the ground where the map knows them, else map units, and say which; drawing takes
logical pixels and the widget's own palette, so it follows light and dark schemes.
"""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPalette, QPen, QPolygonF

from engine.errors import EngineError
from rs_viewer.map.viewport import Viewport, affine2

EMPTY_TEXT = "Drop a GeoTIFF here or press Open"


def ground_m_per_map_unit(grid: Any, x: float, y: float) -> float | None:
    """Metres on the ground that one map unit to the right covers at a map point, None without a CRS."""
    if grid is None or grid.crs is None:
        return None
    transform = affine2(grid.transform)
    inverse = transform.inverse()
    col, row = inverse(x, y)
    col = min(max(col, 0.0), float(grid.width))
    row = min(max(row, 0.0), float(grid.height))
    try:
        ground = grid.ground(row, col)
    except EngineError:  # a CRS without a place on any planet: lengths are told in its own units
        return None
    metres = math.hypot(inverse.a * float(ground.dx_m), inverse.d * float(ground.dy_m))
    return metres if math.isfinite(metres) and metres > 0 else None


def nice_length(longest: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step for step in (power, 2 * power, 5 * power) if step <= longest * (1 + 1e-9))


def length_text(length: float, *, metres: bool) -> str:
    """A length in words: ``500 m``, ``2 km``, or map units."""
    if not metres:
        return f"{length:g} units"
    if length >= 1000:
        return f"{length / 1000:,.0f} km".replace(",", "\u2009")
    if length >= 1:
        return f"{length:g} m"
    return f"{length * 100:g} cm" if length >= 0.01 else f"{length * 1000:g} mm"


def draw_scale_bar(painter: QPainter, viewport: Viewport, per_px: float, *, metres: bool) -> QRectF:
    """Draw the scale bar in the lower left corner; returns where."""
    length = nice_length(per_px * min(160.0, viewport.width * 0.3))
    width = length / per_px
    text = length_text(length, metres=metres)
    font = QFont(painter.font())
    font.setPointSizeF(9.0)
    painter.setFont(font)
    text_width = painter.fontMetrics().horizontalAdvance(text)
    box = QRectF(12, viewport.height - 44, max(width, text_width) + 20, 32)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(20, 22, 26, 170))
    painter.drawRoundedRect(box, 5, 5)
    left, base = box.left() + 10, box.bottom() - 8
    painter.setPen(QPen(QColor(255, 255, 255), 2))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    ends = [QPointF(left, base - 5), QPointF(left, base), QPointF(left + width, base), QPointF(left + width, base - 5)]
    painter.drawPolyline(QPolygonF(ends))
    painter.drawText(QRectF(left, box.top() + 3, box.width() - 20, 16), Qt.AlignmentFlag.AlignLeft, text)
    return box


def draw_north(painter: QPainter, viewport: Viewport) -> QRectF:
    """Draw an arrow to map north in the upper right corner; returns where."""
    middle, top = viewport.width - 28.0, 14.0
    box = QRectF(middle - 15, top, 30, 44)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(20, 22, 26, 170))
    painter.drawRoundedRect(box, 5, 5)
    painter.setBrush(QColor(255, 255, 255))
    arrow = [QPointF(middle, top + 5), QPointF(middle + 6, top + 23), QPointF(middle, top + 19)]
    arrow.append(QPointF(middle - 6, top + 23))
    painter.drawPolygon(QPolygonF(arrow))
    painter.setPen(QColor(255, 255, 255))
    font = QFont(painter.font())
    font.setPointSizeF(9.0)
    font.setBold(True)
    painter.setFont(font)
    painter.drawText(QRectF(box.left(), top + 25, box.width(), 17), Qt.AlignmentFlag.AlignCenter, "N")
    return box


def is_rotated(grid: Any) -> bool:
    """Whether up in the image is not map north."""
    t = affine2(grid.transform)
    size = math.hypot(t.a, t.d)
    return grid.crs is not None and (abs(t.b) > 1e-9 * size or abs(t.d) > 1e-9 * size or t.e > 0)


def draw_frame(painter: QPainter, viewport: Viewport, grid: Any, palette: QPalette) -> None:
    """Draw a thin line around a grid, so that a scene shows where it lies even where it holds no data."""
    to_screen = viewport.grid_to_screen(affine2(grid.transform))
    corners = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
    color = palette.color(QPalette.ColorRole.WindowText)
    color.setAlpha(70)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(QPen(color, 1.0))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolygon(QPolygonF([QPointF(*to_screen(*corner)) for corner in corners]))


def draw_empty(painter: QPainter, viewport: Viewport, palette: QPalette, text: str = EMPTY_TEXT) -> None:
    """Say what to do next on a map without layers."""
    color = palette.color(QPalette.ColorGroup.Active, QPalette.ColorRole.PlaceholderText)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    pen = QPen(color, 1.5, Qt.PenStyle.DashLine)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    width, height = min(460.0, viewport.width - 40.0), min(180.0, viewport.height - 40.0)
    box = QRectF((viewport.width - width) / 2, (viewport.height - height) / 2, width, height)
    painter.drawRoundedRect(box, 12, 12)
    font = QFont(painter.font())
    font.setPointSizeF(13.0)
    painter.setFont(font)
    painter.setPen(palette.color(QPalette.ColorRole.WindowText))
    flags = Qt.AlignmentFlag.AlignCenter.value | Qt.TextFlag.TextWordWrap.value
    painter.drawText(box.adjusted(16, 16, -16, -16), flags, text)
