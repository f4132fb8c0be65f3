"""How fast a run is and how long it will still take."""

from __future__ import annotations

import time
from collections import deque

from engine.inference.events import WindowDone

_SPAN_S = 8.0
"""Seconds that the rate is taken over."""


class WindowRate:
    """Counts windows.

    Args:
        total: Windows of the run.
        done: Those an earlier run has done.
    """

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), done)])

    def add(self, count: int) -> WindowDone:
        """Count some more windows; what to tell the user."""
        now = time.monotonic()
        self._done += count
        self._marks.append((now, self._done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _SPAN_S:
            self._marks.popleft()
        seconds, windows = now - self._marks[0][0], self._done - self._marks[0][1]
        rate = windows / seconds if seconds > 0 else 0.0
        left = (self._total - self._done) / rate if rate > 0 else None
        return WindowDone(self._done, self._total, rate, left)
