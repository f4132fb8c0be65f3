"""The list of models, those of one task under its name, and at its end the way to another checkpoint.

Guarantees: what is chosen stays chosen while another file is looked for, and when looking for one is given up. Rows are
named by number, never as ``QStandardItem``: such an object of Python's outlives the row that Qt deletes, and is taken
for whatever Qt makes next at that address, which crashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QWidget

if TYPE_CHECKING:
    from engine.models.catalog import ModelInfo

_OTHER = "other"
_FLAGS_ROLE = Qt.ItemDataRole.UserRole - 1
"""Where rows of a combo box keep what one can do with them."""
_HEADS = {
    "segmentation": "A class for every pixel",
    "classification": "The kind of scene, cell by cell",
    "detection": "Objects",
    "change": "What changed between two scenes",
}


class ModelBox(QComboBox):
    """Chooses a model.

    Args:
        empty: What is shown while there is no model.

    Signals:
        modelChosen: The user chose a model.
        fileRequested: The user chose a checkpoint file.
    """

    modelChosen = Signal()
    fileRequested = Signal(str)

    def __init__(self, empty: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.models: tuple[ModelInfo, ...] = ()
        self._last = 0
        self._heads: list[int] = []
        self.setMinimumContentsLength(12)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.addItem(empty, None)
        self.activated.connect(self._activated)

    @property
    def chosen(self) -> ModelInfo | None:
        """The chosen model."""
        number = self.currentData()
        return self.models[number] if isinstance(number, int) else None

    def show_models(self, models: Sequence[ModelInfo], prefer: str = "", empty: str = "No model installed") -> None:
        """Fill the list and choose ``prefer`` (a name or a path) if it is there, the first otherwise."""
        self.models = tuple(models)
        tasks = list(dict.fromkeys(info.card.task for info in self.models))
        with QSignalBlocker(self):
            self.clear()
            self._heads = []
            for task in tasks:
                if len(tasks) > 1:
                    self._add_head(_HEADS[task])
                for number, info in enumerate(self.models):
                    if info.card.task == task:
                        self.addItem(info.card.title, number)
                        self.setItemData(self.count() - 1, str(info.path), Qt.ItemDataRole.ToolTipRole)
            if not self.models:
                self.addItem(empty, None)
            self.insertSeparator(self.count())
            self.addItem("Another checkpoint…", _OTHER)
        if not self.choose(prefer):
            self._show(max(0, self.findData(0)))

    def choose(self, name_or_path: str) -> bool:
        """Choose a model by name or path; whether it is there."""
        for number, info in enumerate(self.models):
            if name_or_path in (info.name, str(info.path)):
                self._show(self.findData(number))
                return True
        return False

    def _add_head(self, text: str) -> None:
        self.addItem(text)
        row = self.count() - 1
        font = self.font()
        font.setBold(True)
        self.setItemData(row, Qt.ItemFlag.NoItemFlags.value, _FLAGS_ROLE)
        self.setItemData(row, font, Qt.ItemDataRole.FontRole)
        self._heads.append(row)
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme: what cannot be chosen is too pale to be read by default."""
        if event.type() == QEvent.Type.PaletteChange:
            self._tint()
        super().changeEvent(event)

    def _tint(self) -> None:
        for row in self._heads:
            self.setItemData(row, self.palette().placeholderText(), Qt.ItemDataRole.ForegroundRole)

    def _show(self, index: int) -> None:
        self._last = index
        with QSignalBlocker(self):
            self.setCurrentIndex(index)

    def _activated(self) -> None:
        if self.currentData() != _OTHER:
            self._last = self.currentIndex()
            self.modelChosen.emit()
            return
        self._show(self._last)
        name, _ = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", "", "Checkpoints (*.safetensors);;All files (*)"
        )
        if name:
            self.fileRequested.emit(name)
