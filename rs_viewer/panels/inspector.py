"""The inspector: what is known about one region, object, cell or patch, and what to ask next about it.

Guarantees: it shows what it is given and computes nothing; numbers bear their units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStackedWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from rs_viewer import format as fmt
from rs_viewer.icons import icon
from rs_viewer.panels.cell import CellPage
from rs_viewer.panels.common import MARGIN_PX, Hint, bigger, scrolling, wrapped
from rs_viewer.panels.facts import Fact, FactsPage
from rs_viewer.panels.legend import SWATCH_PX, swatch
from rs_viewer.panels.spectrum import SpectrumPanel
from rs_viewer.panels.tokens import TokenSection

if TYPE_CHECKING:
    from engine.regions.table import Region
    from rs_viewer.panels.bars import Score
    from rs_viewer.spectra import Moments, Spectrum

FACTS = (
    ("share", "Share of class", "How much of the region the model gives to its class"),
    ("confidence", "Confidence", "Mean probability of the class over the region"),
    ("runner_up", "Runner-up", "The class that came second"),
    ("area", "Area", "On the ellipsoid, whatever the projection"),
    ("perimeter", "Perimeter", "On the ellipsoid"),
    ("place", "Centroid", "Where the middle of the region lies"),
    ("homogeneity", "Homogeneity", "How alike its pixels are: 1 is one colour"),
    ("pixels", "Pixels", "Of the analysis grid"),
    ("token", "Token", "The model's token that claims it, and the window where it does so most"),
)


class Inspector(QStackedWidget):
    """Attributes, spectrum and similar regions of the inspected region.

    Signals:
        similarRequested: Find similar regions.
        cleared: Put everything away.
        regionChosen: A row of the list of similar regions was chosen: its region id.
    """

    similarRequested = Signal()
    cleared = Signal()
    regionChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.region: Region | None = None
        hint = "Choose Inspect in the toolbar and click a region, an object, a cell or a patch."
        self.hint = Hint("inspect", "Nothing inspected", hint)
        self.heading = bigger(QLabel(), 2)
        self.swatch = QLabel()
        self.fields: dict[str, QLabel] = {}
        self.spectrum = SpectrumPanel()
        self.tokens = TokenSection()
        self.attention = self.tokens.button
        self.similar = QPushButton("Find &similar")
        self.similar.setToolTip("Highlight the regions that look to the model most like this one")
        self.clear_button = QPushButton("C&lear")
        self.clear_button.setToolTip("Remove outlines, highlights and attention")
        self.list = QTreeWidget()
        self.list.setHeaderLabels(["Similar region", "Class", "Distance"])
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setAccessibleName("Similar regions, nearest first")
        self.list.setMinimumHeight(180)
        self.list.setIconSize(QSize(SWATCH_PX, SWATCH_PX))
        self.list.header().setStretchLastSection(False)
        self.list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column in (0, 2):
            self.list.header().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.list.hide()
        self._page = self._lay_out()
        self.addWidget(self.hint)
        self.facts = FactsPage()
        self.cell = CellPage()
        for page in (self._page, self.facts, self.cell):
            self.addWidget(page)
        for facts in (self.facts, self.cell):
            facts.cleared.connect(self.cleared)
        self.similar.clicked.connect(self.similarRequested)
        self.clear_button.clicked.connect(self.cleared)
        self.list.itemActivated.connect(self._chosen)
        self.list.itemClicked.connect(self._chosen)
        self.refresh_icons()

    def _lay_out(self) -> QWidget:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX)
        column.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self.swatch)
        head.addWidget(self.heading, 1)
        column.addLayout(head)
        form = QFormLayout()
        form.setHorizontalSpacing(14)
        form.setVerticalSpacing(3)
        for key, text, tip in FACTS:
            label = QLabel(text)
            label.setProperty("muted", True)
            label.setToolTip(tip)
            value = wrapped("", selectable=True)
            value.setToolTip(tip)
            self.fields[key] = value
            form.addRow(label, value)
        column.addLayout(form)
        column.addWidget(self.spectrum)
        column.addWidget(self.tokens)
        column.addWidget(self.list, 1)
        column.addStretch(1)
        row = QHBoxLayout()
        row.setContentsMargins(MARGIN_PX, 6, MARGIN_PX, MARGIN_PX)
        for button in (self.similar, self.attention, self.clear_button):
            row.addWidget(button)
        self._area = scrolling(body)
        page = QWidget()
        whole = QVBoxLayout(page)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self._area, 1)
        whole.addLayout(row)
        return page

    def refresh_icons(self) -> None:
        """Take the palette's colours."""
        self.similar.setIcon(icon("similar"))
        self.tokens.refresh_icons()
        self.clear_button.setIcon(icon("clear"))
        self.spectrum.refresh_icons()
        self.facts.refresh_icons()
        self.cell.refresh_icons()
        self.hint.refresh_icons()

    def clear(self) -> None:
        """Show nothing."""
        self.region = None
        self.show_similar(())
        self.spectrum.clear()
        self.setCurrentWidget(self.hint)

    @property
    def occupied(self) -> bool:
        """Whether it shows something."""
        return self.currentWidget() is not self.hint

    def show_facts(self, title: str, name: str, color: str, facts: Sequence[Fact]) -> None:
        """Show an object or a patch in place of a region.

        Args:
            title: The heading.
            name: What it is about, for screen readers.
            color: Its colour on the map.
            facts: What is known about it.
        """
        self.clear()
        self.facts.show_facts(title, name, color, facts)
        self.setCurrentWidget(self.facts)

    def show_region(
        self,
        region: Region,
        color: str,
        spectrum: Spectrum,
        of_class: Moments | None,
        *,
        geographic: bool,
        keep_similar: bool = False,
    ) -> None:
        """Show a region.

        Args:
            region: Its attributes.
            color: Its class colour.
            spectrum: Its spectrum.
            of_class: Means and standard deviations over its class, if they are known by now.
            geographic: Whether its centroid is longitude and latitude.
            keep_similar: Whether the list of similar regions stays.
        """
        self.region = region
        if not keep_similar:
            self.show_similar(())
        self.heading.setText(region.class_name)
        self.heading.setAccessibleName(f"Region {region.region_id}: {region.class_name}")
        self.swatch.setPixmap(swatch(color).pixmap(16, 16))
        x, y = region.centroid
        token = f"{region.token_index} of window {fmt.count(region.window)}" if region.token_index >= 0 else fmt.NONE
        texts = {
            "share": fmt.percent(region.class_share),
            "confidence": fmt.percent(region.confidence),
            "runner_up": region.runner_up or fmt.NONE,
            "area": fmt.area(region.area_m2),
            "perimeter": fmt.length(region.perimeter_m),
            "place": fmt.lonlat(x, y) if geographic else f"{x:.1f}, {y:.1f}",
            "homogeneity": fmt.significant(region.homogeneity, 3),
            "pixels": f"{fmt.count(region.pixels)}  (region {fmt.count(region.region_id)})",
            "token": token,
        }
        for key, text in texts.items():
            self.fields[key].setText(text)
        self.spectrum.show_region(spectrum, region.class_name, of_class)
        self.setCurrentWidget(self._page)

    def show_cell(self, name: str, scores: Sequence[Score], facts: Sequence[Fact]) -> None:
        """Show a cell in place of a region; see :meth:`CellPage.show_cell`."""
        self.clear()
        self.cell.show_cell(name, scores, facts)
        self.setCurrentWidget(self.cell)

    def show_similar(self, rows: Sequence[tuple[int, str, str, float]]) -> None:
        """List similar regions: id, class, colour, distance."""
        self.list.clear()
        for region_id, name, color, distance in rows:
            item = QTreeWidgetItem([fmt.count(region_id), name, f"{distance:.3f}"])
            item.setData(0, Qt.ItemDataRole.UserRole, region_id)
            item.setIcon(1, swatch(color))
            item.setTextAlignment(2, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            item.setToolTip(0, "Show this region")
            self.list.addTopLevelItem(item)
        self.list.setVisible(bool(rows))
        if rows:
            QTimer.singleShot(0, lambda: self._area.ensureWidgetVisible(self.list))

    def _chosen(self, item: QTreeWidgetItem, _column: int = 0) -> None:
        value: Any = item.data(0, Qt.ItemDataRole.UserRole)
        self.regionChosen.emit(int(value))
