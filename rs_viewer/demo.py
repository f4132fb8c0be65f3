"""The demo: a labelled scene, the shipped model over it, the result on the screen, and its agreement with the truth.

Guarantees: it goes the way a user goes (open, run, inspect), through the same parts; the scene is made once and kept in
the user's cache; the figures are counted from the finished analysis and the scene's own truth, pixel by pixel.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, QStandardPaths, QTimer, Signal

from rs_viewer.jobs import Context, Failure

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from engine.inference.events import Finished
    from engine.scene import Scene
    from rs_viewer.main_window import MainWindow

SHIPPED_MODEL = "hook-landcover"
SIZE_PX = 3072
PICTURE_SIZE = (1600, 1000)
BLOCK_ROWS = 512
SETTLE_MS = 400
"""How long the window may rest after the last tile before its picture is taken."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asks for.

    Attributes:
        size_px: Edge of the scene; None takes :data:`SIZE_PX`.
        model: Name or checkpoint; None takes the shipped model.
        screenshot: Where to save the window's picture; None leaves the window open.
    """

    size_px: int | None = None
    model: str | None = None
    screenshot: Path | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well an analysis agrees with the truth.

    Attributes:
        accuracy: Share of pixels with the right class.
        iou: Intersection over union by class name; classes that occur in neither are left out.
        region_id: A region worth showing: large and of one colour.
    """

    accuracy: float
    iou: dict[str, float]
    region_id: int

    @property
    def miou(self) -> float:
        """Mean over the classes."""
        return sum(self.iou.values()) / max(len(self.iou), 1)

    def table(self) -> str:
        """The figures as lines of text."""
        width = max(len(name) for name in (*self.iou, "mean IoU", "pixels right"))
        rows = [("pixels right", self.accuracy), ("mean IoU", self.miou), *((f"{n}", v) for n, v in self.iou.items())]
        return "\n".join(f"  {name:<{width}}  {100 * value:5.1f} %" for name, value in rows)


def codes_of(rgb: np.ndarray, colors: Sequence[str]) -> np.ndarray:
    """Class codes of a map in its palette's colours [3, h, w]; colours that are no class's get ``len(colors)``."""
    red, green, blue = rgb.astype(np.int64)
    packed = (red << 16) | (green << 8) | blue
    values = np.array([int(color.removeprefix("#"), 16) for color in colors])
    order = np.argsort(values)
    place = np.minimum(np.searchsorted(values[order], packed), len(values) - 1)
    return np.where(values[order][place] == packed, order[place], len(values))


def confusion(analysis: Analysis, truth: Scene, classes: Sequence[tuple[str, str]]) -> np.ndarray:
    """Count pixels by true class (rows) and found class (columns, the last for none); the truth is read in blocks.

    Args:
        analysis: A finished analysis that covers the truth's area.
        truth: The truth, a raster with a palette.
        classes: Names and colours of the truth's codes.
    """
    from engine.scene import Window

    names, colors = [name for name, _ in classes], [color for _, color in classes]
    found_names = [item.name for item in analysis.card.classes]
    to_truth = np.array([names.index(name) if name in names else len(names) for name in found_names] + [len(names)])
    counts = np.zeros((len(names), len(names) + 1), np.int64)
    scale_y = analysis.grid.height / truth.height
    for row in range(0, truth.height, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, truth.height - row)
        true = codes_of(truth.read(Window(0, row, truth.width, rows)).data[:3], colors)
        place = Window(0, row * scale_y, analysis.grid.width, rows * scale_y)
        found = np.minimum(analysis.read("classes", place, (rows, truth.width)), len(found_names))
        inside = true < len(names)
        pairs = true[inside] * (len(names) + 1) + to_truth[found[inside]]
        counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    return counts


def compare(context: Context, folder: Path, truth_path: Path) -> Agreement:
    """Compare a finished analysis with the truth."""
    from engine.inference.analysis import open_analysis
    from engine.scene import Scene
    from engine.scene.demo import CLASSES

    names = tuple(name for name, _ in CLASSES)
    with open_analysis(folder) as analysis, Scene.open(truth_path) as truth:
        counts = confusion(analysis, truth, CLASSES)
        table = analysis.region_table
        pixels, homogeneity = table.column("pixels"), table.column("homogeneity")
    right = np.diag(counts[:, : len(names)])
    union = counts.sum(axis=1) + counts[:, : len(names)].sum(axis=0) - right
    iou = {name: float(r / u) for name, r, u in zip(names, right, union, strict=True) if u}
    best = int(np.argmax(np.sqrt(pixels) * np.nan_to_num(homogeneity) ** 2))
    return Agreement(float(right.sum() / max(counts.sum(), 1)), iou, best + 1)


class Demo(QObject):
    """Runs the demo in a window.

    Signals:
        finished: Everything is shown (and saved, if that was asked for).
        failed: It cannot go on; a sentence.
    """

    finished = Signal()
    failed = Signal(str)

    def __init__(self, window: MainWindow, options: DemoOptions | None = None) -> None:
        super().__init__(window)
        self._window = window
        self._options = options or DemoOptions()
        cache = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericCacheLocation)
        self._folder = Path(cache) / "rs-viewer" / "demo"
        self._began = time.monotonic()
        self._truth_path = Path()
        self._scene_path = Path()
        self._out_dir = Path()
        self._over = False
        self._heard: list[tuple[Any, Any]] = []

    def start(self) -> None:
        """Make the scene, or find the one made before."""
        self._began = time.monotonic()
        size_px, folder = self._options.size_px or SIZE_PX, self._folder
        if self._options.screenshot is not None:
            self._window.resize(*PICTURE_SIZE)

        def work(context: Context) -> Any:
            from engine.scene.demo import make_demo_scene

            return make_demo_scene(folder, size_px=(size_px, size_px))

        self._window.statusBar().showMessage("Making the demo scene…")
        job = self._window.jobs.submit("Making the demo scene", work)
        job.succeeded.connect(self._made)
        job.failed.connect(lambda failure: self._fail(failure.message))

    def _fail(self, text: str) -> None:
        if not self._over:
            self._over = True
            self._let_go()
            self.failed.emit(text)

    def _made(self, made: Any) -> None:
        self._scene_path, self._truth_path = made.scene_path, made.truth_path
        self._out_dir = self._folder / f"{made.scene_path.stem}_analysis"
        self._say(f"Scene: {made.scene_path}")
        window = self._window
        window.statusBar().clearMessage()
        self._listen(window.opener.opened, self._opened)
        self._listen(window.opener.failed, self._opening_failed)
        window.opener.open([str(made.scene_path)])

    def _opening_failed(self, _title: str, failure: Failure) -> None:
        self._fail(failure.message)

    def _opened(self, _item: object) -> None:
        window = self._window
        self._let_go()
        if self._options.model is not None and Path(self._options.model).is_file():
            window.catalogue.add_model(self._options.model)
        if window.catalogue.known:
            self._run()
        else:
            self._listen(window.catalogue.ready, self._run)

    def _run(self) -> None:
        panel, runs = self._window.analysis_panel, self._window.runs
        wanted = self._options.model or SHIPPED_MODEL
        if not panel.choose_model(wanted):
            self._fail(f"The model {wanted} is not installed. Reinstall RS Viewer, or name another one with --model.")
            return
        panel.set_out_dir(str(self._out_dir))
        panel.set_area("scene")
        self._listen(runs.finished, self._finished)
        self._listen(runs.failed, self._run_failed)
        self._listen(runs.stopped, self._stopped)
        runs.start("overwrite")

    def _run_failed(self, failure: Failure) -> None:
        self._fail(failure.message)

    def _stopped(self) -> None:
        self._fail("The demo's analysis was cancelled.")

    def _listen(self, signal: Any, slot: Any) -> None:
        signal.connect(slot)
        self._heard.append((signal, slot))

    def _let_go(self) -> None:
        for signal, slot in self._heard:
            signal.disconnect(slot)
        self._heard.clear()

    def _finished(self, event: Finished) -> None:
        folder, truth = self._out_dir, self._truth_path
        self._say(f"Analysis: {folder} ({event.regions} regions in {event.seconds:.0f} s)")
        job = self._window.jobs.submit("Comparing with the truth", lambda context: compare(context, folder, truth))
        job.succeeded.connect(self._compared)
        job.failed.connect(lambda failure: self._fail(failure.message))

    def _compared(self, found: Agreement) -> None:
        self._say(f"Agreement with the scene's own truth:\n{found.table()}")
        self._say(f"In all: {time.monotonic() - self._began:.0f} s")
        figures = f"{100 * found.accuracy:.1f} % of the pixels, mean IoU {found.miou:.2f}"
        self._window.messages.clear()
        self._window.messages.tell(f"Agreement with the scene's own truth: {figures}.")
        self._listen(self._window.inspection.shown, self._settle)
        self._window.inspection.show_id(found.region_id)

    def _settle(self) -> None:
        QTimer.singleShot(SETTLE_MS, self._done)

    def _done(self) -> None:
        if self._over:
            return
        window = self._window
        if self._options.screenshot is not None and not (window.map.is_settled and not window.jobs.active):
            self._settle()
            return
        self._over = True
        self._let_go()
        if self._options.screenshot is not None:
            target = self._options.screenshot
            target.parent.mkdir(parents=True, exist_ok=True)
            if not window.grab().save(str(target), "PNG"):
                self.failed.emit(
                    f"The picture cannot be written ({target}). Choose a file in a folder you may write to."
                )
                return
            self._say(f"Picture: {target}")
        self.finished.emit()

    @staticmethod
    def _say(text: str) -> None:
        print(text, flush=True)
