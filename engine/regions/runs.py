"""Run-length view of label rasters: everything that is summed over labels is summed over runs first.

A *run* is a stretch of one row in which nothing asked about changes. Label rasters have some ten pixels a run, so
sums, extents and neighbourhoods cost a tenth of what they would pixel by pixel.

Guarantees: sums of integer data are exact; runs never cross rows; the order of runs is scan order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


_BLOCK = 1 << 17
"""Pixels that are summed in one go."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of a raster of ``width`` columns.

    Attributes:
        starts: Flat index of each run's first pixel.
        lengths: Pixels of each run.
        width: Columns of the raster.
    """

    starts: Ints
    lengths: Ints
    width: int

    def take(self, raster: Array) -> Array:
        """Value of ``raster`` on each run (its first pixel's)."""
        return np.asarray(raster.reshape(-1)[self.starts])

    def sums(self, raster: Array) -> Array:
        """Sum of ``raster`` over each run: int64 for integers up to 16 bits, else float64."""
        return self._fold(raster, square=False)

    def square_sums(self, raster: Array) -> Array:
        """Sum of squares of ``raster`` over each run, typed as :meth:`sums`."""
        return self._fold(raster, square=True)

    def _fold(self, raster: Array, *, square: bool) -> Array:
        """Sums over runs, some rows at a time so that they stay in the cache."""
        flat = raster.reshape(-1)
        exact = flat.dtype.kind in "iub" and flat.dtype.itemsize <= 2
        total = np.empty(self.starts.size, np.int64 if exact else np.float64)
        step = max(1, _BLOCK // self.width) * self.width
        places = np.arange(0, flat.size, step)
        cuts = np.append(np.searchsorted(self.starts, places), self.starts.size)
        for place, low, high in zip(places.tolist(), cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            values: Array = flat[place : place + step].astype(total.dtype)
            if square:
                values = values * values
            starts = self.starts[low:high] - place
            if exact:
                part = np.cumsum(values)[starts + self.lengths[low:high] - 1]
                part[1:] -= part[:-1].copy()
                total[low:high] = part
            else:
                total[low:high] = np.add.reduceat(values, starts)
        return total


def find_runs(*rasters: Array) -> Runs:
    """Runs on which all of the equally shaped ``rasters`` are constant."""
    return _runs_of(_changes(*rasters))


def _changes(*rasters: Array) -> npt.NDArray[np.bool_]:
    """Where runs begin."""
    change = np.empty(rasters[0].shape, dtype=bool)
    change[:, 0] = True
    np.not_equal(rasters[0][:, 1:], rasters[0][:, :-1], out=change[:, 1:])
    for raster in rasters[1:]:
        change[:, 1:] |= raster[:, 1:] != raster[:, :-1]
    return change


def _runs_of(change: npt.NDArray[np.bool_]) -> Runs:
    starts = np.flatnonzero(change)
    return Runs(starts, np.diff(starts, append=change.size), change.shape[1])


def sum_by(keys: Array, values: Array | None, count: int) -> Array:
    """Sum ``values`` (ones where None) by ``keys`` into ``count`` float64 or, where None, int64 cells."""
    if values is None:
        return np.bincount(keys, minlength=count)
    return np.bincount(keys, weights=values, minlength=count)


def add_rows(table: Array, keys: Array, rows: Array) -> None:
    """Add each of ``rows`` to row ``keys`` of ``table``; keys may repeat."""
    if keys.size == 0:
        return
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    head = np.flatnonzero(np.diff(ordered, prepend=-1) != 0)
    table[ordered[head]] += np.add.reduceat(rows[order], head, axis=0)


def sum_pairs(first: Array, second: Array, weights: Array | None = None) -> tuple[Ints, Ints, Ints]:
    """Fold equal pairs of labels.

    Args:
        first: Non-negative labels below 2**32.
        second: Labels likewise.
        weights: Integers to add up; ones where None.

    Returns:
        The distinct pairs, sorted, and the sum of their weights.
    """
    code = (first.astype(np.int64) << 32) | second.astype(np.int64)
    if weights is None:
        code.sort()
    else:
        order = np.argsort(code)
        code = code[order]
    head = np.flatnonzero(np.diff(code, prepend=-1) != 0)
    if weights is None or head.size == 0:
        totals = np.diff(head, append=code.size)
    else:
        totals = np.add.reduceat(weights[order].astype(np.int64), head)
    pairs = code[head]
    return pairs >> 32, pairs & 0xFFFFFFFF, totals


def fold_edges(first: Array, second: Array, length: Array) -> tuple[Ints, Ints, Ints]:
    """Fold edges between labels: the smaller label first, loops left out, lengths of equal pairs added."""
    apart = first != second
    return sum_pairs(np.minimum(first, second)[apart], np.maximum(first, second)[apart], length[apart])


@dataclass(frozen=True, slots=True)
class RunMap:
    """Runs and which of them touch.

    Attributes:
        runs: The runs.
        first: Number of one run of each touching pair, the left or upper one.
        second: Number of the other.
        shared: Pixel edges that the pair shares.
    """

    runs: Runs
    first: Ints
    second: Ints
    shared: Ints

    def connect(self, values: Array, none: int) -> tuple[int, Ints]:
        """Connect touching runs of equal value.

        Args:
            values: Value of each run.
            none: Value of runs that belong to nothing.

        Returns:
            Number of areas and the area of each run, from 1 in scan order; 0 for runs of nothing.
        """
        joins = (values[self.first] == values[self.second]) & (values[self.first] != none)
        _, member = connected_groups(values.size, self.first[joins], self.second[joins])
        inside = values != none
        heads = np.zeros(values.size, bool)
        heads[member[inside]] = True
        area = np.cumsum(heads)
        return int(heads.sum()), np.where(inside, area[member], 0)

    def contacts(self, areas: Ints) -> tuple[Ints, Ints, Ints]:
        """Pairs of different positive areas that touch, and the pixel edges they share.

        Args:
            areas: Area of each run.
        """
        one, other = areas[self.first], areas[self.second]
        real = (one > 0) & (other > 0)
        return fold_edges(one[real], other[real], self.shared[real])


def map_runs(*rasters: Array, period: int | None = None) -> RunMap:
    """Runs on which all ``rasters`` are constant, and which of them touch.

    Args:
        rasters: ``[h, w]`` each.
        period: Rows after which a new, unconnected picture begins.
    """
    change = _changes(*rasters)
    height, width = change.shape
    flat = change.reshape(-1)
    runs = _runs_of(change)
    number = np.cumsum(flat, dtype=np.int32)
    both = change[1:] | change[:-1]
    place = np.flatnonzero(both)
    shared = np.diff(place, append=(height - 1) * width)
    if period is not None:
        inside = (place // width + 1) % period != 0
        place, shared = place[inside], shared[inside]
    upper, lower = number[place] - 1, number[place + width] - 1
    right = np.flatnonzero(runs.starts[1:] % width != 0) + 1
    return RunMap(
        runs,
        np.concatenate((right - 1, upper)),
        np.concatenate((right, lower)),
        np.concatenate((np.ones(right.size, np.int64), shared)),
    )


def connected_groups(count: int, first: Array, second: Array) -> tuple[int, Ints]:
    """Groups of nodes that edges connect.

    Returns:
        Their number, and the group of each node, numbered in order of the groups' first nodes.
    """
    graph = coo_array((np.ones(first.size, np.int8), (first, second)), shape=(count, count))
    number, member = connected_components(graph, directed=False)
    head = np.empty(number, np.int64)
    head[member[::-1]] = np.arange(count - 1, -1, -1)
    rank = np.empty(number, np.int64)
    rank[np.argsort(head)] = np.arange(number)
    return int(number), rank[member]
