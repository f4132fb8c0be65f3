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
def touching_runs(starts: Ints, lengths: Ints, width: int, period: int) -> tuple[Ints, Ints, Ints]:
    """Pairs of runs that share pixel edges, and how many; see :func:`engine.regions.runs.map_runs`."""
    count = starts.size
    first, second, shared = np.empty(3 * count, np.int64), np.empty(3 * count, np.int64), np.empty(3 * count, np.int64)
    found = 0
    upper = 0
    row = -1
    for run in range(count):
        start, stop = starts[run], starts[run] + lengths[run]
        if start % width == 0:
            row += 1
        else:
            first[found], second[found], shared[found] = run - 1, run, 1
            found += 1
        if row % period == 0:
            continue
        start -= width
        stop -= width
        while starts[upper] + lengths[upper] <= start:
            upper += 1
        while True:
            end = starts[upper] + lengths[upper]
            first[found], second[found] = upper, run
            shared[found] = min(stop, end) - max(start, starts[upper])
            found += 1
            if end >= stop:
                break
            upper += 1
    return first[:found].copy(), second[:found].copy(), shared[:found].copy()


@kernel
def connect_runs(first: Ints, second: Ints, values: Ints, none: int) -> tuple[int, Ints]:
    """Connect touching runs of equal value; see :meth:`engine.regions.runs.RunMap.connect`."""
    area = np.arange(values.size)  # until the end: a run of the same area that is not behind
    for pair in range(first.size):
        a, b = first[pair], second[pair]
        if values[a] != values[b] or values[a] == none:
            continue
        while area[a] != a:
            area[a] = area[area[a]]
            a = area[a]
        while area[b] != b:
            area[b] = area[area[b]]
            b = area[b]
        area[max(a, b)] = min(a, b)
    count = 0
    for run in range(values.size):
        if area[run] != run:
            area[run] = area[area[run]]
        elif values[run] == none:
            area[run] = 0
        else:
            count += 1
            area[run] = count
    return count, area


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
def fold_pairs(first: Ints, second: Ints, length: Ints, least: int, count: int) -> tuple[Ints, Ints, Ints]:
    """Fold edges between labels below ``count``; see :func:`engine.regions.runs.fold_edges`.

    Sorted by the larger label, then by the smaller one, each time by counting.
    """
    low, high = np.empty(first.size, np.int64), np.empty(first.size, np.int64)
    place = np.zeros(count + 1, np.int64)
    place_after = np.zeros(count + 1, np.int64)
    for edge in range(first.size):
        low[edge], high[edge] = min(first[edge], second[edge]), max(first[edge], second[edge])
        if low[edge] != high[edge] and low[edge] >= least:
            place[high[edge] + 1] += 1
            place_after[low[edge] + 1] += 1
    for label in range(count):
        place[label + 1] += place[label]
        place_after[label + 1] += place_after[label]
    total = place[count]
    by_high, by_both = np.empty(total, np.int64), np.empty(total, np.int64)
    for edge in range(first.size):
        if low[edge] != high[edge] and low[edge] >= least:
            by_high[place[high[edge]]] = edge
            place[high[edge]] += 1
    for edge in by_high:
        by_both[place_after[low[edge]]] = edge
        place_after[low[edge]] += 1
    one, other, sums = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.int64)
    found = -1
    for edge in by_both:
        if found < 0 or one[found] != low[edge] or other[found] != high[edge]:
            found += 1
            one[found], other[found], sums[found] = low[edge], high[edge], 0
        sums[found] += length[edge]
    found += 1
    return one[:found].copy(), other[:found].copy(), sums[:found].copy()


@kernel
def best_neighbours(first: Ints, second: Ints, score: Array, seeks: npt.NDArray[np.bool_]) -> Ints:
    """For each node that seeks, the other end of its best edge; the lower number wins a tie. Others keep theirs."""
    best = np.arange(seeks.size)
    value = np.full(seeks.size, -np.inf)
    for edge in range(first.size):
        a, b = first[edge], second[edge]
        for node, other in ((a, b), (b, a)):
            if seeks[node] and (score[edge] > value[node] or (score[edge] == value[node] and other < best[node])):
                best[node], value[node] = other, score[edge]
    return best
