"""Which models and devices there are: looked up in the background, shown in the analysis panel and the status bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices

from rs_viewer import folders, tasks
from rs_viewer.jobs import Context, Failure, Jobs

if TYPE_CHECKING:
    from engine.inference.device import DeviceInfo
    from rs_viewer.panels.analysis import AnalysisPanel
    from rs_viewer.session import Session

DEVICES_AFTER_MS = 300
"""The window is painted before torch is imported."""


class Catalogue(QObject):
    """Finds models and devices.

    Args:
        jobs: Where the work runs.
        panel: Shows what is found.
        session: Knows the model chosen last.
        extra: Checkpoints to offer besides those that are installed.

    Signals:
        ready: Models and devices are known.
        failed: Something cannot be used: title and :class:`Failure`.
        warned: Something the user should know.
        deviceShown: Label and reason of the device that will be used.
        warm: What a run imports has been imported.
    """

    ready = Signal()
    failed = Signal(str, object)
    warned = Signal(str)
    deviceShown = Signal(str, str)
    warm = Signal()

    def __init__(
        self, jobs: Jobs, panel: AnalysisPanel, session: Session, extra: tuple[str, ...], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._jobs, self._panel, self._session = jobs, panel, session
        self._extra = list(extra)
        self._missing = {"models", "devices"}
        panel.modelFileRequested.connect(self.add_model)
        panel.device.currentIndexChanged.connect(self._show_device)
        self._device_timer = QTimer(self)
        self._device_timer.setSingleShot(True)
        self._device_timer.timeout.connect(self._find_devices)

    def start(self) -> None:
        """Look for models now, for devices as soon as the window is up."""
        self.find_models()
        self._device_timer.start(DEVICES_AFTER_MS)

    def stop(self) -> None:
        """Start nothing any more."""
        self._device_timer.stop()

    @property
    def known(self) -> bool:
        """Whether models and devices are known."""
        return not self._missing

    def _found(self, what: str) -> None:
        if what in self._missing:
            self._missing.discard(what)
            if not self._missing:
                self.ready.emit()

    def find_models(self) -> None:
        """List models again."""
        extra = tuple(self._extra)
        job = self._jobs.submit("Listing models", lambda context: tasks.find_models(context, extra))
        job.succeeded.connect(self._models_found)
        job.failed.connect(self._model_refused)

    def add_model(self, path: str) -> None:
        """Offer a checkpoint and choose it."""
        if path not in self._extra:
            self._extra.append(path)
        self._session.model = path
        self.find_models()

    def _model_refused(self, failure: Failure) -> None:
        self.failed.emit("Cannot use this model", failure)
        if self._extra:
            self._extra.pop()
            self._session.model = ""
            self.find_models()

    def _models_found(self, found: tasks.Models) -> None:
        for text in found.warnings:
            self.warned.emit(text)
        self._panel.show_models(found.models, self._extra[-1] if self._extra else self._session.model)
        self._found("models")

    def _find_devices(self) -> None:
        job = self._jobs.submit("Looking for devices", tasks.find_devices, lane="device")
        job.succeeded.connect(self._devices_found)
        job.failed.connect(lambda failure: self.failed.emit("No device can be used", failure))

    def _devices_found(self, devices: tuple[DeviceInfo, ...]) -> None:
        self._panel.device.show_devices(devices)
        self._show_device()
        self._found("devices")
        job = self._jobs.submit("Getting the engine ready", tasks.warm_engine, lane="device")
        job.succeeded.connect(lambda _: self.warm.emit())

    def _show_device(self) -> None:
        chosen = self._panel.device.chosen
        if chosen is not None:
            self.deviceShown.emit(chosen.label, chosen.reason)

    def remember_model(self) -> None:
        """Write the chosen model down for next time."""
        chosen = self._panel.chosen
        if chosen is not None and not self._extra:
            self._session.model = chosen.name

    def open_model_folder(self) -> None:
        """Show the folder of the user's own models."""

        def work(context: Context) -> str:
            from engine.models.catalog import user_models_dir

            folder = user_models_dir()
            folders.ensure_writable(folder)
            folder.mkdir(parents=True, exist_ok=True)
            return str(folder)

        job = self._jobs.submit("Finding the model folder", work)
        job.succeeded.connect(lambda folder: QDesktopServices.openUrl(QUrl.fromLocalFile(folder)))
        job.failed.connect(lambda failure: self.failed.emit("Cannot make the model folder", failure))
