"""The caller's thread of a run: gives batches to the workers, takes their answers in order, hands rows on.

Guarantees: batches and ends of rows are taken in the order of the windows; ``cancel`` is asked while waiting too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from functools import partial
from typing import Generic, TypeVar

from engine.errors import CancelledError
from engine.inference.events import Event, WarningRaised
from engine.inference.rate import WindowRate
from engine.inference.reader import Batch, RowDone, RowReader
from engine.inference.stage import BatchStage
from engine.inference.workers import Workers

_POLL_S = 0.1

T = TypeVar("T")

Cancel = Callable[[], bool]


class RunLoop(Generic[T]):
    """What runs of every kind do between reader and folder; a kind adds what it does with batches and rows.

    Args:
        stage: The device's part.
        workers: Threads it runs in.
        cancel: Asked between batches whether to stop.
        rate: Counts the windows.
    """

    def __init__(self, stage: BatchStage[T], workers: Workers, cancel: Cancel, rate: WindowRate) -> None:
        self._stage, self._workers, self._cancel, self._rate = stage, workers, cancel, rate
        self._pending: deque[tuple[Batch, Future[list[T]]] | RowDone] = deque()

    def take_batch(self, batch: Batch, found: list[T]) -> None:
        """Deal with the answers to a batch."""
        raise TypeError(f"{type(self).__name__} does not say what it does with a batch")

    def take_row(self, row: RowDone) -> Iterator[Event]:
        """Deal with the end of a row."""
        raise TypeError(f"{type(self).__name__} does not say what it does with a row")

    def meanwhile(self) -> Iterator[Event]:
        """What other threads have to tell."""
        return iter(())

    def events(self, reader: RowReader) -> Iterator[Event]:
        """Work through all rows."""
        with closing(reader.items()) as items:
            for item in items:
                self.check()
                if isinstance(item, Batch):
                    work = partial(self._stage.run, item.windows, item.pixels)
                    self._pending.append((item, self._workers.submit(work)))
                elif isinstance(item, RowDone):
                    self._pending.append(item)
                most = self._workers.ahead if item is not None else 0
                while len(self._pending) > most:
                    yield from self._take()
                yield from self.meanwhile()
        while self._pending:
            yield from self._take()

    def check(self) -> None:
        """Stop where the user asked to.

        Raises:
            CancelledError: ``cancel`` said so.
        """
        if self._cancel():
            raise CancelledError(
                "the run was cancelled", remedy="Run again with the same options to go on where it stopped."
            )

    def _take(self) -> Iterator[Event]:
        """Deal with what is oldest among what was given out."""
        item = self._pending.popleft()
        if isinstance(item, RowDone):
            yield from self.take_row(item)
            return
        batch, future = item
        while not future.done():
            wait([future], timeout=_POLL_S)
            self.check()
        self.take_batch(batch, future.result())
        yield self._rate.add(len(batch.windows))
        for warning in self._stage.warnings():
            yield WarningRaised(warning)
