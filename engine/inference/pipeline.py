"""The run: scene + model -> analysis, as a generator of typed events.

Reader threads cut windows out of the scene, the caller's thread runs them on the device and blends them, a writer
thread journals finished rows, grows regions and hands rows on to the threads that write maps; queues between them are
short. When the rows are done the regions are settled and drawn, and ``analysis.json`` is written last.

Guarantees: memory follows the scene's width; leaving the loop, ``cancel`` and errors end every thread before
control returns and lose at most the row of windows in work; the same call goes on from there to the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from engine.inference.blend import FinalRows, StripBlender
from engine.inference.change.stage import ChangeStage, judge
from engine.inference.detection.run import detect
from engine.inference.events import Event, Finished
from engine.inference.finishing import finish_run
from engine.inference.loop import Cancel, RunLoop
from engine.inference.maps import RowMaps, map_tags
from engine.inference.options import AnalysisOptions
from engine.inference.plan import WindowPlan
from engine.inference.preparing import PreparedRun, prepare_run
from engine.inference.quadtree.regions import region_patches
from engine.inference.quadtree.tree import Selection
from engine.inference.rate import WindowRate
from engine.inference.reader import Batch, RowDone, RowReader
from engine.inference.recognition.run import recognise
from engine.inference.stage import BatchStage, DeviceStage, WindowMaps
from engine.inference.tasks import Report, run_lanes
from engine.inference.workers import Workers
from engine.inference.writer import ClassAreas, ComputedRow, JournalledRow, RowWriter
from engine.models.loaded import LoadedModel
from engine.regions.builder import RegionBuilder
from engine.regions.changes import ChangeBuilder
from engine.regions.patches import PatchBuilder
from engine.regions.settled import SettledRows
from engine.scene import Scene, ScenePair

_BYTES_A_PIXEL = 8
"""Disk a run needs for each pixel in the journal and the maps together, generously."""


def analyse(
    scene: Scene | ScenePair,
    model: LoadedModel,
    out_dir: str | Path,
    options: AnalysisOptions | None = None,
    *,
    cancel: Cancel | None = None,
    overwrite: bool = False,
) -> Iterator[Event]:
    """Run a model over a scene: a segmenter draws maps and regions, a detector finds objects, a classifier names cells.

    A model of change compares the two scenes of a pair and draws what changed between them.

    Nothing happens until the first event is asked for. Leaving the loop (closing the generator) keeps what is done on
    disk; calling again with the same scene, model and options goes on there.

    Args:
        scene: The scene; of a model of change the pair that :func:`engine.scene.pair_scenes` makes of two.
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
    kinds: dict[str, Callable[..., Iterator[Event]]] = {"detection": detect, "classification": recognise}
    run = kinds.get(model.card.task, _analyse)
    with ExitStack() as stack:
        yield from run(stack, scene, model, Path(out_dir), options, never, overwrite)


def _analyse(
    stack: ExitStack,
    scene: Scene | ScenePair,
    model: LoadedModel,
    out_dir: Path,
    options: AnalysisOptions,
    cancel: Cancel,
    overwrite: bool,
) -> Iterator[Event]:
    prepared = prepare_run(scene, model, out_dir, options, overwrite=overwrite)
    stack.callback(prepared.close)
    check, store, device, done = prepared.check, prepared.store, prepared.device, prepared.rows_done
    plan = check.plan
    yield from prepared.begin(_space(plan, len(model.card.classes), model.card.token_count, prepared.windows))
    if store.complete:
        yield Finished(out_dir, store.info.regions or 0, time.monotonic() - prepared.began, {})
        return
    grid = check.scene.grid
    builder = yield from _builder(prepared, model, options, cancel)
    areas = ClassAreas(grid, model.card.classes)
    maps = RowMaps(store.partial, grid, model.card.classes, map_tags(store.info), store.info.kind)
    stack.callback(maps.close)
    with ExitStack() as threads:
        writer = RowWriter(store, plan, builder, areas, maps)
        threads.callback(writer.close)
        work = threads.enter_context(prepared.at_work(model))
        blender = StripBlender(plan, len(model.card.classes), device.torch_device)
        if done:
            blender.restore(store.tail(done - 1))
        changes = model.card.task == "change"
        stage = (ChangeStage if changes else DeviceStage)(work.model, check.scaling, plan.window_px)
        settle = partial(judge, least_percent=round(100 * (store.info.resolved.min_score or 0))) if changes else None
        run = _WindowRun(plan, stage, work.workers, blender, writer, done, cancel, work.rate, settle)
        yield from run.events(work.reader)
    yield from finish_run(store, grid, builder, areas, maps, cancel, prepared.began)


def _builder(
    prepared: PreparedRun, model: LoadedModel, options: AnalysisOptions, cancel: Cancel
) -> Generator[Event, None, RegionBuilder | PatchBuilder | ChangeBuilder]:
    """What makes the regions: of what tokens claim, of the patches of a quadtree, found first, or of what changed."""
    scene, store = prepared.check.scene, prepared.store
    rows = SettledRows(
        scene.grid,
        class_names=[entry.name for entry in model.card.classes],
        band_names=[band.name for band in scene.bands],
        min_region_m2=options.min_region_m2,
        work_dir=store.work_dir(),
    )
    if model.card.task == "change":
        return ChangeBuilder(rows)
    if options.quadtree is None:
        return RegionBuilder(rows)
    assert isinstance(scene, Scene)  # models of regions take one
    found: list[Selection] = []

    def lane(report: Report, stop: Cancel) -> None:
        progress = partial(report, "quadtree")
        found.append(region_patches(scene, model, options, prepared.roi_px, store.partial, progress, stop))

    yield from run_lanes((lane,), cancel)
    return PatchBuilder(rows, found[0].index, found[0].min_size)


def _space(plan: WindowPlan, classes: int, tokens: int, windows: int) -> int:
    share = windows / (plan.rows * plan.cols)
    state = 2 * classes * plan.width * plan.window_px * 4
    return int(plan.width * plan.height * share * _BYTES_A_PIXEL + windows * tokens * 1024 + state)


class _WindowRun(RunLoop[WindowMaps]):
    """Blends the answers of windows and hands finished rows to the writer."""

    def __init__(
        self,
        plan: WindowPlan,
        stage: BatchStage[WindowMaps],
        workers: Workers,
        blender: StripBlender,
        writer: RowWriter,
        journalled: int,
        cancel: Cancel,
        rate: WindowRate,
        settle: Callable[[FinalRows], FinalRows] | None = None,
    ) -> None:
        super().__init__(stage, workers, cancel, rate)
        self._settle = settle
        self._plan, self._blender, self._writer, self._journalled = plan, blender, writer, journalled
        self._maps: list[WindowMaps] = []

    def events(self, reader: RowReader) -> Iterator[Event]:
        """Work through all rows and wait until they are written."""
        yield from super().events(reader)
        while not self._writer.finish():
            self.check()
            yield from self.meanwhile()
        yield from self.meanwhile()

    def meanwhile(self) -> Iterator[Event]:
        """Strips that were written."""
        yield from self._writer.written()

    def take_batch(self, batch: Batch, found: list[WindowMaps]) -> None:
        """Blend the windows into their row."""
        if batch.gaps and not self._maps:
            self._blender.clear_row()
        for maps in found:
            for window, probabilities in zip(maps.windows, maps.probabilities, strict=True):
                self._blender.add(window, probabilities)
            self._maps.append(replace(maps, probabilities=torch.empty(0)))  # blended: its memory goes back

    def take_row(self, row: RowDone) -> Iterator[Event]:
        """Hand a row to the writer."""
        item: ComputedRow | JournalledRow
        if row.row < self._journalled:
            item = JournalledRow(row.row, row.image)
        else:
            item = self._computed(row)
            if row.skipped:
                yield self._rate.add(row.skipped)
        while not self._writer.put(item):
            self.check()
            yield from self.meanwhile()

    def _computed(self, row: RowDone) -> ComputedRow:
        maps, self._maps = self._maps, []
        if not maps:
            self._blender.clear_row()
        final = self._blender.finish_row(row.row)
        if self._settle is not None:
            final = self._settle(final)
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
