"""Deterministic weights and inputs of the parity vectors (numpy only).

A weight is a function of its key in the authors' state dict and its shape, an input one of its shape, so the vectors
hold outputs only: ``<case>/<tensor>/full`` or ``val`` (at ``sample_positions``) and ``stats`` (sum, sum of absolute
values, minimum, maximum, sum of values times cos(0.001 i)).
"""

import math

import numpy as np


def weight(key, shape, salt=0):
    """Value of the tensor called ``key`` in the reference."""
    shape = tuple(int(edge) for edge in shape)
    if key.endswith("num_batches_tracked"):
        return np.array(1, dtype=np.int64)
    i = np.arange(int(np.prod(shape)) if shape else 1, dtype=np.int64)
    phase = (sum(key.encode()) + salt) % 101
    wave = np.sin(0.37 * i + 0.11 * ((i * i) % 1013) + phase)
    if key.endswith("running_mean"):
        value = 0.05 * wave
    elif key.endswith("running_var"):
        value = 1.0 + 0.25 * (1.0 + wave)
    elif key.endswith("weight") and len(shape) == 1:
        value = 1.0 + 0.05 * wave
    elif key.endswith("weight") and len(shape) >= 2:
        value = math.sqrt(1.0 / float(np.prod(shape[1:]))) * wave
    else:
        value = (0.5 if len(shape) >= 2 else 0.05) * wave
    return value.astype(np.float32).reshape(shape)


def image_a(batch, channels, height, width):
    """The input of every case: sin(0.05 (x + 1) (c + 1) + 0.07 y + b)."""
    axes = (np.arange(batch), np.arange(channels), np.arange(height), np.arange(width))
    b, c, y, x = np.meshgrid(*axes, indexing="ij")
    return np.sin(0.05 * (x + 1) * (c + 1) + 0.07 * y + b).astype(np.float32)


def hash01(count, seed=0):
    """Pseudo-random numbers in [0, 1) from an integer hash, the same on every platform."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def sample_positions(numel, count):
    """Flat positions at which a big output was kept."""
    return np.unique(np.floor(hash01(count, 7) * numel).astype(np.int64))


def image_q(batch, size, seed, channels=3):
    """The input of the quadtree cases: a smooth pattern with noise, of another contrast in each 16-pixel cell."""
    cells = -(-size // 16)
    contrast = hash01(batch * cells * cells, seed + 1000).reshape(batch, cells, cells) ** 2
    contrast = np.repeat(np.repeat(contrast, 16, 1), 16, 2)[:, None, :size, :size]
    noise = hash01(batch * channels * size * size, seed).reshape(batch, channels, size, size)
    b, c, y, x = np.meshgrid(*(np.arange(n) for n in (batch, channels, size, size)), indexing="ij")
    smooth = np.sin(0.05 * (x + 1) * (c + 1) + 0.07 * y + b)
    return (smooth * contrast + 0.6 * contrast * (noise - 0.5)).astype(np.float32)
