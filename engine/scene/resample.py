"""Pixels of one grid averaged or interpolated onto another, exactly and piece by piece.

Every output pixel is computed by itself from the edges that it has on the source grid, by the same sums in the same
order, so pieces read one by one fit together to the very bytes of the whole. Missing pixels take no part; an output
pixel is valid if any valid source pixel touches it (``average``) or surrounds it (``bilinear``).
Guarantees: a constant stays constant for integers; memory is bounded by working on slabs of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Resampling = Literal["average", "bilinear", "nearest"]
Reader = Callable[[int, int, int, int], tuple[Array, npt.NDArray[np.bool_] | None]]

_SLAB_BYTES = 32 << 20
_TOUCH = 1e-4


@dataclass(frozen=True)
class Axis:
    """How the pixels of one output axis draw on source pixels.

    Attributes:
        index: Source pixels [taps, n], all inside the source.
        weight: Their weights [taps, n]; they sum to 1 less the share that lies outside the source.
        outside: Share of each output pixel that lies outside the source [n].
        start: First source pixel needed.
        stop: One past the last.
    """

    index: npt.NDArray[np.intp]
    weight: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]
    start: int
    stop: int

    def part(self, first: int, last: int) -> Axis:
        """Output pixels first to last of this axis."""
        return _axis(self.index[:, first:last], self.weight[:, first:last], self.outside[first:last])


def axis(edges: npt.NDArray[np.float64], size: int, how: Resampling) -> Axis:
    """Weights for output pixels with these edges on a source axis.

    Args:
        edges: n + 1 rising positions on the source axis.
        size: Pixels of the source axis.
        how: ``average`` weighs by overlap, ``bilinear`` interpolates between centres, ``nearest`` takes one pixel.
    """
    edges = np.round(edges, 6)
    low, high = edges[:-1], edges[1:]
    centre = (low + high) / 2
    if how == "average":
        first = np.floor(low)
        taps = max(1, int(np.max(np.ceil(high) - first)))
        index = first + np.arange(taps)[:, None]
        span = np.maximum(high - low, 1e-6)
        weight = np.clip(np.minimum(high, index + 1) - np.maximum(low, index), 0.0, None) / span
        weight[(index < 0) | (index >= size)] = 0.0
        covered = np.clip(np.minimum(high, size) - np.maximum(low, 0.0), 0.0, None) / span
        outside = 1.0 - covered
        outside[outside < 1e-9] = 0.0
    else:
        if how == "bilinear":
            first = np.floor(centre - 0.5)
            part = centre - 0.5 - first
            index = np.stack([first, first + 1])
            weight = np.stack([1.0 - part, part])
        else:
            index = np.floor(centre)[None]
            weight = np.ones_like(index)
        outside = ((centre < 0) | (centre >= size)).astype(np.float64)
        weight = weight * (1.0 - outside)
    return _axis(np.clip(index, 0, size - 1).astype(np.intp), weight, outside)


def _axis(index: npt.NDArray[np.intp], weight: npt.NDArray[np.float64], outside: npt.NDArray[np.float64]) -> Axis:
    used = index[weight > 0]
    start, stop = (int(used.min()), int(used.max()) + 1) if used.size else (0, 0)
    if used.size:
        index = np.clip(index, start, stop - 1)
    return Axis(index, weight, outside, start, stop)


def resample(
    read: Reader, rows: Axis, cols: Axis, count: int, dtype: npt.DTypeLike, how: Resampling
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Read what the axes need and bring it onto the output grid.

    Args:
        read: ``read(col, row, width, height)`` gives source pixels [count, height, width] and their validity
            (None where all are valid); never asked for pixels outside.
        rows: Vertical axis.
        cols: Horizontal axis.
        count: Bands.
        dtype: Type of the source and of the result; integers are rounded.
        how: As given to the axes.

    Returns:
        Data [count, n_rows, n_cols], 0 where invalid, and validity [n_rows, n_cols].
    """
    n_rows, n_cols = rows.outside.size, cols.outside.size
    data = np.zeros((count, n_rows, n_cols), dtype)
    valid = np.zeros((n_rows, n_cols), bool)
    if rows.stop == rows.start or cols.stop == cols.start:
        return data, valid
    row_bytes = max(1, (cols.stop - cols.start) * count * 8)
    per_row = max(1.0, (rows.stop - rows.start) / n_rows)
    slab = max(1, math.floor(_SLAB_BYTES / (row_bytes * per_row)))
    for first in range(0, n_rows, slab):
        last = min(first + slab, n_rows)
        part = rows.part(first, last)
        if part.stop > part.start:
            block, block_valid = read(cols.start, part.start, cols.stop - cols.start, part.stop - part.start)
            data[:, first:last], valid[first:last] = _combine(block, block_valid, part, cols, np.dtype(dtype), how)
    return data, valid


def _combine(
    block: Array,
    block_valid: npt.NDArray[np.bool_] | None,
    rows: Axis,
    cols: Axis,
    dtype: np.dtype[Any],
    how: Resampling,
) -> tuple[Array, npt.NDArray[np.bool_]]:
    inside = (rows.outside[:, None] < 1.0) & (cols.outside[None, :] < 1.0)
    if how == "nearest":
        pick = np.ix_(rows.index[0] - rows.start, cols.index[0] - cols.start)
        valid = inside if block_valid is None else inside & block_valid[pick]
        return np.where(valid, block[:, pick[0], pick[1]], dtype.type(0)), valid
    work = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    total = _weigh(block.astype(work), rows, cols)
    whole = block_valid is None or bool(block_valid.all())
    edge = bool(rows.outside.any() or cols.outside.any())
    if whole and not edge:
        return _as_type(total, dtype), inside
    missing: Array = np.zeros(inside.shape, work)
    if not whole and block_valid is not None:
        missing = _weigh((~block_valid)[None].astype(work), rows, cols)[0]
    covered = ((1.0 - rows.outside)[:, None] * (1.0 - cols.outside)[None, :]).astype(work)
    share: Array = covered - missing
    valid = inside & (share > _TOUCH)
    divisor = np.where(valid & (share < 1.0), share, work(1.0))
    return np.where(valid, _as_type(total / divisor, dtype), dtype.type(0)), valid


def _weigh(block: Array, rows: Axis, cols: Axis) -> Array:
    """Weighted sums, rows first, one tap after the other: the order of additions never depends on the window."""
    work = block.dtype
    tall = np.zeros((block.shape[0], rows.outside.size, block.shape[2]), work)
    for index, weight in zip(rows.index, rows.weight.astype(work), strict=True):
        tall += block[:, index - rows.start] * weight[:, None]
    out = np.zeros((*tall.shape[:2], cols.outside.size), work)
    for index, weight in zip(cols.index, cols.weight.astype(work), strict=True):
        out += tall[:, :, index - cols.start] * weight
    return out


def _as_type(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.rint(values), info.min, info.max).astype(dtype)
