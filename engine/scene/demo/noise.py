"""Smooth random fields and hashes, the raw material of the demo scene.

Guarantees: everything follows from the generator that is passed in; fields have mean 0 and standard deviation 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, uniform_filter

Floats = npt.NDArray[np.float32]


def upsample(coarse: npt.NDArray[Any], shape: tuple[int, int]) -> Floats:
    """Linear interpolation of a field to a finer shape, corner to corner."""
    result = coarse.astype(np.float32)
    for dim, size in enumerate(shape):
        at = np.linspace(0.0, result.shape[dim] - 1.0, size)
        low = np.minimum(at.astype(np.intp), max(result.shape[dim] - 2, 0))
        part = (at - low).astype(np.float32)
        part = part[:, None] if dim == 0 else part[None, :]
        high = np.minimum(low + 1, result.shape[dim] - 1)
        below, above = result.take(low, axis=dim), result.take(high, axis=dim)
        result = below + (above - below) * part
    return result


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Floats:
    """A random field whose features are about ``scale_px`` wide."""
    step = max(1.0, scale_px / 6.0)
    small = tuple(math.ceil(size / step) + 8 for size in shape)
    field = rng.standard_normal(small, dtype=np.float32)
    field = gaussian_filter(field, scale_px / step / 3.0, mode="wrap", truncate=3.0)
    field = (field - field.mean()) / max(float(field.std()), 1e-6)
    if step == 1.0:
        return np.ascontiguousarray(field[: shape[0], : shape[1]])
    return upsample(field[4 : small[0] - 3, 4 : small[1] - 3], shape)


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float, octaves: int) -> Floats:
    """A sum of random fields, each half as wide and half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        if scale_px / 2**octave >= 2:
            total += smooth_noise(rng, shape, scale_px / 2**octave) * np.float32(0.55**octave)
    total -= total.mean()
    total /= np.float32(max(float(total.std()), 1e-6))
    return total


def crowns(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Tree crowns of two sizes, lit from the south-east: light on one side, shadow on the other."""
    white = rng.standard_normal(shape, dtype=np.float32)
    height = gaussian_filter(white, 0.9, truncate=2.5)
    height /= height.std()
    clumps = uniform_filter(uniform_filter(white, 5), 3)
    height += 0.7 * clumps / clumps.std()
    lit = np.zeros_like(height)
    lit[1:-1, 1:-1] = height[2:, 2:] - height[:-2, :-2]
    lit = 0.8 * lit / max(float(lit.std()), 1e-6) + 0.5 * height
    return np.asarray(lit / max(float(lit.std()), 1e-6), np.float32)


def hashed(*keys: npt.NDArray[Any] | int) -> Floats:
    """A number in [0, 1) for each combination of integer keys."""
    mixed: Any = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for key in keys:
            mixed = (mixed ^ np.asarray(key).astype(np.int64).astype(np.uint32)) * np.uint32(16777619)
            mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)
            mixed = mixed ^ (mixed >> np.uint32(13))
    return np.asarray((mixed >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24))
