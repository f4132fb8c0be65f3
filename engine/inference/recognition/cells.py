"""Cells of a scene: the ground that each window of a run answers for, and what it is taken for.

Windows may overlap, cells do not: a border between two cells lies halfway across what their windows share, so that each
pixel belongs to the window whose middle is nearest. Guarantees: cells cover the grid without gaps; borders lie on pixel
edges; without an overlap a cell is its window but for the last two of a row and of a column, which share what is left.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.inference.plan import WindowPlan

MOST_CLASSES = 5
"""Classes that are kept of each cell, the likeliest first."""


@dataclass(frozen=True, slots=True)
class FoundCells:
    """Cells, one a row, in the order of their windows.

    Attributes:
        windows: ``[n]`` int64 number of the window of each.
        codes: ``[n, T]`` int32 class codes, the likeliest first.
        scores: ``[n, T]`` float32 probabilities, 0 to 1.
        valid: ``[n]`` float64 share of the cell's pixels that have data and lie in the region of interest.
    """

    windows: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    valid: npt.NDArray[np.float64]

    @classmethod
    def none(cls, ranks: int) -> FoundCells:
        """No cells, of which ``ranks`` classes would be kept."""
        none = np.zeros((0, ranks))
        return cls(np.zeros(0, np.int64), none.astype(np.int32), none.astype(np.float32), np.zeros(0))

    @classmethod
    def joined(cls, parts: Sequence[FoundCells], ranks: int) -> FoundCells:
        """All of some lists, one after the other."""
        everything = [cls.none(ranks), *parts]
        return cls(*(np.concatenate([getattr(part, field.name) for part in everything]) for field in fields(cls)))

    def take(self, places: Any) -> FoundCells:
        """Those at some places, or where a mask holds."""
        return FoundCells(self.windows[places], self.codes[places], self.scores[places], self.valid[places])

    def place_of(self, window: int) -> int | None:
        """Where the cell of a window stands, None where there is none."""
        place = int(np.searchsorted(self.windows, window))
        return place if place < len(self) and self.windows[place] == window else None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __len__(self) -> int:
        return len(self.windows)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        window: Number of its window in the plan.
        box: Left, top, right and bottom in pixels of the analysis grid.
        codes: Class codes, the likeliest first.
        scores: Their probabilities, 0 to 1.
        valid_share: Share of its pixels that have data and lie in the region of interest.
    """

    window: int
    box: tuple[int, int, int, int]
    codes: tuple[int, ...]
    scores: tuple[float, ...]
    valid_share: float


@dataclass(frozen=True)
class CellPlan:
    """Where the cells of a plan's windows lie.

    Attributes:
        plan: The windows.
    """

    plan: WindowPlan

    @cached_property
    def row_edges(self) -> npt.NDArray[np.int64]:
        """Grid rows at which rows of cells begin, and the grid's height."""
        return _edges(self.plan.row_starts, self.plan.window_px, self.plan.height)

    @cached_property
    def col_edges(self) -> npt.NDArray[np.int64]:
        """Grid columns at which columns of cells begin, and the grid's width."""
        return _edges(self.plan.col_starts, self.plan.window_px, self.plan.width)

    def boxes(self, windows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Left, top, right and bottom ``[n, 4]`` of the cells of some windows."""
        rows, cols = np.divmod(windows, self.plan.cols)
        x, y = self.col_edges, self.row_edges
        return np.stack((x[cols], y[rows], x[cols + 1], y[rows + 1]), axis=1)

    def window_at(self, col: float, row: float) -> int | None:
        """Number of the window whose cell holds a place of the grid, None off the grid."""
        if not (0 <= col < self.plan.width and 0 <= row < self.plan.height):
            return None
        down = int(np.searchsorted(self.row_edges, row, side="right")) - 1
        across = int(np.searchsorted(self.col_edges, col, side="right")) - 1
        return down * self.plan.cols + across

    def valid_shares(self, row: int, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Share of each cell of a row that is valid.

        Args:
            row: The row of windows.
            kept: Pixels of the row's whole band that have data and lie in the region of interest.
        """
        first = self.plan.row_starts[row]
        top, stop = (int(edge) - first for edge in self.row_edges[row : row + 2])
        per_column = np.count_nonzero(kept[top:stop], axis=0)
        counts = np.add.reduceat(per_column, self.col_edges[:-1])
        shares: npt.NDArray[np.float64] = counts / (np.diff(self.col_edges) * (stop - top))
        return shares

    def cell(self, found: FoundCells, place: int) -> Cell:
        """The cell at a place of a list."""
        left, top, right, bottom = (int(edge) for edge in self.boxes(found.windows[place : place + 1])[0])
        return Cell(
            window=int(found.windows[place]),
            box=(left, top, right, bottom),
            codes=tuple(found.codes[place].tolist()),
            scores=tuple(found.scores[place].tolist()),
            valid_share=float(found.valid[place]),
        )


def _edges(starts: Sequence[int], window_px: int, length: int) -> npt.NDArray[np.int64]:
    begins = np.array(starts, np.int64)
    middles = (begins[1:] + begins[:-1] + window_px) // 2
    return np.concatenate(([0], middles, [length]))
