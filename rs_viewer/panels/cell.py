"""The inspector's page about a cell: what its place is taken for, the likeliest classes as bars, facts, tokens.

Guarantees: it shows what it is given and computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QWidget

from rs_viewer.panels.bars import Score, ScoreBars
from rs_viewer.panels.facts import Fact, FactsPage
from rs_viewer.panels.tokens import TokenSection


class CellPage(FactsPage):
    """Facts about a cell of a scene classifier."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self.bars = ScoreBars()
        self.tokens = TokenSection()
        super().__init__(parent)
        self.place(above=self.bars, below=self.tokens, button=self.tokens.button)

    def refresh_icons(self) -> None:
        """Take the palette's colours."""
        super().refresh_icons()
        self.tokens.refresh_icons()

    def show_cell(self, name: str, scores: Sequence[Score], facts: Sequence[Fact]) -> None:
        """Show a cell.

        Args:
            name: What it is about, for screen readers.
            scores: The likeliest classes, best first.
            facts: What else is known about it.
        """
        self.tokens.put_away()
        self.bars.show_scores(scores)
        self.show_facts(scores[0].name, name, scores[0].color, facts)
