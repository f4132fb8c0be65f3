"""The plot of spectra, drawn with pyqtgraph; import it off the GUI thread (see ``rs_viewer.panels.spectrum``).

Built from a view box and two axes. pyqtgraph's own ``PlotItem`` would make its option widgets and menus each time, none
of which is ever shown or deleted. Guarantees: nothing in the plot opens a menu, drags or zooms; the wheel belongs to
what lies around it; items are made once and given new values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFocusEvent,
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPalette,
    QPen,
    QWheelEvent,
)
from PySide6.QtWidgets import QGraphicsGridLayout, QWidget

from rs_viewer import format as fmt
from rs_viewer.panels.spectrum import DOT_PX, KINDS, MOST_MARKS, Kind, line_of
from rs_viewer.spectra import BandValue, Spectrum

HEIGHT_PX = 165
LABEL_GAP_PX = 6
EDGE_PX = 8
LEFT_PX, RIGHT_PX = 40, 14
X_PAD, Y_PAD = 0.07, 0.06
"""Room around the values, as a share of their range."""
SOFT_ALPHA = 80
SYMBOLS: dict[Kind, str | None] = {"region": "o", "class": None, "pinned": "s"}


def device_pen(pen: QPen, ratio: float) -> QPen:
    """The same line inside a view box, where widths are in device pixels whatever the scale of the axes."""
    made = QPen(pen)
    made.setCosmetic(True)
    made.setWidthF(pen.widthF() * ratio)
    return made


class BandAxis(pg.AxisItem):
    """Ticks at the bands; names, with wavelengths below, where they have room; of very many, round wavelengths."""

    def __init__(self) -> None:
        super().__init__("bottom")
        self.setTickDensity(2)
        self._bands: list[BandValue] = []
        self._labels: dict[float, str] = {}
        self._round = False
        self.setStyle(maxTickLevel=0, maxTextLevel=0, tickTextOffset=3)

    def show_bands(self, bands: Sequence[BandValue]) -> None:
        """Name these bands, given from left to right."""
        self._bands = list(bands)
        waves = bool(bands) and bands[0].wavelength_nm is not None
        self._round = waves and len(bands) > MOST_MARKS
        lines = 2 if waves and not self._round else 1
        metrics = QFontMetricsF(self.style["tickFont"] or QFont())
        self.setHeight(math.ceil(lines * metrics.lineSpacing()) + 2 * self.style["tickTextOffset"][1])
        self.update()

    def boundingRect(self) -> QRectF:
        """With the room beside the box that labels of the outer bands may take."""
        return QRectF(super().boundingRect()).adjusted(-LEFT_PX, 0, RIGHT_PX, 0)

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:
        """Places with a label first, then the others."""
        metrics = QFontMetricsF(self.style["tickFont"] or QFont())
        places = self._wanted(minVal, maxVal, size, metrics)
        scale = size / (maxVal - minVal)
        self._labels = {}
        free = -math.inf
        for place, lines in places:
            half = max(metrics.horizontalAdvance(line) for line in lines) / 2
            middle = (place - minVal) * scale
            if middle - half >= free:
                self._labels[place] = "\n".join(lines)
                free = middle + half + LABEL_GAP_PX
        return [(1.0, list(self._labels)), (1.0, [place for place, _ in places if place not in self._labels])]

    def _wanted(
        self, low: float, high: float, size_px: float, metrics: QFontMetricsF
    ) -> list[tuple[float, tuple[str, ...]]]:
        """Where a label would be welcome, from left to right, and its lines."""
        if self._round:
            step, places = super().tickValues(low, high, size_px)[0]
            return [(place, (f"{fmt.stepped(place, step)} nm",)) for place in places]
        found: list[tuple[float, tuple[str, ...]]] = []
        room = 2 * size_px / max(len(self._bands), 1) if len(self._bands) <= MOST_MARKS else size_px
        for band in self._bands:
            wave = band.wavelength_nm
            if wave is None:
                name = metrics.elidedText(band.name, Qt.TextElideMode.ElideRight, room)
                found.append((band.place, (name,)))
            else:
                found.append((band.place, (band.name, f"{wave:.0f}")))
        return found

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The labels that found room."""
        return [self._labels.get(value, "") for value in values]


class ValueAxis(pg.AxisItem):
    """Round values with grid lines, written as everywhere in the window."""

    def __init__(self) -> None:
        super().__init__("left")
        self.enableAutoSIPrefix(False)
        self.setStyle(maxTickLevel=0, tickAlpha=255, tickLength=0)
        self.setTickDensity(1.6)
        self.setGrid(255)

    def boundingRect(self) -> QRectF:
        """With room for half a label above the highest and below the lowest tick."""
        return QRectF(super().boundingRect()).adjusted(0, -EDGE_PX, 0, EDGE_PX)

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """As many decimals as the step between ticks asks for."""
        return [fmt.stepped(value, spacing) for value in values]


class _Curve:
    """One spectrum: a band of one standard deviation and whiskers (for the region alone), a line with marks."""

    def __init__(self, kind: Kind, box: pg.ViewBox) -> None:
        self.kind = kind
        self._spread = pg.PlotCurveItem(fillLevel="enclosed", pen=pg.mkPen(None))
        self._whiskers = pg.ErrorBarItem(x=np.empty(0), y=np.empty(0), height=np.empty(0))
        self._line = pg.PlotDataItem(antialias=True, useCache=False)  # cached marks have the screen's sharpness
        self._items = (self._spread, self._whiskers, self._line) if kind == "region" else (self._line,)
        for item in self._items:
            item.setZValue(KINDS.index("pinned") - KINDS.index(kind))
            box.addItem(item, ignoreBounds=True)

    def draw(self, spectrum: Spectrum | None, palette: QPalette, ratio: float) -> None:
        """Show a spectrum, or none, on a device with this pixel ratio."""
        bands = spectrum.bands() if spectrum is not None else []
        for item in self._items:
            item.setVisible(bool(bands))
        if spectrum is None or not bands:
            return
        x, mean, std = (np.array([getattr(band, key) for band in bands]) for key in ("place", "mean", "std"))
        symbol = SYMBOLS[self.kind] if len(bands) <= MOST_MARKS else None
        outline = device_pen(QPen(palette.color(QPalette.ColorRole.WindowText), 1), ratio)
        self._line.setData(
            x,
            mean,
            pen=device_pen(line_of(self.kind, palette), ratio),
            symbol=symbol,
            symbolSize=DOT_PX,
            symbolPen=outline,
            symbolBrush=QColor(spectrum.color),
        )
        if self.kind == "region":
            soft = QColor(spectrum.color)
            soft.setAlpha(SOFT_ALPHA)
            around = np.concatenate((mean + std, (mean - std)[::-1]))
            self._spread.setData(np.concatenate((x, x[::-1])), around, brush=soft)
            self._whiskers.setData(x=x, y=mean, height=2 * std, pen=device_pen(QPen(soft, 2), ratio))
            self._whiskers.setVisible(symbol is not None)


class SpectrumPlot(pg.GraphicsView):
    """Draws spectra and follows the band under the mouse or under the arrow keys.

    Signals:
        bandPointed: Number of that band from the left, -1 for none.
        menuWanted: A menu was asked for at this place of the screen.
    """

    bandPointed = Signal(int)
    menuWanted = Signal(QPoint)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None)
        self._bands: list[BandValue] = []
        self._curves_shown: list[tuple[Kind, Spectrum]] = []
        self._ratio = 1.0
        self.band = -1
        self.setInteractive(False)
        self.setAntialiasing(True)
        self.setFixedHeight(HEIGHT_PX)
        self.setMinimumWidth(120)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Spectrum plot; the arrow keys go from band to band")
        self.box = pg.ViewBox(enableMenu=False, enableMouse=False)
        self.box.disableAutoRange()
        self.values, self.names = ValueAxis(), BandAxis()
        layout = QGraphicsGridLayout()
        layout.setContentsMargins(0, 6, RIGHT_PX, 0)
        layout.setSpacing(0)
        layout.addItem(self.values, 0, 0)
        layout.addItem(self.box, 0, 1)
        layout.addItem(self.names, 1, 1)
        self.centralWidget.setLayout(layout)
        for axis in (self.values, self.names):
            axis.linkToView(self.box)
            axis.setZValue(-1000)
        self._curves = {kind: _Curve(kind, self.box) for kind in KINDS}
        self._mark = pg.InfiniteLine(angle=90, movable=False)
        self._mark.hide()
        self.box.addItem(self._mark, ignoreBounds=True)
        self.refresh_colours()

    def refresh_colours(self) -> None:
        """Take the palette's colours and the widget's font."""
        palette = self.palette()
        self.setBackground(palette.color(QPalette.ColorRole.Window))
        for axis in (self.values, self.names):
            axis.setStyle(tickFont=self.font())
            axis.setTextPen(palette.color(QPalette.ColorRole.PlaceholderText))
            axis.setTickPen(palette.color(QPalette.ColorRole.Mid))
            axis.setPen(palette.color(QPalette.ColorRole.Mid))
        self._draw_for(self.devicePixelRatioF())

    @contextmanager
    def as_picture(self, ratio: float) -> Iterator[None]:
        """Draw for a picture with this device pixel ratio: nothing is pointed at, and no focus is shown."""
        self.point(-1)
        self._draw_for(ratio)
        self.box.setBorder(None)
        yield
        self._draw_for(self.devicePixelRatioF())

    def _draw_for(self, ratio: float) -> None:
        self._ratio = ratio
        self._mark.setPen(self._accent_pen())
        self._show_focus()
        self._draw_curves()

    def _draw_curves(self) -> None:
        shown = dict(self._curves_shown)
        for kind, curve in self._curves.items():
            curve.draw(shown.get(kind), self.palette(), self._ratio)

    def show_curves(self, curves: Sequence[tuple[Kind, Spectrum]]) -> None:
        """Draw these spectra; the first one names the bands."""
        self._curves_shown = list(curves)
        self._draw_curves()
        self._bands = curves[0][1].bands() if curves else []
        self.names.show_bands(self._bands)
        self._fit([spectrum for _, spectrum in curves])
        self.point(-1)

    def _fit(self, spectra: Sequence[Spectrum]) -> None:
        """Show everything with a little room around it."""
        if not self._bands:
            return
        left, right = self._bands[0].place, self._bands[-1].place
        own = [value for band in self._bands for value in (band.mean - band.std, band.mean + band.std)]
        others = [band.mean for spectrum in spectra[1:] for band in spectrum.bands()]
        low, high = min(own + others), max(own + others)
        x_pad, y_pad = X_PAD * (right - left) or 1.0, Y_PAD * (high - low) or 1.0
        self.box.setRange(xRange=(left - x_pad, right + x_pad), yRange=(low - y_pad, high + y_pad), padding=0)

    def event(self, event: QEvent) -> bool:
        """Follow the window to a screen of another sharpness."""
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._draw_for(self.devicePixelRatioF())
        return bool(super().event(event))

    # Pointing -------------------------------------------------------------------------------------------------------

    def point(self, index: int) -> None:
        """Mark a band by its number from the left; -1 marks none."""
        index = index if index < len(self._bands) else -1
        if index == self.band:
            return
        self.band = index
        self._mark.setVisible(index >= 0)
        if index >= 0:
            self._mark.setValue(self._bands[index].place)
        self.bandPointed.emit(index)

    def nearest(self, place: QPoint) -> int:
        """Number of the band nearest to a place in the widget, -1 without bands or off the box."""
        where = self.mapToScene(place)
        if not self._bands or not self.box.sceneBoundingRect().contains(where):
            return -1
        x = float(self.box.mapSceneToView(where).x())
        return min(range(len(self._bands)), key=lambda index: abs(self._bands[index].place - x))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Mark the band under the mouse."""
        self.point(self.nearest(event.position().toPoint()))

    def leaveEvent(self, event: QEvent) -> None:
        """Mark none."""
        self.point(-1)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Go from band to band; all other keys belong to the window."""
        last = len(self._bands) - 1
        targets = {
            Qt.Key.Key_Left: max(self.band - 1, 0) if self.band >= 0 else last,
            Qt.Key.Key_Right: min(self.band + 1, last),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        if last >= 0 and event.key() in targets:
            self.point(targets[Qt.Key(event.key())])
        else:
            event.ignore()

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self._show_focus()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Mark no band any more."""
        super().focusOutEvent(event)
        self._show_focus()
        self.point(-1)

    def _show_focus(self) -> None:
        self.box.setBorder(self._accent_pen() if self.hasFocus() else None)

    def _accent_pen(self) -> QPen:
        return device_pen(QPen(self.palette().color(QPalette.ColorRole.Accent), 1), self._ratio)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the panel's menu, by mouse or by the menu key."""
        self.menuWanted.emit(event.globalPos())
        event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the panel, which scrolls."""
        event.ignore()
