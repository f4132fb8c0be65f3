"""Importing a large Qt library while the window goes on.

PySide6 makes its classes when they are first named, and two threads that do so at once can crash, so such a library is
not imported on a worker thread. It is imported on the GUI thread, and between its modules the window handles what has
happened meanwhile. Guarantees: the window waits no longer than one module or one class takes, some milliseconds each;
what the window imports itself in these pauses is never found half made.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QCoreApplication, QEventLoop

STEP_S = 0.008
"""After so much work the window has its turn."""
TURN_MS = 20
"""And takes at most this long if events keep coming."""


class _Pauses(MetaPathFinder):
    """Gives the window its turn whenever a module of one package is about to be imported; finds nothing itself."""

    def __init__(self, package: str) -> None:
        self._package = f"{package}."
        self._thread = threading.current_thread()
        self._paused = False
        self._since = time.monotonic()

    def pause(self) -> None:
        """Handle events if the last turn was long enough ago."""
        if self._paused or time.monotonic() - self._since < STEP_S:
            return
        self._paused = True
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, TURN_MS)
        self._paused = False
        self._since = time.monotonic()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Pause. Other packages have no pause: the window may want them itself and would find them half made."""
        if fullname.startswith(self._package) and threading.current_thread() is self._thread:
            self.pause()
        return None


def import_in_steps(name: str, package: str) -> ModuleType:
    """Import a module that imports a large Qt package; call it from the event loop, not from within a long slot.

    Args:
        name: The module.
        package: The package that takes long, in whose modules the window gets its turns.

    Raises:
        ImportError: The module or the package cannot be imported.
    """
    if package in sys.modules:
        return import_module(name)
    pauses = _Pauses(package)
    for module in (QtCore, QtGui, QtWidgets):  # the package names every class at once, which takes longer than a frame
        for attribute in dir(module):
            getattr(module, attribute)
            pauses.pause()
    sys.meta_path.insert(0, pauses)
    try:
        return import_module(name)
    finally:
        sys.meta_path.remove(pauses)
