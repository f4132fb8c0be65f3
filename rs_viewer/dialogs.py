"""Small dialogs: bands and contrast of a scene, keyboard shortcuts, about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMessageBox,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

import engine
from rs_viewer.actions import shortcut_table
from rs_viewer.panels.common import labelled, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

COMBINATIONS = (
    ("Natural colour", ("red", "green", "blue")),
    ("Colour infrared", ("nir", "red", "green")),
    ("Short-wave infrared", ("swir1", "nir", "red")),
    ("Agriculture", ("swir1", "nir", "blue")),
)


class BandsDialog(QDialog):
    """Which bands are shown as red, green and blue, and which percentiles become black and white.

    Args:
        bands: The scene's bands.
        shown: The bands shown now.
        percents: Low and high percentile used now.

    Signals:
        chosen: Bands (1-based) and percentiles to use from now on.
    """

    chosen = Signal(object, object)

    def __init__(
        self, bands: Sequence[Any], shown: tuple[int, ...], percents: tuple[float, float], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Bands and Contrast")
        self._bands = tuple(bands)
        self.channels: list[QComboBox] = []
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        roles = {band.role: band.index for band in self._bands if band.role}
        row = QHBoxLayout()
        for name, wanted in COMBINATIONS:
            if all(role in roles for role in wanted):
                button = QPushButton(name)
                numbers = tuple(roles[role] for role in wanted)
                button.clicked.connect(lambda _=False, n=numbers: self._set(n))
                row.addWidget(button)
        row.addStretch(1)
        for text, number in zip(("&Red", "&Green", "&Blue"), shown, strict=True):
            box = QComboBox()
            for band in self._bands:
                box.addItem(self._label(band), band.index)
            box.setCurrentIndex(box.findData(number))
            box.currentIndexChanged.connect(self._tell)
            form.addRow(labelled(text, box, "The band that is shown in this colour"), box)
            self.channels.append(box)
        self.low = self._percent(percents[0], 0.0, 49.0)
        self.high = self._percent(percents[1], 51.0, 100.0)
        form.addRow(labelled("B&lack at", self.low, "This share of the pixels is darker than black"), self.low)
        form.addRow(labelled("&White at", self.high, "This share of the pixels is darker than white"), self.high)
        note = wrapped("This changes what you see, never what a model gets.", muted=True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 14)
        column.setSpacing(12)
        if row.count() > 1:
            column.addLayout(row)
        column.addLayout(form)
        column.addWidget(note)
        column.addWidget(buttons)
        self.setMinimumWidth(400)

    @staticmethod
    def _label(band: Any) -> str:
        wave = f", {band.wavelength_nm:.0f} nm" if band.wavelength_nm else ""
        role = f", {str(band.role).replace('_', ' ')}" if band.role and band.role != band.name else ""
        return f"{band.index}: {band.name}{role}{wave}"

    def _percent(self, value: float, low: float, high: float) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setRange(low, high)
        box.setDecimals(1)
        box.setSingleStep(0.5)
        box.setSuffix(" %")
        box.setValue(value)
        box.valueChanged.connect(self._tell)
        return box

    def _set(self, numbers: tuple[int, ...]) -> None:
        for box, number in zip(self.channels, numbers, strict=True):
            box.blockSignals(True)
            box.setCurrentIndex(box.findData(number))
            box.blockSignals(False)
        self._tell()

    def _tell(self) -> None:
        self.chosen.emit(tuple(box.currentData() for box in self.channels), (self.low.value(), self.high.value()))


class ShortcutsDialog(QDialog):
    """All commands that have keys."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard Shortcuts")
        rows = [
            *shortcut_table(),
            ("Move the map", "Arrow keys"),
            ("Zoom", "Wheel, plus and minus"),
            ("Pan with any tool", "Space or middle button"),
            ("Show or hide a layer", "Space in the list of layers"),
        ]
        table = QTableWidget(len(rows), 2)
        table.setHorizontalHeaderLabels(["Command", "Keys"])
        table.verticalHeader().hide()
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setShowGrid(False)
        table.setAlternatingRowColors(True)
        table.setAccessibleName("Commands and their keys")
        for index, (name, keys) in enumerate(rows):
            table.setItem(index, 0, QTableWidgetItem(name))
            table.setItem(index, 1, QTableWidgetItem(keys))
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(table)
        column.addWidget(buttons)
        self.resize(460, 560)


def about(parent: QWidget) -> QMessageBox:
    """Version and licence; shown without blocking."""
    box = QMessageBox(parent)
    box.setWindowTitle("About RS Viewer")
    box.setIconPixmap(parent.windowIcon().pixmap(64, 64))
    box.setText(f"RS Viewer {engine.__version__}")
    box.setInformativeText(
        "Opens satellite scenes, runs tokenizer models over them and shows the classes and regions they see.\n\n"
        "Licensed under the Apache License 2.0. Models and data carry licences of their own, see their cards."
    )
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.open()
    return box


def badge(text: str = "") -> QLabel:
    """A label of the status bar that stands out."""
    label = QLabel(text)
    label.setProperty("badge", True)
    return label
