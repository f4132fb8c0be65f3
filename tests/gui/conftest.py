"""Tests of the window run without a screen, and each must leave nothing behind.

After every test: no thread, no running timer, animation or QThread and no widget may be left that was not there before,
and no Python object of a list's row or a layout's entry.
During a test only the GUI thread collects garbage, as in the program (``rs_viewer.garbage``).
"""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QAbstractAnimation, QCoreApplication, QEvent, QObject, QThread, QTimer
from PySide6.QtGui import QStandardItem
from PySide6.QtWidgets import QApplication, QLayoutItem, QWidgetItem
from shiboken6 import isValid

GRACE_S = 3.0
"""How long threads and deferred deletions may take to end."""


def _busy_objects() -> set[str]:
    """Timers, animations and QThreads of this test that still run, in words."""
    found = set()
    for thing in gc.get_objects():
        # By type: `isinstance` asks the object, and a weak proxy whose object is gone raises.
        if not issubclass(type(thing), QObject) or not isValid(thing):
            continue
        running = (
            (isinstance(thing, QTimer) and thing.isActive())
            or (isinstance(thing, QThread) and thing.isRunning() and thing is not QThread.currentThread())
            or (isinstance(thing, QAbstractAnimation) and thing.state() == QAbstractAnimation.State.Running)
        )
        if running:
            found.add(f"{type(thing).__name__} {thing.objectName()!r} of {thing.parent()!r}")
    return found


_ROWS = (QStandardItem, QLayoutItem, QWidgetItem)


def _held_rows() -> set[str]:
    """What Python holds of things that Qt deletes unseen: it would pass for the next thing at their address."""
    return {type(thing).__name__ for thing in gc.get_objects() if type(thing) in _ROWS}


def _widgets() -> set[int]:
    return {id(w) for w in QApplication.topLevelWidgets()} if QApplication.instance() else set()


def _settle_events() -> None:
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QCoreApplication.processEvents()


@pytest.fixture(autouse=True)
def nothing_left_behind(qapp):
    """Fail a test that leaves threads, running timers or widgets."""
    _settle_events()
    threads = set(threading.enumerate())
    kept = list(QApplication.topLevelWidgets())
    widgets = _widgets()
    gc.disable()
    gc.freeze()  # what is older than the test, all of torch say, is not searched and swept again for each of hundreds
    try:
        yield
        problems = _left_behind(threads, widgets)
    finally:
        gc.unfreeze()
        gc.enable()
    del kept
    if problems:
        for widget in QApplication.topLevelWidgets():
            if id(widget) not in widgets:
                widget.close()
                widget.deleteLater()
        _settle_events()
        pytest.fail(problems)


def _left_behind(threads: set[threading.Thread], widgets: set[int]) -> str:
    """What is there that was not there before and does not go by itself."""
    deadline = time.monotonic() + GRACE_S
    while True:
        _settle_events()
        gc.collect()
        left = {
            "threads": [t.name for t in threading.enumerate() if t not in threads and t.is_alive()],
            "running": sorted(_busy_objects()),
            "rows": sorted(_held_rows()),
            "widgets": [repr(w) for w in QApplication.topLevelWidgets() if id(w) not in widgets],
        }
        if not any(left.values()) or time.monotonic() > deadline:
            return "; ".join(f"{kind} left behind: {', '.join(names)}" for kind, names in left.items() if names)
        time.sleep(0.02)
