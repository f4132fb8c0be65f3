"""What a map shows: layers with a name, opacity and visibility, each on a grid of its own.

Guarantees: making or changing a layer reads nothing (that is for the loader's threads) and returns at once; a change
of look gives a new source and revision, so the old picture stays until the new one is there.
Layers belong to the GUI thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QColor, QImage

from engine.scene import Window
from engine.scene.stretch import Stretch
from rs_viewer.map import colours
from rs_viewer.map.loader import TileSource
from rs_viewer.map.pyramid import Pyramid
from rs_viewer.map.sources import (
    AnalysisLike,
    MapLayerName,
    RegionColours,
    RegionSource,
    RegionStyle,
    SceneLike,
    SceneSource,
    TableSource,
)
from rs_viewer.map.viewport import Affine2, Bounds, affine2, grid_bounds

_ids = itertools.count(1)
_OUTLINE_LEVELS = 5
"""Region boundaries stay one screen pixel wide up to 32 screen pixels a grid pixel."""


class Layer(QObject):
    """Base of all layers."""

    changed = Signal()
    """The look changed."""
    renamed = Signal(str)
    failed = Signal(str)
    """Something of this layer could not be read: the sentence to show."""

    def __init__(self, name: str, grid: Any, *, opacity: float = 1.0) -> None:
        super().__init__()
        self.id = next(_ids)
        self.grid = grid
        self._name = name
        self._opacity = min(max(float(opacity), 0.0), 1.0)
        self._visible = True

    @property
    def transform(self) -> Affine2:
        """From (col, row) to map coordinates."""
        return affine2(self.grid.transform)

    @property
    def bounds(self) -> Bounds:
        """Map area."""
        return grid_bounds(self.transform, self.grid.width, self.grid.height)

    @property
    def name(self) -> str:
        """Name in the list of layers."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if name != self._name:
            self._name = name
            self.renamed.emit(name)

    @property
    def opacity(self) -> float:
        """0, transparent, to 1, opaque."""
        return self._opacity

    @opacity.setter
    def opacity(self, opacity: float) -> None:
        opacity = min(max(float(opacity), 0.0), 1.0)
        if opacity != self._opacity:
            self._opacity = opacity
            self.changed.emit()

    @property
    def visible(self) -> bool:
        """Whether the map shows it."""
        return self._visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        if visible != self._visible:
            self._visible = bool(visible)
            self.changed.emit()

    def source_closer(self) -> Callable[[], None] | None:
        """What closes the layer's source after its last read, on another thread: it must not hold a Qt object."""
        return None


class TiledLayer(Layer):
    """A layer drawn from tiles."""

    keeps_raw = False
    """Whether another look needs no new reading."""

    def __init__(self, name: str, grid: Any, source: TileSource, *, opacity: float = 1.0) -> None:
        super().__init__(name, grid, opacity=opacity)
        self._source = source
        self.revision = 0
        self.edition = 0
        """Counts the changes of where values come from: values of an older edition are not used again."""

    @property
    def source(self) -> TileSource:
        """What paints the tiles now."""
        return self._source

    @property
    def pyramid(self) -> Pyramid:
        """The tiles over the layer's grid."""
        return Pyramid(self.grid.width, self.grid.height)

    def _use(self, source: TileSource) -> None:
        self._source = source
        self.revision += 1
        self.changed.emit()


class SceneLayer(TiledLayer):
    """A scene in true or false colour.

    Args:
        scene: Where pixels come from.
        stretch: What becomes black and white; None has it computed from an overview.
        bands: Red, green and blue as 1-based band numbers; None takes the scene's own.
        owns_scene: Whether removing the layer closes the scene.
    """

    def __init__(
        self,
        scene: SceneLike,
        *,
        stretch: Stretch | None = None,
        bands: tuple[int, int, int] | None = None,
        name: str | None = None,
        owns_scene: bool = True,
    ) -> None:
        super().__init__(name or scene.name, scene.grid, SceneSource(scene, bands, stretch))
        self.scene = scene
        self._bands = bands
        self._owns_scene = owns_scene

    @property
    def bands(self) -> tuple[int, int, int] | None:
        """The bands shown; None until the scene's own have been looked up."""
        made = self._scene_source.look.value_or_none
        return made[0] if made else self._bands

    @property
    def stretch(self) -> Stretch | None:
        """The stretch in use; None until it has been computed."""
        made = self._scene_source.look.value_or_none
        return made[1] if made else self._scene_source.stretch

    def set_bands(self, bands: tuple[int, int, int] | None, stretch: Stretch | None = None) -> None:
        """Show other bands; their stretch is computed unless it is given."""
        self._bands = bands
        self._use(SceneSource(self.scene, bands, stretch))

    @property
    def _scene_source(self) -> SceneSource:
        source = self.source
        assert isinstance(source, SceneSource)
        return source

    def source_closer(self) -> Callable[[], None] | None:
        """Closes the scene if it is the layer's own."""
        return self.scene.close if self._owns_scene else None


class RasterLayer(TiledLayer):
    """A map of an analysis: classes, confidence or regions.

    Args:
        analysis: Where values come from.
        kind: Which map.
        style: How regions are drawn: their boundaries, or areas in shades of their class.
    """

    keeps_raw = True

    def __init__(
        self,
        analysis: AnalysisLike,
        kind: MapLayerName,
        *,
        name: str | None = None,
        opacity: float = 1.0,
        style: RegionStyle = "outline",
    ) -> None:
        self.kind = kind
        self.analysis = analysis
        self._style: RegionStyle = style
        self._highlights: dict[int, float] = {}
        self._accent = (255, 0, 200)
        self._shades = RegionColours(analysis)
        super().__init__(name or kind, analysis.grid, self._make_source(), opacity=opacity)

    @property
    def pyramid(self) -> Pyramid:
        """The tiles; boundaries of regions have finer ones than the grid."""
        sharp = self.kind == "regions" and self._style == "outline"
        return Pyramid(self.grid.width, self.grid.height, -_OUTLINE_LEVELS if sharp else 0)

    @property
    def style(self) -> RegionStyle:
        """How regions are drawn."""
        return self._style

    @style.setter
    def style(self, style: RegionStyle) -> None:
        if style != self._style:
            self._style = style
            self._use(self._make_source())

    @property
    def highlights(self) -> Mapping[int, float]:
        """Highlighted regions and how strongly."""
        return dict(self._highlights)

    def set_highlights(self, regions: Collection[int] | Mapping[int, float], color: QColor | None = None) -> None:
        """Tint regions in the accent colour and dim all others; none highlighted dims none.

        Args:
            regions: Region ids, or strengths 0 to 1 by region id.
            color: The tint; None keeps the one in use.
        """
        strengths = dict(regions) if isinstance(regions, Mapping) else dict.fromkeys(regions, 1.0)
        accent = (color.red(), color.green(), color.blue()) if color is not None else self._accent
        if self.kind != "regions" or (strengths, accent) == (self._highlights, self._accent):
            return
        self._highlights, self._accent = strengths, accent
        self._use(self._make_source())

    def set_analysis(self, analysis: AnalysisLike) -> None:
        """Read from another analysis of the same grid from now on; the old picture stays until the new one is there."""
        if (analysis.grid.width, analysis.grid.height) != (self.grid.width, self.grid.height):
            raise ValueError("the analysis has another grid: add it as a layer of its own")
        self.analysis = analysis
        self._shades = RegionColours(analysis)
        self.edition += 1
        self._use(self._make_source())

    def source_closer(self) -> Callable[[], None] | None:
        """Closes the files of the analysis; another layer that reads from it opens them again."""
        return self.analysis.close

    def _make_source(self) -> TileSource:
        if self.kind == "regions":
            return RegionSource(self.analysis, self._style, self._shades, dict(self._highlights), self._accent)
        if self.kind == "classes":
            table = colours.class_table([c.color for c in self.analysis.card.classes])
            if self.analysis.card.task == "change":
                table[0] = 0  # what is unchanged shows the scene
        else:
            table = colours.confidence_table()
        return TableSource(self.analysis, self.kind, table)


class ImageOverlay(Layer):
    """A small picture laid over a window of a grid, such as the attention of one token.

    Args:
        grid: The grid the window counts in.
        window: Where the picture lies, in grid pixels.
        rgba: Straight RGBA bytes [h, w, 4], of any size.
    """

    def __init__(
        self, grid: Any, window: Window, rgba: np.ndarray, *, name: str = "overlay", opacity: float = 1.0
    ) -> None:
        super().__init__(name, grid, opacity=opacity)
        self._window = window
        self._image = colours.image_of_rgba(rgba)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in grid pixels."""
        w = self._window
        return w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height

    @property
    def bounds(self) -> Bounds:
        """Map area."""
        return self.transform.box(*self.box)

    @property
    def image(self) -> QImage:
        """The picture."""
        return self._image
