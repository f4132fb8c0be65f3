"""A page of facts about one thing: a heading with its colour, and labelled values.

Guarantees: it shows what it is given and computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from rs_viewer.icons import icon
from rs_viewer.panels.common import MARGIN_PX, bigger, scrolling, wrapped
from rs_viewer.panels.legend import swatch


@dataclass(frozen=True, slots=True)
class Fact:
    """One line.

    Attributes:
        label: What it is.
        text: Its value, with its unit.
        tip: What it means.
    """

    label: str
    text: str
    tip: str = ""


class FactsPage(QWidget):
    """Facts about an object or a patch.

    Signals:
        cleared: Put it away.
    """

    cleared = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heading = bigger(QLabel(), 2)
        self.swatch = QLabel()
        self.fields: dict[str, QLabel] = {}
        self.clear_button = QPushButton("C&lear")
        self.clear_button.setToolTip("Remove the outline and this page")
        self.clear_button.clicked.connect(self.cleared)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX)
        column.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self.swatch)
        head.addWidget(self.heading, 1)
        column.addLayout(head)
        self._form = QFormLayout()
        self._form.setHorizontalSpacing(14)
        self._form.setVerticalSpacing(3)
        column.addLayout(self._form)
        column.addStretch(1)
        self._column = column
        self._buttons = row = QHBoxLayout()
        row.setContentsMargins(MARGIN_PX, 6, MARGIN_PX, MARGIN_PX)
        row.addStretch(1)
        row.addWidget(self.clear_button)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(scrolling(body), 1)
        whole.addLayout(row)
        self.refresh_icons()

    def place(self, *, above: QWidget, below: QWidget, button: QWidget) -> None:
        """Put widgets above and below the lines, and a button beside the others."""
        self._column.insertWidget(1, above)
        self._column.insertWidget(3, below)
        self._buttons.insertWidget(0, button)

    def refresh_icons(self) -> None:
        """Take the palette's colours."""
        self.clear_button.setIcon(icon("clear"))

    def show_facts(self, title: str, name: str, color: str, facts: Sequence[Fact]) -> None:
        """Show other facts.

        Args:
            title: The heading.
            name: What it is about, for screen readers.
            color: Its colour on the map.
            facts: Lines, top to bottom.
        """
        self.heading.setText(title)
        self.heading.setAccessibleName(name)
        self.swatch.setPixmap(swatch(color).pixmap(16, 16))
        if list(self.fields) != [fact.label for fact in facts]:
            self._make_rows(facts)
        for fact in facts:
            self.fields[fact.label].setText(fact.text)

    def _make_rows(self, facts: Sequence[Fact]) -> None:
        while self._form.rowCount():
            self._form.removeRow(0)
        self.fields = {}
        for fact in facts:
            label = QLabel(fact.label)
            label.setProperty("muted", True)
            value = wrapped("", selectable=True)
            for widget in (label, value):
                widget.setToolTip(fact.tip)
            self._form.addRow(label, value)
            self.fields[fact.label] = value
