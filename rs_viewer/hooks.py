"""The last net: exceptions that nobody expected reach the GUI thread and are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from rs_viewer.jobs import Failure

if TYPE_CHECKING:
    from rs_viewer.main_window import MainWindow

MOST_DIALOGS = 3


class Hooks(QObject):
    """Shows exceptions, from whatever thread, in at most a few dialogs at a time.

    Signals:
        raised: An exception that nobody caught.
    """

    raised = Signal(object)

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._open = 0
        self.raised.connect(self._show)

    def _show(self, error: BaseException) -> None:
        if self._open >= MOST_DIALOGS:
            return
        self._open += 1
        box = self._window.show_error("Something unexpected went wrong", Failure.of(error))
        if box is not None:
            box.finished.connect(self._closed)

    def _closed(self) -> None:
        self._open -= 1
