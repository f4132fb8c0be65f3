"""Compiled loops of the blur scorers over a piece of a scene (see :mod:`engine.jit`); ``blur`` says what they mean.

Guarantees: the error of a patch depends on its pixels and those near it alone, bit for bit, wherever the piece begins;
ground of one value has no error at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.jit import kernel

Array = npt.NDArray[Any]

_QUARTER = np.float32(0.25)


@kernel
def halve(values: Array, out: Array) -> None:
    """Mean of every 2 x 2 pixels of ``[C, H, W]`` into ``[C, H / 2, W / 2]``."""
    for band in range(out.shape[0]):
        for row in range(out.shape[1]):
            upper, lower, line = values[band, 2 * row], values[band, 2 * row + 1], out[band, row]
            for col in range(line.size):
                left = upper[2 * col] + lower[2 * col]
                line[col] = (left + (upper[2 * col + 1] + lower[2 * col + 1])) * _QUARTER


@kernel
def blur_errors(
    images: Array, weights: Array, small: Array, there: Array, factor: int, size: int, margin: int, errors: Array
) -> None:
    """Sums of squared differences between an image and its shrunk self grown again, by patch.

    Args:
        images: ``[C, H, W]`` float32, 0 where there is no data.
        weights: ``[H, W]`` float32, 1 where there is data, else 0; empty where there is data everywhere.
        small: The image at ``1 / factor`` of its edge.
        there: 1 where a cell of it holds data, else 0; empty where ``weights`` is.
        factor: How far it was shrunk, an even number.
        size: Edge of a patch in pixels.
        margin: Pixels on each side that are looked at and not scored, ``factor`` at least.
        errors: ``[rows, cols]``, what is found.
    """
    bands, _, width = images.shape
    cells = small.shape[2]
    masked = weights.size > 0
    mixed, grown = np.empty(cells, np.float32), np.empty(width, np.float32)
    near, total = np.empty(width, np.float32), np.empty(width, np.float32)
    half = factor // 2
    for patch in range(errors.shape[0]):
        total[:] = 0
        for y in range(margin + patch * size, margin + (patch + 1) * size):
            above = (y - half) // factor
            down = np.float32((y - half - above * factor + 0.5) / factor)
            if masked:
                _grow(there[above], there[above + 1], down, factor, mixed, near)
                for x in range(margin, width - margin):
                    near[x] = weights[y, x] / near[x] if weights[y, x] > 0 else 0
            for band in range(bands):
                _grow(small[band, above], small[band, above + 1], down, factor, mixed, grown)
                line = images[band, y]
                if masked:
                    for x in range(margin, width - margin):
                        difference = line[x] - grown[x] * near[x]
                        total[x] += difference * difference
                else:
                    for x in range(margin, width - margin):
                        difference = line[x] - grown[x]
                        total[x] += difference * difference
        for col in range(errors.shape[1]):
            found = np.float32(0)
            for x in range(margin + col * size, margin + (col + 1) * size):
                found += total[x]
            errors[patch, col] = found


@kernel
def _grow(above: Array, below: Array, down: np.float32, factor: int, mixed: Array, out: Array) -> None:
    """A row between two rows of cells, bilinearly; ``out`` is written from half a cell on, to half a cell."""
    for col in range(mixed.size):
        mixed[col] = above[col] + (below[col] - above[col]) * down
    half = factor // 2
    for step in range(factor):
        right = np.float32((step + 0.5) / factor)
        first = half + step
        for col in range(mixed.size - 1):
            out[first + col * factor] = mixed[col] + (mixed[col + 1] - mixed[col]) * right
