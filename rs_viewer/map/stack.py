"""The layers of a map, from bottom to top.

Guarantees: all layers share one CRS, that of the first; reading the stack is safe from any thread (it hands out an
immutable tuple); changes are made on the GUI thread and announced by signals after they have happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PySide6.QtCore import QObject, Signal

from rs_viewer.map.layers import Layer
from rs_viewer.map.viewport import Bounds, joined


class LayerStack(QObject):
    """An ordered list of layers; index 0 is at the bottom."""

    added = Signal(object)
    removed = Signal(object)
    reordered = Signal()
    changed = Signal(object)
    """A layer's look changed."""
    gridChanged = Signal(object)
    """The grid that gives the map its CRS, or None."""
    failed = Signal(object, str)
    """A layer and why it could not be read."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers: tuple[Layer, ...] = ()
        self._grid: Any = None

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Layer:
        return self._layers[index]

    def __contains__(self, layer: object) -> bool:
        return layer in self._layers

    @property
    def grid(self) -> Any:
        """The grid that gives the map its CRS, None for an empty map."""
        return self._grid

    @property
    def bounds(self) -> Bounds | None:
        """Map area of all layers."""
        return joined(layer.bounds for layer in self._layers)

    def index(self, layer: Layer) -> int:
        """Place of a layer, 0 at the bottom."""
        return self._layers.index(layer)

    def set_grid(self, grid: Any) -> None:
        """Give the map its CRS. The CRS of a map that shows layers cannot change.

        Raises:
            ValueError: Layers in another CRS are shown.
        """
        if self._layers and (grid is None or grid.crs != self._layers[0].grid.crs):
            raise ValueError("the map shows layers in another CRS: remove them first")
        if grid is not self._grid:
            self._grid = grid
            self.gridChanged.emit(grid)

    def add(self, layer: Layer, index: int | None = None) -> None:
        """Add a layer, on top unless an index is given.

        Raises:
            ValueError: Its CRS is not that of the map, its pixels have no area, or it is in the stack already.
        """
        if layer in self._layers:
            raise ValueError(f"the layer {layer.name} is on the map already")
        if self._grid is not None and layer.grid.crs != self._grid.crs:
            raise ValueError(
                f"{layer.name} is in {_crs_name(layer.grid.crs)}, the map is in {_crs_name(self._grid.crs)}. "
                "Open it in a window of its own, or reproject it first."
            )
        layer.transform.inverse()  # a grid whose pixels have no area cannot be painted: ValueError before it is added
        if self._grid is None:
            self.set_grid(layer.grid)
        at = len(self._layers) if index is None else min(max(index, 0), len(self._layers))
        self._layers = (*self._layers[:at], layer, *self._layers[at:])
        layer.changed.connect(self._layer_changed)
        layer.failed.connect(self._layer_failed)
        self.added.emit(layer)

    def remove(self, layer: Layer) -> None:
        """Take a layer off the map; what it reads from is closed after its last read.

        Raises:
            ValueError: It is not on the map.
        """
        if layer not in self._layers:
            raise ValueError(f"the layer {layer.name} is not on the map")
        self._layers = tuple(other for other in self._layers if other is not layer)
        layer.changed.disconnect(self._layer_changed)
        layer.failed.disconnect(self._layer_failed)
        self.removed.emit(layer)
        if not self._layers:
            self.set_grid(None)

    def clear(self) -> None:
        """Take all layers off the map."""
        for layer in reversed(self._layers):
            self.remove(layer)

    def move(self, layer: Layer, index: int) -> None:
        """Put a layer at another place."""
        rest = [other for other in self._layers if other is not layer]
        rest.insert(min(max(index, 0), len(rest)), layer)
        if tuple(rest) != self._layers:
            self._layers = tuple(rest)
            self.reordered.emit()

    def set_opacity(self, layer: Layer, opacity: float) -> None:
        """Opacity of a layer, 0 to 1."""
        layer.opacity = opacity

    def set_visible(self, layer: Layer, visible: bool) -> None:
        """Show or hide a layer."""
        layer.visible = visible

    def _layer_changed(self) -> None:
        self.changed.emit(self.sender())

    def _layer_failed(self, message: str) -> None:
        self.failed.emit(self.sender(), message)


def _crs_name(crs: Any) -> str:
    return "no CRS" if crs is None else str(crs)
