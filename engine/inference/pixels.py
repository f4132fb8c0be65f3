"""Pixels of windows on the processor: drawing a model's maps, judging them and blending them, as compiled kernels.

:func:`draw_convex` goes from the cells of a model with convex upsampling straight to class probabilities and token
maps, a row of cells at a time, so that what lies between never leaves the processor's cache. :func:`blend_across` and
:func:`finish_rows` are the two steps of :mod:`engine.inference.blend`.

Guarantees: the answers of the tensor code these kernels stand for, but for rounding; a value that is not a number
stays one; where blended values agree, the mean is their value to the last bit; ties go to the first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.inference.info import NODATA_CLASS
from engine.jit import fused_kernel
from engine.models.hook_competitive import ConvexUpsampling

Floats = npt.NDArray[np.float32]
_F = np.float32


def draw_convex(logits: Tensor, claims: Tensor, upsampling: ConvexUpsampling) -> tuple[Tensor, Tensor]:
    """Class probabilities and token maps of some windows.

    Args:
        logits: ``[B, K, h, w]``.
        claims: ``[B, N, h, w]``; the token that claims a pixel most takes it.
        upsampling: How both are drawn at four times the resolution.

    Returns:
        ``[B, K, 4 h, 4 w]`` float32 and ``[B, 4 h, 4 w]`` uint8, int16 for more than 255 tokens.
    """
    batch, classes, rows, cols = logits.shape
    small = claims.shape[1] <= np.iinfo(np.uint8).max
    maps = torch.cat((logits.float(), claims.float()), dim=1).contiguous()
    probabilities = torch.empty(batch, classes, 4 * rows, 4 * cols)
    tokens = torch.empty(batch, 4 * rows, 4 * cols, dtype=torch.uint8 if small else torch.int16)
    scores = upsampling.scores.float().contiguous()
    _draw(scores.numpy(), maps.numpy(), classes, probabilities.numpy(), tokens.numpy())
    return probabilities, tokens


@fused_kernel
def _softmax(values: Floats, count: int, top: Floats, power: Floats, bits: Any) -> None:
    """Softmax over the first ``count`` rows of ``values``, each column by itself.

    ``e ** v = 2 ** n * e ** r`` with n whole and r small; the second factor is a polynomial (Cephes), the first is
    written into the bits of a float. ``power`` and ``bits`` are the same memory.
    """
    lanes = values.shape[1]
    for i in range(lanes):
        top[i] = values[0, i]
    for row in range(1, count):
        for i in range(lanes):
            top[i] = values[row, i] if values[row, i] > top[i] else top[i]
    for row in range(count):
        for i in range(lanes):
            v = values[row, i] - top[i]
            v = _F(-87.0) if v < _F(-87.0) else v
            n = math.floor(v * _F(1.44269504) + _F(0.5))
            r = v - n * _F(0.693359375)
            r = r - n * _F(-2.12194440e-4)
            q = _F(1.9875691500e-4)
            q = q * r + _F(1.3981999507e-3)
            q = q * r + _F(8.3334519073e-3)
            q = q * r + _F(4.1665795894e-2)
            q = q * r + _F(1.6666665459e-1)
            q = q * r + _F(5.0000001201e-1)
            values[row, i] = q * r * r + r + _F(1)
            bits[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
        for i in range(lanes):
            values[row, i] *= power[i]
    for i in range(lanes):
        top[i] = values[0, i]
    for row in range(1, count):
        for i in range(lanes):
            top[i] += values[row, i]
    for i in range(lanes):
        top[i] = _F(1) / top[i]
    for row in range(count):
        for i in range(lanes):
            values[row, i] *= top[i]


@fused_kernel
def _draw(scores: Floats, maps: Floats, classes: int, probabilities: Floats, tokens: npt.NDArray[Any]) -> None:
    """A row of cells at a time; their pixels lie cell by cell in the lanes, 16 a cell."""
    batch, rows, cols = scores.shape[:3]
    channels = maps.shape[1]
    lanes = cols * 16
    weight = np.empty((9, lanes), np.float32)
    drawn = np.empty((channels, lanes), np.float32)
    top = np.empty(lanes, np.float32)
    bits = np.empty(lanes, np.int32)
    power = bits.view(np.float32)
    for b in range(batch):
        for y in range(rows):
            for x in range(cols):
                for near in range(9):
                    for p in range(16):
                        weight[near, 16 * x + p] = scores[b, y, x, near, p]
            _softmax(weight, 9, top, power, bits)
            up, down = max(y - 1, 0), min(y + 1, rows - 1)
            for c in range(channels):
                for x in range(cols):
                    left, right = max(x - 1, 0), min(x + 1, cols - 1)
                    v0, v1, v2 = maps[b, c, up, left], maps[b, c, up, x], maps[b, c, up, right]
                    v3, v4, v5 = maps[b, c, y, left], maps[b, c, y, x], maps[b, c, y, right]
                    v6, v7, v8 = maps[b, c, down, left], maps[b, c, down, x], maps[b, c, down, right]
                    for p in range(16):
                        i = 16 * x + p
                        upper = weight[0, i] * v0 + weight[1, i] * v1 + weight[2, i] * v2
                        level = weight[3, i] * v3 + weight[4, i] * v4 + weight[5, i] * v5
                        lower = weight[6, i] * v6 + weight[7, i] * v7 + weight[8, i] * v8
                        drawn[c, i] = upper + level + lower
            for i in range(lanes):
                top[i] = drawn[classes, i]
                bits[i] = 0
            for c in range(classes + 1, channels):
                token = np.int32(c - classes)
                for i in range(lanes):
                    value = drawn[c, i]
                    bits[i] = token if value > top[i] else bits[i]
                    top[i] = value if value > top[i] else top[i]
            for down in range(4):
                for x in range(cols):
                    for right in range(4):
                        tokens[b, 4 * y + down, 4 * x + right] = bits[16 * x + 4 * down + right]
            _softmax(drawn, classes, top, power, bits)
            for c in range(classes):
                for down in range(4):
                    for x in range(cols):
                        for right in range(4):
                            probabilities[b, c, 4 * y + down, 4 * x + right] = drawn[c, 16 * x + 4 * down + right]


@fused_kernel
def blend_across(row: Floats, window: Floats, col: int, height: int, width: int, share: Floats) -> None:
    """Blend a window ``[K, h, w]`` into its row of windows ``[K, h, W]``.

    Args:
        row: Running mean.
        window: Values.
        col: Where the window begins.
        height: Rows of the window that lie on the grid.
        width: Columns of the window that lie on the grid.
        share: What the window counts for in its first columns, which earlier windows cover; others it sets.
    """
    seen = share.size
    for k in range(row.shape[0]):
        for y in range(height):
            for x in range(seen):
                mean = row[k, y, col + x]
                row[k, y, col + x] = mean + share[x] * (window[k, y, x] - mean)
            for x in range(seen, width):
                row[k, y, col + x] = window[k, y, x]


@fused_kernel
def finish_rows(
    row: Floats, tail: Floats, share: Floats, final: int, height: int, codes: npt.NDArray[np.uint8], rest: Floats
) -> bool:
    """Blend a row of windows with those above it, rank the rows that are final and keep the others.

    Args:
        row: Running mean of the row of windows, ``[K, h, W]``.
        tail: Of those above, ``[K, rows they share, W]``.
        share: What the row counts for in the rows they share.
        final: Rows that are final.
        height: Rows that lie on the grid.
        codes: ``[3, final, W]``, to be filled: best class, its percent, second best class.
        rest: ``[K, height - final, W]``, to be filled: the new tail.

    Returns:
        Whether all probabilities are numbers.
    """
    classes, _, width = row.shape
    seen = share.size
    mean = np.empty((classes, width), np.float32)
    best = np.empty(width, np.float32)
    next_best = np.empty(width, np.float32)
    first = np.empty(width, np.int32)
    second = np.empty(width, np.int32)
    wrong = np.zeros(width, np.int32)
    for y in range(height):
        for k in range(classes):
            if y < seen:
                for x in range(width):
                    above = tail[k, y, x]
                    mean[k, x] = above + share[y] * (row[k, y, x] - above)
            else:
                for x in range(width):
                    mean[k, x] = row[k, y, x]
        if y >= final:
            for k in range(classes):
                for x in range(width):
                    rest[k, y - final, x] = mean[k, x]
            continue
        for x in range(width):
            best[x] = mean[0, x]
            next_best[x] = _F(-1)
            first[x] = 0
            second[x] = NODATA_CLASS
            wrong[x] = 1 if mean[0, x] != mean[0, x] else wrong[x]
        for k in range(1, classes):
            code = np.int32(k)
            for x in range(width):
                value = mean[k, x]
                wrong[x] = 1 if value != value else wrong[x]
                ahead = value > best[x]
                loser = best[x] if ahead else value
                behind = first[x] if ahead else code
                closer = ahead | (loser > next_best[x])
                second[x] = behind if closer else second[x]
                next_best[x] = loser if closer else next_best[x]
                first[x] = code if ahead else first[x]
                best[x] = value if ahead else best[x]
        for x in range(width):
            percent = best[x] * _F(100)
            percent = _F(1) if percent < _F(1) else percent
            percent = _F(100) if percent > _F(100) else percent
            codes[0, y, x] = first[x]
            codes[1, y, x] = np.int32(np.rint(percent))
            codes[2, y, x] = second[x]
    odd = 0
    for x in range(width):
        odd += wrong[x]
    return odd == 0
