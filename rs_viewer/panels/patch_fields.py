"""Fields that say how a scene is cut into the patches of a quadtree: what is looked at, by which model, which sizes.

Guarantees: nothing is computed; fields that do not matter for the chosen scorer are hidden; :meth:`PatchFields.fault`
says what keeps a choice from working.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QFormLayout

from rs_viewer.panels.common import labelled

if TYPE_CHECKING:
    from engine.models.card import ModelCard
    from engine.models.catalog import ModelInfo

SCORER_NAMES = {
    "blur": "Detail in red, green and blue",
    "bands": "Detail in all bands",
    "features": "Detail in the features of a model",
    "gradcam": "What speaks for a class in a model",
    "random": "Chance, for comparison",
}
"""Scorers with what they look at."""
ASKING = ("features", "gradcam")
"""Scorers that ask a model."""
ANSWERING = ("segmentation", "classification")
"""Tasks of models that can be asked."""
SIZES_PX = (8, 16, 32, 64, 128, 256, 512, 1024)
LIKELIEST = "The likeliest everywhere"


class PatchFields(QObject):
    """Rows of a form.

    Args:
        form: Where they go.
        own_model: Whether the model can be chosen here; otherwise it is the one of :meth:`show_card`.

    Signals:
        changed: Something else is chosen.
    """

    changed = Signal()

    def __init__(self, form: QFormLayout, *, own_model: bool) -> None:
        super().__init__(form.parentWidget())
        self._form, self._own_model = form, own_model
        self._models: tuple[ModelInfo, ...] = ()
        self._card: ModelCard | None = None
        self._shown = True
        self.scorer, self.model, self.class_index = QComboBox(), QComboBox(), QComboBox()
        self.smallest, self.largest = QComboBox(), QComboBox()
        for key, text in SCORER_NAMES.items():
            self.scorer.addItem(text, key)
        for size in SIZES_PX:
            self.smallest.addItem(f"{size} px", size)
            self.largest.addItem(f"{size} px", size)
        self.smallest.setCurrentIndex(self.smallest.findData(16))
        self.largest.setCurrentIndex(self.largest.findData(512))
        self._rows: list[tuple[str, QComboBox, str]] = [
            ("&Look at", self.scorer, "What makes a patch worth cutting"),
            ("Mo&del asked", self.model, "The model whose features or classes decide"),
            ("Cla&ss", self.class_index, "The class that the model is asked about"),
            ("S&mallest patch", self.smallest, "Edge in pixels of the scene"),
            ("L&argest patch", self.largest, "Edge in pixels of the scene"),
        ]
        for text, box, tip in self._rows:
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(12)
            form.addRow(labelled(text, box, tip), box)
            box.currentIndexChanged.connect(self._update)
        self._update()

    @property
    def boxes(self) -> tuple[QComboBox, ...]:
        """All fields."""
        return tuple(box for _, box, _ in self._rows)

    def show(self, shown: bool) -> None:
        """Show the rows, or hide them all."""
        self._shown = shown
        self._update()

    def show_models(self, models: Sequence[ModelInfo], prefer: ModelInfo | None) -> None:
        """List the models that can be asked."""
        self._models = tuple(info for info in models if info.card.task in ANSWERING)
        with QSignalBlocker(self.model):
            self.model.clear()
            for number, info in enumerate(self._models):
                self.model.addItem(info.card.title, number)
            self.model.setCurrentIndex(self._models.index(prefer) if prefer in self._models else 0)
        self._update()

    def show_card(self, card: ModelCard | None) -> None:
        """Ask another model, where it is not chosen here."""
        self._card = card
        self._update()

    @property
    def fault(self) -> str:
        """Why the choice cannot work; empty where it can."""
        if self.smallest.currentData() > self.largest.currentData():
            return "The smallest patch is larger than the largest one."
        if self._asks and self._own_model and not self._models:
            return "This needs a model, and none that can be asked is installed."
        return ""

    def values(self) -> dict[str, Any]:
        """Keyword arguments for options of a quadtree."""
        chosen: dict[str, Any] = {
            "scorer": self.scorer.currentData(),
            "min_size": self.smallest.currentData(),
            "max_size": self.largest.currentData(),
        }
        if self._asks and self._own_model and self._asked is not None:
            chosen["model"] = str(self._models[self.model.currentData()].path)
        if self.scorer.currentData() == "gradcam" and self.class_index.currentData() is not None:
            chosen["class_index"] = self.class_index.currentData()
        return chosen

    @property
    def _asks(self) -> bool:
        return self.scorer.currentData() in ASKING

    @property
    def _asked(self) -> ModelCard | None:
        """Card of the model that would be asked."""
        number = self.model.currentData()
        if not self._own_model:
            return self._card
        return self._models[number].card if isinstance(number, int) else None

    def _update(self) -> None:
        names = [entry.name.capitalize() for entry in self._asked.classes] if self._asked is not None else []
        if [self.class_index.itemText(row) for row in range(1, self.class_index.count())] != names:
            with QSignalBlocker(self.class_index):
                self.class_index.clear()
                self.class_index.addItem(LIKELIEST)
                for number, name in enumerate(names):
                    self.class_index.addItem(name, number)
        for box in self.boxes:
            self._form.setRowVisible(box, self._shown)
        self._form.setRowVisible(self.model, self._shown and self._own_model and self._asks)
        self._form.setRowVisible(self.class_index, self._shown and self.scorer.currentData() == "gradcam")
        self.changed.emit()
