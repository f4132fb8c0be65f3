"""Tiles: the power-of-two pyramid over the grid of a layer.

A tile of level ``k`` is 256 pixels square and covers ``256 * 2**k`` grid pixels a side, starting at the grid's first
pixel; the coarsest level is one tile. Layers that stay sharp beyond their own pixels have negative levels.
Guarantees: the tiles of a level cover the grid without gap or overlap; four children cover exactly their parent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

TILE_PX = 256


class TileKey(NamedTuple):
    """A tile's level and its place in it."""

    level: int
    col: int
    row: int

    @property
    def parent(self) -> TileKey:
        """The coarser tile this one is a quarter of."""
        return TileKey(self.level + 1, self.col >> 1, self.row >> 1)

    @property
    def children(self) -> tuple[TileKey, TileKey, TileKey, TileKey]:
        """The four finer tiles that cover this one."""
        level, col, row = self.level - 1, self.col * 2, self.row * 2
        return (
            TileKey(level, col, row),
            TileKey(level, col + 1, row),
            TileKey(level, col, row + 1),
            TileKey(level, col + 1, row + 1),
        )

    @property
    def span_px(self) -> float:
        """Grid pixels across."""
        return math.ldexp(TILE_PX, self.level)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in grid pixels."""
        span = self.span_px
        return self.col * span, self.row * span, (self.col + 1) * span, (self.row + 1) * span


class TileRange(NamedTuple):
    """A block of tiles of one level; stops are one past the last."""

    level: int
    col_start: int
    row_start: int
    col_stop: int
    row_stop: int

    def __len__(self) -> int:
        return max(self.col_stop - self.col_start, 0) * max(self.row_stop - self.row_start, 0)

    def tiles(self) -> Iterator[TileKey]:
        """The tiles, row by row."""
        for row in range(self.row_start, self.row_stop):
            for col in range(self.col_start, self.col_stop):
                yield TileKey(self.level, col, row)


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The tiles over a grid.

    Attributes:
        width: Grid pixels across.
        height: Grid pixels down.
        min_level: Finest level; negative ones hold several tile pixels a grid pixel.
    """

    width: int
    height: int
    min_level: int = 0

    @property
    def max_level(self) -> int:
        """The level that is a single tile."""
        level = 0
        while (TILE_PX << level) < max(self.width, self.height):
            level += 1
        return level

    @property
    def top(self) -> TileKey:
        """The tile that covers the whole grid."""
        return TileKey(self.max_level, 0, 0)

    def level_for(self, screen_px: float) -> int:
        """The level whose pixels are nearest in size to those of the screen.

        Args:
            screen_px: Device pixels that one grid pixel covers.
        """
        level = round(-math.log2(screen_px)) if screen_px > 0 else self.max_level
        return min(max(level, self.min_level), self.max_level)

    def range_in(self, level: int, left: float, top: float, right: float, bottom: float, *, ring: int = 0) -> TileRange:
        """Tiles of a level that touch a box of grid pixels, with so many tiles around it."""
        span = math.ldexp(TILE_PX, level)
        cols, rows = math.ceil(self.width / span), math.ceil(self.height / span)
        return TileRange(
            level,
            max(math.floor(left / span) - ring, 0),
            max(math.floor(top / span) - ring, 0),
            min(math.ceil(right / span) + ring, cols),
            min(math.ceil(bottom / span) + ring, rows),
        )

    def holds(self, key: TileKey) -> bool:
        """Whether a tile touches the grid."""
        left, top, _, _ = key.box
        return 0 <= left < self.width and 0 <= top < self.height


def touches_rows(key: TileKey, row_start: int, row_stop: int) -> bool:
    """Whether a tile's picture depends on rows of the grid (one pixel of border included)."""
    _, top, _, bottom = key.box
    border = max(key.span_px / TILE_PX, 1.0)
    return top - border < row_stop and bottom + border > row_start
