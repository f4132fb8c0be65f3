"""The spectrum of a region: mean of each band with its standard deviation, over the band's wavelength or number.

Drawn with a painter: it is sharp at any device pixel ratio, takes the palette's colours, and costs no start-up time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from rs_viewer import format as fmt

SIZE_PX = (260, 170)
TICKS = 4
DOT_PX = 4.0


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What is drawn.

    Attributes:
        names: Bands in the scene's order.
        wavelengths_nm: Their wavelengths where all are known, else None.
        means: Mean of each band, in stored values.
        stds: Standard deviation of each band.
        color: The region's class colour.
    """

    names: tuple[str, ...]
    wavelengths_nm: tuple[float, ...] | None
    means: tuple[float, ...]
    stds: tuple[float, ...]
    color: str

    def points(self) -> list[tuple[float, str, float, float]]:
        """Place on the axis, label, mean and standard deviation of each band with a finite mean, left to right."""
        waves = self.wavelengths_nm
        places = waves if waves is not None else tuple(float(n) for n in range(1, len(self.means) + 1))
        labels = tuple(f"{wave:.0f}" for wave in waves) if waves is not None else self.names
        rows = zip(places, labels, self.means, self.stds, strict=True)
        return sorted((p, t, m, s if math.isfinite(s) else 0.0) for p, t, m, s in rows if math.isfinite(m))


def nice_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Round values that cover a range, about ``count`` of them."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


class SpectrumPlot(QWidget):
    """Draws a :class:`Spectrum`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spectrum: Spectrum | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """As large as a few bands need."""
        return QSize(*SIZE_PX)

    def show_spectrum(self, spectrum: Spectrum) -> None:
        """Draw a spectrum."""
        self.spectrum = spectrum
        self.setAccessibleName("Spectrum of the region")
        text = "; ".join(
            f"{name} {fmt.significant(mean)} plus or minus {fmt.significant(std)}"
            for name, mean, std in zip(spectrum.names, spectrum.means, spectrum.stds, strict=True)
        )
        self.setAccessibleDescription(text)
        self.setToolTip(text.replace("; ", "\n").replace("plus or minus", "±"))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Axes, band of one standard deviation, line and dots."""
        points = self.spectrum.points() if self.spectrum is not None else []
        if self.spectrum is None or not points:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        low = min(mean - std for _, _, mean, std in points)
        high = max(mean + std for _, _, mean, std in points)
        pad = 0.06 * (high - low) or 1.0
        low, high = low - pad, high + pad
        ticks = nice_ticks(low, high)
        metrics = self.fontMetrics()
        texts = [fmt.significant(tick) for tick in ticks]
        left = max(metrics.horizontalAdvance(text) for text in texts) + 10
        named = self.spectrum.wavelengths_nm is not None
        below = metrics.height() * (2 if named else 1) + 8
        frame = QRectF(left, 6, self.width() - left - 14, self.height() - 6 - below)
        first, last = points[0][0], points[-1][0]
        spread = (last - first) or 1.0
        inset = min(24.0, frame.width() / 6)

        def at(place: float, value: float) -> QPointF:
            share = (place - first) / spread if len(points) > 1 else 0.5
            x = frame.left() + inset + share * (frame.width() - 2 * inset)
            return QPointF(x, frame.bottom() - (value - low) / (high - low) * frame.height())

        self._paint_axes(painter, frame, [(at(first, tick).y(), text) for tick, text in zip(ticks, texts, strict=True)])
        self._paint_labels(painter, frame, [(at(place, low).x(), text) for place, text, _, _ in points], named)
        color = QColor(self.spectrum.color)
        soft = QColor(color)
        soft.setAlpha(80)
        upper = [at(place, mean + std) for place, _, mean, std in points]
        lower = [at(place, mean - std) for place, _, mean, std in points]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(soft)
        painter.drawPolygon(QPolygonF([*upper, *reversed(lower)]))
        line = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(QPen(soft, 2))
        for top, bottom in zip(upper, lower, strict=True):
            painter.drawLine(top, bottom)
        middle = [at(place, mean) for place, _, mean, _ in points]
        painter.setPen(QPen(line, 1.5))
        painter.drawPolyline(QPolygonF(middle))
        painter.setBrush(color)
        for dot in middle:
            painter.drawEllipse(dot, DOT_PX, DOT_PX)
        painter.end()

    def _paint_axes(self, painter: QPainter, frame: QRectF, ticks: list[tuple[float, str]]) -> None:
        palette = self.palette()
        for y, text in ticks:
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Mid), 1))
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
            painter.setPen(palette.color(QPalette.ColorRole.PlaceholderText))
            box = QRectF(0, y - 10, frame.left() - 6, 20)
            painter.drawText(box, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), text)

    def _paint_labels(self, painter: QPainter, frame: QRectF, labels: list[tuple[float, str]], named: bool) -> None:
        painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
        metrics = self.fontMetrics()
        room = frame.width() / max(len(labels), 1)
        free = -math.inf
        for x, text in labels:
            shown = text if named else metrics.elidedText(text, Qt.TextElideMode.ElideRight, int(max(room, 20)))
            width = metrics.horizontalAdvance(shown)
            if x - width / 2 < free + 4:
                continue
            free = x + width / 2
            box = QRectF(x - width / 2 - 2, frame.bottom() + 4, width + 4, metrics.height())
            painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), shown)
        if named:
            box = QRectF(frame.left(), frame.bottom() + 4 + metrics.height(), frame.width(), metrics.height())
            painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), "wavelength, nm")
