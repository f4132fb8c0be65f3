"""Exports from the window's side: the dialog, the job behind it, and saving the map as a picture.

Guarantees: an export goes on while a run or another opening does; leaving the dialog while it writes cancels it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.errors import OutputError
from rs_viewer import folders, tasks
from rs_viewer.jobs import Context, Failure, Job, Jobs

if TYPE_CHECKING:
    from engine.export.formats import Format
    from engine.inference.analysis import Analysis
    from rs_viewer.panels.export import ExportDialog
    from rs_viewer.session import Session
    from rs_viewer.workspace import OpenAnalysis


CONTENTS = {"change": "changes", "detection": "objects", "classification": "cells"}
"""What the proposed file's name says it holds, by kind of analysis, where not regions."""


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
        kind = item.analysis.kind

        def formats(context: Context) -> tuple[tuple[Format, ...], tuple[str, ...]]:
            from engine.export.formats import FORMATS, LAYERS_OF

            return FORMATS, LAYERS_OF[kind]

        job = self._jobs.submit("Listing formats", formats)
        job.succeeded.connect(lambda found: self._show(item.analysis, *found))
        job.failed.connect(lambda failure: self.failed.emit("Cannot export", failure))

    def _show(self, analysis: Analysis, formats: tuple[Format, ...], layers: tuple[str, ...]) -> None:
        from rs_viewer.panels.export import ExportDialog

        if self.dialog is not None:
            self.dialog.raise_()
            return
        stem = analysis.path.name.removesuffix(folders.RESULT_SUFFIX).removesuffix(folders.CHANGE_SUFFIX) or "analysis"
        name = f"{stem}_{CONTENTS.get(analysis.kind, 'regions')}"
        dialog = ExportDialog(
            formats, layers, analysis.card.classes, self._session.folder("export"), name, self._window
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
        """Save a picture to a PNG file chosen in a dialog."""
        self._save("picture", name, "PNG", lambda path: image.save(str(path)))

    def save_table(self, text: str, name: str) -> None:
        """Save lines of values to a CSV file chosen in a dialog."""

        def write(path: Path) -> bool:
            try:
                path.write_text(text, encoding="utf-8-sig")  # spreadsheets take text without the mark for Latin-1
            except OSError:
                return False
            return True

        self._save("table", name, "CSV", write)

    def _save(self, what: str, name: str, kind: str, write: Callable[[Path], bool]) -> None:
        suffix = f".{kind.lower()}"
        proposed = str(Path(self._session.folder("export")) / f"{name}{suffix}")
        path, _ = QFileDialog.getSaveFileName(self._window, f"Save the {what}", proposed, f"{kind} (*{suffix})")
        if not path:
            return
        target = Path(path if path.lower().endswith(suffix) else f"{path}{suffix}")
        self._session.set_folder("export", target.parent)

        def work(context: Context) -> str:
            if not write(target):
                raise OutputError(
                    f"the {what} cannot be written", where=target, remedy="Choose a folder you may write to."
                )
            return target.name

        job = self._jobs.submit(f"Saving the {what}", work)
        job.succeeded.connect(lambda done: self.told.emit(f"{done} is written"))
        job.failed.connect(lambda failure: self.failed.emit(f"Cannot save the {what}", failure))
