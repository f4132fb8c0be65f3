"""Run-length view of label rasters: everything that is summed over labels is summed over runs first.

A *run* is a stretch of one row in which nothing asked about changes. Label rasters have some ten pixels a run, so
sums, extents and neighbourhoods cost a tenth of what they would pixel by pixel.

Guarantees: sums of integer data are exact; runs never cross rows; the order of runs is scan order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import label as label_image

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

    def sums(self, raster: Array) -> Array:
        """Sum of ``raster`` over each run: int64 for integers up to 16 bits, else float64."""
        flat = raster.reshape(-1)
        if flat.dtype.kind == "f" or flat.dtype.itemsize > 2:
            return np.asarray(np.add.reduceat(flat.astype(np.float64), self.starts))
        total = np.cumsum(flat, dtype=np.int64)[self.starts + self.lengths - 1]
        total[1:] -= total[:-1].copy()
        return np.asarray(total)

    def square_sums(self, raster: Array) -> Array:
        """Sum of squares of ``raster`` over each run, typed as :meth:`sums`."""
        flat = raster.reshape(-1)
        if flat.dtype.kind == "f" or flat.dtype.itemsize > 2:
            wide = flat.astype(np.float64)
            return np.asarray(np.add.reduceat(wide * wide, self.starts))
        wide_int = flat.astype(np.int64)
        total = np.cumsum(wide_int * wide_int)[self.starts + self.lengths - 1]
        total[1:] -= total[:-1].copy()
        return np.asarray(total)


def find_runs(*rasters: Array) -> Runs:
    """Runs on which all of the equally shaped ``rasters`` are constant."""
    height, width = rasters[0].shape
    change = np.empty((height, width), dtype=bool)
    change[:, 0] = True
    np.not_equal(rasters[0][:, 1:], rasters[0][:, :-1], out=change[:, 1:])
    for raster in rasters[1:]:
        change[:, 1:] |= raster[:, 1:] != raster[:, :-1]
    starts = np.flatnonzero(change)
    return Runs(starts, np.diff(starts, append=height * width), width)


def sum_by(keys: Array, values: Array | None, count: int) -> Array:
    """Sum ``values`` (ones where None) by ``keys`` into ``count`` float64 or, where None, int64 cells."""
    if values is None:
        return np.bincount(keys, minlength=count)
    return np.bincount(keys, weights=values, minlength=count)


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
        pairs, totals = np.unique(code, return_counts=True)
    else:
        order = np.argsort(code, kind="stable")
        code = code[order]
        head = np.flatnonzero(np.diff(code, prepend=-1) != 0)
        pairs = code[head]
        totals = np.add.reduceat(weights[order].astype(np.int64), head) if head.size else np.empty(0, np.int64)
    return pairs >> 32, pairs & 0xFFFFFFFF, totals.astype(np.int64)


def connected(raster: Array, background: int) -> npt.NDArray[np.int32]:
    """Number the 4-connected areas of equal value from 1 in scan order; 0 where ``raster`` is ``background``."""
    number: Callable[..., Array] = label_image
    return number(raster, background=background, connectivity=1).astype(np.int32)


def contacts(labels: Array, runs: Runs | None = None) -> tuple[Ints, Ints, Ints]:
    """Pairs of different positive labels that share pixel edges.

    Args:
        labels: ``[h, w]`` labels, 0 is none.
        runs: Runs of ``labels`` where they are known already.

    Returns:
        Smaller label, larger label and the number of pixel edges they share.
    """
    runs = runs or find_runs(labels)
    value = runs.take(labels)
    same_row = runs.starts[1:] % runs.width != 0
    left, right = value[:-1][same_row], value[1:][same_row]
    up, down = labels[:-1].reshape(-1), labels[1:].reshape(-1)
    edge = np.flatnonzero(up != down)
    a = np.concatenate((left, up[edge])).astype(np.int64)
    b = np.concatenate((right, down[edge])).astype(np.int64)
    keep = (a > 0) & (b > 0)
    a, b = a[keep], b[keep]
    return sum_pairs(np.minimum(a, b), np.maximum(a, b))
