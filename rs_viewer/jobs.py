"""Background work: one long-lived worker thread that owns the device, and a few threads for files.

Guarantees:

* The GUI thread never waits for a job. Everything a job says arrives on the GUI thread, in order, at most
  30 deliveries a second; progress in between is coalesced, results and errors never are.
* Exactly one of ``succeeded``, ``failed`` and ``cancelled`` fires for a job, then ``ended``.
* ``Jobs.shutdown`` is the one way out: it cancels everything and joins every thread.
* No worker thread ever holds a Qt object of its own: it gets a :class:`Task`, and what that closes over is let go on
  the GUI thread. A ``QObject`` whose last reference went on another thread would be torn down there.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from PySide6.QtCore import QObject, QTimer, Signal

from engine.errors import CancelledError, EngineError
from engine.inference.events import StageChanged, StripWritten, WindowDone

logger = logging.getLogger(__name__)

DELIVERIES_PER_S = 30
FILE_THREADS = 3
WORKER_NICENESS = 5
"""How far device work steps back behind the window where the system lets threads do so (Linux)."""

Lane = Literal["device", "files"]


class JobState(Enum):
    """Where a job is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, ready to be shown.

    Attributes:
        what: What happened, one sentence.
        where: The file, layer or option.
        remedy: What would work.
        details: Traceback of a fault of the program; empty for what a user caused.
    """

    what: str
    where: str | None
    remedy: str
    details: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Tell a user's error from a fault of the program."""
        if isinstance(error, EngineError):
            return cls(error.what, error.where, error.remedy)
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        return cls(
            f"Something unexpected went wrong: {type(error).__name__}: {error}",
            None,
            "The window stays usable. Please report the details below.",
            "".join(lines),
        )

    @property
    def message(self) -> str:
        """The whole sentence."""
        place = f" ({self.where})" if self.where else ""
        return f"{self.what.rstrip('.')}{place}." + (f" {self.remedy}" if self.remedy else "")


class Task:
    """The part of a job that its thread works on.

    Attributes:
        title: What it does, for people.
        work: What to call; let go on the GUI thread when the job has ended.
        cancel: Set when somebody has asked for the job to stop.
    """

    __slots__ = ("cancel", "title", "work")

    def __init__(self, title: str, work: Work) -> None:
        self.title = title
        self.work: Work | None = work
        self.cancel = threading.Event()


class Context:
    """What a job's function gets: a way to report and to ask whether it should stop."""

    def __init__(self, task: Task, post: Callable[[Task, str, Any], None]) -> None:
        self._task = task
        self._post = post

    def cancelled(self) -> bool:
        """Whether the user has asked for the job to stop."""
        return self._task.cancel.is_set()

    def raise_if_cancelled(self) -> None:
        """Stop here if the user has asked for it."""
        if self.cancelled():
            raise CancelledError("the work was cancelled")

    def report(self, event: object) -> None:
        """Send an event to the GUI thread."""
        self._post(self._task, "event", event)


Work = Callable[[Context], Any]


class Job(QObject):
    """One piece of background work that the GUI can watch and cancel.

    Attributes:
        title: What it does, for people.
        state: Where it is in its life; changes on the GUI thread only.
        asks_on_close: Whether closing the window should ask first.
    """

    started = Signal()
    reported = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, task: Task, lane: Lane, asks_on_close: bool) -> None:
        super().__init__()
        self.title = task.title
        self.lane = lane
        self.asks_on_close = asks_on_close
        self.state = JobState.WAITING
        self._cancel = task.cancel

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody has asked for the job to stop."""
        return self._cancel.is_set()

    @property
    def active(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in (JobState.WAITING, JobState.RUNNING)

    def cancel(self) -> None:
        """Ask the job to stop; ``cancelled`` fires when it has."""
        self._cancel.set()


def coalesce(events: Iterable[object]) -> list[object]:
    """Drop progress that newer progress has overtaken and join neighbouring strips; keep everything else, in order."""
    kept: list[object] = []
    for event in events:
        last = kept[-1] if kept else None
        if isinstance(event, WindowDone | StageChanged):
            kept = [old for old in kept if type(old) is not type(event)]
            kept.append(event)
        elif isinstance(event, StripWritten):
            strip = next(
                (old for old in kept if isinstance(old, StripWritten) and old.row_stop == event.row_start), None
            )
            if strip is not None:
                kept[kept.index(strip)] = StripWritten(strip.row_start, event.row_stop)
            else:
                kept.append(event)
        elif event != last:
            kept.append(event)
    return kept


class _DeviceThread(threading.Thread):
    """Runs device jobs one after the other, for as long as the window lives."""

    def __init__(self, execute: Callable[[Task], None]) -> None:
        super().__init__(name="device worker")
        self.inbox: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._execute = execute

    def run(self) -> None:
        """Take jobs until told to stop."""
        if sys.platform == "linux":
            # Linux schedules each thread by its own niceness; threads that torch starts from here inherit it.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)
        while (task := self.inbox.get()) is not None:
            self._execute(task)


class Jobs(QObject):
    """Starts jobs, delivers what they say, and ends all threads.

    Signals:
        changed: A job was added or has ended.
        idle: The last job has ended.
    """

    changed = Signal()
    idle = Signal()
    _posted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._messages: deque[tuple[Task, str, Any]] = deque()
        self._lock = threading.Lock()
        self._wake_sent = False
        self._jobs: dict[Task, Job] = {}
        self._last_delivery = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._deliver)
        self._posted.connect(self._schedule)
        self._thread = _DeviceThread(self._execute)
        self._thread.start()
        self._files = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="files")
        self._closed = False

    @property
    def active(self) -> list[Job]:
        """Jobs that have not ended."""
        return list(self._jobs.values())

    def submit(self, title: str, work: Work, *, lane: Lane = "files", asks_on_close: bool = False) -> Job:
        """Start ``work`` in the background.

        Args:
            title: What it does, for people.
            work: Called with a :class:`Context` on a thread of ``lane``.
            lane: ``device`` for the one thread that owns models and device, ``files`` for everything else.
            asks_on_close: Whether closing the window should ask before cancelling it.
        """
        if self._closed:
            raise RuntimeError("no work starts after shutdown")
        task = Task(title, work)
        job = self._jobs[task] = Job(task, lane, asks_on_close)
        if lane == "device":
            self._thread.inbox.put(task)
        else:
            self._files.submit(self._execute, task)
        self.changed.emit()
        return job

    def cancel_all(self) -> None:
        """Ask every job to stop."""
        for job in self._jobs.values():
            job.cancel()

    def shutdown(self) -> None:
        """Cancel what runs and join every thread; nothing is delivered afterwards."""
        if self._closed:
            return
        self._closed = True
        self.cancel_all()
        self._thread.inbox.put(None)
        self._thread.join()
        self._files.shutdown(wait=True, cancel_futures=True)
        self._timer.stop()
        self._messages.clear()
        self._jobs.clear()

    # On the worker threads ------------------------------------------------------------------------------------------

    def _execute(self, task: Task) -> None:
        if task.cancel.is_set():
            self._post(task, "cancelled", None)
            return
        self._post(task, "started", None)
        self._post(task, *self._outcome(task))

    def _outcome(self, task: Task) -> tuple[str, Any]:
        """Run a task; what it raised is gone, with the frames it held, before anybody is told."""
        assert task.work is not None  # it is let go when the job has ended
        try:
            return "succeeded", task.work(Context(task, self._post))
        except CancelledError:
            return "cancelled", None
        except EngineError as error:
            return "failed", Failure.of(error)
        except Exception as error:
            logger.exception("job %r failed", task.title)
            return "failed", Failure.of(error)

    def _post(self, task: Task, kind: str, payload: Any) -> None:
        with self._lock:
            self._messages.append((task, kind, payload))
            wake = not self._wake_sent
            self._wake_sent = True
        if wake:
            self._posted.emit()

    # On the GUI thread ----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._closed or self._timer.isActive():
            return
        rest = self._last_delivery + 1 / DELIVERIES_PER_S - time.monotonic()
        self._timer.start(max(int(rest * 1000) + 1, 0) if rest > 0 else 0)

    def _deliver(self) -> None:
        with self._lock:
            batch = list(self._messages)
            self._messages.clear()
            self._wake_sent = False
        self._last_delivery = time.monotonic()
        events: dict[Task, list[object]] = {}
        for task, kind, payload in batch:
            if kind == "event":
                events.setdefault(task, []).append(payload)
                continue
            self._flush(task, events)
            self._change(task, kind, payload)
        for task in list(events):
            self._flush(task, events)

    def _flush(self, task: Task, events: dict[Task, list[object]]) -> None:
        for event in coalesce(events.pop(task, [])):
            if task in self._jobs:
                self._jobs[task].reported.emit(event)

    def _change(self, task: Task, kind: str, payload: Any) -> None:
        job = self._jobs.get(task)
        if job is None:  # a slot of this delivery has shut everything down
            return
        if kind == "started":
            job.state = JobState.RUNNING
            job.started.emit()
            return
        job.state = JobState(kind)
        del self._jobs[task]
        task.work = None
        if kind == "succeeded":
            job.succeeded.emit(payload)
        elif kind == "failed":
            job.failed.emit(payload)
        else:
            job.cancelled.emit()
        job.ended.emit()
        self.changed.emit()
        if not self._jobs:
            self.idle.emit()
