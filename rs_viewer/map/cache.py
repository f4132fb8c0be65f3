"""The tile cache: pictures of tiles, least recently used first to go.

Guarantees: the bytes held never exceed the limit after :meth:`TileCache.put`; an outdated picture stays until a newer
one replaces it, so that the map never flickers. Used by the GUI thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PySide6.QtGui import QImage

from rs_viewer.map.pyramid import TileKey

LAYER_ID = int


@dataclass(slots=True)
class Tile:
    """What is known of a tile.

    Attributes:
        image: The picture, None when reading failed.
        raw: The values behind it, where a layer recolours without reading again.
        revision: Look of the layer when it was painted.
        edition: Where the values came from then.
        stale: Its values have changed since.
        error: Why reading failed.
    """

    image: QImage | None
    raw: np.ndarray | None
    revision: int
    edition: int = 0
    stale: bool = False
    error: str | None = None

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return (self.image.sizeInBytes() if self.image else 0) + (self.raw.nbytes if self.raw is not None else 0) + 256


class TileCache:
    """Tiles by layer and key, bounded in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self._tiles: OrderedDict[tuple[LAYER_ID, TileKey], Tile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tiles)

    def get(self, layer: LAYER_ID, key: TileKey) -> Tile | None:
        """A tile, marked as just used."""
        tile = self._tiles.get((layer, key))
        if tile is not None:
            self._tiles.move_to_end((layer, key))
        return tile

    def peek(self, layer: LAYER_ID, key: TileKey) -> Tile | None:
        """A tile, its age left as it is."""
        return self._tiles.get((layer, key))

    def put(self, layer: LAYER_ID, key: TileKey, tile: Tile) -> None:
        """Keep a tile; the least recently used ones go until the limit holds."""
        old = self._tiles.pop((layer, key), None)
        if old is not None:
            self.nbytes -= old.nbytes
        self._tiles[(layer, key)] = tile
        self.nbytes += tile.nbytes
        while self.nbytes > self.limit_bytes and self._tiles:
            _, gone = self._tiles.popitem(last=False)
            self.nbytes -= gone.nbytes

    def mark_stale(self, layer: LAYER_ID, touched: Callable[[TileKey], bool]) -> int:
        """Have tiles read again, their old picture kept; returns how many."""
        count = 0
        for key, tile in self._of(layer):
            if touched(key):
                tile.stale = True
                count += 1
        return count

    def drop(self, layer: LAYER_ID) -> None:
        """Forget a layer."""
        for key, tile in list(self._of(layer)):
            self.nbytes -= tile.nbytes
            del self._tiles[(layer, key)]

    def clear(self) -> None:
        """Forget everything."""
        self._tiles.clear()
        self.nbytes = 0

    def _of(self, layer: LAYER_ID) -> Iterator[tuple[TileKey, Tile]]:
        return ((key, tile) for (owner, key), tile in self._tiles.items() if owner == layer)
