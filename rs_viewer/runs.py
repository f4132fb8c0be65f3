"""A run from the window's side: what would happen, start, live maps, progress, cancel, resume.

Guarantees: one run at a time; the run belongs to its folder, not to the layers on the map, so closing a scene or an
analysis does not disturb it; what is shown while it goes on is read from disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from engine.errors import EngineError
from engine.inference.events import Finished, StageChanged, Started, StripWritten, WarningRaised, WindowDone
from engine.inference.options import AnalysisOptions
from rs_viewer import folders, tasks
from rs_viewer import format as fmt
from rs_viewer.jobs import Failure, Job
from rs_viewer.latest import Latest
from rs_viewer.map.layers import RasterLayer
from rs_viewer.panels.analysis import Wish
from rs_viewer.parts import Parts, single_shot

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from rs_viewer.workspace import OpenAnalysis, OpenScene

CHECK_AFTER_MS = 250
SHARES_EVERY_MS = 1500
WINDOWS_PART = 0.85
"""Share of the progress bar that the windows take; the stages after them share the rest."""
STAGE_NAMES = {
    "quadtree": "Cutting the scene into patches",
    "regions": "Building regions",
    "polygons": "Drawing outlines",
    "rasters": "Writing maps",
    "objects": "Settling objects",
    "cells": "Listing cells",
}
STAGE_PARTS = {"regions": (0.0, 0.35), "polygons": (0.35, 0.4), "rasters": (0.75, 0.25)}


def grid_roi(points: list[tuple[float, float]], crs: Any) -> dict[str, Any]:
    """A polygon in map coordinates as run options keep it."""
    ring = [[float(x), float(y)] for x, y in points]
    if ring[0] != ring[-1]:
        ring.append(ring[0])
    return {"geometry": {"type": "Polygon", "coordinates": [ring]}, "crs": "" if crs is None else crs.to_string()}


def found_text(event: Finished, *, compared: bool = False) -> str:
    """What a run found, in words; ``compared`` where it compared two scenes."""
    region = "change" if compared else "region"
    found = ((event.detections, "object"), (event.cells, "cell"), (event.regions, region))
    number, thing = next((number, thing) for number, thing in found if number is not None)
    return f"{fmt.count(number)} {thing}{'' if number == 1 else 's'}"


class Runs(QObject):
    """Starts runs and shows them.

    Signals:
        started: A run was started in this folder.
        finished: The run is complete: its :class:`Finished` event.
        failed: A run failed.
        stopped: A run was cancelled; what is done is kept.
        warned: Something the user should know.
        counted: Class shares of the rows that are done.
        grown: A detector's analysis on the map has more rows.
        rateChanged: Text for the status bar, empty when nothing runs.
    """

    started = Signal(str)
    finished = Signal(object)
    failed = Signal(object)
    stopped = Signal()
    warned = Signal(str)
    counted = Signal(object)
    grown = Signal(object)
    rateChanged = Signal(str)

    def __init__(self, parts: Parts, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs, self._room, self._workspace, self._map = parts.jobs, parts.room, parts.workspace, parts.map
        self.panel = parts.panel
        self.job: Job | None = None
        self.out_dir = ""
        self.drawn_roi: dict[str, Any] | None = None
        self.file_roi: dict[str, Any] | None = None
        self._scene: OpenScene | None = None
        self._live: OpenAnalysis | None = None
        self._waiting: Analysis | None = None
        self._said: set[str] = set()
        self._furthest = 0.0
        self.compares = False
        self._check = Latest(parts.jobs, "Checking the scene against the model", parent=self)
        self._check.answered.connect(self._checked)
        self._check.failed.connect(self._check_failed)
        self._check_soon = single_shot(self, CHECK_AFTER_MS, self._ask_check)
        self._shares = Latest(parts.jobs, "Counting classes", parent=self)
        self._shares.answered.connect(self._shares_counted)
        self._count_soon = single_shot(self, SHARES_EVERY_MS, self._count)
        self.panel.changed.connect(self._check_soon.start)
        self.panel.runRequested.connect(self.start)
        self.panel.cancelRequested.connect(self.cancel)
        self.panel.areaFileRequested.connect(self._read_area)
        parts.workspace.sceneChanged.connect(self._scene_changed)

    @property
    def running(self) -> bool:
        """Whether a run goes on."""
        return self.job is not None and self.job.active

    # Before ---------------------------------------------------------------------------------------------------------

    def _scene_changed(self, scene: OpenScene | None) -> None:
        self.panel.set_scene(scene is not None)
        self._said = {item.message for item in scene.scene.warnings} if scene is not None else set()
        self.drawn_roi = self.file_roi = None
        self._map.set_roi(None)
        self.panel.set_area("scene")

    def roi(self, area: str) -> dict[str, Any] | None:
        """The region of interest that an area means now."""
        grid = self._map.layers.grid
        if area == "view" and grid is not None:
            view, width, height = self._map.viewport, self._map.width(), self._map.height()
            corners = [view.to_map(x, y) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
            return grid_roi(corners, grid.crs)
        return {"drawn": self.drawn_roi, "file": self.file_roi}.get(area)

    def set_drawn(self, points: list[tuple[float, float]]) -> None:
        """Use a polygon that was drawn on the map."""
        grid = self._map.layers.grid
        if grid is not None:
            self.drawn_roi = grid_roi(points, grid.crs)
            self.panel.set_area("drawn")

    def _read_area(self, path: str) -> None:
        def work(context: object) -> dict[str, Any]:
            from engine.scene.roi import read_roi

            return read_roi(path).to_json()

        job = self._jobs.submit("Reading the region of interest", work)
        job.succeeded.connect(lambda roi: self._area_read(path, roi))
        job.failed.connect(self._area_failed)

    def _area_read(self, path: str, roi: dict[str, Any]) -> None:
        self.file_roi = roi
        self.panel.set_area("file", f"Region of interest from {path}")

    def _area_failed(self, failure: Failure) -> None:
        self.panel.set_area("scene")
        self.failed.emit(failure)

    def options(self, wish: Wish) -> AnalysisOptions:
        """Options for a wish.

        Raises:
            EngineError: There is no region of interest yet.
        """
        roi = self.roi(wish.area)
        if wish.area in ("drawn", "file") and roi is None:
            raise EngineError(
                "no region of interest has been drawn yet"
                if wish.area == "drawn"
                else "no region of interest is chosen",
                where="Area",
                remedy="Draw one with the ROI tool, or choose the whole scene.",
            )
        return AnalysisOptions(**wish.options, roi=roi)

    def _ask_check(self) -> None:
        wish, scene = self.panel.wish, self._workspace.scene
        if scene is None or wish.model is None or self.running:
            self._check.forget()
            self.panel.show_check("")
            if not self.running:
                self.panel.offer_resume("")
            return
        try:
            options = self.options(wish)
        except EngineError as error:
            self.panel.show_check(error.message)
            return
        model, source = wish.model, scene.source
        self._check.ask(lambda context: tasks.check(context, source, model, options, wish.out_dir))

    def _checked(self, found: tasks.Checked) -> None:
        if self.running:
            return
        self._waiting = found.waiting
        self._said |= set(found.warnings)
        self.panel.show_check("\n\n".join((found.refusal,) if found.refusal else found.warnings))
        self.panel.offer_resume(
            "An interrupted analysis waits in this folder. Resume it with its own model and options, or start over."
            if found.waiting is not None
            else ""
        )

    def _check_failed(self, failure: Failure) -> None:
        self._waiting = None
        self.panel.show_check(failure.message)

    # During ---------------------------------------------------------------------------------------------------------

    def start(self, how: str = "run") -> None:
        """Start a run: ``run``, ``resume`` what waits in the folder, or ``overwrite`` it."""
        wish, scene = self.panel.wish, self._workspace.scene
        if self.running or scene is None or wish.model is None:
            return
        try:
            options = self.options(wish)
            model_path = str(wish.model.path)
            if how == "resume" and self._waiting is not None:
                options = self._waiting.info.options.model_copy(update={"device": options.device})
                model_path = tasks.model_of(self._waiting, self.panel.models)
        except (EngineError, ValueError) as error:
            self.failed.emit(Failure.of(error))
            return
        self.out_dir = wish.out_dir if how != "run" else folders.free_out_dir(wish.out_dir)
        if self.out_dir != wish.out_dir:
            self.panel.set_out_dir(self.out_dir)
        after: tuple[str, ...] = ()
        if how == "resume" and self._waiting is not None and self._waiting.info.after is not None:
            after = self._waiting.info.after.sources
        self._launch(scene, after, model_path, options, overwrite=how == "overwrite")

    def compare(
        self, scene: OpenScene, after: tuple[str, ...], model_path: str, out_dir: str, options: AnalysisOptions
    ) -> None:
        """Start comparing an open scene with a later one; an interrupted run of the same in the folder goes on."""
        if not self.running:
            self.out_dir = folders.free_out_dir(out_dir)
            self._launch(scene, after, model_path, options)

    def _launch(
        self,
        scene: OpenScene,
        after: tuple[str, ...],
        model_path: str,
        options: AnalysisOptions,
        *,
        overwrite: bool = False,
    ) -> None:
        self._scene, self._live, self._furthest, self.compares = scene, None, 0.0, bool(after)
        source, out_dir = scene.source, self.out_dir
        self._check.forget()
        self.panel.show_check("")
        self.panel.offer_resume("")
        self.panel.begin()
        self.job = self._jobs.submit(
            "Comparison" if after else "Analysis",
            lambda context: tasks.run_analysis(
                context, self._room, source, model_path, out_dir, options, after=after, overwrite=overwrite
            ),
            lane="device",
            asks_on_close=True,
        )
        self.job.reported.connect(self._reported)
        self.job.succeeded.connect(self._succeeded)
        self.job.failed.connect(self._run_failed)
        self.job.cancelled.connect(self._cancelled)
        self.started.emit(out_dir)

    def stop(self) -> None:
        """Start nothing any more: the window closes."""
        self._check_soon.stop()
        self._count_soon.stop()
        self._check.forget()
        self._shares.forget()

    def cancel(self) -> None:
        """Stop the run after its present windows."""
        if self.job is not None and self.running:
            self.panel.stopping()
            self.job.cancel()

    def _reported(self, event: object) -> None:
        if isinstance(event, Started):
            self._show_windows(event.windows_done, event.windows, None, None)
            self._open_live()
        elif isinstance(event, WindowDone):
            self._show_windows(event.windows_done, event.windows, event.windows_per_s, event.seconds_left)
        elif isinstance(event, StripWritten):
            self._strip_written(event.row_start, event.row_stop)
        elif isinstance(event, StageChanged):
            begin, part = STAGE_PARTS.get(event.stage, (0.0, 1.0))
            name = STAGE_NAMES.get(event.stage, event.stage.capitalize())
            text = f"{name}… {fmt.percent(event.fraction)}"
            after = WINDOWS_PART + (1 - WINDOWS_PART) * (begin + part * event.fraction)
            self._progress(0.0 if event.stage == "quadtree" else after, text)  # which comes before the windows
        elif isinstance(event, WarningRaised) and event.warning.message not in self._said:
            self.warned.emit(event.warning.message)

    def _show_windows(self, done: int, total: int, rate: float | None, left: float | None) -> None:
        text = f"{fmt.count(done)} of {fmt.count(total)} windows"
        short = ""
        if rate:
            short = fmt.rate(rate) + (f"  {fmt.duration(left)} left" if left is not None else "")
            text = f"{text} · {short.replace('  ', ' · ')}"
        self._progress(WINDOWS_PART * done / max(total, 1), text)
        self.rateChanged.emit(short or text)

    def _progress(self, fraction: float, text: str) -> None:
        self._furthest = max(self._furthest, fraction)  # stages that run side by side begin at different shares
        if self.job is not None and not self.job.cancel_requested:
            self.panel.show_progress(self._furthest, text)

    def _open_live(self) -> None:
        scene, out_dir = self._scene, self.out_dir
        job = self._jobs.submit("Opening the growing analysis", lambda context: tasks.look_on(context, out_dir))
        job.succeeded.connect(lambda analysis: self._live_opened(analysis, out_dir, scene))
        job.failed.connect(lambda failure: self.warned.emit(failure.message))

    def _live_opened(self, analysis: Analysis, out_dir: str, scene: OpenScene | None) -> None:
        if not self.running or out_dir != self.out_dir:
            return
        self._live = self._show(analysis, out_dir, scene)
        self._count_soon.start()

    def _show(self, analysis: Analysis, out_dir: str, scene: OpenScene | None) -> OpenAnalysis | None:
        if not self._workspace.fits(analysis.grid):
            return None
        known = scene if scene in self._workspace.scenes else None
        return self._workspace.add_analysis(analysis, out_dir, known)

    def _strip_written(self, row_start: int, row_stop: int) -> None:
        if self._live is None or self._live not in self._workspace.analyses:
            return
        for layer in self._live.layers.values():
            if isinstance(layer, RasterLayer):
                self._map.refresh(layer, row_start, row_stop)
        if not self._count_soon.isActive():
            self._count_soon.start()

    def _count(self) -> None:
        live = self._live
        if live is not None and self.running and live in self._workspace.analyses:
            analysis = live.analysis
            if analysis.kind == "detection":
                self.grown.emit(live)
                return
            self._shares.ask(lambda context: analysis.class_shares())

    def _shares_counted(self, shares: Any) -> None:
        if self._workspace.analysis is self._live:
            self.counted.emit(shares)

    # After ----------------------------------------------------------------------------------------------------------

    def _end(self, text: str) -> None:
        self._count_soon.stop()
        self._shares.forget()
        self.panel.end(text)
        self.rateChanged.emit("")

    def _succeeded(self, event: Finished) -> None:
        self._end(f"{found_text(event, compared=self.compares)} in {fmt.duration(event.seconds)}")
        scene, out_dir = self._scene, self.out_dir
        job = self._jobs.submit("Opening the analysis", lambda context: tasks.look_on(context, out_dir))
        job.succeeded.connect(lambda analysis: self._finished(event, analysis, scene))
        job.failed.connect(self.failed)

    def _finished(self, event: Finished, analysis: Analysis, scene: OpenScene | None) -> None:
        self._show(analysis, str(event.out_dir), scene)
        self._live = None
        self.finished.emit(event)

    def _run_failed(self, failure: Failure) -> None:
        self._end(f"Failed: {failure.what}")
        self.failed.emit(failure)
        self._check_soon.start()

    def _cancelled(self) -> None:
        self._end(f"Stopped. What is done is kept in {Path(self.out_dir).name}.")
        self.stopped.emit()
        self._check_soon.start()
