"""The analysis panel: which model, on what, over which part, to where; then Run, progress and Cancel.

Guarantees: the panel computes nothing; it says what the user wants (:class:`Wish`) and shows what the run says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.icons import accent_icon, icon
from rs_viewer.panels.common import MARGIN_PX, Notice, Section, labelled, scrolling, wrapped
from rs_viewer.panels.model_box import ModelBox
from rs_viewer.panels.model_card import CardView
from rs_viewer.panels.run_options import DeviceChooser, RunOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.models.catalog import ModelInfo

AREA_FILES = "Vector files (*.geojson *.json *.gpkg *.fgb *.shp *.kml *.parquet)"
PROGRESS_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants to run.

    Attributes:
        model: The model, None where none is installed.
        out_dir: The analysis folder.
        area: ``scene``, ``view``, ``drawn`` or ``file``.
        options: Keyword arguments for ``AnalysisOptions`` without the region of interest.
    """

    model: ModelInfo | None
    out_dir: str
    area: str
    options: dict[str, Any]


class AnalysisPanel(QWidget):
    """Everything about a run.

    Signals:
        changed: The wish is another one.
        runRequested: Run, Resume or Start Over was pressed: ``run``, ``resume``, ``overwrite``.
        cancelRequested: Cancel was pressed.
        modelFileRequested: A checkpoint file was chosen.
        areaFileRequested: A region of interest file was chosen.
        drawRequested: The user wants to draw a region of interest.
    """

    changed = Signal()
    runRequested = Signal(str)
    cancelRequested = Signal()
    modelFileRequested = Signal(str)
    areaFileRequested = Signal(str)
    drawRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._has_scene = False
        self._running = False
        self.model = ModelBox("Looking for models…")
        self.card = CardView()
        self.device = DeviceChooser()
        self.area = QComboBox()
        for text, value in (
            ("Whole scene", "scene"),
            ("What the map shows", "view"),
            ("Drawn on the map", "drawn"),
            ("From a file…", "file"),
        ):
            self.area.addItem(text, value)
        self.out_dir = QLineEdit()
        self.out_dir.setPlaceholderText("Beside the scene")
        self.browse = QToolButton()
        self.browse.setToolTip("Choose the folder for results")
        self.browse.setAccessibleName("Choose the folder for results")
        self.options = RunOptions()
        self.section = Section("More &options")
        self.notice = Notice()
        self.resume_notice = Notice()
        self.resume = QPushButton("Re&sume")
        self.overwrite = QPushButton("Start O&ver")
        self.run = QPushButton("&Run")
        self.run.setProperty("primary", True)
        self.cancel = QPushButton("&Cancel")
        self.progress = QProgressBar()
        self.progress.setRange(0, PROGRESS_STEPS)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Progress of the analysis")
        self.status = wrapped("", muted=True)
        self._lay_out()
        self._connect()
        self.refresh_icons()
        self._update()

    def _lay_out(self) -> None:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX)
        column.setSpacing(8)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setVerticalSpacing(8)
        form.addRow(labelled("Mo&del", self.model, "The model that looks at the scene"), self.model)
        form.addRow(self.card)
        form.addRow(labelled("D&evice", self.device, "What the model will run on"), self.device)
        form.addRow(labelled("&Area", self.area, "Which part of the scene is analysed"), self.area)
        folder = QHBoxLayout()
        folder.setSpacing(4)
        folder.addWidget(self.out_dir)
        folder.addWidget(self.browse)
        form.addRow(labelled("Res&ults", self.out_dir, "The folder that results are written to"), folder)
        column.addLayout(form)
        inner = QVBoxLayout(self.section.body)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(self.options)
        column.addWidget(self.section)
        column.addWidget(self.resume_notice)
        row = QHBoxLayout()
        row.addWidget(self.resume)
        row.addWidget(self.overwrite)
        row.addStretch(1)
        column.addLayout(row)
        column.addStretch(1)
        foot = QVBoxLayout()
        foot.setContentsMargins(MARGIN_PX, 6, MARGIN_PX, MARGIN_PX)
        foot.setSpacing(6)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run, 1)
        buttons.addWidget(self.cancel)
        foot.addWidget(self.notice)  # where it cannot be scrolled away: it is to be read before the run
        foot.addWidget(self.progress)
        foot.addWidget(self.status)
        foot.addLayout(buttons)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(scrolling(body), 1)
        whole.addLayout(foot)

    def _connect(self) -> None:
        self.model.modelChosen.connect(self._model_shown)
        self.model.fileRequested.connect(self.modelFileRequested)
        self.area.activated.connect(self._area_chosen)
        self.out_dir.editingFinished.connect(self.changed)
        self.browse.clicked.connect(self._browse)
        self.device.currentIndexChanged.connect(self.changed)
        self.options.changed.connect(self.changed)
        self.run.clicked.connect(lambda: self.runRequested.emit("run"))
        self.resume.clicked.connect(lambda: self.runRequested.emit("resume"))
        self.overwrite.clicked.connect(lambda: self.runRequested.emit("overwrite"))
        self.cancel.clicked.connect(self.cancelRequested)

    def refresh_icons(self) -> None:
        """Draw the icons anew from the present palette."""
        self.run.setIcon(accent_icon("run"))
        self.run.setIconSize(QSize(18, 18))
        self.cancel.setIcon(icon("cancel"))
        self.browse.setIcon(icon("folder"))
        self.section.refresh_icons()
        self.card.section.refresh_icons()
        self.card.show_card(self.chosen.card if self.chosen else None)

    # What the user wants --------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> ModelInfo | None:
        """The chosen model."""
        return self.model.chosen

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models to choose from."""
        return self.model.models

    @property
    def wish(self) -> Wish:
        """What the fields say."""
        options = self.options.values()
        options["device"] = self.device.currentData() or "auto"
        return Wish(self.chosen, self.out_dir.text().strip(), self.area.currentData(), options)

    def show_models(self, models: Sequence[ModelInfo], prefer: str = "") -> None:
        """Fill the list of models and choose ``prefer`` (a name or a path) if it is there."""
        self.model.show_models(models, prefer)
        self._model_shown()

    def choose_model(self, name_or_path: str) -> bool:
        """Choose a model by name or path; whether it is there."""
        there = self.model.choose(name_or_path)
        if there:
            self._model_shown()
        return there

    def _model_shown(self) -> None:
        card = self.chosen.card if self.chosen else None
        self.card.show_card(card)
        self.options.show_card(card)
        self._update()
        self.changed.emit()

    def _area_chosen(self) -> None:
        area = self.area.currentData()
        if area == "drawn":
            self.drawRequested.emit()
        elif area == "file":
            name, _ = QFileDialog.getOpenFileName(
                self, "Choose a region of interest", "", f"{AREA_FILES};;All files (*)"
            )
            if not name:
                self.set_area("scene")
                return
            self.areaFileRequested.emit(name)
        self.changed.emit()

    def set_area(self, area: str, note: str = "") -> None:
        """Choose an area without asking for it."""
        self.area.setCurrentIndex(self.area.findData(area))
        self.area.setToolTip(note or "Which part of the scene is analysed")
        self.changed.emit()

    def set_out_dir(self, path: str) -> None:
        """Propose a folder."""
        self.out_dir.setText(path)
        self.out_dir.setToolTip(path)
        self.out_dir.setCursorPosition(len(path))
        self.changed.emit()

    def _browse(self) -> None:
        start = self.out_dir.text() or str(Path.home())
        name = QFileDialog.getExistingDirectory(self, "Choose the folder for results", start)
        if name:
            self.set_out_dir(name)

    # What the run says ----------------------------------------------------------------------------------------------

    def set_scene(self, present: bool) -> None:
        """Whether there is a scene to run over."""
        self._has_scene = present
        self._update()

    def show_check(self, text: str) -> None:
        """Say what should be known before the run."""
        self.notice.say(text)

    def offer_resume(self, text: str) -> None:
        """Offer to go on with an interrupted analysis; an empty text takes the offer back."""
        self.resume_notice.say(text)
        self._update()

    def begin(self) -> None:
        """A run begins."""
        self._running = True
        self.progress.setRange(0, 0)
        self.status.setText("Getting the model ready…")
        self._update()

    def show_progress(self, fraction: float, text: str) -> None:
        """Show how far the run is."""
        self.progress.setRange(0, PROGRESS_STEPS)
        self.progress.setValue(round(min(max(fraction, 0.0), 1.0) * PROGRESS_STEPS))
        self.status.setText(text)

    def stopping(self) -> None:
        """The run has been asked to stop."""
        self.cancel.setEnabled(False)
        self.status.setText("Stopping after the present windows…")

    def end(self, text: str) -> None:
        """The run is over."""
        self._running = False
        self.progress.setRange(0, PROGRESS_STEPS)
        self.progress.setValue(0)
        self.status.setText(text)
        self._update()

    @property
    def can_run(self) -> bool:
        """Whether Run would do something."""
        return self._has_scene and self.chosen is not None and not self._running

    def _update(self) -> None:
        offered = bool(self.resume_notice.label.text()) and not self._running
        self.run.setEnabled(self.can_run)
        self.run.setVisible(not offered)
        self.resume.setVisible(offered)
        self.overwrite.setVisible(offered)
        self.resume_notice.setVisible(offered)
        self.cancel.setEnabled(self._running)
        self.cancel.setVisible(self._running)
        self.progress.setVisible(self._running)
        for widget in (self.model, self.device, self.area, self.out_dir, self.browse, self.options):
            widget.setEnabled(not self._running)
        if not self._has_scene and not self._running:
            self.status.setText("Open a scene to run a model over it.")
        elif self.chosen is None and not self._running:
            self.status.setText("Choose a model.")
        elif not self._running and self.status.text() in ("Open a scene to run a model over it.", "Choose a model."):
            self.status.setText("")
        self.status.setVisible(bool(self.status.text()))
