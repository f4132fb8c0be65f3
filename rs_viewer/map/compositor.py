"""Painting the layers of a map from cached tiles, and saying which tiles are missing.

Guarantees: painting never reads; each spot of a layer is painted once, by the tile it needs, else by finer ones that
cover it, else by the nearest coarser one, so a map that is loading neither flickers nor shows holes it has a picture
for; the tiles asked for always fit in the cache together. Layers that share a grid are joined tile by tile, once, so
a frame costs one scaled image whatever the number of layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QImage, QPainter, QPolygonF, QTransform

from rs_viewer.map.boxes import BoxLayer
from rs_viewer.map.cache import Tile, TileCache
from rs_viewer.map.layers import ImageOverlay, Layer, TiledLayer
from rs_viewer.map.loader import Request
from rs_viewer.map.pyramid import TILE_PX, Pyramid, TileKey, TileRange
from rs_viewer.map.viewport import Affine2, Viewport

_TILE_BYTES = TILE_PX * TILE_PX * 8
"""A tile's picture and its values, at most."""

_SMOOTH_BELOW = 2.0
"""Pixels larger than this on the screen are shown as the squares they are."""

Box = tuple[float, float, float, float]
_Place = tuple[tuple[int, ...], TileKey]
_Recipe = tuple[tuple[int, float], ...]


def to_qtransform(t: Affine2) -> QTransform:
    """The same relation in Qt's words."""
    return QTransform(t.a, t.d, t.b, t.e, t.c, t.f)


@dataclass(frozen=True, slots=True)
class Sight:
    """What of a layer is on the screen: how its grid maps to the screen, and which tiles are needed."""

    to_screen: Affine2
    box: Box
    needed: TileRange
    around: TileRange
    smooth: bool


class Compositor:
    """Paints layers into an image from the tiles of a cache."""

    def __init__(self, cache: TileCache) -> None:
        self._cache = cache
        self._joined: dict[_Place, tuple[_Recipe, QImage]] = {}

    def paint(self, image: QImage, viewport: Viewport, layers: Iterable[Layer]) -> list[Request]:
        """Paint all visible layers, bottom to top.

        Args:
            image: Painted over; its device pixel ratio is respected.
            viewport: In logical pixels of the image.
            layers: From bottom to top.

        Returns:
            The tiles that are missing or out of date, most urgent first.
        """
        shown = [layer for layer in layers if layer.visible and layer.opacity > 0.0]
        tiled = sum(isinstance(layer, TiledLayer) for layer in shown)
        needed: list[tuple[float, Request]] = []
        spare: list[tuple[float, Request]] = []
        painter = QPainter(image)
        group: list[TiledLayer] = []
        common: Sight | None = None
        used: dict[_Place, tuple[_Recipe, QImage]] = {}
        for layer in shown:
            sight = None
            if isinstance(layer, TiledLayer):
                sight = self._sight(layer, viewport, image.devicePixelRatio(), tiled)
                if sight is None:
                    continue
                needed += self._missing(layer, sight, sight.needed)
                if 2 * len(sight.around) * _TILE_BYTES * tiled < self._cache.limit_bytes:
                    spare += self._missing(layer, sight, sight.around)
            if sight != common:
                self._paint_group(painter, group, common, used)
                group, common = [], sight
            if isinstance(layer, TiledLayer):
                group.append(layer)
            elif isinstance(layer, ImageOverlay):
                _paint_overlay(painter, layer, viewport)
            elif isinstance(layer, BoxLayer):
                layer.paint(painter, viewport)
        self._paint_group(painter, group, common, used)
        painter.end()
        self._joined = used
        needed.sort(key=lambda pair: pair[0])
        spare.sort(key=lambda pair: pair[0])
        return [request for _, request in (*needed, *spare)]

    def _sight(self, layer: TiledLayer, viewport: Viewport, ratio: float, sharing: int) -> Sight | None:
        to_screen = viewport.grid_to_screen(layer.transform)
        left, top, right, bottom = to_screen.inverse().box(0, 0, viewport.width, viewport.height)
        box = (max(left, 0.0), max(top, 0.0), min(right, layer.grid.width), min(bottom, layer.grid.height))
        if box[0] >= box[2] or box[1] >= box[3]:
            return None
        pyramid = layer.pyramid
        screen_px = math.sqrt(abs(to_screen.determinant)) * ratio
        level = pyramid.level_for(screen_px)
        room = max(self._cache.limit_bytes // (_TILE_BYTES * max(sharing, 1)), 1)
        while level < pyramid.max_level and len(pyramid.range_in(level, *box)) > room:
            level += 1
        smooth = screen_px * math.ldexp(1.0, level) < _SMOOTH_BELOW
        return Sight(to_screen, box, pyramid.range_in(level, *box), pyramid.range_in(level, *box, ring=1), smooth)

    def _missing(self, layer: TiledLayer, sight: Sight, tiles: TileRange) -> list[tuple[float, Request]]:
        """Requests for tiles that are not there or not up to date, with their urgency (small is urgent)."""
        middle = ((sight.box[0] + sight.box[2]) / 2, (sight.box[1] + sight.box[3]) / 2)
        wishes = []
        if tiles is sight.needed:
            keys = list(dict.fromkeys((layer.pyramid.top, *tiles.tiles())))
        else:
            done = {layer.pyramid.top, *sight.needed.tiles()}
            keys = [key for key in tiles.tiles() if key not in done]
        for key in keys:
            tile = self._cache.peek(layer.id, key)
            if tile is not None and not tile.stale and tile.revision == layer.revision:
                continue
            known = tile is not None and not tile.stale and tile.edition == layer.edition
            raw = tile.raw if tile is not None and known else None
            box = key.box
            distance = math.hypot((box[0] + box[2]) / 2 - middle[0], (box[1] + box[3]) / 2 - middle[1]) / key.span_px
            if key == layer.pyramid.top:
                distance = 0.0 if tile is None else math.inf
            wishes.append((distance, Request(layer.id, key, layer.source, layer.revision, layer.edition, raw)))
        return wishes

    def _paint_group(
        self,
        painter: QPainter,
        group: list[TiledLayer],
        sight: Sight | None,
        used: dict[_Place, tuple[_Recipe, QImage]],
    ) -> None:
        """Paint layers that show the same tiles of the same grid."""
        if sight is None:
            return
        painter.setTransform(to_qtransform(sight.to_screen))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, sight.smooth)
        for layer in group:
            self._cache.get(layer.id, layer.pyramid.top)  # the last resort of every view stays in the cache
        ids = tuple(layer.id for layer in group)
        for key in sight.needed.tiles():
            box = _common(key.box, sight.box)
            tiles = [self._cache.get(i, key) for i in ids]
            parts = [
                (t.image, o.opacity) for t, o in zip(tiles, group, strict=True) if t is not None and t.image is not None
            ]
            if len(parts) == len(group):
                _paint_image(painter, key, self._join((ids, key), parts, used), box)
                continue
            for layer in group:
                painter.setOpacity(layer.opacity)
                for part, tile in self._cover(layer, key, layer.pyramid):
                    _paint_tile(painter, part, tile, _common(part.box, box))
            painter.setOpacity(1.0)
        painter.resetTransform()

    def _join(
        self, place: _Place, parts: list[tuple[QImage, float]], used: dict[_Place, tuple[_Recipe, QImage]]
    ) -> QImage:
        """The pictures of a tile laid over one another, kept while they are on the screen."""
        lowest, opacity = parts[0]
        if len(parts) == 1 and opacity == 1.0:
            return lowest
        recipe = tuple((image.cacheKey(), opacity) for image, opacity in parts)
        made = self._joined.get(place)
        if made is None or made[0] != recipe:
            if opacity == 1.0:
                canvas, rest = lowest.copy(), parts[1:]
            else:
                canvas, rest = QImage(lowest.size(), QImage.Format.Format_ARGB32_Premultiplied), parts
                canvas.fill(Qt.GlobalColor.transparent)
            painter = QPainter(canvas)
            for image, opacity in rest:
                painter.setOpacity(opacity)
                painter.drawImage(0, 0, image)
            painter.end()
            made = recipe, canvas
        used[place] = made
        return made[1]

    def _cover(self, layer: TiledLayer, key: TileKey, pyramid: Pyramid) -> list[tuple[TileKey, Tile]]:
        """The best pictures there are for a spot: its own tile, finer ones, a coarser one."""
        tile = self._cache.get(layer.id, key)
        if tile is not None:
            return [(key, tile)]
        finer, whole = self._finer(layer, key, pyramid, 2)
        if whole:
            return finer
        above = key
        while above.level < pyramid.max_level:
            above = above.parent
            tile = self._cache.get(layer.id, above)
            if tile is not None and tile.image is not None:
                return [(above, tile)]
        return finer

    def _finer(
        self, layer: TiledLayer, key: TileKey, pyramid: Pyramid, depth: int
    ) -> tuple[list[tuple[TileKey, Tile]], bool]:
        found: list[tuple[TileKey, Tile]] = []
        whole = depth > 0 and key.level > pyramid.min_level
        if not whole:
            return found, False
        for child in key.children:
            if not pyramid.holds(child):
                continue
            tile = self._cache.peek(layer.id, child)
            if tile is not None and tile.image is not None:
                found.append((child, tile))
            else:
                deeper, complete = self._finer(layer, child, pyramid, depth - 1)
                found += deeper
                whole = whole and complete
        return found, whole


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _paint_tile(painter: QPainter, key: TileKey, tile: Tile, box: Box) -> None:
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    if tile.image is not None:
        _paint_image(painter, key, tile.image, box)
        return
    corners = painter.transform().map(QPolygonF(QRectF(box[0], box[1], box[2] - box[0], box[3] - box[1])))
    painter.save()
    painter.resetTransform()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QBrush(QColor(200, 60, 60, 160), Qt.BrushStyle.BDiagPattern))
    painter.drawPolygon(corners)
    painter.restore()


def _paint_image(painter: QPainter, key: TileKey, image: QImage, box: Box) -> None:
    """Paint the part of a tile's picture that lies in a box of grid pixels."""
    left, top, right, bottom = box
    origin_left, origin_top, _, _ = key.box
    step = key.span_px / TILE_PX
    width, height = right - left, bottom - top
    source = QRectF((left - origin_left) / step, (top - origin_top) / step, width / step, height / step)
    painter.drawImage(QRectF(left, top, width, height), image, source)


def _paint_overlay(painter: QPainter, layer: ImageOverlay, viewport: Viewport) -> None:
    to_screen = viewport.grid_to_screen(layer.transform)
    left, top, right, bottom = layer.box
    painter.setTransform(to_qtransform(to_screen))
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
    painter.setOpacity(layer.opacity)
    painter.drawImage(QRectF(left, top, right - left, bottom - top), layer.image, QRectF(layer.image.rect()))
    painter.setOpacity(1.0)
    painter.resetTransform()
