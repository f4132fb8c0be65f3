"""Comparing two scenes: the dialog, what is known before the run, the scenes on the map, and the run itself.

Guarantees: nothing is read on the GUI thread; the scenes need not be open before, and are on the map afterwards as far
as one map can show both; the run is one like any other, with its progress in the analysis panel.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QStandardPaths, Signal

from engine.errors import EngineError
from engine.inference.options import AnalysisOptions
from rs_viewer import folders, tasks
from rs_viewer.jobs import Failure
from rs_viewer.latest import Latest
from rs_viewer.opening import ALL, RASTERS
from rs_viewer.panels.compare import CompareDialog, Comparison
from rs_viewer.parts import Parts, single_shot

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from engine.models.catalog import ModelInfo
    from engine.scene import Scene
    from rs_viewer.opening import Opener
    from rs_viewer.runs import Runs
    from rs_viewer.session import Session

CHECK_AFTER_MS = 200


class Comparisons(QObject):
    """Asks what to compare and starts it.

    Signals:
        failed: Something could not be opened or compared: title and :class:`Failure`.
        told: Something the user should know.
    """

    failed = Signal(str, object)
    told = Signal(str)

    def __init__(self, parts: Parts, runs: Runs, opener: Opener, session: Session, window: QWidget) -> None:
        super().__init__(window)
        self._jobs, self._workspace, self._panel = parts.jobs, parts.workspace, parts.panel
        self._runs, self._opener, self._session, self._window = runs, opener, session, window
        self.dialog: CompareDialog | None = None
        self._check = Latest(parts.jobs, "Comparing the scenes' places", parent=self)
        self._check.answered.connect(self._checked)
        self._check.failed.connect(lambda failure: self._show_check(failure.message, refused=True))
        self._check_soon = single_shot(self, CHECK_AFTER_MS, self._ask_check)

    def ask(self) -> None:
        """Ask what is to be compared."""
        if self.dialog is not None:
            self.dialog.raise_()
            return
        scenes = [(item.scene.name, item.source) for item in self._workspace.scenes]
        models = [info for info in self._panel.models if info.card.task == "change"]
        folder = self._session.folder("open")
        dialog = CompareDialog(scenes, models, f"{RASTERS};;{ALL}", folder, self._window)
        self.dialog = dialog
        dialog.changed.connect(self._changed)
        dialog.requested.connect(self._start)
        dialog.modelFileRequested.connect(self.add_model)
        dialog.finished.connect(self._closed)
        dialog.open()
        self._changed()

    def stop(self) -> None:
        """Start nothing any more: the window closes."""
        self._check_soon.stop()
        self._check.forget()

    def add_model(self, path: str) -> None:
        """Offer a checkpoint in the dialog, if it holds a model of change."""
        job = self._jobs.submit("Reading the model", lambda context: tasks.find_change_model(context, path))
        job.succeeded.connect(self._model_found)
        job.failed.connect(lambda failure: self.failed.emit("Cannot use this model", failure))

    def _model_found(self, info: ModelInfo) -> None:
        if self.dialog is not None:
            self.dialog.add_model(info)

    def _closed(self) -> None:
        self.stop()
        if self.dialog is not None:
            self.dialog.deleteLater()
        self.dialog = None

    # Before the run -------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        dialog = self.dialog
        if dialog is None:
            return
        if dialog.scenes is not None:
            documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
            proposed = folders.free_out_dir(folders.default_change_dir(*dialog.scenes, documents))
            if dialog.out_dir.text() != proposed:
                dialog.propose_folder(proposed)
        self._check_soon.start()

    def _ask_check(self) -> None:
        dialog = self.dialog
        wish = dialog.wish if dialog is not None else None
        if dialog is None or wish is None:
            self._check.forget()
            if dialog is not None:
                dialog.show_check("")
            return
        options = self._options(wish)
        self._check.ask(
            lambda context: tasks.check(context, wish.before, wish.model, options, wish.out_dir, after=wish.after)
        )

    def _options(self, wish: Comparison) -> AnalysisOptions:
        return AnalysisOptions(device=self._panel.wish.options["device"], min_score=wish.threshold)

    def _checked(self, found: tasks.Checked) -> None:
        said = [found.refusal] if found.refusal else list(found.warnings)
        if found.waiting is not None:
            said.append("An interrupted analysis waits in this folder: the same comparison goes on from there.")
        self._show_check("\n\n".join(said), refused=bool(found.refusal))

    def _show_check(self, text: str, *, refused: bool = False) -> None:
        if self.dialog is not None:
            self.dialog.show_check(text, refused=refused)

    # The run --------------------------------------------------------------------------------------------------------

    def _start(self, wish: Comparison | None) -> None:
        dialog = self.dialog
        if wish is None or dialog is None:
            return
        if self._runs.running:
            dialog.show_check("Another analysis is running. Wait for it to end, or cancel it.")
            return
        dialog.busy(True)
        self._session.set_folder("open", Path(wish.before[0]).parent)
        job = self._jobs.submit("Opening the scenes", lambda context: tasks.open_pair(context, wish.before, wish.after))
        job.succeeded.connect(lambda scenes: self._opened(wish, *scenes))
        job.failed.connect(self._open_failed)

    def _open_failed(self, failure: Failure) -> None:
        if self.dialog is not None:
            self.dialog.busy(False)
        self.failed.emit("Cannot compare these scenes", failure)

    def _opened(self, wish: Comparison, before: Scene, after: Scene) -> None:
        if self.dialog is not None:
            self.dialog.accept()
        workspace = self._workspace
        if workspace.find_scene(tuple(before.sources)) is None:
            self._opener.make_room(before.grid)
        first = workspace.add_scene(before, tuple(before.sources))
        try:
            workspace.add_later(first, after)
        except EngineError:
            self.told.emit(
                f"{after.name} is in another coordinate system and is not on the map; its overlap is compared."
            )
        workspace.choose(first.layer)
        self._runs.compare(first, wish.after, str(wish.model.path), wish.out_dir, self._options(wish))
