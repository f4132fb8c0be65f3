"""The dialog «Compare Two Scenes»: which two, with which model, from which probability on, and where results go.

Guarantees: the dialog computes nothing; it says what the user wants (:class:`Comparison`) and shows what is known
about the pair before the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.icons import accent_icon, icon
from rs_viewer.panels.common import Notice, labelled, wrapped
from rs_viewer.panels.model_box import ModelBox

if TYPE_CHECKING:
    from engine.models.catalog import ModelInfo

OTHER = "other"
LEAST_WIDTH_PX = 520
NO_MODEL = (
    "No model of change is installed. Choose a checkpoint you have, or train one without any labels of your own: "
    "rs-engine train lemevit-changes --data FOLDER (Analysis > Open Model Folder is where models are found)."
)

Source = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the user wants compared.

    Attributes:
        before: Sources of the earlier scene.
        after: Sources of the later scene.
        model: The model of change.
        threshold: Probability from which on a pixel counts as changed, None as the model says.
        out_dir: The analysis folder.
    """

    before: Source
    after: Source
    model: ModelInfo
    threshold: float | None
    out_dir: str


class CompareDialog(QDialog):
    """Asks for a comparison.

    Args:
        scenes: Names and sources of the open scenes.
        models: Models of change there are.
        rasters: Name filter of files that can be scenes.
        folder: Where files are looked for first.

    Signals:
        changed: The wish is another one.
        requested: Compare now: a :class:`Comparison`.
        modelFileRequested: A checkpoint file was chosen.
    """

    changed = Signal()
    requested = Signal(object)
    modelFileRequested = Signal(str)

    def __init__(
        self,
        scenes: Sequence[tuple[str, Source]],
        models: Sequence[ModelInfo],
        rasters: str,
        folder: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare Two Scenes")
        self.setMinimumWidth(LEAST_WIDTH_PX)
        self._rasters, self._folder = rasters, folder
        self._own_folder = False
        self._busy = False
        self._refused = False
        self.before, self.after = QComboBox(), QComboBox()
        for number, box in enumerate((self.before, self.after)):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(20)
            box.addItem("Choose a scene", None)
            for name, source in scenes:
                self._add_scene(box, name, source)
            box.insertSeparator(box.count())
            box.addItem("Another file…", OTHER)
            box.setCurrentIndex(number + 1 if number < len(scenes) else 0)
            box.activated.connect(lambda _=0, b=box: self._scene_chosen(b))
        self.swap = QToolButton()
        self.swap.setText("⇅")
        self.swap.setToolTip("Exchange the earlier and the later scene")
        self.swap.setAccessibleName("Exchange the earlier and the later scene")
        self.model = ModelBox("None installed")
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.0, 0.99)
        self.threshold.setSingleStep(0.05)
        self.threshold.setDecimals(2)
        self.threshold.setSpecialValueText("As the model says")
        self.out_dir = QLineEdit()
        self.browse = QToolButton()
        self.browse.setIcon(icon("folder"))
        self.browse.setToolTip("Choose the folder for results")
        self.browse.setAccessibleName("Choose the folder for results")
        self.notice = Notice()
        self.start = QPushButton("&Compare")
        self.start.setProperty("primary", True)
        self.start.setIcon(accent_icon("run"))
        self.start.setDefault(True)
        self.close_button = QPushButton("C&lose")
        self._lay_out()
        self.model.show_models(models, empty="None installed")
        self.swap.clicked.connect(self._exchange)
        self.model.modelChosen.connect(self._tell)
        self.model.fileRequested.connect(self.modelFileRequested)
        self.threshold.valueChanged.connect(self._tell)
        self.out_dir.textEdited.connect(self._folder_edited)
        self.browse.clicked.connect(self._browse)
        self.start.clicked.connect(lambda: self.requested.emit(self.wish))
        self.close_button.clicked.connect(self.reject)
        self._update()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setVerticalSpacing(8)
        form.addRow(labelled("&Earlier scene", self.before, "Its map grid is the one of the result"), self.before)
        row = QHBoxLayout()
        row.addWidget(self.after, 1)
        row.addWidget(self.swap)
        tip = "It may have another grid: it is brought to the earlier one's, and the overlap is compared"
        form.addRow(labelled("&Later scene", self.after, tip), row)
        form.addRow(labelled("&Model", self.model, "The model of change that compares them"), self.model)
        tip = "Probability from which on a pixel counts as changed"
        form.addRow(labelled("&Threshold", self.threshold, tip), self.threshold)
        folder = QHBoxLayout()
        folder.addWidget(self.out_dir)
        folder.addWidget(self.browse)
        form.addRow(labelled("&Results", self.out_dir, "The folder that results are written to"), folder)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.start)
        buttons.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 14)
        column.setSpacing(12)
        column.addWidget(wrapped("Find what changed between two scenes of one place."))
        column.addLayout(form)
        column.addWidget(self.notice)
        column.addLayout(buttons)

    # What the user wants --------------------------------------------------------------------------------------------

    @property
    def scenes(self) -> tuple[Source, Source] | None:
        """Both scenes, once both are chosen and differ."""
        before, after = self.before.currentData(), self.after.currentData()
        if before in (None, OTHER) or after in (None, OTHER) or before == after:
            return None
        return tuple(before), tuple(after)

    @property
    def chosen(self) -> ModelInfo | None:
        """The chosen model."""
        return self.model.chosen

    @property
    def wish(self) -> Comparison | None:
        """What the fields say, once they say all of it."""
        scenes, model, out_dir = self.scenes, self.chosen, self.out_dir.text().strip()
        if scenes is None or model is None or not out_dir:
            return None
        return Comparison(*scenes, model, self.threshold.value() or None, out_dir)

    def propose_folder(self, path: str) -> None:
        """Propose a folder, unless the user has chosen one."""
        if not self._own_folder:
            self.out_dir.setText(path)
            self.out_dir.setCursorPosition(len(path))
            self._tell()

    def add_model(self, info: ModelInfo) -> None:
        """Offer a model and choose it."""
        others = (other for other in self.model.models if other.path != info.path)
        self.model.show_models((info, *others), empty="None installed")
        self._tell()

    def choose_scene(self, box: QComboBox, source: Source) -> None:
        """Choose a scene that may not be open."""
        place = box.findData(source)
        if place < 0:
            place = 1
            self._add_scene(box, Path(source[0]).name, source, place)
        box.setCurrentIndex(place)
        self._tell()

    def show_check(self, text: str, *, refused: bool = False) -> None:
        """Say what is known about the pair; refused ones cannot be compared."""
        self._refused = refused
        self.notice.say(text)
        self._update()

    def busy(self, on: bool) -> None:
        """The scenes are being opened, or are not any more."""
        self._busy = on
        self._update()

    @staticmethod
    def _add_scene(box: QComboBox, name: str, source: Source, place: int | None = None) -> None:
        place = box.count() if place is None else place
        box.insertItem(place, name, source)
        box.setItemData(place, "\n".join(source), Qt.ItemDataRole.ToolTipRole)

    def _scene_chosen(self, box: QComboBox) -> None:
        if box.currentData() == OTHER:
            with QSignalBlocker(box):
                box.setCurrentIndex(0)
            name, _ = QFileDialog.getOpenFileName(self, "Choose a scene", self._folder, self._rasters)
            if name:
                self._folder = str(Path(name).parent)
                self.choose_scene(box, (name,))
                return
        self._tell()

    def _exchange(self) -> None:
        before, after = self.before.currentData(), self.after.currentData()
        for box, source in ((self.before, after), (self.after, before)):
            if source in (None, OTHER):
                box.setCurrentIndex(0)
            else:
                self.choose_scene(box, tuple(source))
        self._tell()

    def _folder_edited(self) -> None:
        self._own_folder = True
        self._tell()

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose the folder for results", self.out_dir.text())
        if name:
            self.out_dir.setText(name)
            self._folder_edited()

    def _tell(self) -> None:
        self._refused = False
        self._update()
        self.changed.emit()

    def _update(self) -> None:
        if not self.model.models:
            self.notice.say(NO_MODEL)
        elif self.notice.label.text() == NO_MODEL:
            self.notice.say("")
        self.start.setEnabled(self.wish is not None and not self._busy and not self._refused)
        for widget in (self.before, self.after, self.swap, self.model, self.threshold, self.out_dir, self.browse):
            widget.setEnabled(not self._busy)
