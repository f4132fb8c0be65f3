"""The legend: each class with its colour and name, and its share and area or the number of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QHeaderView, QStackedWidget, QTreeWidget, QTreeWidgetItem, QWidget

from rs_viewer import format as fmt
from rs_viewer.panels.common import Hint

if TYPE_CHECKING:
    from engine.inference.info import ClassShare
    from engine.models.card import ModelCard

SWATCH_PX = 14
AREA_HEADS = ("Class", "Share", "Area")
OBJECT_HEADS = ("Class", "Objects", "Share")
PATCH_HEADS = ("Size", "Patches", "Share")
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are of a kind.

    Attributes:
        name: The kind.
        color: Its colour.
        count: Its number.
    """

    name: str
    color: str
    count: int


def swatch(color: str, ratio: float = 2.0) -> QIcon:
    """A small square of a class's colour."""
    size = round(SWATCH_PX * ratio)
    drawn = QPixmap(size, size)
    drawn.fill(Qt.GlobalColor.transparent)
    painter = QPainter(drawn)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(color).darker(140), ratio))
    painter.setBrush(QColor(color))
    painter.drawRoundedRect(drawn.rect().adjusted(1, 1, -2, -2), 3 * ratio, 3 * ratio)
    painter.end()
    drawn.setDevicePixelRatio(ratio)
    return QIcon(drawn)


class LegendPanel(QStackedWidget):
    """Classes of the analysis that is meant, or what to do to get some."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.hint = Hint("legend", "No classes yet", "Run a model, or open an analysis, and its classes appear here.")
        self.table = QTreeWidget()
        self.table.setRootIsDecorated(False)
        self.table.setUniformRowHeights(True)
        self.table.setIconSize(QSize(SWATCH_PX, SWATCH_PX))
        self.table.setFrameShape(QTreeWidget.Shape.NoFrame)
        self.table.setSelectionMode(QTreeWidget.SelectionMode.NoSelection)
        self.table.setAccessibleName("Legend: classes with their numbers")
        self._head(AREA_HEADS)
        header = self.table.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.addWidget(self.hint)
        self.addWidget(self.table)

    def _head(self, titles: tuple[str, str, str]) -> None:
        self.table.setHeaderLabels(list(titles))
        for column in (1, 2):
            self.table.headerItem().setTextAlignment(column, RIGHT)

    def clear(self) -> None:
        """Nothing is open."""
        self.table.clear()
        self.setCurrentWidget(self.hint)

    def show_card(self, card: ModelCard) -> None:
        """Show a model's classes before there are numbers."""
        self._head(OBJECT_HEADS if card.task == "detection" else AREA_HEADS)
        self._fill([(item.name, item.color, fmt.NONE, fmt.NONE) for item in card.classes])

    def show_shares(self, shares: Sequence[ClassShare]) -> None:
        """Show classes with their shares of the scene; those that cover nothing come last."""
        self._head(AREA_HEADS)
        there_first = sorted(shares, key=lambda item: item.share == 0)
        self._fill([(item.name, item.color, fmt.percent(item.share), fmt.area(item.area_m2)) for item in there_first])

    def show_objects(self, counts: Sequence[Count]) -> None:
        """Show classes with the number of their objects; those of which there is none come last."""
        self._show_counts(OBJECT_HEADS, sorted(counts, key=lambda item: item.count == 0))

    def show_patches(self, counts: Sequence[Count]) -> None:
        """Show sizes of patches with their numbers."""
        self._show_counts(PATCH_HEADS, counts)

    def _show_counts(self, heads: tuple[str, str, str], counts: Sequence[Count]) -> None:
        total = sum(item.count for item in counts)
        self._head(heads)
        self._fill(
            [
                (item.name, item.color, fmt.count(item.count), fmt.percent(item.count / total if total else None))
                for item in counts
            ]
        )

    def _fill(self, rows: list[tuple[str, str, str, str]]) -> None:
        self.table.clear()
        for name, color, first, second in rows:
            item = QTreeWidgetItem([name, first, second])
            item.setIcon(0, swatch(color))
            item.setTextAlignment(1, RIGHT)
            item.setTextAlignment(2, RIGHT)
            item.setData(0, Qt.ItemDataRole.AccessibleTextRole, f"{name}, {first}, {second}")
            self.table.addTopLevelItem(item)
        self.setCurrentWidget(self.table)
