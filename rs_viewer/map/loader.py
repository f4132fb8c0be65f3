"""Reading tiles off the GUI thread: requests carry all they need, the newest list of wishes wins.

Guarantees: the GUI thread never reads; each call of :meth:`TileLoader.want` replaces what has not been started, so
stale requests are never read; a layer's source is closed only after its last read; ``close`` stops and waits.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage

from engine.errors import EngineError
from rs_viewer.map.pyramid import TileKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """A tile as painted by a source; ``raw`` holds values worth keeping for another look."""

    image: QImage
    raw: np.ndarray | None = None


class TileSource(Protocol):
    """Paints tiles. Immutable for those who use it, called from several threads at once."""

    def paint(self, key: TileKey, raw: np.ndarray | None) -> Picture:
        """Read (unless ``raw`` holds the values already) and paint a tile."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """A wish for a tile, with everything that reading it needs."""

    layer: int
    key: TileKey
    source: TileSource
    revision: int
    edition: int = 0
    raw: np.ndarray | None = None
    stale: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a request: a picture or the reason there is none."""

    request: Request
    picture: Picture | None
    error: str | None


class TilePool:
    """The threads and what they work on; knows nothing of Qt's objects, so it may outlive the widget by a moment."""

    def __init__(self, threads: int) -> None:
        self.notify: Callable[[], None] = lambda: None
        self._count = threads
        self._threads: list[threading.Thread] = []
        self._wake = threading.Condition()
        self._queue: deque[Request] = deque()
        self._running: dict[tuple[int, TileKey], Request] = {}
        self._done: list[Result] = []
        self._retired: dict[int, Callable[[], None]] = {}
        self._closed = False

    @property
    def pending(self) -> int:
        """Requests not answered yet."""
        with self._wake:
            return len(self._queue) + len(self._running) + len(self._done)

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that have been started."""
        return list(self._threads)

    def want(self, requests: Iterable[Request]) -> None:
        """Read these tiles, in this order; whatever was wanted before and not started is dropped."""
        with self._wake:
            if self._closed:
                return
            self._queue = deque(r for r in requests if not self._in_flight(r))
            if not self._queue:
                return
            while len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, name=f"tile-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._wake.notify_all()

    def take(self) -> list[Result]:
        """The results since the last call."""
        with self._wake:
            done, self._done = self._done, []
        return [r for r in done if not r.request.dropped]

    def mark_stale(self, layer: int, touched: Callable[[TileKey], bool]) -> None:
        """Values of a layer have changed: what is being read now may be out of date when it comes."""
        with self._wake:
            for request in [*self._running.values(), *(r.request for r in self._done)]:
                if request.layer == layer and touched(request.key):
                    request.stale = True

    def retire(self, layer: int, close: Callable[[], None] | None) -> None:
        """Read nothing more for a layer, then close what it reads from (on a thread, if there is one).

        Args:
            layer: Its number.
            close: Closes its source, if that is to be closed; it must not hold a Qt object, for it may end on a thread.
        """
        with self._wake:
            self._queue = deque(r for r in self._queue if r.layer != layer)
            for request in [*self._running.values(), *(r.request for r in self._done)]:
                if request.layer == layer:
                    request.dropped = True
            if close is None:
                return
            if self._threads and not self._closed:
                self._retired[layer] = close
                self._wake.notify_all()
                return
        _close_source(close)

    def close(self) -> None:
        """Stop, and wait for the reads in progress. Nothing is read or told afterwards."""
        with self._wake:
            self._closed = True
            self._queue.clear()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._done.clear()
        while self._retired:
            _close_source(self._retired.popitem()[1])

    def _in_flight(self, request: Request) -> bool:
        running = self._running.get((request.layer, request.key))
        return running is not None and not running.stale and running.revision == request.revision

    def _next(self) -> Request | Callable[[], None] | None:
        """What to do next: called with the lock held, waits; None means stop."""
        while not self._closed:
            busy = {r.layer for r in self._running.values()}
            for layer in self._retired:
                if layer not in busy:
                    return self._retired.pop(layer)
            for _ in range(len(self._queue)):
                request = self._queue.popleft()
                if (request.layer, request.key) not in self._running:
                    self._running[(request.layer, request.key)] = request
                    return request
                self._queue.append(request)  # an older read of this tile must end first
            self._wake.wait()
        return None

    def _work(self) -> None:
        while True:
            with self._wake:
                task = self._next()
            if task is None:
                return
            if not isinstance(task, Request):
                _close_source(task)
                continue
            picture, error = _painted(task)
            with self._wake:
                del self._running[(task.layer, task.key)]
                first = not self._done
                if not task.dropped and not self._closed:
                    self._done.append(Result(task, picture, error))
                tell = first and bool(self._done) and not self._closed
                self._wake.notify_all()
            if tell:
                self.notify()


class TileLoader(QObject):
    """A few threads that read the tiles that are wanted now.

    Args:
        threads: How many; by default one for each core, from two to four.
        parent: Its widget. When that dies without a word, the threads end with it.
    """

    ready = Signal()
    """Results wait to be taken; emitted once until :meth:`take` is called."""

    def __init__(self, threads: int | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.pool = TilePool(threads or min(max(os.cpu_count() or 1, 2), 4))
        self.pool.notify = self.ready.emit
        (parent or self).destroyed.connect(functools.partial(_end, self.pool))

    @property
    def pending(self) -> int:
        """Requests not answered yet."""
        return self.pool.pending

    def want(self, requests: Iterable[Request]) -> None:
        """Read these tiles, in this order; whatever was wanted before and not started is dropped."""
        self.pool.want(requests)

    def take(self) -> list[Result]:
        """The results since the last call."""
        return self.pool.take()

    def mark_stale(self, layer: int, touched: Callable[[TileKey], bool]) -> None:
        """Values of a layer have changed: what is being read now may be out of date when it comes."""
        self.pool.mark_stale(layer, touched)

    def retire(self, layer: int, close: Callable[[], None] | None) -> None:
        """Read nothing more for a layer, then close what it reads from (off the GUI thread); see the pool's."""
        self.pool.retire(layer, close)

    def close(self) -> None:
        """Stop, and wait for the reads in progress. Nothing is read afterwards."""
        self.pool.close()


def _end(pool: TilePool, *_: object) -> None:
    pool.close()


def _painted(request: Request) -> tuple[Picture | None, str | None]:
    try:
        return request.source.paint(request.key, request.raw), None
    except EngineError as error:
        return None, error.message
    except Exception as error:  # a fault in one tile is shown on the map; it must not end the thread
        log.warning("tile %s could not be painted", request.key, exc_info=True)
        return None, f"{type(error).__name__}: {error}"


def _close_source(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception:  # the layer is gone already; the log is the only one left to tell
        log.exception("a layer's source could not be closed")
