"""What every run needs before its first window: scene and card compared, device, folder, windows.

Guarantees: nothing is read but what :func:`~engine.inference.check.check_run` reads; the folder is held until
:meth:`PreparedRun.close`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapely import box, prepare
from shapely.geometry.base import BaseGeometry

import engine
from engine.errors import DeviceWarning
from engine.inference.change.stage import DEFAULT_THRESHOLD
from engine.inference.check import RunCheck, check_run
from engine.inference.device import DeviceInfo, choose_device, has_fast_bfloat16
from engine.inference.events import Event, Started, WarningRaised
from engine.inference.info import AnalysisInfo, GridFacts, ModelFacts, Resolved, SceneFacts
from engine.inference.options import AnalysisOptions
from engine.inference.plan import PlanWindow, WindowPlan
from engine.inference.rate import WindowRate
from engine.inference.reader import RowReader
from engine.inference.stage import default_batch
from engine.inference.store import RunStore
from engine.inference.workers import Workers
from engine.models.detection import Detector
from engine.models.loaded import LoadedModel
from engine.scene import Scene, ScenePair
from engine.scene.roi import Roi

_READERS = {"cpu": 1, "cuda": 3}


@dataclass(frozen=True, slots=True)
class AtWork:
    """What computes during a run.

    Attributes:
        reader: Reads windows ahead.
        model: The model on its device.
        workers: The compute threads.
        rate: Counts windows.
    """

    reader: RowReader
    model: LoadedModel
    workers: Workers
    rate: WindowRate


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run about to begin.

    Attributes:
        check: The run as it would happen.
        roi_px: Region of interest in pixels, None for everything.
        device: What the model runs on.
        store: The run's folder, held.
        active: For each row of windows, those that touch the region of interest.
        rows_done: Rows of windows that an earlier run has journalled.
        began: When preparing began, on the clock that runs evenly.
    """

    check: RunCheck
    roi_px: Any
    device: DeviceInfo
    store: RunStore
    active: list[tuple[PlanWindow, ...]]
    rows_done: int
    began: float

    @property
    def windows(self) -> int:
        """Windows of the run."""
        return sum(len(row) for row in self.active)

    @property
    def windows_done(self) -> int:
        """Those of the rows that are done; all of them in a complete folder."""
        return self.windows if self.store.complete else sum(len(row) for row in self.active[: self.rows_done])

    def begin(self, space_bytes: int) -> Iterator[Event]:
        """The run's first events: that it begins, and what the user should know.

        Args:
            space_bytes: Disk that a new run needs in all.

        Raises:
            OutputError: There is less.
        """
        plan = self.check.plan
        if not self.store.complete and self.rows_done == 0:
            self.store.check_space(space_bytes)
        yield Started(self.windows, self.windows_done, plan.width, plan.height, self.device.label, self.store.path)
        if not self.store.complete:
            for warning in self.check.warnings:
                yield WarningRaised(warning)

    @contextmanager
    def at_work(self, model: LoadedModel) -> Iterator[AtWork]:
        """Start reading and computing; leaving ends every thread."""
        with ExitStack() as threads:
            reader = RowReader(
                self.check.scene,
                self.check.plan,
                self.active,
                self.check.bands,
                self.store.info.resolved.batch,
                roi_px=self.roi_px,
                replayed=self.rows_done,
                threads=_READERS[self.device.kind],
            )
            threads.callback(reader.close)
            ready = model.to(self.device.torch_device, self.store.info.options.precision)
            workers = Workers(self.device.torch_device)
            threads.callback(workers.close)
            yield AtWork(reader, ready, workers, WindowRate(self.windows, self.windows_done))

    def close(self) -> None:
        """Let go of the folder."""
        self.store.close()


def prepare_run(
    scene: Scene | ScenePair, model: LoadedModel, out_dir: Path, options: AnalysisOptions, *, overwrite: bool
) -> PreparedRun:
    """Compare scene and card, find the device, take hold of the folder.

    Raises:
        EngineError: The run cannot be done; the message says what would work.
    """
    began = time.monotonic()
    check = check_run(scene, model.card, options)
    roi_px = Roi.from_json(options.roi).on_grid(check.scene.grid) if options.roi is not None else None
    device = choose_device(options.device)
    if options.precision == "bfloat16" and not has_fast_bfloat16(device.torch_device):
        slow = DeviceWarning("This processor computes bfloat16 many times slower than float32: choose float32 here.")
        check = dataclasses.replace(check, warnings=(*check.warnings, slow))
    store = RunStore(out_dir, _describe(scene, model, options, check, device), overwrite=overwrite)
    try:
        active = active_windows(check.plan, roi_px)
        return PreparedRun(check, roi_px, device, store, active, 0 if store.complete else store.rows_done(), began)
    except BaseException:
        store.close()
        raise


def active_windows(plan: WindowPlan, roi_px: BaseGeometry | None) -> list[tuple[PlanWindow, ...]]:
    """For each row of a plan, the windows that touch the region of interest."""
    rows = [plan.row_windows(index) for index in range(plan.rows)]
    if roi_px is None:
        return rows
    prepare(roi_px)
    return [
        tuple(w for w in row if roi_px.intersects(box(w.col, w.row, w.col + w.width, w.row + w.height))) for row in rows
    ]


def _scene_facts(scene: Scene) -> SceneFacts:
    return SceneFacts(
        name=scene.name,
        sources=tuple(scene.sources),
        dtype=scene.dtype,
        gsd_m=scene.gsd_m,
        identity=scene.identity(),
    )


def _describe(
    scene: Scene | ScenePair, model: LoadedModel, options: AnalysisOptions, check: RunCheck, device: DeviceInfo
) -> AnalysisInfo:
    before, after = (scene.before, scene.after) if isinstance(scene, ScenePair) else (scene, None)
    return AnalysisInfo(
        program_version=engine.__version__,
        scene=_scene_facts(before),
        after=None if after is None else _scene_facts(after),
        grid=GridFacts.of(check.scene.grid),
        model=ModelFacts(name=model.name, sha256=model.sha256, card=model.card),
        options=options,
        resolved=Resolved(
            window_px=check.plan.window_px,
            overlap_px=check.plan.overlap_px,
            batch=options.batch or default_batch(device),
            bands=check.bands,
            gsd_m=check.gsd_m,
            scaling=check.scaling,
            **_score_facts(model, options),
        ),
        device=device.label,
        warnings=tuple(warning.message for warning in check.warnings),
    )


def _score_facts(model: LoadedModel, options: AnalysisOptions) -> dict[str, float]:
    """From which score on a detector's objects and changes count."""
    wanted = options.min_score if options.min_score is not None else model.card.min_score
    if model.card.task == "change":
        return {"min_score": DEFAULT_THRESHOLD if wanted is None else wanted}
    if not isinstance(model.module, Detector):
        return {}
    return {"min_score": 0.0 if wanted is None else wanted, "max_overlap": model.module.max_overlap}
