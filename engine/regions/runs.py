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

from engine.regions.kernels import (
    add_values,
    connect_nodes,
    connect_runs,
    contacts_of_runs,
    count_codes,
    fold_pairs,
)

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


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

    def sums(self, areas: Ints, count: int, raster: Array) -> tuple[Array, Array]:
        """Sum of ``raster`` over each area and of its squares, float64; exact for integers up to 16 bits.

        Args:
            areas: Area of each run, from 1; 0 is none.
            count: Number of areas.
            raster: What is summed.
        """
        exact = raster.dtype.kind in "iu" and raster.dtype.itemsize <= 2
        found: Array = np.zeros((2, count), np.int64 if exact else np.float64)
        add_values(self.starts, self.lengths, areas, raster.reshape(-1), found[0], found[1])
        return found[0].astype(np.float64), found[1].astype(np.float64)

    def histogram(self, areas: Ints, count: int, raster: Array, codes: int) -> Array:
        """Pixels of each area by code, ``[count, codes]`` int32; larger codes are left out."""
        table = np.zeros((count, codes), np.int32)
        count_codes(self.starts, self.lengths, areas, raster.reshape(-1), table)
        return table


def find_runs(*rasters: Array) -> Runs:
    """Runs on which all of the equally shaped ``rasters`` are constant."""
    change: npt.NDArray[np.bool_] = np.empty(rasters[0].shape, dtype=bool)
    change[:, 0] = True
    np.not_equal(rasters[0][:, 1:], rasters[0][:, :-1], out=change[:, 1:])
    for raster in rasters[1:]:
        change[:, 1:] |= raster[:, 1:] != raster[:, :-1]
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
    """Fold edges between labels: the smaller label first, loops left out, lengths of equal pairs added.

    Args:
        first: Labels, dense from 0 on.
        second: Labels likewise.
        length: Integers.
    """
    count = int(max(first.max(initial=-1), second.max(initial=-1))) + 1
    one, other, lengths = (np.ascontiguousarray(part, np.int64) for part in (first, second, length))
    return _columns(*fold_pairs(one, other, lengths, count))


def _columns(folded: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    return folded[0, :count].copy(), folded[1, :count].copy(), folded[2, :count].copy()


@dataclass(frozen=True, slots=True)
class RunMap:
    """Runs and how they lie.

    Attributes:
        runs: The runs.
        period: Rows after which a new, unconnected picture begins.
    """

    runs: Runs
    period: int

    def connect(self, values: Array, none: int) -> tuple[int, Ints]:
        """Connect touching runs of equal value.

        Args:
            values: Value of each run.
            none: Value of runs that belong to nothing.

        Returns:
            Number of areas and the area of each run, from 1 in scan order; 0 for runs of nothing.
        """
        runs = self.runs
        area = np.arange(values.size)
        keys = values.astype(np.int64)
        return connect_runs(runs.starts, runs.lengths, keys, runs.width, self.period, none, area), area

    def contacts(self, areas: Ints, count: int) -> tuple[Ints, Ints, Ints]:
        """Pairs of different positive areas that touch, and the pixel edges they share.

        Args:
            areas: Area of each run.
            count: The largest area.
        """
        runs = self.runs
        return _columns(*contacts_of_runs(runs.starts, runs.lengths, areas, runs.width, self.period, count))


def map_runs(raster: Array, *, period: int | None = None) -> RunMap:
    """Runs on which ``raster`` ``[h, w]`` is constant, a new picture every ``period`` rows."""
    return RunMap(find_runs(raster), period or raster.shape[0])


def connected_groups(count: int, first: Array, second: Array) -> tuple[int, Ints]:
    """Groups of nodes that edges connect.

    Returns:
        Their number, and the group of each node, numbered in order of the groups' first nodes.
    """
    group = np.arange(count)
    number = connect_nodes(first.astype(np.int64), second.astype(np.int64), np.ones(count, np.int64), group)
    return number, group - 1
