"""How scenes are shown: band combination and contrast, and the small dialogs of the Help menu."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from rs_viewer.dialogs import BandsDialog, ShortcutsDialog, about
from rs_viewer.jobs import Context, Jobs
from rs_viewer.latest import Latest
from rs_viewer.map.layers import Layer, SceneLayer

FIRST_PERCENTS = (2.0, 98.0)


class Display(QObject):
    """Changes what is seen of a scene, never what a model gets.

    Signals:
        failed: A scene could not be read: title and failure.
    """

    failed = Signal(str, object)

    def __init__(self, jobs: Jobs, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._percents: dict[int, tuple[float, float]] = {}
        self._jobs = jobs
        self._stretch = Latest(jobs, "Computing the contrast", parent=self)
        self._stretch.answered.connect(self._show_stretch)
        self._stretch.failed.connect(lambda failure: self.failed.emit("Cannot read the scene", failure))
        self.dialog: BandsDialog | None = None

    def ask(self, *layers: Layer | None) -> None:
        """Open the dialog for the first scene among the layers; its bands are looked up first, off the GUI thread."""
        layer = next((item for item in layers if isinstance(item, SceneLayer)), None)
        if layer is None:
            return
        scene, shown = layer.scene, layer.bands
        job = self._jobs.submit("Looking bands up", lambda context: shown or tuple(scene.rgb_indices()))
        job.succeeded.connect(lambda bands: self._open(layer, bands))
        job.failed.connect(lambda failure: self.failed.emit("Cannot read the scene", failure))

    def _open(self, layer: SceneLayer, shown: tuple[int, ...]) -> None:
        scene: Any = layer.scene
        self.dialog = BandsDialog(scene.bands, shown, self._percents.get(layer.id, FIRST_PERCENTS), self._window)
        self.dialog.chosen.connect(lambda bands, percents: self.show_bands(layer, bands, percents))
        self.dialog.finished.connect(self.dialog.deleteLater)
        self.dialog.open()

    def show_bands(self, layer: SceneLayer, bands: tuple[int, int, int], percents: tuple[float, float]) -> None:
        """Show bands with a percentile stretch."""
        self._percents[layer.id] = percents
        scene = layer.scene

        def work(context: Context) -> Any:
            from engine.scene.stretch import percentile_stretch

            return layer, bands, percentile_stretch(scene, bands, *percents)  # type: ignore[arg-type]

        self._stretch.ask(work)

    @staticmethod
    def _show_stretch(answer: tuple[SceneLayer, tuple[int, int, int], Any]) -> None:
        layer, bands, stretch = answer
        layer.set_bands(bands, stretch)

    def show_shortcuts(self) -> None:
        """List the keys."""
        dialog = ShortcutsDialog(self._window)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def show_about(self) -> None:
        """Version and licence."""
        about(self._window)
