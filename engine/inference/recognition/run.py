"""The run of a scene classifier: scene + model -> a grid of cells, as a generator of the same events as every run.

Reader threads cut windows out of the scene, the caller's thread runs them on the device, journals the cells of each
row and hands the rows of the maps that are final to the threads that write them; the table of cells follows when all
rows are done, and ``analysis.json`` last.

Guarantees: memory follows the scene's width and the number of cells; leaving the loop, ``cancel`` and errors end every
thread before control returns and lose at most the row of windows in work; the same call goes on from there to the same
bytes; pixels without data bear no class, and cells without any are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engine.inference.events import Event, Finished, StripWritten
from engine.inference.info import NODATA_CLASS, NODATA_CONFIDENCE
from engine.inference.loop import Cancel, RunLoop
from engine.inference.maps import RowMaps, map_tags
from engine.inference.options import AnalysisOptions
from engine.inference.plan import WindowPlan
from engine.inference.preparing import prepare_run
from engine.inference.rate import WindowRate
from engine.inference.reader import Batch, RowDone
from engine.inference.recognition.cells import CellPlan, FoundCells
from engine.inference.recognition.journal import Rows, read_cells, read_maps, read_rows, write_row
from engine.inference.recognition.stage import Ranking, RecognitionStage
from engine.inference.recognition.table import TABLE_NAME, write_table
from engine.inference.store import RunStore, row_path
from engine.inference.tasks import Report, run_lanes
from engine.inference.workers import Workers
from engine.inference.writer import ClassAreas
from engine.models.card import ModelCard
from engine.models.loaded import LoadedModel
from engine.scene import Grid, Scene

_BYTES_A_PIXEL = 2
"""Disk a run needs for each pixel in the journal and the maps together, generously: both compress to almost nothing."""
_BYTES_A_WINDOW = 1024
_FILES = ("classes.tif", "classes.tif.aux.xml", "confidence.tif", TABLE_NAME)


def recognise(
    stack: ExitStack,
    scene: Scene,
    model: LoadedModel,
    out_dir: Path,
    options: AnalysisOptions,
    cancel: Cancel,
    overwrite: bool,
) -> Iterator[Event]:
    """Run a scene classifier; see :func:`engine.inference.pipeline.analyse`, which comes here for classifiers."""
    prepared = prepare_run(scene, model, out_dir, options, overwrite=overwrite)
    stack.callback(prepared.close)
    check, store = prepared.check, prepared.store
    plan, grid = check.plan, check.scene.grid
    yield from prepared.begin(plan.width * plan.height * _BYTES_A_PIXEL + prepared.windows * _BYTES_A_WINDOW)
    if store.complete:
        yield Finished(out_dir, 0, time.monotonic() - prepared.began, {}, cells=store.info.cells)
        return
    areas = ClassAreas(grid, model.card.classes)
    maps = RowMaps(store.partial, grid, model.card.classes, map_tags(store.info))
    stack.callback(maps.close)
    with prepared.at_work(model) as work:
        stage = RecognitionStage(work.model, check.scaling, plan.window_px)
        drawer = _Drawer(store, plan, maps, areas, prepared.rows_done)
        yield from _RecognitionLoop(plan, stage, work.workers, drawer, cancel, work.rate).events(work.reader)
    yield from _finish(store, plan, grid, model.card, maps, areas, stage.ranks, cancel, prepared.began)


class _Drawer:
    """Journals cells and draws the rows of the maps that are final with them.

    Args:
        store: The run's folder.
        plan: The windows.
        maps: Where rows of the maps go.
        areas: Where classes are counted.
        journalled: Rows of windows that an earlier run has journalled.
    """

    def __init__(self, store: RunStore, plan: WindowPlan, maps: RowMaps, areas: ClassAreas, journalled: int) -> None:
        self._store, self._plan, self._maps, self._areas = store, plan, maps, areas
        self._cells = CellPlan(plan)
        self.journalled = journalled
        self._classes = np.full((plan.rows, plan.cols), NODATA_CLASS, np.uint8)
        self._confidence = np.full((plan.rows, plan.cols), NODATA_CONFIDENCE, np.uint8)
        self._col_of = np.repeat(np.arange(plan.cols), np.diff(self._cells.col_edges))

    def replay(self, row: int) -> None:
        """Draw a row that an earlier run has journalled.

        Raises:
            AnalysisError: The journal cannot be read.
        """
        with self._store.reading():
            found = read_cells(row_path(self._store.partial, row))
            maps = read_maps(self._store, row, self._plan.width)
        self._remember(row, found)
        self._hand_on(row, maps)

    def draw(self, done: RowDone, rankings: list[Ranking], ranks: int) -> None:
        """Journal and draw a row that was just computed."""
        valid = self._cells.valid_shares(done.row, done.kept)
        parts = [FoundCells(r.windows, r.codes, r.scores, valid[r.windows % self._plan.cols]) for r in rankings]
        found = FoundCells.joined(parts, ranks)
        found = found.take(found.valid > 0)  # of some windows only the margin has data
        self._remember(done.row, found)
        maps = self._final(done)
        write_row(self._store, done.row, found, maps)
        self._hand_on(done.row, maps)

    def _remember(self, row: int, found: FoundCells) -> None:
        cols = found.windows - row * self._plan.cols
        self._classes[row, cols] = found.codes[:, 0]
        self._confidence[row, cols] = np.clip(np.rint(100 * found.scores[:, 0]), 1, 100)

    def _final(self, done: RowDone) -> tuple[Rows, Rows]:
        """Rows of both maps that are final with a row of windows; some may belong to cells of the rows above."""
        start, stop = self._plan.final_rows(done.row)
        row_of = np.searchsorted(self._cells.row_edges, np.arange(start, stop), side="right") - 1
        gone = ~done.kept[: stop - start]
        classes, confidence = (values[row_of][:, self._col_of] for values in (self._classes, self._confidence))
        classes[gone], confidence[gone] = NODATA_CLASS, NODATA_CONFIDENCE
        return classes, confidence

    def _hand_on(self, row: int, maps: tuple[Rows, Rows]) -> None:
        self._areas.add(self._plan.final_rows(row)[0], maps[0])
        self._maps.put(*maps)


class _RecognitionLoop(RunLoop[Ranking]):
    """Keeps the answers of a row's windows until the row is done."""

    def __init__(
        self,
        plan: WindowPlan,
        stage: RecognitionStage,
        workers: Workers,
        drawer: _Drawer,
        cancel: Cancel,
        rate: WindowRate,
    ) -> None:
        super().__init__(stage, workers, cancel, rate)
        self._plan, self._drawer, self._ranks = plan, drawer, stage.ranks
        self._rankings: list[Ranking] = []

    def take_batch(self, batch: Batch, found: list[Ranking]) -> None:
        """Keep the answers."""
        self._rankings += found

    def take_row(self, row: RowDone) -> Iterator[Event]:
        """Journal and draw a row."""
        if row.row < self._drawer.journalled:
            self._drawer.replay(row.row)
        else:
            rankings, self._rankings = self._rankings, []
            self._drawer.draw(row, rankings, self._ranks)
            if row.skipped:
                yield self._rate.add(row.skipped)
        yield StripWritten(*self._plan.final_rows(row.row))


def _finish(
    store: RunStore,
    plan: WindowPlan,
    grid: Grid,
    card: ModelCard,
    maps: RowMaps,
    areas: ClassAreas,
    ranks: int,
    cancel: Cancel,
    began: float,
) -> Iterator[Event]:
    """Turn a complete journal into a finished analysis."""
    windows_s = time.monotonic() - began
    counts: list[int] = []

    def cells_lane(report: Report, stop: Cancel) -> None:
        report("cells", 0.0)
        with store.reading():
            found = read_rows(store.partial, plan, ranks)
        if stop():
            return
        report("cells", 0.3)
        counts.append(len(found))
        write_table(store.partial / TABLE_NAME, found, CellPlan(plan), grid, [entry.name for entry in card.classes])
        report("cells", 1.0)

    def maps_lane(report: Report, stop: Cancel) -> None:
        report("rasters", 0.0)
        maps.finish(stop)
        report("rasters", 1.0)

    yield from run_lanes((cells_lane, maps_lane), cancel)
    for name in _FILES:
        store.publish(name)
    store.publish_info(store.info.model_copy(update={"class_shares": areas.shares(), "cells": counts[0]}))
    seconds = time.monotonic() - began
    stages = {"windows": windows_s, "cells": seconds - windows_s}
    yield Finished(store.path, 0, seconds, stages, cells=counts[0])
