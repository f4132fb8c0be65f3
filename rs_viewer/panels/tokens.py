"""What the model perceived in a window: its token map and each token's attention, as small pictures to choose from.

Guarantees: it shows what it is given and computes nothing; pictures are chosen by mouse and by keyboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QIcon, QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.icons import icon
from rs_viewer.map.colours import image_of_rgba

THUMB_PX = 84
CELL_PX = QSize(94, 110)
MAP = -1
"""Stands for the token map among the numbers of tokens."""
NO_PICTURES = "Show the token map and each token's attention over the window"


@dataclass(frozen=True, slots=True)
class Thumb:
    """A small picture.

    Attributes:
        token: Number of the token, ``MAP`` for the map of all.
        caption: Words below it.
        tip: What it shows, in a sentence.
        rgba: ``[h, w, 4]`` straight bytes.
    """

    token: int
    caption: str
    tip: str
    rgba: np.ndarray


class TokenSheet(QListWidget):
    """Pictures side by side, as many in a row as fit.

    Signals:
        tokenChosen: A picture was chosen: the token's number, ``MAP`` for the map of all.
    """

    tokenChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(THUMB_PX, THUMB_PX))
        self.setGridSize(CELL_PX)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # the page scrolls
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        self.setAccessibleName("Tokens of the window: the token map and each token's attention")
        self.currentItemChanged.connect(self._changed)

    def show_thumbs(self, thumbs: Sequence[Thumb], chosen: int) -> None:
        """Show other pictures, one of them chosen."""
        self.blockSignals(True)
        self.clear()
        for thumb in thumbs:
            item = QListWidgetItem(_icon(thumb.rgba), thumb.caption)
            item.setData(Qt.ItemDataRole.UserRole, thumb.token)
            item.setToolTip(thumb.tip)
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter)
            self.addItem(item)
            if thumb.token == chosen:
                self.setCurrentItem(item)
        self.blockSignals(False)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Be as high as all rows of pictures are at this width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        in_row = max(1, self.viewport().width() // CELL_PX.width())
        self.setFixedHeight(max(1, -(-self.count() // in_row)) * CELL_PX.height() + 2)

    def _changed(self, item: QListWidgetItem | None, _before: Any = None) -> None:
        if item is not None:
            self.tokenChosen.emit(int(item.data(Qt.ItemDataRole.UserRole)))


class TokenSection(QWidget):
    """The sheet, and the button that asks for it, which stands where the page wants it.

    Signals:
        toggled: Show or hide the attention on the map.
        tokenChosen: As of the sheet.
    """

    toggled = Signal(bool)
    tokenChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QPushButton("&Attention")
        self.button.setCheckable(True)
        self.button.setToolTip(NO_PICTURES)
        self.sheet = TokenSheet()
        self.sheet.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.sheet)
        self.button.toggled.connect(self.toggled)
        self.sheet.tokenChosen.connect(self.tokenChosen)

    def refresh_icons(self) -> None:
        """Take the palette's colours."""
        self.button.setIcon(icon("attention", on_accent=False))

    def allow(self, reason: str = "") -> None:
        """Offer the attention, or say why it cannot be computed."""
        self.button.setEnabled(not reason)
        self.button.setToolTip(reason or NO_PICTURES)

    def show_thumbs(self, thumbs: Sequence[Thumb], chosen: int) -> None:
        """Show pictures, one of them chosen."""
        self.sheet.show_thumbs(thumbs, chosen)
        self.sheet.show()
        QTimer.singleShot(0, self, self._bring_up)

    def _bring_up(self) -> None:
        """Scroll the page so far that the chosen picture is seen, and two rows of them if there is room."""
        area = self.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        inside = area.widget() if isinstance(area, QScrollArea) else None
        if isinstance(area, QScrollArea) and inside is not None and self.sheet.isVisible():
            chosen = self.sheet.visualItemRect(self.sheet.currentItem()).bottom() if self.sheet.currentItem() else 0
            low = max(chosen, min(2 * CELL_PX.height(), self.sheet.height()))
            area.ensureVisible(0, self.sheet.mapTo(inside, QPoint(0, low)).y(), 0, 0)

    def put_away(self) -> None:
        """Hide the pictures and release the button, without asking for anything."""
        self.button.blockSignals(True)
        self.button.setChecked(False)
        self.button.blockSignals(False)
        self.sheet.hide()
        self.sheet.blockSignals(True)
        self.sheet.clear()
        self.sheet.blockSignals(False)


def _icon(rgba: np.ndarray) -> QIcon:
    pixmap = QPixmap.fromImage(image_of_rgba(rgba))
    drawn = QIcon(pixmap)
    drawn.addPixmap(pixmap, QIcon.Mode.Selected)  # a chosen picture is framed, not tinted
    return drawn
