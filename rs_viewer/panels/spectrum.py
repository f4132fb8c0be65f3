"""The spectrum of a region: mean of each band with its standard deviation, over the band's wavelength or number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from rs_viewer import format as fmt

HEIGHT_PX = 170


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


class SpectrumPlot(QWidget):
    """Draws a :class:`Spectrum`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = pg.PlotWidget()
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        self.plot.hideButtons()
        self.plot.setFixedHeight(HEIGHT_PX)
        self.plot.setFrameShape(pg.PlotWidget.Shape.NoFrame)
        self.spectrum: Spectrum | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.plot)
        self.refresh_colours()

    def refresh_colours(self) -> None:
        """Take the palette's colours."""
        palette = self.palette()
        self.plot.setBackground(palette.color(QPalette.ColorRole.Window))
        for side in ("left", "bottom"):
            axis = self.plot.getAxis(side)
            axis.setPen(palette.color(QPalette.ColorRole.Mid))
            axis.setTextPen(palette.color(QPalette.ColorRole.PlaceholderText))
            axis.setStyle(tickFont=self.font(), tickLength=-4)
        if self.spectrum is not None:
            self.show_spectrum(self.spectrum)

    def show_spectrum(self, spectrum: Spectrum) -> None:
        """Draw a spectrum."""
        self.spectrum = spectrum
        self.plot.clear()
        means = np.asarray(spectrum.means, dtype=np.float64)
        stds = np.asarray(spectrum.stds, dtype=np.float64)
        known = spectrum.wavelengths_nm
        places = np.asarray(known if known else range(1, len(means) + 1), dtype=np.float64)
        order = np.argsort(places, kind="stable")
        places, means, stds = places[order], means[order], stds[order]
        names = [spectrum.names[index] for index in order]
        color = QColor(spectrum.color)
        soft = QColor(color)
        soft.setAlpha(70)
        upper = pg.PlotCurveItem(places, means + stds, pen=pg.mkPen(soft))
        lower = pg.PlotCurveItem(places, means - stds, pen=pg.mkPen(soft))
        for item in (upper, lower):
            self.plot.addItem(item)
        self.plot.addItem(pg.FillBetweenItem(upper, lower, brush=soft))
        line = self.palette().color(QPalette.ColorRole.Text)
        self.plot.plot(
            places, means, pen=pg.mkPen(line, width=1.5), symbol="o", symbolSize=8, symbolBrush=color, symbolPen=line
        )
        bottom = self.plot.getAxis("bottom")
        if known:
            bottom.setTicks(None)
            self.plot.setLabel("bottom", "wavelength, nm")
        else:
            bottom.setTicks([list(zip(places.tolist(), names, strict=True))])
            self.plot.setLabel("bottom", "")
            self.plot.getAxis("bottom").showLabel(False)
        pad = max(0.08 * float(np.ptp(places)), 0.5)
        self.plot.setXRange(float(places.min()) - pad, float(places.max()) + pad, padding=0)
        self.plot.enableAutoRange("y")
        self.setAccessibleName("Spectrum of the region")
        self.setAccessibleDescription(
            "; ".join(
                f"{name} {fmt.significant(float(mean))} plus or minus {fmt.significant(float(std))}"
                for name, mean, std in zip(names, means, stds, strict=True)
            )
        )
