"""Pointing at regions: hover outlines one, a click opens it in the inspector, from there to similar ones and tokens.

Guarantees: all reading happens off the GUI thread, newest request wins; nothing is shown of an analysis that is no
longer the one that is meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Signal

from rs_viewer import format as fmt
from rs_viewer.attention import TokenLooks
from rs_viewer.jobs import Context
from rs_viewer.latest import Latest
from rs_viewer.panels.facts import Fact
from rs_viewer.panels.inspector import Inspector
from rs_viewer.parts import Parts, single_shot
from rs_viewer.spectra import Moments, class_moments, spectrum_of

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from engine.regions.table import Region
    from rs_viewer.workspace import OpenAnalysis

PLOT_AFTER_MS = 200
"""After an analysis is opened, the map is painted before what draws spectra is imported."""
SIMILAR_COUNT = 50
FAINTEST = 0.35
"""Strength of the least similar highlighted region; the inspected one has 1."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a place.

    Attributes:
        analysis: The analysis that was asked.
        region_id: The region's number, 0 for none.
        region: The region, if it was read.
        listed: Whether it was chosen from the list of similar regions, which then stays.
    """

    analysis: Analysis
    region_id: int
    region: Region | None
    listed: bool = False


def region_at(context: Context, analysis: Analysis, x: float, y: float, known_id: int = 0) -> Found:
    """Look up the region at a map position; the one with ``known_id`` is not read again."""
    cols, rows = analysis.grid.colrow(np.array([x]), np.array([y]))
    region_id = analysis.region_id_at(float(cols[0]), float(rows[0]))
    context.raise_if_cancelled()
    read = region_id > 0 and region_id != known_id
    return Found(analysis, region_id, analysis.region(region_id) if read else None)


def change_facts(region: Region, roles: Mapping[str, str], *, geographic: bool) -> list[Fact]:
    """What is known about a change: its score and size, and the mean of each band before and after.

    Args:
        region: The change.
        roles: What bands of the earlier scene show, by name.
        geographic: Whether its centroid is longitude and latitude.
    """
    x, y = region.centroid
    facts = [
        Fact("Score", fmt.percent(region.confidence), "Mean probability that its pixels changed"),
        Fact("Area", fmt.area(region.area_m2), "On the ellipsoid, whatever the projection"),
        Fact("Perimeter", fmt.length(region.perimeter_m), "On the ellipsoid"),
        Fact("Centroid", fmt.lonlat(x, y) if geographic else f"{x:.1f}, {y:.1f}", "Where its middle lies"),
        Fact("Pixels", fmt.count(region.pixels), "Of the analysis grid"),
    ]
    means = dict(zip(region.band_names, region.means, strict=True))
    for name in region.band_names:
        plain = name.removeprefix("before_")
        if name != plain and f"after_{plain}" in means:
            text = f"{fmt.significant(means[name])} → {fmt.significant(means[f'after_{plain}'])}"
            label = roles.get(plain, plain).replace("_", " ").capitalize()
            facts.append(Fact(label, text, "Mean of the band before and after"))
    return facts


class Inspection(QObject):
    """Connects the map's pointing with the inspector.

    Signals:
        failed: Something could not be read.
        told: A sentence for the status bar.
        shown: A region is in the inspector.
    """

    failed = Signal(object)
    told = Signal(str)
    shown = Signal()

    def __init__(self, parts: Parts, inspector: Inspector, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._map = parts.workspace, parts.map
        self.inspector = inspector
        self.looks = TokenLooks(parts, inspector.tokens, self)
        self._hovered_id = 0
        self._plot_wanted = False
        self._plot_soon = single_shot(self, PLOT_AFTER_MS, inspector.spectrum.load_plot)
        self._of_classes: dict[int, Moments] = {}
        self._hover = Latest(parts.jobs, "Finding the region under the cursor", parent=self)
        self._pick = Latest(parts.jobs, "Reading the region", parent=self)
        self._classes = Latest(parts.jobs, "Averaging classes", parent=self)
        self._similar = Latest(parts.jobs, "Finding similar regions", parent=self)
        self._hover.answered.connect(self._show_hover)
        self._pick.answered.connect(self._show_region)
        self._classes.answered.connect(self._classes_averaged)
        self._similar.answered.connect(self._show_similar)
        for request in (self._hover, self._pick, self._classes, self._similar, self.looks):
            request.failed.connect(self.failed)
        self.looks.told.connect(self.told)
        parts.map.hovered.connect(self.hover)
        parts.map.clicked.connect(self.pick)
        inspector.similarRequested.connect(self.find_similar)
        inspector.cleared.connect(self.clear)
        inspector.regionChosen.connect(self.show_id)
        parts.workspace.analysisChanged.connect(self._analysis_changed)

    def _open(self) -> OpenAnalysis | None:
        item = self._workspace.analysis
        return item if item is not None and item.complete and self._workspace.pointed == "regions" else None

    def _color(self, analysis: Analysis, region: Region) -> str:
        return str(analysis.card.classes[region.class_code].color)

    # Hovering and clicking ------------------------------------------------------------------------------------------

    def hover(self, x: float, y: float) -> None:
        """Outline the region at a map position; NaN outlines none."""
        if self._workspace.pointed != "regions":
            return
        item = self._open()
        if item is None or math.isnan(x):
            self._hover.forget()
            self._hovered_id = 0
            self._map.set_outline(None, kind="hovered")
            return
        analysis, known = item.analysis, self._hovered_id
        self._hover.ask(lambda context: region_at(context, analysis, x, y, known))

    def _show_hover(self, found: Found) -> None:
        item = self._open()
        if item is None or item.analysis is not found.analysis:
            return
        if found.region is not None:
            self._map.set_outline(found.region.rings, kind="hovered", grid=found.analysis.grid)
        elif found.region_id == 0:
            self._map.set_outline(None, kind="hovered")
        self._hovered_id = found.region_id

    def pick(self, x: float, y: float) -> None:
        """Inspect the region at a map position."""
        if self._workspace.pointed != "regions":
            return
        item = self._open()
        if item is None:
            growing = self._workspace.analysis is not None
            self.told.emit(
                "Regions can be inspected when the analysis is complete."
                if growing
                else "There is no analysis to inspect yet: run a model first."
            )
            return
        analysis = item.analysis
        self._pick.ask(lambda context: region_at(context, analysis, x, y))

    def show_id(self, region_id: int) -> None:
        """Inspect a region by its number, keeping the list of similar ones."""
        item = self._open()
        if item is None:
            return
        analysis = item.analysis
        self._pick.ask(lambda context: Found(analysis, region_id, analysis.region(region_id), True))

    def _show_region(self, found: Found) -> None:
        item = self._open()
        if item is None or item.analysis is not found.analysis:
            return
        if found.region is None:
            compared = found.analysis.kind == "change"
            self.told.emit("There is no change here." if compared else "There is no region here.")
            return
        region, analysis = found.region, found.analysis
        color = self._color(analysis, region)
        if analysis.kind == "change":
            bands = item.scene.scene.bands if item.scene is not None else ()
            self._show_change(analysis, region, color, {band.name: band.role for band in bands if band.role})
            return
        if not found.listed:
            self._map.set_highlights({})
        self._map.set_outline(region.rings, grid=analysis.grid)
        spectrum = spectrum_of(region, item.scene.scene.bands if item.scene is not None else (), color)
        self.inspector.show_region(
            region,
            color,
            spectrum,
            self._of_classes.get(region.class_code),
            geographic=analysis.grid.crs is not None,
            keep_similar=found.listed,
        )
        self.looks.be_about(item, region.window, region.token_index)
        self.shown.emit()

    def _show_change(self, analysis: Analysis, region: Region, color: str, roles: Mapping[str, str]) -> None:
        self._map.set_outline(region.rings, grid=analysis.grid)
        title = f"{region.class_name.capitalize()} {fmt.count(region.region_id)}"
        facts = change_facts(region, roles, geographic=analysis.grid.crs is not None)
        self.inspector.show_facts(title, f"Change {region.region_id}", color, facts)
        self.shown.emit()

    # Similar regions ------------------------------------------------------------------------------------------------

    def find_similar(self) -> None:
        """Highlight the regions nearest to the inspected one in feature space."""
        item, region = self._open(), self.inspector.region
        if item is None or region is None:
            self.told.emit("Inspect a region first, then look for similar ones.")
            return
        analysis, region_id = item.analysis, region.region_id

        def work(context: Context) -> Any:
            from engine.regions.similarity import similar_regions

            found = similar_regions(analysis, region_id, SIMILAR_COUNT)
            codes = analysis.region_table.column("class_code")
            return analysis, region_id, [(s.region_id, int(codes[s.region_id - 1]), s.distance) for s in found]

        self._similar.ask(work)

    def _show_similar(self, answer: tuple[Analysis, int, list[tuple[int, int, float]]]) -> None:
        analysis, region_id, found = answer
        region = self.inspector.region
        if region is None or region.region_id != region_id:
            return
        classes = analysis.card.classes
        self.inspector.show_similar([(i, classes[c].name, classes[c].color, d) for i, c, d in found])
        farthest = max((distance for _, _, distance in found), default=0.0)
        strengths = {region_id: 1.0}
        for other, _, distance in found:
            strengths[other] = 1.0 - (1.0 - FAINTEST) * (distance / farthest if farthest > 0 else 0.0)
        self._map.set_highlights(strengths)

    # Putting away ---------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove outlines, highlights, attention and the inspector's contents."""
        for request in (self._hover, self._pick, self._similar):
            request.forget()
        self._hovered_id = 0
        self.looks.put_away()
        self._map.set_outline(None)
        self._map.set_outline(None, kind="hovered")
        self._map.set_highlights({})
        self.inspector.clear()

    def _analysis_changed(self, item: OpenAnalysis | None) -> None:
        self.clear()
        self._classes.forget()
        self._of_classes = {}
        if item is None or item.analysis.kind != "segmentation":
            return
        if not self._plot_wanted:
            self._plot_wanted = True
            self._plot_soon.start()
        if item.complete:
            analysis = item.analysis
            self._classes.ask(lambda context: class_moments(context, analysis))

    def _classes_averaged(self, found: dict[int, Moments]) -> None:
        self._of_classes = found
        region = self.inspector.region
        if region is not None:
            self.inspector.spectrum.show_class(region.class_name, found.get(region.class_code))
