"""The run of a detector: scene + model -> objects, as a generator of the same typed events as every run.

Reader threads cut windows out of the scene, the caller's thread runs them on the device and journals the objects of
each row; when all rows are done, objects of overlapping windows are brought together, measured and written, and
``analysis.json`` last.

Guarantees: memory follows the scene's width and the number of objects; leaving the loop, ``cancel`` and errors end
every thread before control returns and lose at most the row of windows in work; the same call goes on from there to
the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engine.inference.detection.borders import settle
from engine.inference.detection.journal import read_rows, write_row
from engine.inference.detection.objects import FoundObjects
from engine.inference.detection.stage import DetectionStage
from engine.inference.detection.table import TABLE_NAME, write_table
from engine.inference.events import Event, Finished, StripWritten
from engine.inference.info import DetectionSummary, ObjectCount
from engine.inference.loop import Cancel, RunLoop
from engine.inference.options import AnalysisOptions
from engine.inference.plan import WindowPlan
from engine.inference.preparing import prepare_run
from engine.inference.rate import WindowRate
from engine.inference.reader import Batch, RowDone
from engine.inference.store import RunStore
from engine.inference.tasks import Report, run_lanes
from engine.inference.workers import Workers
from engine.models.card import ModelCard
from engine.models.loaded import LoadedModel
from engine.scene import Grid, Scene

_BYTES_A_WINDOW = 65_536
"""Disk a run needs for each window in the journal and the table together, generously."""


def detect(
    stack: ExitStack,
    scene: Scene,
    model: LoadedModel,
    out_dir: Path,
    options: AnalysisOptions,
    cancel: Cancel,
    overwrite: bool,
) -> Iterator[Event]:
    """Run a detector over a scene; see :func:`engine.inference.pipeline.analyse`, which comes here for detectors."""
    prepared = prepare_run(scene, model, out_dir, options, overwrite=overwrite)
    stack.callback(prepared.close)
    check, store = prepared.check, prepared.store
    yield from prepared.begin(prepared.windows * _BYTES_A_WINDOW)
    if store.complete:
        known = store.info.detections
        yield Finished(out_dir, 0, time.monotonic() - prepared.began, {}, detections=known.count if known else 0)
        return
    with prepared.at_work(model) as work:
        stage = DetectionStage(work.model, check.scaling, check.plan.window_px, store.info.resolved.min_score or 0.0)
        loop = _DetectionLoop(store, check.plan, stage, work.workers, prepared.rows_done, cancel, work.rate)
        yield from loop.events(work.reader)
    yield from _finish(store, check.plan, check.scene.grid, model.card, cancel, prepared.began)


class _DetectionLoop(RunLoop[FoundObjects]):
    """Journals the objects of each row of windows."""

    def __init__(
        self,
        store: RunStore,
        plan: WindowPlan,
        stage: DetectionStage,
        workers: Workers,
        journalled: int,
        cancel: Cancel,
        rate: WindowRate,
    ) -> None:
        super().__init__(stage, workers, cancel, rate)
        self._store, self._plan, self._journalled = store, plan, journalled
        self._found: list[FoundObjects] = []
        self._run: list[int] = []

    def take_batch(self, batch: Batch, found: list[FoundObjects]) -> None:
        """Keep the objects until their row is done."""
        self._found += found
        self._run += [window.index for window in batch.windows]

    def take_row(self, row: RowDone) -> Iterator[Event]:
        """Journal a row; objects whose middle lies where there is no data are left out."""
        start, stop = self._plan.final_rows(row.row)
        if row.row >= self._journalled:
            found, run = FoundObjects.joined(self._found), self._run
            self._found, self._run = [], []
            rows = np.clip(found.boxes[:, 1].astype(np.intp) - start, 0, row.kept.shape[0] - 1)
            cols = np.clip(found.boxes[:, 0].astype(np.intp), 0, row.kept.shape[1] - 1)
            write_row(self._store, row.row, found.take(row.kept[rows, cols]), run)
            if row.skipped:
                yield self._rate.add(row.skipped)
        yield StripWritten(start, stop)


def _finish(
    store: RunStore,
    plan: WindowPlan,
    grid: Grid,
    card: ModelCard,
    cancel: Cancel,
    began: float,
) -> Iterator[Event]:
    """Turn a complete journal into a finished analysis."""
    windows_s = time.monotonic() - began
    settled: list[FoundObjects] = []

    def lane(report: Report, stop: Cancel) -> None:
        report("objects", 0.0)
        with store.reading():
            found, run = read_rows(store.partial, plan)
        if stop():
            return
        report("objects", 0.2)
        settled.append(settle(found, plan, run, store.info.resolved.max_overlap))
        report("objects", 0.6)
        if stop():
            return
        write_table(store.partial / TABLE_NAME, settled[0], grid, [entry.name for entry in card.classes])
        report("objects", 1.0)

    yield from run_lanes((lane,), cancel)
    objects = settled[0]
    store.publish(TABLE_NAME)
    counts = np.bincount(objects.labels, minlength=len(card.classes))
    by_class = tuple(
        ObjectCount(code=code, name=entry.name, color=entry.color, count=int(counts[code]))
        for code, entry in enumerate(card.classes)
    )
    summary = DetectionSummary(count=len(objects), by_class=by_class)
    store.publish_info(store.info.model_copy(update={"detections": summary}))
    seconds = time.monotonic() - began
    stages = {"windows": windows_s, "objects": seconds - windows_s}
    yield Finished(store.path, 0, seconds, stages, detections=len(objects))
