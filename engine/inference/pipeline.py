"""The run: scene + model -> analysis, as a generator of typed events.

Reader threads cut windows out of the scene, the caller's thread runs them on the device and blends them, a writer
thread journals finished rows and grows regions; queues between them are short. When the rows are done the maps are
written while the regions are settled, and ``analysis.json`` last.

Guarantees: memory follows the scene's width; leaving the loop, ``cancel`` and errors end every thread before
control returns and lose at most the row of windows in work; the same call goes on from there to the same bytes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from shapely import box, prepare
from shapely.geometry.base import BaseGeometry

import engine
from engine.errors import CancelledError
from engine.inference.blend import StripBlender
from engine.inference.check import RunCheck, check_run
from engine.inference.device import DeviceInfo, choose_device
from engine.inference.events import Event, Finished, Started, WarningRaised
from engine.inference.finishing import finish_run
from engine.inference.info import AnalysisInfo, GridFacts, ModelFacts, Resolved, SceneFacts
from engine.inference.options import AnalysisOptions
from engine.inference.plan import PlanWindow, WindowPlan
from engine.inference.rate import WindowRate
from engine.inference.reader import Batch, RowDone, RowReader
from engine.inference.stage import DeviceStage, WindowMaps, default_batch
from engine.inference.store import RunStore
from engine.inference.workers import Workers
from engine.inference.writer import ClassAreas, ComputedRow, JournalledRow, RowWriter
from engine.models.loaded import LoadedModel
from engine.regions.builder import RegionBuilder
from engine.scene import Scene
from engine.scene.roi import Roi

_POLL_S = 0.1
_READERS = {"cpu": 1, "cuda": 3}
_BYTES_A_PIXEL = 8
"""Disk a run needs for each pixel in the journal and the maps together, generously."""

Cancel = Callable[[], bool]


def analyse(
    scene: Scene,
    model: LoadedModel,
    out_dir: str | Path,
    options: AnalysisOptions | None = None,
    *,
    cancel: Cancel | None = None,
    overwrite: bool = False,
) -> Iterator[Event]:
    """Run a model over a scene.

    Nothing happens until the first event is asked for. Leaving the loop (closing the generator) keeps what is done on
    disk; calling again with the same scene, model and options goes on there.

    Args:
        scene: The scene.
        model: The model; it is brought to the device the options name.
        out_dir: The analysis folder, made where missing.
        options: How to run.
        cancel: Asked between batches whether to stop.
        overwrite: Throw away what another run left in the folder.

    Yields:
        Events: one :class:`Started` first, one :class:`Finished` last.

    Raises:
        CancelledError: ``cancel`` said so; what was done is kept.
        EngineError: The run cannot be done; the message says what would work.
    """
    options = options or AnalysisOptions()
    never: Cancel = cancel or (lambda: False)
    with ExitStack() as stack:
        yield from _analyse(stack, scene, model, Path(out_dir), options, never, overwrite)


def _analyse(
    stack: ExitStack,
    scene: Scene,
    model: LoadedModel,
    out_dir: Path,
    options: AnalysisOptions,
    cancel: Cancel,
    overwrite: bool,
) -> Iterator[Event]:
    began = time.monotonic()
    check = check_run(scene, model.card, options)
    plan = check.plan
    roi_px = Roi.from_json(options.roi).on_grid(check.scene.grid) if options.roi is not None else None
    device = choose_device(options.device)
    store = RunStore(out_dir, _describe(scene, model, options, check, device), overwrite=overwrite)
    stack.callback(store.close)
    active = active_windows(plan, roi_px)
    total = sum(len(row) for row in active)
    if store.complete:
        yield Started(total, total, plan.width, plan.height, device.label, out_dir)
        yield Finished(out_dir, store.info.regions or 0, time.monotonic() - began, {})
        return
    done = store.rows_done()
    if done == 0:
        store.check_space(_space(plan, len(model.card.classes), model.card.token_count, active))
    finished_windows = sum(len(row) for row in active[:done])
    yield Started(total, finished_windows, plan.width, plan.height, device.label, out_dir)
    for warning in check.warnings:
        yield WarningRaised(warning)

    grid = check.scene.grid
    builder = RegionBuilder(
        grid,
        class_names=[entry.name for entry in model.card.classes],
        band_names=[band.name for band in check.scene.bands],
        min_region_m2=options.min_region_m2,
        work_dir=store.work_dir(),
    )
    areas = ClassAreas(grid, model.card.classes)
    with ExitStack() as threads:
        writer = RowWriter(store, plan, builder, areas)
        threads.callback(writer.close)
        reader = RowReader(
            check.scene,
            plan,
            active,
            check.bands,
            store.info.resolved.batch,
            roi_px=roi_px,
            replayed=done,
            threads=_READERS[device.kind],
        )
        threads.callback(reader.close)
        blender = StripBlender(plan, len(model.card.classes), device.torch_device)
        if done:
            blender.restore(store.tail(done - 1))
        ready = model.to(device.torch_device, options.precision)
        stage = DeviceStage(ready, check.scaling, plan.window_px)
        workers = Workers(device.torch_device)
        threads.callback(workers.close)
        run = _WindowRun(plan, stage, workers, blender, cancel, WindowRate(total, finished_windows))
        yield from run.events(reader, writer, done)
    yield from finish_run(store, plan, grid, model.card, builder, areas, cancel, began)


def active_windows(plan: WindowPlan, roi_px: BaseGeometry | None) -> list[tuple[PlanWindow, ...]]:
    """For each row of a plan, the windows that touch the region of interest."""
    rows = [plan.row_windows(index) for index in range(plan.rows)]
    if roi_px is None:
        return rows
    prepare(roi_px)
    return [
        tuple(w for w in row if roi_px.intersects(box(w.col, w.row, w.col + w.width, w.row + w.height))) for row in rows
    ]


def _describe(
    scene: Scene, model: LoadedModel, options: AnalysisOptions, check: RunCheck, device: DeviceInfo
) -> AnalysisInfo:
    return AnalysisInfo(
        program_version=engine.__version__,
        scene=SceneFacts(
            name=scene.name,
            sources=tuple(scene.sources),
            dtype=scene.dtype,
            gsd_m=scene.gsd_m,
            identity=scene.identity(),
        ),
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
        ),
        device=device.label,
        warnings=tuple(warning.message for warning in check.warnings),
    )


def _space(plan: WindowPlan, classes: int, tokens: int, active: Sequence[Sequence[PlanWindow]]) -> int:
    windows = sum(len(row) for row in active)
    share = windows / (plan.rows * plan.cols)
    state = 2 * classes * plan.width * plan.window_px * 4
    return int(plan.width * plan.height * share * _BYTES_A_PIXEL + windows * tokens * 1024 + state)


class _WindowRun:
    """The caller's thread of a run: gives batches to the workers, blends their answers, hands rows on."""

    def __init__(
        self,
        plan: WindowPlan,
        stage: DeviceStage,
        workers: Workers,
        blender: StripBlender,
        cancel: Cancel,
        rate: WindowRate,
    ) -> None:
        self._plan, self._stage, self._workers = plan, stage, workers
        self._blender, self._cancel, self._rate = blender, cancel, rate
        self._pending: deque[tuple[Batch, Future[list[WindowMaps]]] | RowDone] = deque()
        self._maps: list[WindowMaps] = []

    def events(self, reader: RowReader, writer: RowWriter, journalled: int) -> Iterator[Event]:
        """Work through all rows."""
        with closing(reader.items()) as items:
            for item in items:
                self._check()
                if isinstance(item, Batch):
                    work = partial(self._stage.run, item.windows, item.pixels)
                    self._pending.append((item, self._workers.submit(work)))
                elif isinstance(item, RowDone):
                    self._pending.append(item)
                most = self._workers.ahead if item is not None else 0
                while len(self._pending) > most:
                    yield from self._take(writer, journalled)
                yield from writer.written()
        while self._pending:
            yield from self._take(writer, journalled)
        while not writer.finish():
            self._check()
            yield from writer.written()
        yield from writer.written()

    def _check(self) -> None:
        if self._cancel():
            raise CancelledError(
                "the run was cancelled", remedy="Run again with the same options to go on where it stopped."
            )

    def _take(self, writer: RowWriter, journalled: int) -> Iterator[Event]:
        """Deal with what is oldest among what was given out."""
        item = self._pending.popleft()
        if isinstance(item, RowDone):
            yield from self._row(item, writer, journalled)
            return
        batch, future = item
        while not future.done():
            wait([future], timeout=_POLL_S)
            self._check()
        if batch.gaps and not self._maps:
            self._blender.clear_row()
        for maps in future.result():
            for window, probabilities in zip(maps.windows, maps.probabilities, strict=True):
                self._blender.add(window, probabilities)
            self._maps.append(replace(maps, probabilities=maps.probabilities[:0]))
        yield self._rate.add(len(batch.windows))
        for warning in self._stage.warnings():
            yield WarningRaised(warning)

    def _row(self, row: RowDone, writer: RowWriter, journalled: int) -> Iterator[Event]:
        item: ComputedRow | JournalledRow
        if row.row < journalled:
            item = JournalledRow(row.row, row.image)
        else:
            item = self._computed(row)
            if row.skipped:
                yield self._rate.add(row.skipped)
        while not writer.put(item):
            self._check()
            yield from writer.written()

    def _computed(self, row: RowDone) -> ComputedRow:
        maps, self._maps = self._maps, []
        if not maps:
            self._blender.clear_row()
        final = self._blender.finish_row(row.row)
        edge = self._plan.window_px
        if maps:
            token_maps = np.concatenate([part.token_maps.cpu().numpy() for part in maps])
            features = np.concatenate([part.features.cpu().numpy() for part in maps])
        else:
            token_maps = np.zeros((0, edge, edge), np.uint8)
            features = np.zeros((0, 0, 0), np.float32)
        return ComputedRow(
            row=row.row,
            windows=tuple(window for part in maps for window in part.windows),
            token_maps=token_maps,
            features=features,
            classes=final.classes,
            confidence=final.confidence,
            runner_up=final.runner_up,
            tail=final.tail,
            image=row.image,
            kept=row.kept,
        )
