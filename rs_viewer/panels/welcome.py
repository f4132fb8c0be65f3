"""What the empty map says: drop a scene, open one, or try the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from rs_viewer.icons import accent_icon
from rs_viewer.panels.common import Hint, bigger

if TYPE_CHECKING:
    from rs_viewer.actions import Actions


class Welcome(QWidget):
    """Lies over the map while nothing is open; drops go through to the window.

    Args:
        actions: The window's commands.
        over: The map.
    """

    def __init__(self, actions: Actions, over: QWidget) -> None:
        super().__init__(over)
        self._over = over
        self.setAutoFillBackground(True)
        self.hint = Hint(
            "layers",
            "Drop a satellite scene here",
            "A GeoTIFF or any other raster, a folder of tiles, or a results folder.",
        )
        bigger(self.hint.title, 5)
        self.open = QPushButton("Open Scene…")
        self.open.setProperty("primary", True)
        self.open.clicked.connect(actions["open"].trigger)
        self.demo = QPushButton("Try the Demo")
        self.demo.setToolTip(actions["demo"].statusTip())
        self.demo.clicked.connect(actions["demo"].trigger)
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addStretch(1)
        row.addWidget(self.open)
        row.addWidget(self.demo)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.addStretch(2)
        column.addWidget(self.hint)
        column.addLayout(row)
        column.addStretch(3)
        self.setAccessibleName("Nothing is open")
        over.installEventFilter(self)
        self.setGeometry(over.rect())
        self.refresh_icons()

    def refresh_icons(self) -> None:
        """Take the palette's colours."""
        self.hint.refresh_icons()
        self.open.setIcon(accent_icon("open"))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the map's size."""
        if watched is self._over and event.type() == QEvent.Type.Resize:
            self.setGeometry(self._over.rect())
        return super().eventFilter(watched, event)
