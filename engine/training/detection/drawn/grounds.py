"""Ground for drawn scenes: water, tarmac, concrete, grass, soil, and what stands about on it unlabelled.

Guarantees: grounds are ``[H, W, 3]`` float32 in 0 to 1.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from engine.training.detection.drawn.canvas import Canvas, Colour, Pixels, Pose, disc, rectangle

Ground = Literal["water", "tarmac", "concrete", "grass", "soil"]

_COLOURS: dict[Ground, tuple[Colour, ...]] = {
    "water": ((0.10, 0.14, 0.16), (0.16, 0.24, 0.27), (0.22, 0.30, 0.27), (0.12, 0.20, 0.30), (0.30, 0.34, 0.33)),
    "tarmac": ((0.33, 0.33, 0.34), (0.45, 0.45, 0.45), (0.26, 0.26, 0.28), (0.52, 0.51, 0.49)),
    "concrete": ((0.62, 0.61, 0.57), (0.70, 0.69, 0.66), (0.55, 0.55, 0.53)),
    "grass": ((0.24, 0.31, 0.16), (0.33, 0.37, 0.20), (0.42, 0.40, 0.24), (0.17, 0.24, 0.14)),
    "soil": ((0.50, 0.42, 0.32), (0.58, 0.50, 0.40), (0.42, 0.36, 0.30)),
}
_ROUGHNESS: dict[Ground, float] = {"water": 0.03, "tarmac": 0.06, "concrete": 0.05, "grass": 0.16, "soil": 0.1}


def lay(rng: np.random.Generator, size: int, ground: Ground) -> Pixels:
    """A square of one kind of ground."""
    colours = _COLOURS[ground]
    base = np.array(colours[int(rng.integers(len(colours)))]) * np.exp(rng.normal(0, 0.12))
    texture = sum(weight * _noise(rng, size, step) for step, weight in ((64, 0.5), (16, 0.35), (4, 0.3), (1, 0.35)))
    light = np.exp(_ROUGHNESS[ground] * np.asarray(texture))[:, :, None]
    tint = 1 + 0.1 * _ROUGHNESS[ground] * np.stack([_noise(rng, size, 48) for _ in range(3)], axis=2)
    return np.asarray(np.clip(base * light * tint, 0, 1), np.float32)


def border(
    rng: np.random.Generator, size: int, first: Pixels, second: Pixels, share: float
) -> tuple[Pixels, float, float]:
    """Two grounds on either side of a straight, slightly ragged line.

    Returns:
        The ground, and the line as its direction (radians clockwise from the right) and its distance from the middle
        in pixels; ``first`` lies to the right of the direction.
    """
    turn = float(rng.uniform(0, 2 * np.pi))
    away = float((share - 0.5) * size)
    rows, cols = np.mgrid[:size, :size] - size / 2
    side = cols * -np.sin(turn) + rows * np.cos(turn) + away + 1.5 * _noise(rng, size, 32)
    mask = ndimage.gaussian_filter((side > 0).astype(np.float32), 0.7)[:, :, None]
    return (first * mask + second * (1 - mask)).astype(np.float32), turn, away


def slabs(canvas: Canvas, rng: np.random.Generator, turn: float, gsd_m: float) -> None:
    """Joints of concrete slabs all over."""
    edge, size = rng.uniform(5, 9) / gsd_m, max(canvas.width, canvas.height)
    pose = Pose(canvas.width / 2, canvas.height / 2, turn, 1.0)
    light = rng.uniform(0.86, 0.96)
    for place in np.arange(-size, size, max(edge, 6.0)):
        canvas.shade(pose.place(rectangle(2 * size, 0.7, 0, place)), light)
        canvas.shade(pose.place(rectangle(0.7, 2 * size, place, 0)), light)


def road(rng: np.random.Generator, canvas: Canvas, pose: Pose, width_m: float) -> None:
    """A straight road through the picture, with lines."""
    length = 3 * max(canvas.width, canvas.height) * pose.gsd_m
    grey = rng.uniform(0.25, 0.5)
    canvas.part(pose, rectangle(length, width_m), (grey, grey, grey * 1.01))
    if rng.random() < 0.7:
        for side in (-0.46, 0.46):
            canvas.part(pose, rectangle(length, 0.25, 0, side * width_m), (0.8, 0.8, 0.78), 0.7)
        for place in np.arange(-length / 2, length / 2, 12.0):
            canvas.part(pose, rectangle(4, 0.2, float(place)), (0.85, 0.85, 0.8), 0.8)


def patch(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float, width: float) -> None:
    """A part of the ground that is lighter or darker: repaired tarmac, a bed, a worn place."""
    canvas.shade(pose.place(rectangle(length, width)), float(np.exp(rng.normal(0, 0.15))))


def house(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float, width: float) -> None:
    """A building: a roof of two halves or a flat one with things on it."""
    outline = rectangle(length, width)
    canvas.shadow(pose, outline, rng.uniform(4, 14))
    roofs = ((0.72, 0.72, 0.71), (0.50, 0.50, 0.51), (0.55, 0.36, 0.30), (0.38, 0.42, 0.48), (0.62, 0.58, 0.52))
    roof = np.array(roofs[int(rng.integers(len(roofs)))]) * np.exp(rng.normal(0, 0.1))
    one, other = (tuple(np.clip(roof * light, 0, 1).tolist()) for light in (1.0, rng.uniform(0.72, 1.0)))
    canvas.part(pose, outline, one)
    canvas.part(pose, rectangle(length, width / 2, 0, width / 4), other)
    for _ in range(int(rng.integers(0, 7))):
        x, y = rng.uniform(-0.42, 0.42) * length, rng.uniform(-0.42, 0.42) * width
        small = rectangle(rng.uniform(0.8, 4), rng.uniform(0.8, 4), x, y)
        canvas.part(pose, small, tuple(np.clip(roof * rng.uniform(0.5, 1.3), 0, 1).tolist()))


def tree(rng: np.random.Generator, canvas: Canvas, pose: Pose, radius: float) -> None:
    """A crown of a few lobes."""
    canvas.shadow(pose, disc(radius, points=14), rng.uniform(3, 8))
    green = np.array((0.16, 0.23, 0.11)) * np.exp(rng.normal(0, 0.2))
    for _ in range(7):
        x, y = rng.normal(0, 0.4 * radius, 2)
        tone = tuple(np.clip(green * np.exp(rng.normal(0.05, 0.22)), 0, 1).tolist())
        canvas.part(pose, disc(radius * rng.uniform(0.35, 0.7), x, y, 10), tone)


def _noise(rng: np.random.Generator, size: int, step: int) -> Pixels:
    """Noise of deviation about 1 whose grains are ``step`` pixels wide."""
    if step == 1:
        return rng.standard_normal((size, size)).astype(np.float32)
    cells = size // step + 3
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    fine = ndimage.zoom(coarse, step, order=1)
    top, left = rng.integers(0, step, 2)
    return np.asarray(1.4 * fine[top : top + size, left : left + size], np.float32)
