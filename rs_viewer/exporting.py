"""Exports from the window's side: the dialog, the job behind it, and saving the map as a picture.

Guarantees: an export goes on while a run or another opening does; leaving the dialog while it writes cancels it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.errors import OutputError
from rs_viewer import tasks
from rs_viewer.jobs import Context, Failure, Job, Jobs

if TYPE_CHECKING:
    from engine.export.formats import Format
    from engine.inference.analysis import Analysis
    from rs_viewer.panels.export import ExportDialog
    from rs_viewer.session import Session
    from rs_viewer.workspace import OpenAnalysis


class Exporter(QObject):
    """Shows the export dialog and writes what it asks for.

    Signals:
        failed: An export failed: title and :class:`Failure`.
        told: A sentence for the status bar.
    """

    failed = Signal(str, object)
    told = Signal(str)

    def __init__(self, jobs: Jobs, session: Session, window: QWidget) -> None:
        super().__init__(window)
        self._jobs, self._session, self._window = jobs, session, window
        self._formats: tuple[Format, ...] = ()
        self.dialog: ExportDialog | None = None
        self.job: Job | None = None

    def ask(self, item: OpenAnalysis) -> None:
        """Open the dialog for an analysis; the engine's list of formats is fetched first, off the GUI thread."""

        def formats(context: Context) -> tuple[Format, ...]:
            from engine.export.formats import FORMATS

            return FORMATS

        job = self._jobs.submit("Listing formats", formats)
        job.succeeded.connect(lambda found: self._show(item.analysis, found))
        job.failed.connect(lambda failure: self.failed.emit("Cannot export", failure))

    def _show(self, analysis: Analysis, formats: tuple[Format, ...]) -> None:
        from rs_viewer.panels.export import ExportDialog

        if self.dialog is not None:
            self.dialog.raise_()
            return
        stem = analysis.path.name.removesuffix(tasks.RESULT_SUFFIX) or "regions"
        dialog = ExportDialog(
            formats, analysis.card.classes, self._session.folder("export"), f"{stem}_regions", self._window
        )
        self.dialog = dialog
        dialog.requested.connect(lambda *choice: self._write(analysis, *choice))
        dialog.cancelRequested.connect(lambda: self.job.cancel() if self.job is not None else None)
        dialog.finished.connect(self._closed)
        dialog.open()

    def _closed(self) -> None:
        if self.dialog is not None:
            self.dialog.deleteLater()
        self.dialog = None

    def _write(
        self, analysis: Analysis, path: str, layer: str, simplify_px: float, names: tuple[str, ...] | None
    ) -> None:
        dialog = self.dialog
        if dialog is None:
            return
        self._session.set_folder("export", Path(path).parent)
        dialog.begin()
        job = self._jobs.submit(
            f"Exporting {Path(path).name}",
            lambda context: tasks.write_export(context, analysis, path, layer, simplify_px, names, context.report),
            asks_on_close=True,
        )
        self.job = job
        job.reported.connect(lambda share: dialog.show_progress(float(share)))
        job.succeeded.connect(lambda written: self._written(dialog, written))
        job.failed.connect(lambda failure: self._failed(dialog, failure))
        job.cancelled.connect(lambda: dialog.stopped("Cancelled; nothing was written."))

    def _written(self, dialog: ExportDialog, path: Path) -> None:
        dialog.succeeded(path)
        self.told.emit(f"{path.name} is written")

    def _failed(self, dialog: ExportDialog, failure: Failure) -> None:
        dialog.stopped("")
        self.failed.emit("Cannot export", failure)

    def save_picture(self, image: QImage, name: str) -> None:
        """Save the map's picture to a file chosen in a dialog."""
        proposed = str(Path(self._session.folder("export")) / f"{name}.png")
        path, _ = QFileDialog.getSaveFileName(self._window, "Save the map as a picture", proposed, "PNG (*.png)")
        if not path:
            return
        target = path if path.lower().endswith(".png") else f"{path}.png"
        self._session.set_folder("export", Path(target).parent)

        def work(context: Context) -> str:
            if not image.save(target, b"PNG"):
                raise OutputError(
                    "the picture cannot be written", where=target, remedy="Choose a folder you may write to."
                )
            return target

        job = self._jobs.submit("Saving the picture", work)
        job.succeeded.connect(lambda done: self.told.emit(f"{Path(done).name} is written"))
        job.failed.connect(lambda failure: self.failed.emit("Cannot save the picture", failure))
