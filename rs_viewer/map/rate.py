"""Passing on the newest of many values at a bounded rate.

Guarantees: at most one call each interval; the last value always arrives; nothing arrives after ``stop``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QElapsedTimer, QObject, QTimer


class RateLimiter(QObject):
    """Calls ``emit`` with the newest arguments, at most once each interval."""

    def __init__(self, emit: Callable[..., None], interval_ms: int, parent: QObject) -> None:
        super().__init__(parent)
        self._emit = emit
        self._interval_ms = interval_ms
        self._waiting: tuple[Any, ...] | None = None
        self._since = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._fire)

    def push(self, *values: Any) -> None:
        """Pass these on, now or when the interval is over, unless newer ones come."""
        self._waiting = values
        if self._timer.isActive():
            return
        elapsed = self._since.elapsed() if self._since.isValid() else self._interval_ms
        if elapsed >= self._interval_ms:
            self._fire()
        else:
            self._timer.start(self._interval_ms - int(elapsed))

    def stop(self) -> None:
        """Forget what waits."""
        self._timer.stop()
        self._waiting = None

    def _fire(self) -> None:
        if self._waiting is None:
            return
        values, self._waiting = self._waiting, None
        self._since.start()
        self._emit(*values)
