"""Writer thread of a run: finished rows into the journal, into the region builder and into the maps, in order.

Guarantees: a row is announced after it is on disk; rows reach the builder exactly once, top to bottom, whether they
were just computed or come from the journal of an interrupted run, so both end in the same bytes; an error stops the
thread and is raised where rows are handed in; after :meth:`RowWriter.close` the thread is gone and rows that were
handed in are in the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.inference.events import StripWritten
from engine.inference.info import NODATA_CLASS, NODATA_CONFIDENCE, ClassShare
from engine.inference.maps import RowMaps
from engine.inference.plan import PlanWindow, WindowPlan
from engine.inference.store import LAYERS, RunStore, blocks_of, read_strip
from engine.models.card import CardClass
from engine.regions.intake import Strip, WindowTokens
from engine.scene import Grid, Raster

_POLL_S = 0.1
_QUEUED_ROWS = 1
_AREA_COLS = 512


class Builder(Protocol):
    """What the writer needs of a region builder."""

    def add_row(self, windows: Sequence[WindowTokens]) -> None:
        """Take a row of windows."""

    def add_strip(self, strip: Strip) -> npt.NDArray[np.uint32] | None:
        """Take the rows of the maps that are final."""


@dataclass(frozen=True, slots=True)
class ComputedRow:
    """A row of windows as it comes from the device.

    Attributes:
        row: Its number.
        windows: Windows that were run.
        token_maps: ``[n, window, window]`` uint8 or int16.
        features: ``[n, N, D]``.
        classes: Final rows, uint8 ``[h, W]``.
        confidence: Likewise.
        runner_up: Likewise.
        tail: Blending state behind the row.
        image: Pixels of the final rows.
        kept: Pixels of the row's whole band that have data and lie in the region of interest.
    """

    row: int
    windows: tuple[PlanWindow, ...]
    token_maps: npt.NDArray[Any]
    features: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]
    runner_up: npt.NDArray[np.uint8]
    tail: npt.NDArray[np.float32]
    image: Raster
    kept: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class JournalledRow:
    """A row that an earlier run finished: its number and the pixels of its final rows."""

    row: int
    image: Raster


class ClassAreas:
    """Pixels and square metres of each class, summed over strips."""

    def __init__(self, grid: Grid, classes: Sequence[CardClass]) -> None:
        self._grid, self._classes = grid, classes
        self._pixels = np.zeros(len(classes), np.int64)
        self._area = np.zeros(len(classes))

    def add(self, row_start: int, classes: npt.NDArray[np.uint8]) -> None:
        """Count a strip; within a few hundred columns a pixel's size is taken as constant."""
        height, width = classes.shape
        lefts = np.arange(0, width, _AREA_COLS)
        middles = (lefts + np.minimum(lefts + _AREA_COLS, width)) / 2
        area = self._grid.ground(np.full(len(lefts), row_start + height / 2), middles).area_m2
        for code in range(len(self._classes)):
            per_column = np.count_nonzero(classes == code, axis=0)
            counts = np.add.reduceat(per_column, lefts)
            self._pixels[code] += counts.sum()
            self._area[code] += counts @ area

    def shares(self) -> tuple[ClassShare, ...]:
        """The sums so far; areas are None without a CRS."""
        located = self._grid.crs is not None
        total = self._area.sum()
        return tuple(
            ClassShare(
                code=code,
                name=entry.name,
                color=entry.color,
                pixels=int(self._pixels[code]),
                area_m2=float(self._area[code]) if located else None,
                share=float(self._area[code] / total) if total else 0.0,
            )
            for code, entry in enumerate(self._classes)
        )


class RowWriter:
    """The thread and its queue.

    Args:
        store: The run's folder.
        plan: The windows.
        builder: Where regions are built.
        areas: Where classes are counted.
        maps: Where final rows are drawn.
    """

    def __init__(self, store: RunStore, plan: WindowPlan, builder: Builder, areas: ClassAreas, maps: RowMaps) -> None:
        self._store, self._plan, self._builder, self._areas, self._maps = store, plan, builder, areas, maps
        self._queue: Queue[ComputedRow | JournalledRow | None] = Queue(_QUEUED_ROWS)
        self._written: Queue[StripWritten] = Queue()
        self._error: BaseException | None = None
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rs-write", daemon=True)
        self._thread.start()

    def put(self, row: ComputedRow | JournalledRow) -> bool:
        """Hand in a row; False if there is no place yet. Raises what went wrong in the thread."""
        self._raise()
        try:
            self._queue.put(row, timeout=_POLL_S)
        except Full:
            return False
        return True

    def written(self) -> list[StripWritten]:
        """Strips written since the last call. Raises what went wrong in the thread."""
        found = []
        while True:
            try:
                found.append(self._written.get_nowait())
            except Empty:
                self._raise()
                return found

    def finish(self) -> bool:
        """Say once that no row follows, then ask again until True: all is written."""
        self._raise()
        if not self._hurry.is_set() and self._thread.is_alive():
            self._put_end()
            self._thread.join(_POLL_S)
        self._raise()
        return not self._thread.is_alive()

    def close(self) -> None:
        """Write what was handed in to the journal, skip the region builder, and end the thread."""
        self._hurry.set()
        while self._thread.is_alive():
            self._put_end()
            self._thread.join(_POLL_S)

    def _put_end(self) -> None:
        try:
            self._queue.put(None, timeout=_POLL_S)
        except Full:
            return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    # -- the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (row := self._queue.get()) is not None:
                self._write(row)
        except BaseException as error:
            self._error = error

    def _write(self, item: ComputedRow | JournalledRow) -> None:
        start, stop = self._plan.final_rows(item.row)
        if isinstance(item, ComputedRow):
            windows, maps = self._journal(item)
        else:
            windows, maps = self._read(item.row)
        if self._hurry.is_set():
            return
        self._builder.add_row(windows)
        labels = self._builder.add_strip(
            Strip(row_start=start, classes=maps[0], confidence=maps[1], runner_up=maps[2], image=item.image)
        )
        self._areas.add(start, maps[0])
        self._maps.put(maps[0], maps[1])
        if labels is not None:
            self._store.write_labels(item.row, labels)
        self._written.put(StripWritten(start, stop))

    def _journal(self, item: ComputedRow) -> tuple[list[WindowTokens], list[npt.NDArray[np.uint8]]]:
        start, stop = self._plan.final_rows(item.row)
        height = item.kept.shape[0]
        width = min(self._plan.window_px, self._plan.width)
        unsigned = np.uint8 if item.token_maps.dtype == np.uint8 else np.uint16
        token_maps = np.ascontiguousarray(item.token_maps[:, :height, :width]).view(unsigned)
        if not item.kept.all():
            gone = ~item.kept
            above = gone[: stop - start]
            item.classes[above] = NODATA_CLASS
            item.confidence[above] = NODATA_CONFIDENCE
            item.runner_up[above] = NODATA_CLASS
            for window, token_map in zip(item.windows, token_maps, strict=True):
                token_map[gone[:, window.col : window.col + width]] = np.iinfo(unsigned).max
        index = np.array([window.index for window in item.windows], np.int64)
        maps = [item.classes, item.confidence, item.runner_up]
        arrays: dict[str, npt.NDArray[Any]] = {
            "window_index": index,
            "token_maps": token_maps,
            "features": item.features,
        }
        for name, strip in zip(LAYERS, maps, strict=True):
            arrays |= blocks_of(name, strip)
        meta = {"row": item.row, "row_start": start, "row_stop": stop}
        self._store.write_row(item.row, arrays, meta, item.tail)
        return self._tokens(item.row, index, token_maps, item.features), maps

    def _read(self, row: int) -> tuple[list[WindowTokens], list[npt.NDArray[np.uint8]]]:
        with self._store.reading():
            file = self._store.row(row)
            windows = self._tokens(row, *file.read_many(("window_index", "token_maps", "features")))
            return windows, [read_strip(file, name, self._plan.width) for name in LAYERS]

    def _tokens(
        self, row: int, index: npt.NDArray[np.int64], maps: npt.NDArray[Any], features: npt.NDArray[np.float32]
    ) -> list[WindowTokens]:
        first = row * self._plan.cols
        top = self._plan.row_starts[row]
        return [
            WindowTokens(
                col=self._plan.col_starts[int(number) - first],
                row=top,
                token_map=token_map,
                features=vectors,
                window_index=int(number),
            )
            for number, token_map, vectors in zip(index, maps, features, strict=True)
        ]
