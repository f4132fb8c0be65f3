"""The export dialog: what, in which format, how simple, which classes, to which file.

Guarantees: the dialog writes nothing; it offers only combinations that the engine can write; it stays open until the
file is there or the user goes, and says where the file is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.icons import accent_icon, icon
from rs_viewer.panels.common import labelled, wrapped
from rs_viewer.panels.legend import SWATCH_PX, swatch

if TYPE_CHECKING:
    from engine.export.formats import Format
    from engine.models.card import CardClass

LAYERS = {
    "regions": "Regions",
    "detections": "Objects",
    "cells": "Cells",
    "classes": "Classes",
    "confidence": "Confidence",
}
STEPS = 1000
LEAST_PATH_PX = 400


class ExportDialog(QDialog):
    """Asks what to export.

    Args:
        formats: What the engine can write.
        layers: What the analysis holds, the first one proposed.
        classes: The analysis's classes.
        folder: Where to propose the file.
        stem: The file's proposed name without its suffix.

    Signals:
        requested: Write now: path, layer, simplify_px, class names or None for all.
        cancelRequested: Stop writing.
    """

    requested = Signal(str, str, float, object)
    cancelRequested = Signal()

    def __init__(
        self,
        formats: Sequence[Format],
        layers: Sequence[str],
        classes: Sequence[CardClass],
        folder: str,
        stem: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._formats = tuple(formats)
        self._stem = stem
        self._writing = False
        self._own_path = False
        self.layer = QComboBox()
        for key in layers:
            self.layer.addItem(LAYERS[key], key)
        self.format = QComboBox()
        self.simplify_px = QDoubleSpinBox()
        self.simplify_px.setRange(0, 20)
        self.simplify_px.setSingleStep(0.5)
        self.simplify_px.setDecimals(1)
        self.simplify_px.setSuffix(" px")
        self.simplify_px.setSpecialValueText("Exact pixel edges")
        self.classes = QListWidget()
        self.classes.setFixedHeight(150)
        self.classes.setIconSize(QSize(SWATCH_PX, SWATCH_PX))
        for item in classes:
            row = QListWidgetItem(swatch(item.color), item.name)
            row.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsSelectable)
            row.setCheckState(Qt.CheckState.Checked)
            self.classes.addItem(row)
        self.path = QLineEdit(str(Path(folder) / f"{stem}.gpkg"))
        self.path.setMinimumWidth(LEAST_PATH_PX)
        self.browse = QToolButton()
        self.browse.setIcon(icon("folder"))
        self.browse.setIconSize(QSize(16, 16))
        self.browse.setToolTip("Choose the file")
        self.browse.setAccessibleName("Choose the file")
        self.progress = QProgressBar()
        self.progress.setRange(0, STEPS)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Progress of the export")
        self.progress.hide()
        self.status = wrapped("", selectable=True)
        self.status.setOpenExternalLinks(False)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.export = QPushButton("&Export")
        self.export.setProperty("primary", True)
        self.export.setIcon(accent_icon("export"))
        self.export.setDefault(True)
        self.close_button = QPushButton("&Close")
        self._lay_out()
        self.layer.currentIndexChanged.connect(self._layer_changed)
        self.format.currentIndexChanged.connect(self._format_changed)
        self.path.textEdited.connect(self._path_edited)
        self.classes.itemChanged.connect(self._update)
        self.browse.clicked.connect(self._browse)
        self.export.clicked.connect(self._ask)
        self.close_button.clicked.connect(self._leave)
        self.status.linkActivated.connect(lambda link: QDesktopServices.openUrl(QUrl(link)))
        self._layer_changed()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form = form
        form.addRow(labelled("&Layer", self.layer, "What to write"), self.layer)
        form.addRow(labelled("&Format", self.format, "The file format; its style is written beside it"), self.format)
        form.addRow(
            labelled("&Simplify", self.simplify_px, "How far outlines may move; neighbours keep sharing their edges"),
            self.simplify_px,
        )
        form.addRow(labelled("&Classes", self.classes, "Only these classes are written"), self.classes)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.path)
        row.addWidget(self.browse)
        form.addRow(labelled("F&ile", self.path, "The file to write"), row)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.export)
        buttons.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 14)
        column.setSpacing(12)
        column.setSizeConstraint(QVBoxLayout.SizeConstraint.SetMinimumSize)
        column.addLayout(form)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addLayout(buttons)

    @property
    def _format(self) -> Format:
        return self._formats[int(self.format.currentData())]

    @property
    def _simplifies(self) -> bool:
        """Whether outlines could become simpler: boxes could not."""
        return self._format.is_vector and self.layer.currentData() == "regions"

    def _layer_changed(self) -> None:
        layer = self.layer.currentData()
        self.format.blockSignals(True)
        self.format.clear()
        for number, item in enumerate(self._formats):
            if layer in item.layers:
                self.format.addItem(f"{item.title} ({item.suffix})", number)
        self.format.blockSignals(False)
        self._format_changed()

    def _format_changed(self) -> None:
        path = Path(self.path.text())
        name = path.stem
        if not self._own_path:
            layer = self.layer.currentData()
            name = self._stem if self.layer.currentIndex() == 0 else f"{self._stem}_{layer}"
        self.path.setText(str(path.with_name(f"{name}{self._format.suffix}")))
        self._form.setRowVisible(self.simplify_px, self._simplifies)
        self._form.setRowVisible(self.classes, self._format.is_vector or self.layer.currentData() == "classes")
        self._update()

    def _path_edited(self, text: str) -> None:
        self._own_path = True
        suffix = Path(text).suffix.lower()
        for row in range(self.format.count()):
            if self._formats[self.format.itemData(row)].suffix == suffix:
                self.format.blockSignals(True)
                self.format.setCurrentIndex(row)
                self.format.blockSignals(False)
        self._update()

    def _browse(self) -> None:
        chosen = self._format
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Export to",
            self.path.text(),
            f"{chosen.title} (*{chosen.suffix})",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            if Path(name).suffix.lower() != chosen.suffix:
                name += chosen.suffix
            self._own_path = True
            self.path.setText(name)
            self._update()

    @property
    def chosen_classes(self) -> tuple[str, ...] | None:
        """The ticked classes; None if all are."""
        rows = [self.classes.item(row) for row in range(self.classes.count())]
        ticked = tuple(row.text() for row in rows if row.checkState() == Qt.CheckState.Checked)
        return None if len(ticked) == len(rows) or self.layer.currentData() == "confidence" else ticked

    def _update(self) -> None:
        self.export.setEnabled(not self._writing and bool(self.path.text().strip()) and self.chosen_classes != ())

    def _ask(self) -> None:
        path = self.path.text().strip()
        if Path(path).exists():
            answer = QMessageBox.question(
                self,
                "Replace the file?",
                f"{Path(path).name} exists already.\nReplace it?",
                QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
                QMessageBox.StandardButton.No,
            )
            if answer != QMessageBox.StandardButton.Yes:
                return
        simplify_px = self.simplify_px.value() if self._simplifies else 0.0
        self.requested.emit(path, self.layer.currentData(), simplify_px, self.chosen_classes)

    def begin(self) -> None:
        """Writing begins."""
        self._writing = True
        self.progress.setValue(0)
        self.progress.show()
        self.status.setText("Writing…")
        self.close_button.setText("&Cancel")
        for widget in (self.layer, self.format, self.simplify_px, self.classes, self.path, self.browse):
            widget.setEnabled(False)
        self._update()

    def show_progress(self, fraction: float) -> None:
        """Show how far it is."""
        self.progress.setValue(round(fraction * STEPS))

    def _end(self, text: str) -> None:
        self._writing = False
        self.progress.hide()
        self.status.setText(text)
        self.close_button.setText("&Close")
        for widget in (self.layer, self.format, self.simplify_px, self.classes, self.path, self.browse):
            widget.setEnabled(True)
        self._update()

    def succeeded(self, path: Path) -> None:
        """The file is there."""
        link = QUrl.fromLocalFile(str(path.parent)).toString()
        self._end(f'{path.name} is written, its style beside it. <a href="{link}">Open the folder</a>')
        self.close_button.setFocus()

    def stopped(self, text: str) -> None:
        """It did not work out, or was cancelled; the file does not exist."""
        self._end(text)

    def _leave(self) -> None:
        if self._writing:
            self.cancelRequested.emit()
            self.status.setText("Stopping…")
        else:
            self.reject()

    def reject(self) -> None:
        """Stop writing, or close."""
        if self._writing:
            self.cancelRequested.emit()
        else:
            super().reject()
