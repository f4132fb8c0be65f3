"""What paints the tiles of each kind of layer: reads a window, colours it, hands back an image.

Guarantees: a source never changes once made (a new look is a new source), so threads share it without locks; it holds
no Qt object of the GUI thread. A tile always has 256 by 256 pixels; what lies outside the grid is transparent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from engine.scene import Window
from engine.scene.stretch import Stretch, percentile_stretch, to_rgba
from rs_viewer.map import colours
from rs_viewer.map.loader import Picture
from rs_viewer.map.pyramid import TILE_PX, TileKey

_TINT_ALPHA = 150
_DIM_ALPHA = 130

MapLayerName = Literal["classes", "confidence", "regions"]
RegionStyle = Literal["outline", "fill"]


class SceneLike(Protocol):
    """What a scene layer needs of a scene."""

    @property
    def grid(self) -> Any: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    def read(self, window: Any = ..., *, bands: Any = ..., out_shape: Any = ..., resampling: Any = ...) -> Any: ...  # noqa: D102
    def rgb_indices(self) -> tuple[int, int, int]: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class AnalysisLike(Protocol):
    """What a raster layer needs of an analysis."""

    @property
    def grid(self) -> Any: ...  # noqa: D102
    @property
    def card(self) -> Any: ...  # noqa: D102
    @property
    def complete(self) -> bool: ...  # noqa: D102
    def read(self, layer: MapLayerName, window: Any = ..., out_shape: Any = ...) -> np.ndarray: ...  # noqa: D102
    def regions(self) -> Any: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Once:
    """A value that the first thread to ask for it makes, the others waiting."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: Any = None
        self._made = False

    def get(self) -> Any:
        """The value. An error leaves it unmade: the next call tries again."""
        with self._lock:
            if not self._made:
                self._value = self._make()
                self._made = True
            return self._value

    @property
    def value_or_none(self) -> Any:
        """The value if it has been made."""
        return self._value if self._made else None


@dataclass(frozen=True, eq=False)
class SceneSource:
    """True or false colour of a scene; a stretch that is not given is computed with the first tile."""

    scene: SceneLike
    bands: tuple[int, int, int] | None
    stretch: Stretch | None
    look: Once = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "look", Once(self._prepare))

    def _prepare(self) -> tuple[tuple[int, int, int], Stretch]:
        bands = self.bands or self.scene.rgb_indices()
        return bands, self.stretch or percentile_stretch(self.scene, bands)  # type: ignore[arg-type]

    def paint(self, key: TileKey, raw: np.ndarray | None) -> Picture:
        """Read a tile by area average and stretch it."""
        bands, stretch = self.look.get()
        raster = self.scene.read(
            window_of(key), bands=bands, out_shape=(TILE_PX, TILE_PX), resampling="average" if key.level else "nearest"
        )
        return Picture(colours.image_of_rgba(to_rgba(raster, stretch)))


@dataclass(frozen=True, eq=False)
class TableSource:
    """Classes or confidence of an analysis through a table of 256 colours."""

    analysis: AnalysisLike
    layer: MapLayerName
    table: np.ndarray

    def paint(self, key: TileKey, raw: np.ndarray | None) -> Picture:
        """Read a tile and look its colours up."""
        values = raw if raw is not None else self.analysis.read(self.layer, window_of(key), (TILE_PX, TILE_PX))
        return Picture(colours.image_of(self.table[values]), values)


class RegionColours:
    """Colours of the regions of an analysis, made once and shared by all looks of the layer."""

    def __init__(self, analysis: AnalysisLike) -> None:
        self._analysis = analysis
        self.table = Once(self._make)

    def _make(self) -> np.ndarray:
        frame = self._analysis.regions()
        ids = np.asarray(frame.get("region_id", frame.index), dtype=np.int64)
        codes = np.full(int(ids.max(initial=0)) + 1, colours.CLASS_NODATA, np.uint8)
        codes[ids] = np.asarray(frame["class_code"], dtype=np.uint8)
        return colours.region_table(codes, [c.color for c in self._analysis.card.classes])


@dataclass(frozen=True, eq=False)
class RegionSource:
    """Regions of an analysis: their boundaries, or areas in a shade of their class; some of them highlighted.

    While a run goes on there is no table of regions yet: areas then take the colours of the class map below them.
    """

    analysis: AnalysisLike
    style: RegionStyle
    shades: RegionColours
    strengths: Mapping[int, float]
    accent_rgb: tuple[int, int, int]
    strength_table: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength_table", colours.strength_table(self.strengths))

    def paint(self, key: TileKey, raw: np.ndarray | None) -> Picture:
        """Read the region ids of a tile and one row and column more, then colour them."""
        ids = raw if raw is not None else self._read(key)
        inner = ids[:TILE_PX, :TILE_PX]
        picture = self._fill(key, inner) if self.style == "fill" else np.zeros(inner.shape, np.uint32)
        if self.strengths:
            picture = colours.over(self._spotlight(inner), picture)
        if self.style == "outline":
            picture = colours.over(self._lines(key, ids), picture)
        return Picture(colours.image_of(picture), ids)

    def _read(self, key: TileKey) -> np.ndarray:
        border = TILE_PX + 1
        step = key.span_px / TILE_PX
        left, top, _, _ = key.box
        if step >= 1:
            window = Window(int(left), int(top), int(border * step), int(border * step))
            return self.analysis.read("regions", window, (border, border))
        repeat = round(1 / step)
        side = TILE_PX // repeat + 1
        ids = self.analysis.read("regions", Window(int(left), int(top), side, side), (side, side))
        return ids.repeat(repeat, axis=0).repeat(repeat, axis=1)[:border, :border]

    def _fill(self, key: TileKey, ids: np.ndarray) -> np.ndarray:
        if self.analysis.complete:
            return colours.looked_up(self.shades.table.get(), ids)
        table = colours.class_table([c.color for c in self.analysis.card.classes])
        below = table[self.analysis.read("classes", window_of(key), (TILE_PX, TILE_PX))]
        return np.where(ids > 0, below, 0).astype(np.uint32)

    def _spotlight(self, ids: np.ndarray) -> np.ndarray:
        """Highlighted regions in the accent colour by their strength, all others dimmed."""
        strength = colours.looked_up(self.strength_table, ids).astype(np.uint32)
        lit = strength > 0
        alpha = np.where(lit, strength * _TINT_ALPHA // 255, np.where(ids > 0, _DIM_ALPHA, 0))
        red, green, blue = (np.where(lit, value, 0) for value in self.accent_rgb)
        return colours.premultiplied(red, green, blue, alpha)

    def _lines(self, key: TileKey, ids: np.ndarray) -> np.ndarray:
        here, right, below = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1]
        edge = (here != right) | (here != below)
        alpha = np.where(edge, line_alpha(key.level), 0)
        white = np.full(edge.shape, 255, np.uint32)
        return colours.premultiplied(white, white, white, alpha)


def line_alpha(level: int) -> int:
    """Boundaries fade as regions shrink below what a screen can show."""
    return round(210 * 0.8 ** max(level, 0))


def window_of(key: TileKey) -> Window:
    """The grid window of a tile of level 0 or coarser."""
    left, top, right, bottom = key.box
    return Window(int(left), int(top), int(right - left), int(bottom - top))
