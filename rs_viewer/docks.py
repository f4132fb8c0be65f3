"""The panels around the map: where they are at first, how they come back, how they all go away.

Guarantees: the map keeps the middle; every dock has a title bar that keyboard and screen readers reach.
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QByteArray, QObject, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMenu, QWidget

from rs_viewer.panels.common import DockTitle

SIDE_WIDTHS = (270, 370)
LEFT_HEIGHTS = (500, 400)
RIGHT_HEIGHTS = (450, 450)
LEAST_WIDTH = 220


class Docks(QObject):
    """Layers and legend on the left, analysis and inspector on the right.

    Args:
        window: The window.
        widgets: The panels by key: ``layers``, ``legend``, ``analysis``, ``inspector``.
        menu: Gets a switch for each panel.
    """

    def __init__(self, window: QMainWindow, widgets: Mapping[str, QWidget], menu: QMenu) -> None:
        super().__init__(window)
        self._window = window
        self._docks: dict[str, QDockWidget] = {}
        self._hidden: list[QDockWidget] = []
        left, right = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
        for key, side in (("layers", left), ("legend", left), ("analysis", right), ("inspector", right)):
            title = key.capitalize()
            dock = QDockWidget(title, window)
            dock.setObjectName(key)
            dock.setTitleBarWidget(DockTitle(dock))
            dock.setWidget(widgets[key])
            dock.setMinimumWidth(LEAST_WIDTH)
            window.addDockWidget(side, dock)
            toggle = dock.toggleViewAction()
            toggle.setText(f"&{title}")
            toggle.setStatusTip(f"Show or hide the panel {title}")
            menu.addAction(toggle)
            self._docks[key] = dock
        self._size()
        self._first = QByteArray()

    def __getitem__(self, key: str) -> QDockWidget:
        return self._docks[key]

    def _size(self) -> None:
        horizontal, vertical = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        docks = self._docks
        self._window.resizeDocks([docks["layers"], docks["analysis"]], list(SIDE_WIDTHS), horizontal)
        self._window.resizeDocks([docks["layers"], docks["legend"]], list(LEFT_HEIGHTS), vertical)
        self._window.resizeDocks([docks["analysis"], docks["inspector"]], list(RIGHT_HEIGHTS), vertical)

    def remember_first(self) -> None:
        """Take the present layout as the one to come back to."""
        self._first = self._window.saveState()

    def reset(self) -> None:
        """Put all panels back where they were at first."""
        self._hidden.clear()
        self._window.restoreState(self._first)
        for dock in self._docks.values():
            dock.setFloating(False)
            dock.show()
        self._size()

    def show_all(self, shown: bool) -> None:
        """Hide the panels that are shown, or bring those back."""
        if not shown:
            self._hidden = [dock for dock in self._docks.values() if not dock.isHidden()]
        for dock in self._hidden:
            dock.setVisible(shown)

    def bring_up(self, key: str) -> None:
        """Show a panel unless all were put away on purpose."""
        dock = self._docks[key]
        if dock.isHidden() and dock not in self._hidden:
            dock.show()
        dock.raise_()

    def refresh_icons(self) -> None:
        """Draw the icons anew from the present palette."""
        for dock in self._docks.values():
            title = dock.titleBarWidget()
            if isinstance(title, DockTitle):
                title.refresh_icons()
