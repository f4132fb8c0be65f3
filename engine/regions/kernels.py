"""Compiled loops over runs and pairs of labels (see :mod:`engine.jit`); :mod:`engine.regions.runs` says what they mean.

Guarantees: exact on integers; the outcome depends on the values alone, not on how they are laid out in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.jit import kernel

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


@kernel
def connect_runs(starts: Ints, lengths: Ints, values: Ints, width: int, period: int, none: int, area: Ints) -> int:
    """Connect touching runs of equal value; see :meth:`engine.regions.runs.RunMap.connect`.

    ``area`` holds the number of each run, and its area when this returns how many there are.
    """
    upper = 0
    row = -1
    for run in range(values.size):
        start, stop = starts[run] - width, starts[run] - width + lengths[run]
        if starts[run] % width == 0:
            row += 1
        elif values[run] == values[run - 1] and values[run] != none:
            area[run] = run - 1
        if row % period == 0:
            continue
        while starts[upper] + lengths[upper] <= start:
            upper += 1
        while True:
            if values[upper] == values[run] and values[run] != none:
                a, b = upper, run
                while area[a] != a:
                    area[a] = area[area[a]]
                    a = area[a]
                while area[b] != b:
                    area[b] = area[area[b]]
                    b = area[b]
                area[max(a, b)] = min(a, b)
            if starts[upper] + lengths[upper] >= stop:
                break
            upper += 1
    return _numbered(area, values, none)


@kernel
def connect_nodes(first: Ints, second: Ints, values: Ints, group: Ints) -> int:
    """Connect nodes by edges; see :func:`engine.regions.runs.connected_groups`, but groups count from 1.

    ``group`` holds the number of each node, and its group when this returns how many there are; ``values`` are ones.
    """
    for edge in range(first.size):
        a, b = first[edge], second[edge]
        while group[a] != a:
            group[a] = group[group[a]]
            a = group[a]
        while group[b] != b:
            group[b] = group[group[b]]
            b = group[b]
        group[max(a, b)] = min(a, b)
    return _numbered(group, values, 0)


@kernel
def _numbered(group: Ints, values: Ints, none: int) -> int:
    """Number groups from 1, 0 where the value is ``none``; ``group`` names a node of the same group, never behind."""
    count = 0
    for node in range(group.size):
        if group[node] != node:
            group[node] = group[group[node]]
        elif values[node] == none:
            group[node] = 0
        else:
            count += 1
            group[node] = count
    return count


@kernel
def contacts_of_runs(starts: Ints, lengths: Ints, areas: Ints, width: int, period: int, count: int) -> tuple[Ints, int]:
    """Pixel edges that areas 1 to ``count`` share; see :meth:`engine.regions.runs.RunMap.contacts` and ``_folded``."""
    low, high = np.empty(3 * starts.size, np.int32), np.empty(3 * starts.size, np.int32)
    length = np.empty(3 * starts.size, np.int64)
    found = 0
    upper = 0
    row = -1
    for run in range(starts.size):
        mine = areas[run]
        start, stop = starts[run] - width, starts[run] - width + lengths[run]
        if starts[run] % width == 0:
            row += 1
        else:
            other = areas[run - 1]
            if mine > 0 and other > 0 and mine != other:
                low[found], high[found], length[found] = min(mine, other), max(mine, other), 1
                found += 1
        if row % period == 0:
            continue
        while starts[upper] + lengths[upper] <= start:
            upper += 1
        while True:
            other = areas[upper]
            end = starts[upper] + lengths[upper]
            if mine > 0 and other > 0 and mine != other:
                low[found], high[found] = min(mine, other), max(mine, other)
                length[found] = min(stop, end) - max(start, starts[upper])
                found += 1
            if end >= stop:
                break
            upper += 1
    return _folded(low, high, length, found, count + 1)


@kernel
def measure_runs(
    starts: Ints, lengths: Ints, area: Ints, width: int, first: Ints, pixels: Ints, bbox: Ints, position: Array
) -> None:
    """Measure the areas that runs belong to.

    Args:
        starts: Flat index of each run's first pixel.
        lengths: Pixels of each run.
        area: Area of each run, from 1 in scan order; 0 is none.
        width: Columns.
        first: ``[n]``, to be filled: flat index of each area's first pixel.
        pixels: ``[n]`` zeros, to be filled: pixels.
        bbox: ``[n, 4]``, to be filled: first row, one past the last, first column, one past the last.
        position: ``[n, 2]`` zeros, to be filled: sums of columns and rows of pixel centres.
    """
    for run in range(starts.size):
        at = area[run] - 1
        if at < 0:
            continue
        length = lengths[run]
        row = starts[run] // width
        col = starts[run] - row * width
        if pixels[at] == 0:
            first[at] = starts[run]
            bbox[at, 0], bbox[at, 2], bbox[at, 3] = row, col, col + length
        bbox[at, 1] = row + 1
        bbox[at, 2] = min(bbox[at, 2], col)
        bbox[at, 3] = max(bbox[at, 3], col + length)
        pixels[at] += length
        position[at, 0] += length * (col + length / 2)
        position[at, 1] += length * (row + 0.5)


@kernel
def count_codes(starts: Ints, lengths: Ints, area: Ints, codes: Array, table: Array) -> None:
    """Add the pixels of each area by code to ``table`` ``[n, K]``; codes from K on are left out."""
    for run in range(starts.size):
        at = area[run] - 1
        if at < 0:
            continue
        for place in range(starts[run], starts[run] + lengths[run]):
            if codes[place] < table.shape[1]:
                table[at, codes[place]] += 1


@kernel
def add_values(starts: Ints, lengths: Ints, area: Ints, values: Array, sums: Array, squares: Array) -> None:
    """Add the values of each area's pixels to ``sums`` and their squares to ``squares``, in the type of the sums."""
    for run in range(starts.size):
        at = area[run] - 1
        if at < 0:
            continue
        total, square = sums.dtype.type(0), sums.dtype.type(0)
        for place in range(starts[run], starts[run] + lengths[run]):
            value = sums.dtype.type(values[place])
            total += value
            square += value * value
        sums[at] += total
        squares[at] += square


@kernel
def fold_pairs(first: Ints, second: Ints, length: Ints, count: int) -> tuple[Ints, int]:
    """Fold edges between labels below ``count``; see :func:`engine.regions.runs.fold_edges` and ``_folded``."""
    low, high = np.empty(first.size, np.int32), np.empty(first.size, np.int32)
    kept = np.empty(first.size, np.int64)
    found = 0
    for edge in range(first.size):
        a, b = first[edge], second[edge]
        if a != b:
            low[found], high[found], kept[found] = min(a, b), max(a, b), length[edge]
            found += 1
    return _folded(low, high, kept, found, count)


@kernel
def _folded(low: Array, high: Array, length: Ints, size: int, count: int) -> tuple[Ints, int]:
    """Equal ones of ``size`` pairs of labels below ``count`` as one, with the sum of their lengths.

    Sorted by the larger label, then by the smaller one, each time by counting.

    Returns:
        ``[3, size]`` smaller label, larger label and sum, and how many columns of it count.
    """
    place, place_after = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for pair in range(size):
        place[high[pair] + 1] += 1
        place_after[low[pair] + 1] += 1
    for label in range(count):
        place[label + 1] += place[label]
        place_after[label + 1] += place_after[label]
    by_high, by_both = np.empty(size, np.int32), np.empty(size, np.int32)
    for pair in range(size):
        by_high[place[high[pair]]] = pair
        place[high[pair]] += 1
    for i in range(size):
        pair = by_high[i]
        by_both[place_after[low[pair]]] = pair
        place_after[low[pair]] += 1
    folded = np.empty((3, size), np.int64)
    found = -1
    for i in range(size):
        pair = by_both[i]
        if found < 0 or folded[0, found] != low[pair] or folded[1, found] != high[pair]:
            found += 1
            folded[0, found], folded[1, found], folded[2, found] = low[pair], high[pair], 0
        folded[2, found] += length[pair]
    return folded, found + 1


@kernel
def best_neighbours(
    first: Ints, second: Ints, score: Array, seeks: npt.NDArray[np.bool_], best: Ints, value: Array
) -> None:
    """For each node that seeks, the other end of its best edge; the lower number wins a tie.

    ``best`` holds the number of each node and ``value`` less than any score; those of nodes that seek are changed.
    """
    for edge in range(first.size):
        node, other = first[edge], second[edge]
        for _ in range(2):
            if seeks[node] and (score[edge] > value[node] or (score[edge] == value[node] and other < best[node])):
                best[node], value[node] = other, score[edge]
            node, other = other, node
