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
