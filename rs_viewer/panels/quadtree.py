"""Controls of quadtrees: the dialog that has a scene scored, and the budget of patches of the tree that is meant.

Guarantees: both compute nothing; the slider reaches every budget from coarsest to finest, in even ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.icons import accent_icon
from rs_viewer.panels.common import wrapped
from rs_viewer.panels.patch_fields import PatchFields

if TYPE_CHECKING:
    from engine.models.catalog import ModelInfo

STEPS = 1000
LEAST_WIDTH_PX = 420


class QuadtreeDialog(QDialog):
    """Asks how a scene is scored, and shows how far that is.

    Args:
        scene: The scene's name.
        models: Models that are installed.
        prefer: The one to begin with.

    Signals:
        requested: Score now: keyword arguments for ``QuadtreeOptions``.
        cancelRequested: Stop scoring.
    """

    requested = Signal(dict)
    cancelRequested = Signal()

    def __init__(
        self,
        scene: str,
        models: Sequence[ModelInfo] = (),
        prefer: ModelInfo | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Quadtree")
        self.setMinimumWidth(LEAST_WIDTH_PX)
        self._busy = False
        self.progress = QProgressBar()
        self.progress.setRange(0, STEPS)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Progress of scoring")
        self.progress.hide()
        self.status = wrapped("", muted=True)
        self.start = QPushButton("Sc&ore")
        self.start.setProperty("primary", True)
        self.start.setIcon(accent_icon("run"))
        self.start.setDefault(True)
        self.close_button = QPushButton("&Close")
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.start)
        buttons.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 14)
        column.setSpacing(12)
        column.addWidget(wrapped(f"Cut {scene} into large patches where it is plain and small ones where it is not."))
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        column.addLayout(form)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addLayout(buttons)
        self.fields = PatchFields(form, own_model=True)
        self.fields.show_models(models, prefer)
        self.start.clicked.connect(lambda: self.requested.emit(self.fields.values()))
        self.close_button.clicked.connect(self.reject)
        self.fields.changed.connect(self._update)
        self._update()

    def _update(self) -> None:
        fault = self.fields.fault
        self.start.setEnabled(not fault and not self._busy)
        if not self._busy:
            self.status.setText(fault)
        self.status.setVisible(bool(self.status.text()))
        self.close_button.setText("&Cancel" if self._busy else "&Close")
        for box in self.fields.boxes:
            box.setEnabled(not self._busy)
        self.adjustSize()

    def begin(self) -> None:
        """Scoring begins."""
        self._busy = True
        self.progress.setValue(0)
        self.progress.show()
        self.status.setText("Looking at the scene…")
        self._update()

    def show_progress(self, share: float) -> None:
        """Show how far it is."""
        self.progress.setValue(round(share * STEPS))

    def stopped(self, text: str) -> None:
        """It was cancelled or did not work out."""
        self._busy = False
        self.progress.hide()
        self._update()
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def reject(self) -> None:
        """Stop scoring, or close."""
        if self._busy:
            self.status.setText("Stopping…")
            self.cancelRequested.emit()
        else:
            super().reject()


class TokenBudget(QWidget):
    """How many patches the tree has, and how they are coloured.

    Signals:
        changed: Another budget.
        colouredChanged: Whether patches are coloured by size.
    """

    changed = Signal(int)
    colouredChanged = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._least, self._most = 1, 1
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setPageStep(STEPS // 20)
        self.slider.setToolTip("How many patches the whole scene is cut into")
        self.slider.setAccessibleName("Budget of patches")
        self.number = QSpinBox()
        self.number.setGroupSeparatorShown(True)
        self.number.setKeyboardTracking(False)
        self.number.setAccessibleName("Number of patches at most")
        self.coloured = QCheckBox("&Colour by size")
        self.coloured.setChecked(True)
        label = QLabel("&Tokens")
        label.setBuddy(self.slider)
        row = QHBoxLayout()
        row.setSpacing(8)
        for widget in (label, self.slider, self.number):
            row.addWidget(widget)
        row.setStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 6, 10, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.coloured)
        self.slider.valueChanged.connect(self._slid)
        self.number.valueChanged.connect(self._typed)
        self.coloured.toggled.connect(self.colouredChanged)

    def show_budget(self, tokens: int, least: int, most: int, coloured: bool) -> None:
        """Show the budget of another tree without asking for anything."""
        self._least, self._most = max(least, 1), max(most, 1)
        with QSignalBlocker(self.slider), QSignalBlocker(self.number), QSignalBlocker(self.coloured):
            self.number.setRange(self._least, self._most)
            self.number.setValue(tokens)
            self.slider.setValue(self._step(tokens))
            self.slider.setEnabled(self._least < self._most)
            self.coloured.setChecked(coloured)

    def _step(self, tokens: int) -> int:
        span = math.log(self._most / self._least)
        return round(STEPS * math.log(tokens / self._least) / span) if span > 0 else 0

    def _slid(self, step: int) -> None:
        tokens = round(self._least * (self._most / self._least) ** (step / STEPS))
        with QSignalBlocker(self.number):
            self.number.setValue(tokens)
        self.changed.emit(self.number.value())

    def _typed(self, tokens: int) -> None:
        with QSignalBlocker(self.slider):
            self.slider.setValue(self._step(tokens))
        self.changed.emit(tokens)
