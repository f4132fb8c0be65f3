"""The lie of the demo scene's land: rivers that meander, lakes with irregular shores, where woods and meadows are.

Guarantees: shapes are computed on a coarse grid and cut on the fine one, so shores and edges are smooth and irregular
at every scale; everything follows from the generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from engine.scene.demo.noise import Floats, fractal_noise, smooth_noise, upsample

COARSE = 4
"""Pixels of one cell of the coarse grid."""

_FAR_PX = 400.0


@dataclass(frozen=True)
class Land:
    """Fields of the land, each [height, width].

    Attributes:
        shore_px: Distance to water, negative inside water.
        turbid: How much sediment and algae water would carry, 0 to 1.
        wood: Suitability for forest.
        grass: Suitability for meadow.
        relief: Light and shade of hills.
        soil: Wet and dry places.
    """

    shore_px: Floats
    turbid: Floats
    wood: Floats
    grass: Floats
    relief: Floats
    soil: Floats


def make_land(rng: np.random.Generator, shape: tuple[int, int]) -> Land:
    """Lay out the land of a scene."""
    coarse = max(4, -(-shape[0] // COARSE) + 1), max(4, -(-shape[1] // COARSE) + 1)
    rows, cols = np.meshgrid(*(np.linspace(0.0, size, n) for size, n in zip(shape, coarse, strict=True)), indexing="ij")
    shore = np.full(coarse, _FAR_PX, np.float32)
    turbid = np.full(coarse, 0.5, np.float32)
    ragged = np.ones(coarse, np.float32)
    area = shape[0] * shape[1] / 3072**2
    rivers = 1 + int(rng.random() < 0.8) if area > 0.3 else int(rng.random() < 0.45)
    for number in range(rivers):
        path, half_width = _river(rng, shape, rng.uniform(9, 17) if number == 0 else rng.uniform(3, 5))
        distance, nearest = cKDTree(path).query(np.stack([cols, rows], -1), distance_upper_bound=_FAR_PX, workers=1)
        found = np.isfinite(distance)
        signed = np.where(found, distance - half_width[np.minimum(nearest, len(path) - 1)], _FAR_PX)
        turbid = np.where(signed < shore, np.float32(rng.uniform(0.45, 0.95)), turbid)
        ragged = np.where(signed < shore, np.float32(min(1.0, half_width.mean() / 20)), ragged)
        shore = np.minimum(shore, signed.astype(np.float32))
    lakes = max(rng.poisson(13 * area), 1 if area > 0.3 or rng.random() < 0.5 else 0)
    rough = fractal_noise(rng, coarse, 50, 3)
    for number in range(lakes):
        radius = float(np.exp(rng.uniform(np.log(22), np.log(95)))) if number else rng.uniform(110, 190)
        if area < 0.3:
            radius = min(radius, 0.45 * min(shape))
        signed = _lake(rng, shape, radius, rows, cols) + rough * radius * 0.13
        turbid = np.where(signed < np.minimum(shore, 60), np.float32(rng.random() ** 1.5), turbid)
        ragged = np.where(signed < shore, np.float32(1.0), ragged)
        shore = np.minimum(shore, signed.astype(np.float32))
    hills = fractal_noise(rng, coarse, 900, 5)
    wood = hills + 0.42 * fractal_noise(rng, coarse, 190, 3) + 0.25 * np.exp(-np.abs(shore - 25) / 25)
    grass = fractal_noise(rng, coarse, 520, 3) + 0.9 * np.exp(-np.maximum(shore, 0) / 60)
    slope = gaussian_filter(fractal_noise(rng, coarse, 130, 4), 1.0)
    relief = -np.gradient(slope, axis=0) - np.gradient(slope, axis=1)
    fine = np.float32(2.6) * smooth_noise(rng, shape, 26) + np.float32(1.1) * smooth_noise(rng, shape, 9)
    return Land(
        shore_px=np.asarray(upsample(shore, shape) + fine * upsample(gaussian_filter(ragged, 2), shape), np.float32),
        turbid=upsample(gaussian_filter(turbid, 3), shape),
        wood=np.asarray(upsample(wood, shape) + np.float32(0.022) * fine, np.float32),
        grass=upsample(grass, shape),
        relief=upsample(relief / max(float(relief.std()), 1e-6), shape),
        soil=upsample(fractal_noise(rng, coarse, 70, 4), shape),
    )


def _river(
    rng: np.random.Generator, shape: tuple[int, int], half_width_px: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points (x, y) along a sine-generated curve through the scene, and half the width at each.

    Langbein and Leopold (1966), "River meanders: theory of minimum variance": the direction of a meandering river
    swings as a sine of the distance along it.
    """
    step = 3.0
    length = 5.0 * max(shape) + 2000
    s = np.arange(0.0, length, step)
    wavelength = half_width_px * rng.uniform(34, 48)
    wander = gaussian_filter(rng.standard_normal(s.size), wavelength / step)
    wander *= 0.45 / wander.std()
    swing = gaussian_filter(rng.standard_normal(s.size), 2 * wavelength / step)
    swing = 1.15 + 0.3 * swing / swing.std()
    phase = 2 * np.pi * s / wavelength * (1 + 0.15 * wander) + rng.uniform(0, 6.28)
    angle = rng.uniform(0, 2 * np.pi) + wander + np.clip(swing, 0.3, 1.7) * np.sin(phase)
    x, y = np.cumsum(np.cos(angle)) * step, np.cumsum(np.sin(angle)) * step
    middle = s.size // 2
    x += rng.uniform(0.3, 0.7) * shape[1] - x[middle]
    y += rng.uniform(0.3, 0.7) * shape[0] - y[middle]
    width = gaussian_filter(rng.standard_normal(s.size), 40)
    return np.column_stack([x, y]), half_width_px * (1 + 0.22 * width / width.std())


def _lake(
    rng: np.random.Generator,
    shape: tuple[int, int],
    radius_px: float,
    rows: npt.NDArray[np.float64],
    cols: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Distance to the shore of one lake with bays, negative inside."""
    dx, dy = cols - rng.uniform(0, shape[1]), rows - rng.uniform(0, shape[0])
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.7)
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
    v = (dy * np.cos(turn) - dx * np.sin(turn)) * stretch**0.5
    theta = np.arctan2(v, u)
    edge = np.ones_like(theta)
    for k in range(2, 8):
        edge += rng.normal(0, 0.32 / k) * np.cos(k * theta + rng.uniform(0, 6.28))
    return np.asarray(np.hypot(u, v) - radius_px * np.clip(edge, 0.35, None))
