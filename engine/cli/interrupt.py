"""Ctrl-C as a request: the first asks the running work to stop where it can go on later, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from engine.cli.console import say


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Lend a function that says whether Ctrl-C was pressed. Outside the main thread nothing can be pressed."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("\nStopping; Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
