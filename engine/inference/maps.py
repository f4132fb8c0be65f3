"""The class map and the confidence map of a run, each written in a thread of its own while rows become final.

Guarantees: rows are taken in order, whether they were just computed or come from the journal of an interrupted run, so
both end in the same bytes; few rows wait in memory; an error of a thread is raised where rows are handed in; after
:meth:`RowMaps.close` no thread is left. Importing this module does not import torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import CancelledError
from engine.inference.info import AnalysisInfo, map_file
from engine.inference.rasters import CLASSES, CONFIDENCE, SCORE, write_map
from engine.models.card import CardClass
from engine.scene import Grid

_POLL_S = 0.1
_QUEUED_ROWS = 1

Rows = npt.NDArray[np.uint8]


class RowMaps:
    """The threads and their queues.

    Args:
        folder: Where ``classes.tif`` and ``confidence.tif`` go.
        grid: The analysis grid.
        classes: The model's classes.
        tags: Metadata of the files.
        kind: Kind of the analysis, which names the files.
    """

    def __init__(
        self, folder: Path, grid: Grid, classes: Sequence[CardClass], tags: dict[str, str], kind: str = "segmentation"
    ) -> None:
        self._stop = threading.Event()
        self._queues: tuple[Queue[Rows | None], ...] = (Queue(_QUEUED_ROWS), Queue(_QUEUED_ROWS))
        self._pool = ThreadPoolExecutor(len(self._queues), thread_name_prefix="rs-map")
        drawn: tuple[tuple[str, Any, Sequence[CardClass]], ...] = (
            ("classes", CLASSES, classes),
            ("confidence", SCORE if kind == "change" else CONFIDENCE, ()),
        )
        self._work = [
            self._pool.submit(
                write_map,
                folder / map_file(kind, name),
                grid,
                drawn_as,
                self._rows(queue),
                classes=palette,
                tags=tags,
                cancel=self._stop.is_set,
            )
            for (name, drawn_as, palette), queue in zip(drawn, self._queues, strict=True)
        ]

    def put(self, classes: Rows, confidence: Rows) -> None:
        """Hand in the next rows ``[h, W]``; waits for a place. Raises what went wrong in a thread."""
        for queue, rows, work in zip(self._queues, (classes, confidence), self._work, strict=True):
            self._give(queue, rows, work)

    def finish(self, cancel: Callable[[], bool]) -> None:
        """Say that no row follows and wait until both maps are whole.

        Raises:
            CancelledError: ``cancel`` said so.
            OutputError: The disk is full or the folder refuses.
        """
        for queue, work in zip(self._queues, self._work, strict=True):
            self._give(queue, None, work)
        while wait(self._work, timeout=_POLL_S).not_done:
            if cancel():
                self._stop.set()
        for work in self._work:
            work.result()

    def close(self) -> None:
        """End the threads; maps that are not whole stay as they are."""
        self._stop.set()
        self._pool.shutdown(wait=True)

    def _give(self, queue: Queue[Rows | None], rows: Rows | None, work: Future[None]) -> None:
        while not self._stop.is_set():
            if work.done():
                work.result()
            try:
                queue.put(rows, timeout=_POLL_S)
                return
            except Full:
                continue

    def _rows(self, queue: Queue[Rows | None]) -> Iterator[Rows]:
        while True:
            try:
                rows = queue.get(timeout=_POLL_S)
            except Empty:
                if self._stop.is_set():
                    raise CancelledError("writing the maps was cancelled") from None
                continue
            if rows is None:
                return
            yield rows


def map_tags(info: AnalysisInfo) -> dict[str, str]:
    """What the maps of a run say about where they come from."""
    after = {} if info.after is None else {"SCENE_AFTER": info.after.name}
    return {
        **after,
        "TIFFTAG_SOFTWARE": f"{info.program} {info.program_version}",
        "MODEL": info.model.name,
        "MODEL_SHA256": info.model.sha256,
        "SCENE": info.scene.name,
    }
