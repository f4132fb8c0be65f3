"""A ranking as bars: names with their colours, a bar each, and the score in percent.

Guarantees: a bar's length is its score, 0 to 1, on one scale for all; each row is named for screen readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from rs_viewer import format as fmt

BAR_PX = 8
LEAST_BAR_PX = 60


@dataclass(frozen=True, slots=True)
class Score:
    """One row.

    Attributes:
        name: What it is about.
        color: Its colour.
        share: Its score, 0 to 1.
    """

    name: str
    color: str
    share: float


class Bar(QWidget):
    """A horizontal bar on a faint track."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.share = 0.0
        self.color = QColor()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Room for a short bar."""
        return QSize(2 * LEAST_BAR_PX, BAR_PX)

    def minimumSizeHint(self) -> QSize:
        """The shortest bar that tells something."""
        return QSize(LEAST_BAR_PX, BAR_PX)

    def show_share(self, share: float, color: str) -> None:
        """Show another share, 0 to 1."""
        self.share, self.color = min(max(share, 0.0), 1.0), QColor(color)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw track and bar."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        track = QColor(self.palette().text().color())
        track.setAlphaF(0.12)
        radius = self.height() / 2
        painter.setBrush(track)
        painter.drawRoundedRect(QRectF(self.rect()), radius, radius)
        width = self.share * self.width()
        if width > 0:
            painter.setBrush(self.color)
            painter.drawRoundedRect(QRectF(0, 0, max(width, 2.0), self.height()), min(radius, width / 2), radius)


class ScoreBars(QWidget):
    """A few scores, the highest first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: list[tuple[QLabel, Bar, QLabel]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(5)
        self._grid.setColumnStretch(1, 1)

    def show_scores(self, scores: Sequence[Score]) -> None:
        """Show other scores."""
        while len(self.rows) < len(scores):
            row = QLabel(), Bar(), QLabel()
            row[2].setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, widget in enumerate(row):
                self._grid.addWidget(widget, len(self.rows), column, Qt.AlignmentFlag.AlignVCenter)
            self.rows.append(row)
        for number, (name, bar, share) in enumerate(self.rows):
            shown = number < len(scores)
            for widget in (name, bar, share):
                widget.setVisible(shown)
            if shown:
                score = scores[number]
                name.setText(score.name)
                bar.show_share(score.share, score.color)
                share.setText(fmt.percent(score.share))
                bar.setAccessibleName(f"{score.name}: {fmt.percent(score.share)}")
