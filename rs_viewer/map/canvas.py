"""The canvas: a widget that shows the layers of a map and keeps their tiles coming.

Guarantees: the GUI thread never reads and never waits for a read, except in ``shutdown``; what is on the screen stays
until something better has arrived; moving the cursor repaints overlays only, the layers being kept in a buffer.
"""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QImage, QPainter, QPaintEvent, QPalette, QResizeEvent
from PySide6.QtWidgets import QWidget

from rs_viewer.map import decorations
from rs_viewer.map.cache import Tile, TileCache
from rs_viewer.map.compositor import Compositor
from rs_viewer.map.layers import Layer, TiledLayer
from rs_viewer.map.loader import Result, TileLoader
from rs_viewer.map.pyramid import TileKey, touches_rows
from rs_viewer.map.stack import LayerStack
from rs_viewer.map.viewport import Bounds, Viewport, affine2

DEFAULT_CACHE_BYTES = 384 * 2**20
_APPLY_MS = 25
"""Tiles that arrive within this time are shown together."""
_LARGEST_PIXEL = 64.0
_SMALLEST_MAP_PX = 32.0
_FIT_MARGIN_PX = 16.0


class MapCanvas(QWidget):
    """Shows layers; knows where it looks, but nothing of mouse and keyboard."""

    viewChanged = Signal(float)
    """Ground metres (map units without a CRS) that one screen pixel covers in the middle of the map."""
    settled = Signal()
    """Every tile of the view has been read."""

    def __init__(self, parent: QWidget | None = None, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        super().__init__(parent)
        self.layers = LayerStack(self)
        self._cache = TileCache(cache_bytes)
        self._loader = TileLoader(parent=self)
        self._compositor = Compositor(self._cache)
        self._viewport = Viewport(width=max(self.width(), 1), height=max(self.height(), 1))
        self._buffer = QImage()
        self._dirty = True
        self._missing = 0
        self._fitted = True
        self._told: set[tuple[int, str]] = set()
        self._m_per_unit: float | None = None
        self._apply = QTimer(self)
        self._apply.setSingleShot(True)
        self._apply.setInterval(_APPLY_MS)
        self._apply.timeout.connect(self._take_results)
        self._loader.ready.connect(self._results_wait)
        self.layers.added.connect(self._layer_added)
        self.layers.removed.connect(self._layer_removed)
        self.layers.changed.connect(self._layer_changed)
        self.layers.reordered.connect(self.repaint_layers)
        self.layers.gridChanged.connect(self._grid_changed)
        self.setMinimumSize(QSize(120, 90))
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    # --- where it looks -------------------------------------------------------------------------------------------

    @property
    def viewport(self) -> Viewport:
        """What part of the map is on the screen."""
        return self._viewport

    @property
    def units_per_px(self) -> float:
        """Ground metres (map units without a CRS) a screen pixel."""
        return self._viewport.scale * (self._m_per_unit or 1.0)

    @property
    def is_settled(self) -> bool:
        """Whether every tile of the view has been read."""
        return not self._dirty and self._missing == 0 and self._loader.pending == 0

    def set_grid(self, grid: Any) -> None:
        """Give the map the CRS of a grid (the first layer does so by itself).

        Raises:
            ValueError: Layers in another CRS are shown.
        """
        self.layers.set_grid(grid)

    def set_view(self, x: float, y: float, scale: float | None = None) -> None:
        """Look at a map point, at so many map units a logical pixel."""
        view = self._viewport.centred(x, y)
        if scale is not None:
            view = view.zoomed(view.scale / scale, view.width / 2, view.height / 2)
        self._look(view)

    def zoom_to(self, bounds: Bounds) -> None:
        """Show an area (left, bottom, right, top in map coordinates)."""
        self._look(self._viewport.fitted(bounds, _FIT_MARGIN_PX))

    def zoom_to_fit(self) -> None:
        """Show all layers, and keep doing so while the widget changes its size."""
        bounds = self._whole()
        if bounds is not None:
            self._look(self._viewport.fitted(bounds, _FIT_MARGIN_PX), fitted=True)

    def zoom_by(self, factor: float, at: tuple[float, float] | None = None) -> None:
        """Show the map so many times larger around a screen position, the middle unless given."""
        sx, sy = at or (self._viewport.width / 2, self._viewport.height / 2)
        self._look(self._viewport.zoomed(factor, sx, sy))

    def zoom_in(self) -> None:
        """One step closer."""
        self.zoom_by(math.sqrt(2.0))

    def zoom_out(self) -> None:
        """One step back."""
        self.zoom_by(math.sqrt(0.5))

    def _look(self, view: Viewport, *, fitted: bool = False) -> None:
        self._fitted = fitted
        if view != self._viewport:
            self._viewport = view
            self._measure()
            self.repaint_layers()

    def _measure(self) -> None:
        view = self._viewport
        self._m_per_unit = decorations.ground_m_per_map_unit(self.layers.grid, view.x, view.y)
        if self.layers.grid is not None:
            self.viewChanged.emit(self.units_per_px)

    def _whole(self) -> Bounds | None:
        bounds = self.layers.bounds
        grid = self.layers.grid
        if bounds is None and grid is not None:
            bounds = affine2(grid.transform).box(0, 0, grid.width, grid.height)
        return bounds

    # --- layers ---------------------------------------------------------------------------------------------------

    def refresh(self, layer: Layer, row_start: int = 0, row_stop: int | None = None) -> None:
        """Values of some rows have changed: their tiles are read again, the old picture stays meanwhile."""
        stop = layer.grid.height if row_stop is None else row_stop

        def touched(key: TileKey) -> bool:
            return touches_rows(key, row_start, stop)

        self._loader.mark_stale(layer.id, touched)
        self._cache.mark_stale(layer.id, touched)
        self.repaint_layers()

    def repaint_layers(self) -> None:
        """Paint the layers anew with the next frame."""
        self._dirty = True
        self.update()

    def _grid_changed(self, grid: Any) -> None:
        y_up = grid is None or grid.crs is not None or affine2(grid.transform).determinant < 0
        view = self._viewport
        self._viewport = Viewport(view.x, view.y, view.scale, view.width, view.height, y_up)
        self._set_limits()
        self.zoom_to_fit()
        self._measure()

    def _set_limits(self) -> None:
        bounds = self._whole()
        if bounds is None:
            return
        grids = [layer.transform for layer in self.layers] or [affine2(self.layers.grid.transform)]
        finest = min(math.sqrt(abs(t.determinant)) for t in grids)
        v = self._viewport
        widest = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / _SMALLEST_MAP_PX
        closest = finest / _LARGEST_PIXEL
        self._viewport = Viewport(v.x, v.y, v.scale, v.width, v.height, v.y_up, closest, max(widest, finest, closest))

    def _layer_added(self, layer: Layer) -> None:
        self._set_limits()
        if self._fitted:
            self.zoom_to_fit()
        self.repaint_layers()

    def _layer_removed(self, layer: Layer) -> None:
        self._cache.drop(layer.id)
        self._told = {told for told in self._told if told[0] != layer.id}
        self._loader.retire(layer.id, layer.source_closer())
        self._set_limits()
        if not len(self.layers):
            self._fitted = True
        self.repaint_layers()

    def _layer_changed(self, _layer: Layer) -> None:
        self.repaint_layers()

    # --- tiles ----------------------------------------------------------------------------------------------------

    def _results_wait(self) -> None:
        if not self._apply.isActive():
            self._apply.start()

    def _take_results(self) -> None:
        by_id = {layer.id: layer for layer in self.layers}
        results = self._loader.take()
        for result in results:
            layer = by_id.get(result.request.layer)
            if isinstance(layer, TiledLayer):
                self._keep(layer, result)
        if results:
            self.repaint_layers()

    def _keep(self, layer: TiledLayer, result: Result) -> None:
        request = result.request
        old = self._cache.peek(layer.id, request.key)
        if result.picture is not None:
            raw = result.picture.raw if layer.keeps_raw else None
            tile = Tile(result.picture.image, raw, request.revision, request.edition, request.stale)
        else:
            tile = Tile(
                old.image if old else None, None, request.revision, request.edition, request.stale, result.error
            )
            told = (layer.id, result.error or "")
            if told not in self._told:
                self._told.add(told)
                layer.failed.emit(told[1])
        self._cache.put(layer.id, request.key, tile)

    # --- painting -------------------------------------------------------------------------------------------------

    def render_layers(self) -> QImage:
        """The layers in device pixels, painted now if anything changed, with requests for what is missing sent off."""
        ratio = self.devicePixelRatioF()
        size = QSize(math.ceil(self._viewport.width * ratio), math.ceil(self._viewport.height * ratio))
        if self._buffer.size() != size or self._buffer.devicePixelRatio() != ratio:
            self._buffer = QImage(size, QImage.Format.Format_RGB32)
            self._buffer.setDevicePixelRatio(ratio)
            self._dirty = True
        if self._dirty:
            self._dirty = False
            self._buffer.fill(self.palette().color(QPalette.ColorRole.Window))
            requests = self._compositor.paint(self._buffer, self._viewport, self.layers)
            was, self._missing = self._missing, len(requests)
            self._loader.want(requests)
            if was and not requests:
                QTimer.singleShot(0, self, self._tell_settled)
        return self._buffer

    def paint_overlays(self, painter: QPainter) -> None:
        """Paint what lies over the layers, in logical pixels."""
        view, grid = self._viewport, self.layers.grid
        if grid is None:
            decorations.draw_empty(painter, view, self.palette())
            return
        decorations.draw_frame(painter, view, grid, self.palette())
        decorations.draw_scale_bar(painter, view, self.units_per_px, metres=self._m_per_unit is not None)
        if decorations.is_rotated(grid):
            decorations.draw_north(painter, view)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Show the layers and what lies over them."""
        image = self.render_layers()
        painter = QPainter(self)
        painter.drawImage(0, 0, image)
        self.paint_overlays(painter)
        painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the middle of the map, or all of it if that was shown."""
        self._viewport = self._viewport.resized(self.width(), self.height())
        self.repaint_layers()
        if self._fitted:
            self.zoom_to_fit()

    def changeEvent(self, event: QEvent) -> None:
        """A change between light and dark repaints the ground of the map."""
        if event.type() == QEvent.Type.PaletteChange:
            self.repaint_layers()
        super().changeEvent(event)

    def grab_image(self) -> QImage:
        """The map as it is on the screen, overlays included, in device pixels."""
        return self.grab().toImage()

    def _tell_settled(self) -> None:
        if self.is_settled:
            self.settled.emit()

    # --- end ------------------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Stop reading, wait for the reads in progress, close the layers' sources. May be called twice."""
        self._apply.stop()
        self._loader.close()
        self.layers.clear()
        self._cache.clear()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Closing the widget ends its threads."""
        self.shutdown()
        super().closeEvent(event)
