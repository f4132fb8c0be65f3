"""Given patches become regions: a scene's quadtree in place of what the model's tokens claim.

Takes what ``builder.RegionBuilder`` takes, row by row, and ends in the same tables. Each patch is cut to the pixels
that have a class; where that leaves it in several pieces, each is a region. The token of a region is the one of the
model that claims most of it; where windows overlap, the one further from its edge counts.

Guarantees: regions depend on patches and maps alone, not on how many windows come in at once; memory follows the
scene's width and the number of patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.intake import NODATA_CLASS, Strip, WindowTokens
from engine.regions.result import RegionResult
from engine.regions.settled import Labels, SettledRows
from engine.regions.windows import NONE

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of windows, with the number of the first vector of each."""

    windows: tuple[WindowTokens, ...]
    vectors: tuple[int, ...]

    @property
    def start(self) -> int:
        return self.windows[0].row

    @property
    def stop(self) -> int:
        return self.start + int(self.windows[0].token_map.shape[0])


class PatchBuilder:
    """Builds the regions of a scene from patches while its windows come in.

    Args:
        settled: Where rows go; regions smaller than its ``min_m2`` join their best neighbour.
        patches: Number of the patch that covers each cell, ``[ceil(H / cell_px), ceil(W / cell_px)]``; -1 for none.
        cell_px: Edge of a cell in pixels.
    """

    def __init__(self, settled: SettledRows, patches: npt.NDArray[np.int32], cell_px: int) -> None:
        self._settled, self._patches, self._cell_px = settled, patches, cell_px
        self._grid, self._table = settled.grid, settled.table
        settled.forest.add(int(patches.max(initial=-1)) + 1)
        self._rows: list[_Row] = []
        self._areas: Labels = np.zeros(1024, np.int32)
        """Label of the patch of each area; an area is what one token claims of one patch in one strip."""
        self._area_count = 0

    def add_row(self, windows: Sequence[WindowTokens]) -> None:
        """Take in a row of windows, left to right; rows come top to bottom."""
        if windows:
            self._rows.append(_Row(tuple(windows), tuple(self._table.store(window.features) for window in windows)))

    def add_strip(self, strip: Strip) -> npt.NDArray[np.uint32]:
        """Settle the next rows; every row of windows that covers them must have come in.

        Returns:
            Number of the patch of each pixel, counted from 1, ``[h, W]``; 0 is none.
        """
        maps = self._settled.take(strip)
        start, stop = strip.row_start, strip.row_start + int(strip.classes.shape[0])
        labels = self._labels(start, stop)
        labels[strip.classes == NODATA_CLASS] = 0
        owners = self._owners(labels, start, stop)
        self._settled.measure(owners, self._areas, maps)
        self._rows = [row for row in self._rows if row.stop > stop]
        return labels.view(np.uint32)

    def finish(
        self,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> RegionResult:
        """Add everything up once all rows are settled.

        Args:
            progress: Told the share that is done.
            cancel: Asked whether to stop.

        Raises:
            AnalysisError: Rows are missing.
            CancelledError: ``cancel`` said so.
        """
        return self._settled.finish(min_m2=self._settled.min_m2, min_pixels=0, progress=progress, cancel=cancel)

    def _labels(self, start: int, stop: int) -> Labels:
        """Number of the patch of each pixel of some rows, from 1; 0 is none."""
        cells = self._patches[start // self._cell_px : -(-stop // self._cell_px)] + np.int32(1)
        wide = np.repeat(cells, self._cell_px, axis=1)[:, : self._grid.width]
        return np.ascontiguousarray(wide[np.arange(start, stop) // self._cell_px - start // self._cell_px])

    def _claims(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Number of the vector of the token that claims each pixel of some rows, ``NONE`` where none does."""
        claims = np.full((stop - start, self._grid.width), NONE, np.int64)
        below: int | None = None
        for row in reversed(self._rows):
            end = min(stop, row.stop if below is None or below >= row.stop else (row.stop + below) // 2)
            top = max(row.start, start)
            if top < end:
                self._claim_row(row, top, end, claims[top - start : end - start])
            below = row.start
        return claims

    @staticmethod
    def _claim_row(row: _Row, top: int, end: int, claims: npt.NDArray[np.int64]) -> None:
        right = None
        for window, first in zip(reversed(row.windows), reversed(row.vectors), strict=True):
            tokens = window.token_map[top - row.start : end - row.start]
            width = tokens.shape[1]
            if right is not None and right < window.col + width:
                width = (right + window.col + width) // 2 - window.col
            tokens = tokens[:, :width]
            none = tokens == np.iinfo(tokens.dtype).max
            claims[:, window.col : window.col + width] = np.where(none, NONE, tokens.astype(np.int64) + first)
            right = window.col

    def _owners(self, labels: Labels, start: int, stop: int) -> Labels:
        """Area of each pixel, 0 where there is no patch; areas are made for what is new."""
        claims = self._claims(start, stop)
        span = int(claims.max(initial=0)) + 2
        keys = np.where(labels > 0, labels * np.int64(span) + claims + 1, 0).reshape(-1)
        heads = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        found, area = np.unique(keys[heads], return_inverse=True)
        real = found > 0
        base = self._area_count
        numbers = np.where(real, base + np.cumsum(real), 0).astype(np.int32)
        self._add_areas(found[real] // span, found[real] % span - 1)
        return np.repeat(numbers[area], np.diff(heads, append=keys.size)).reshape(labels.shape)

    def _add_areas(self, labels: npt.NDArray[np.int64], vectors: npt.NDArray[np.int64]) -> None:
        stop = self._area_count + labels.size
        if stop >= self._areas.size:
            self._areas = np.concatenate((self._areas, np.zeros(max(stop, self._areas.size), np.int32)))
        self._areas[self._area_count + 1 : stop + 1] = labels
        self._area_count = stop
        held = [(first, window) for row in self._rows for first, window in zip(row.vectors, row.windows, strict=True)]
        firsts = np.array([NONE, *(first for first, _ in held)])
        windows = np.array([NONE, *(window.window_index for _, window in held)])
        place = np.searchsorted(firsts, vectors, side="right") - 1
        tokens = np.where(vectors >= 0, vectors - firsts[place], NONE)
        self._table.add_areas(windows[place], tokens, vectors)
