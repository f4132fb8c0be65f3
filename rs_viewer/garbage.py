"""Collecting cyclic garbage on the GUI thread alone.

Python collects cycles on whichever thread happens to allocate. Where a cycle holds a ``QObject``, a worker thread would
then tear it down, with its timers and connections, while the GUI thread uses them; so the window collects by itself.
Guarantees: while the collector runs, no other thread collects; the thresholds are Python's own; ``stop`` leaves
collecting as it was found.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

INTERVAL_MS = 500


class GarbageCollector(QObject):
    """Collects on the thread it lives on, as long as it runs.

    Args:
        parent: Its owner.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._found_enabled = gc.isenabled()
        gc.disable()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.collect_due)
        self._timer.start(INTERVAL_MS)

    def collect_due(self) -> None:
        """Collect the oldest generation whose turn has come, and with it the younger ones."""
        due = [
            generation
            for generation, (count, threshold) in enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True))
            if threshold and count > threshold
        ]
        if due and due[0] == 0:
            gc.collect(due[-1])

    def settle(self) -> None:
        """Search what is there now never again: call it when everything large has been imported.

        A full collection of all that the engine imports stops the window for many frames.
        """
        gc.freeze()

    def stop(self) -> None:
        """Leave collecting to Python again, if it was so before."""
        self._timer.stop()
        if self._found_enabled:
            gc.enable()
