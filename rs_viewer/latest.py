"""Newest-wins requests: what follows the cursor or a slider asks again before the last answer is there.

Guarantees: at most one request runs and one waits; an answer to a request that a newer one has overtaken, or that was
forgotten, is dropped.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from rs_viewer.jobs import Job, Jobs, Lane, Work


class Latest(QObject):
    """Newest-wins requests: one runs, one waits, those in between are dropped.

    Args:
        jobs: Where the work runs.
        title: What it does, for people.
        lane: Where it runs.
    """

    answered = Signal(object)
    failed = Signal(object)

    def __init__(self, jobs: Jobs, title: str, lane: Lane = "files", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs, self._title, self._lane = jobs, title, lane
        self._running: Job | None = None
        self._next: Work | None = None
        self._wanted = 0

    @property
    def busy(self) -> bool:
        """Whether a request runs."""
        return self._running is not None

    def ask(self, work: Work) -> None:
        """Ask for ``work``; answers to older requests are dropped."""
        self._wanted += 1
        self._next = work
        if self._running is None:
            self._start()
        else:
            self._running.cancel()

    def forget(self) -> None:
        """Drop whatever has been asked."""
        self._wanted += 1
        self._next = None
        if self._running is not None:
            self._running.cancel()

    def _start(self) -> None:
        work, self._next = self._next, None
        if work is None:
            return
        number = self._wanted
        job = self._jobs.submit(self._title, work, lane=self._lane)
        self._running = job
        job.succeeded.connect(lambda result: self._answer(number, self.answered, result))
        job.failed.connect(lambda failure: self._answer(number, self.failed, failure))
        job.ended.connect(self._ended)

    def _answer(self, number: int, signal: Any, payload: object) -> None:
        if number == self._wanted:
            signal.emit(payload)

    def _ended(self) -> None:
        self._running = None
        self._start()
