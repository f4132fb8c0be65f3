"""The inspector's spectrum: the plot, what is drawn in it, the values under the cursor, copying and saving.

Guarantees: pyqtgraph, which draws, is imported by :meth:`SpectrumPanel.load_plot` alone, in steps that the window does
not feel; until it is there, its place says so. A picture holds the plot together with its key, sharp enough to print.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QMargins, QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAction, QColor, QGuiApplication, QImage, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QMenu, QToolButton, QVBoxLayout, QWidget
from shiboken6 import isValid

from rs_viewer import format as fmt
from rs_viewer.icons import icon
from rs_viewer.importing import import_in_steps
from rs_viewer.panels.common import MARGIN_PX, wrapped
from rs_viewer.spectra import Moments, Spectrum, as_table

if TYPE_CHECKING:
    from rs_viewer.panels.spectrum_plot import SpectrumPlot

Kind = Literal["region", "class", "pinned"]
KINDS: tuple[Kind, ...] = ("region", "class", "pinned")
DOT_PX = 8
MOST_MARKS = 30
"""With more bands than this a spectrum is a line without marks and whiskers."""
SAMPLE_PX = (30, 14)
LEAST_RATIO = 2.0
"""Pictures are at least this sharp: they are also enlarged and printed."""
REST_TEXT = "Spectrum: mean ± standard deviation"
WAIT_TEXT = "The plot is on its way…"


def line_of(kind: Kind, palette: QPalette) -> QPen:
    """The line that a kind of spectrum is drawn with."""
    role = QPalette.ColorRole.PlaceholderText if kind == "class" else QPalette.ColorRole.WindowText
    style = {"region": Qt.PenStyle.SolidLine, "class": Qt.PenStyle.DashLine, "pinned": Qt.PenStyle.DotLine}[kind]
    return QPen(palette.color(role), 1.5, style)


class Sample(QWidget):
    """A piece of a spectrum's line with its mark, for the key."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self._color = ""
        self._marked = False
        self.setFixedSize(*SAMPLE_PX)

    def show_color(self, color: str, marked: bool) -> None:
        """Take a class's colour, with a mark or without."""
        self._color, self._marked = color, marked
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw line and mark."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(line_of(self.kind, self.palette()))
        middle = QPointF(self.width() / 2, self.height() / 2)
        painter.drawLine(QPointF(1, middle.y()), QPointF(self.width() - 1, middle.y()))
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.WindowText), 1))
        painter.setBrush(QColor(self._color))
        half = DOT_PX / 2
        if self._marked and self.kind == "region":
            painter.drawEllipse(middle, half, half)
        elif self._marked and self.kind == "pinned":
            painter.drawRect(QRectF(middle.x() - half, middle.y() - half, DOT_PX, DOT_PX))
        painter.end()


class SpectrumPanel(QWidget):
    """A region's spectrum, beside that of its class and that of a pinned region.

    Signals:
        pictureRequested: Save this picture (:class:`QImage`) under a name like this.
        tableRequested: Save these lines of text under a name like this.
    """

    pictureRequested = Signal(object, str)
    tableRequested = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot: SpectrumPlot | None = None
        self._region: Spectrum | None = None
        self._class: Spectrum | None = None
        self._pinned: Spectrum | None = None
        self._make_actions()
        self._lay_out()
        self.refresh_icons()

    def _make_actions(self) -> None:
        def action(text: str, tip: str, slot: Callable[[], None]) -> QAction:
            made = QAction(text, self)
            made.setToolTip(tip)
            made.setStatusTip(tip)
            made.triggered.connect(lambda _checked=False: slot())
            return made

        self.with_class = action(
            "Compare with Its &Class", "Draw the mean of all regions of this class beside the region", self._draw
        )
        self.pin = action(
            "&Pin This Spectrum", "Keep this spectrum in the plot to compare the next regions with it", self._pin
        )
        for switch in (self.with_class, self.pin):
            switch.setCheckable(True)
        self.with_class.setChecked(True)
        self.copy_values = action("Copy &Values", "Copy the values as a table for a spreadsheet", self._copy_values)
        self.copy_picture = action("Copy P&icture", "Copy the plot with its key as a picture", self._copy_picture)
        self.save_values = action("&Save Values…", "Save the values as a CSV file", self._save_values)
        self.save_picture = action("Save Pict&ure…", "Save the plot with its key as a PNG file", self._save_picture)
        self.menu = QMenu("Spectrum", self)
        self.menu.setAccessibleName("Spectrum")
        for entry in (
            self.with_class,
            self.pin,
            None,
            self.copy_values,
            self.copy_picture,
            None,
            self.save_values,
            self.save_picture,
        ):
            if entry is None:
                self.menu.addSeparator()
            else:
                self.menu.addAction(entry)

    def _lay_out(self) -> None:
        self.reading = QLabel(REST_TEXT)
        self.reading.setToolTip("In the values that the scene stores")
        self.pin_button, self.menu_button = QToolButton(), QToolButton()
        self.pin_button.setDefaultAction(self.pin)
        self.pin_button.setAccessibleName("Pin this spectrum")
        self.menu_button.setMenu(self.menu)
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_button.setToolTip("Compare, copy or save the spectrum")
        self.menu_button.setAccessibleName("Spectrum: compare, copy or save")
        self.menu_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        head = QHBoxLayout()
        head.setSpacing(2)
        head.addWidget(self.reading, 1)
        for button in (self.pin_button, self.menu_button):
            button.setAutoRaise(True)
            button.setIconSize(QSize(16, 16))
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            head.addWidget(button)
        self._wait = QLabel(WAIT_TEXT)
        self._wait.setAlignment(Qt.AlignmentFlag.AlignCenter)
        for label in (self._wait, self.reading):
            label.setProperty("muted", True)
        self._figure = QWidget()
        self._place = QVBoxLayout(self._figure)
        self._place.setContentsMargins(0, 0, 0, 0)
        self._place.setSpacing(2)
        self._place.addWidget(self._wait, 1)
        self._place.addLayout(self._key())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(head)
        column.addWidget(self._figure)

    def _key(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(1, 1)
        self.rows: dict[Kind, tuple[Sample, QLabel, QLabel]] = {}
        for number, kind in enumerate(KINDS):
            self.rows[kind] = (Sample(kind), wrapped(""), QLabel())
            for place, part in enumerate(self.rows[kind]):
                grid.addWidget(part, number, place)
        return grid

    # The plot -------------------------------------------------------------------------------------------------------

    def load_plot(self) -> None:
        """Import what draws and put the plot in its place; takes some tenths of a second, in steps.

        Raises:
            ImportError: The installation is damaged.
        """
        try:
            module = import_in_steps("rs_viewer.panels.spectrum_plot", "pyqtgraph")
        except ImportError:
            self._wait.setText("The plot cannot be drawn.")
            raise
        if isValid(self) and self.plot is None:
            self._put_plot(module.SpectrumPlot(self._figure))

    def _put_plot(self, plot: SpectrumPlot) -> None:
        self.plot = plot
        self._place.replaceWidget(self._wait, self.plot)
        self._wait.hide()
        self.plot.show()
        self.plot.bandPointed.connect(self._read)
        self.plot.menuWanted.connect(self._show_menu)
        QWidget.setTabOrder(self.menu_button, self.plot)
        self._draw()

    def refresh_icons(self) -> None:
        """Take the palette's colours."""
        self.pin.setIcon(icon("pin", on_accent=False))
        self.menu_button.setIcon(icon("more"))
        if self.plot is not None:
            self.plot.refresh_colours()

    # Spectra --------------------------------------------------------------------------------------------------------

    @property
    def curves(self) -> list[tuple[Kind, Spectrum]]:
        """What is drawn, the inspected region first."""
        if self._region is None:
            return []
        found: list[tuple[Kind, Spectrum]] = [("region", self._region)]
        if self._class is not None and self.with_class.isChecked():
            found.append(("class", self._class))
        if self._pinned is not None and self._pinned != self._region:
            found.append(("pinned", self._pinned))
        return found

    def show_region(self, spectrum: Spectrum, class_name: str, of_class: Moments | None) -> None:
        """Show a region's spectrum.

        Args:
            spectrum: The spectrum.
            class_name: The region's class.
            of_class: Means and standard deviations over that class, None while they are not known.
        """
        self._region = spectrum
        self.setVisible(bool(spectrum.means))
        self.show_class(class_name, of_class)

    def show_class(self, name: str, moments: Moments | None) -> None:
        """Show the spectrum of the region's class."""
        region = self._region
        self._class = region.of_class(name, moments) if region is not None and moments is not None else None
        self._draw()

    def clear(self) -> None:
        """Show nothing and unpin."""
        self._region = self._class = self._pinned = None
        self.pin.setChecked(False)
        self._draw()

    def _pin(self) -> None:
        self._pinned = self._region if self.pin.isChecked() else None
        self._draw()

    def _draw(self) -> None:
        self.pin.setText("Un&pin the Spectrum" if self.pin.isChecked() else "&Pin This Spectrum")
        self._name_rows()
        if self.plot is not None:
            self.plot.show_curves(self.curves)
        self._read(-1)

    def _name_rows(self) -> None:
        shown = dict(self.curves)
        for kind, (piece, name, value) in self.rows.items():
            spectrum = shown.get(kind)
            for part in (piece, name, value):
                part.setVisible(spectrum is not None)
            if spectrum is not None:
                piece.show_color(spectrum.color, len(spectrum.means) <= MOST_MARKS)
                name.setText(f"{spectrum.title} (pinned)" if kind == "pinned" else spectrum.title)

    def _read(self, index: int) -> None:
        """Show the values of a band, by its number from the left; -1 for none."""
        curves = self.curves
        band = curves[0][1].bands()[index] if curves and index >= 0 else None
        self.reading.setText(REST_TEXT if band is None else f"{band.label}:  {band.text}")
        said = [] if band is None else [band.label]
        for kind, spectrum in curves:
            here = next((b for b in spectrum.bands() if band is not None and b.place == band.place), None)
            text = "" if band is None else here.text if here is not None else fmt.NONE
            self.rows[kind][2].setText(text)
            said.append(f"{spectrum.title}: {text}" if band is not None else spectrum.text())
        if self.plot is not None:
            self.plot.setAccessibleDescription(". ".join(said).replace("±", "plus or minus"))

    # Copying and saving ---------------------------------------------------------------------------------------------

    def _show_menu(self, place: QPoint) -> None:
        self.menu.popup(place)

    def picture(self) -> QImage:
        """The plot with its key, below a line that says what it is."""
        ratio = max(self.devicePixelRatioF(), LEAST_RATIO)
        top = MARGIN_PX + 2 * self.fontMetrics().height()
        margins = QMargins(MARGIN_PX, top, MARGIN_PX, MARGIN_PX)
        image = QImage(self._figure.size().grownBy(margins) * ratio, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(ratio)
        image.fill(self.palette().color(QPalette.ColorRole.Window))
        with self.plot.as_picture(ratio) if self.plot is not None else nullcontext():
            self._figure.render(image, QPoint(MARGIN_PX, top))
        painter = QPainter(image)
        painter.setFont(self.font())
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        painter.drawText(MARGIN_PX, MARGIN_PX + self.fontMetrics().ascent(), f"{REST_TEXT}, stored values")
        painter.end()
        return image

    def _table(self, delimiter: str) -> str:
        return as_table([spectrum for _, spectrum in self.curves], delimiter) if self.curves else ""

    def _file_name(self) -> str:
        title = self._region.title if self._region is not None else ""
        return "-".join(["spectrum", *re.findall(r"\w+", title.replace(fmt.THIN, "").lower())])

    def _copy_values(self) -> None:
        QGuiApplication.clipboard().setText(self._table("\t"))

    def _copy_picture(self) -> None:
        QGuiApplication.clipboard().setImage(self.picture())

    def _save_values(self) -> None:
        self.tableRequested.emit(self._table(","), self._file_name())

    def _save_picture(self) -> None:
        self.pictureRequested.emit(self.picture(), self._file_name())
