"""Towns and villages of the demo scene: streets, blocks, yards and roofs with their shadows.

A town is a warped street grid; each block has a kind (apartment rows, houses, sheds, old town, park) that says how
its buildings are laid out. Guarantees: only the rectangle around a town is computed; everything follows from its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.scene.demo.noise import Floats, hashed

ROWS, HOUSES, SHEDS, OLD, PARK = range(5)

_ROOFS = np.array(
    [
        [152, 150, 147, 146], [206, 204, 200, 188], [242, 243, 244, 226], [164, 96, 82, 150], [88, 88, 92, 92],
        [96, 136, 204, 148], [190, 176, 152, 178], [122, 112, 104, 118], [180, 120, 98, 160], [120, 150, 160, 140],
    ],
    np.float32,
)  # fmt: skip
"""Red, green, blue and near infrared of roofs: concrete, light, white, tile, tar, blue, beige, old, brick, green."""

_CHOICE = {
    ROWS: (0, 0, 1, 6, 6, 4, 1, 3),
    HOUSES: (3, 3, 8, 0, 7, 6, 4, 5),
    SHEDS: (5, 5, 2, 1, 0, 2, 5, 9),
    OLD: (7, 7, 4, 8, 3, 0, 7, 5),
    PARK: (7, 7, 7, 7, 7, 7, 7, 7),
}
_KINDS: tuple[tuple[float, ...], ...] = (
    # pitch along, pitch across, share along, share across, height, chance of a building
    (17.0, 7.5, 0.80, 0.48, 3.0, 0.95),
    (5.4, 6.2, 0.66, 0.60, 1.0, 0.88),
    (23.0, 15.0, 0.84, 0.80, 2.0, 0.90),
    (4.2, 4.6, 0.80, 0.78, 1.0, 0.93),
    (30.0, 30.0, 0.20, 0.20, 1.0, 0.30),
)
_YARDS = np.array(
    [[118, 116, 108, 130], [92, 104, 76, 138], [142, 138, 132, 140], [106, 98, 88, 112], [72, 96, 56, 156]], np.float32
)
_STREET = np.array([128, 126, 124, 124], np.float32)
_GREEN = np.array([50, 68, 44, 134], np.float32)


@dataclass(frozen=True)
class Town:
    """A town or village.

    Attributes:
        x: Column of the middle.
        y: Row of the middle.
        radius_px: Radius.
        angle: Direction of the streets.
        seed: Decides the rest.
        village: Whether it has houses and old farms only.
    """

    x: float
    y: float
    radius_px: float
    angle: float
    seed: int
    village: bool

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns the town may touch."""
        reach = self.radius_px * 1.5 + 60
        return (
            slice(int(np.clip(self.y - reach, 0, shape[0])), int(np.clip(self.y + reach, 0, shape[0]))),
            slice(int(np.clip(self.x - reach, 0, shape[1])), int(np.clip(self.x + reach, 0, shape[1]))),
        )


def build(town: Town, window: tuple[slice, slice]) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Built-up pixels of a window and the colours [4, height, width] of the town there."""
    rng = np.random.default_rng(town.seed)
    y, x = np.mgrid[window].astype(np.float32)
    x -= np.float32(town.x - 0.5)
    y -= np.float32(town.y - 0.5)
    cos, sin = np.float32(np.cos(town.angle)), np.float32(np.sin(town.angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    bend = np.float32(rng.uniform(4, 12) if town.radius_px > 120 else 2.0)
    u, v = (
        u + bend * np.sin(v / np.float32(rng.uniform(120, 220))),
        v + bend * np.sin(u / np.float32(rng.uniform(120, 220))),
    )
    widths = (17, 30) if town.village else (26, 62)
    iu, a, du = _lots(rng, u, town.radius_px, widths)
    iv, b, dv = _lots(rng, v, town.radius_px, (14, 24) if town.village else (22, 44))
    inside, kind = _zones(rng, town, du, dv)
    kinds, built = kind[iv, iu], inside[iv, iu]
    table = np.array(_KINDS, np.float32)[kinds]
    wide = (iu % 4 == 0) | (iv % 5 == 0)
    street = np.minimum(np.minimum(a, du[1][iu] - a), np.minimum(b, dv[1][iv] - b))
    on_street = street < np.where(wide, 2.0, 1.0)
    roof, height, tone = _buildings(town.seed, iu, iv, a, b, table, kinds, street)
    color = np.moveaxis(_YARDS[kinds], -1, 0) * (0.86 + 0.28 * hashed(town.seed, 9, iu, iv))
    pixel = hashed(town.seed, 5, np.mgrid[window][0], np.mgrid[window][1])
    trees = ~on_street & (pixel < np.where(kinds == PARK, 0.5, 0.16))
    color = np.where(trees, _GREEN[:, None, None] * (0.75 + 2.0 * pixel), color)
    color = np.where(on_street, _STREET[:, None, None] * (0.9 + 0.2 * pixel), color)
    shadow = np.zeros(street.shape, bool)
    for length in (1, 2, 3):
        moved = np.zeros_like(height)
        back = (length + 1) // 2
        moved[: -length or None, : -back or None] = height[length:, back:]
        shadow |= (moved >= length) & (height == 0)
    color = color * np.where(shadow, np.float32(0.42), np.float32(1.0))
    color = np.where(height > 0, roof * tone, color)
    return built, np.asarray(color * (0.93 + 0.14 * pixel), np.float32)


def _lots(
    rng: np.random.Generator, along: Floats, radius_px: float, widths: tuple[float, float]
) -> tuple[npt.NDArray[np.intp], Floats, tuple[Floats, Floats]]:
    """Number of the lot each position lies in, the position in it, and starts and widths of all lots."""
    sizes = rng.uniform(*widths, int(4.5 * radius_px / widths[0]) + 12).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.float32) - sizes.sum() / 2
    number = np.clip(np.searchsorted(starts, along.ravel(), side="right") - 1, 0, sizes.size - 1).reshape(along.shape)
    return number, along - starts[number], (starts[:-1], sizes)


def _zones(
    rng: np.random.Generator, town: Town, lots_u: tuple[Floats, Floats], lots_v: tuple[Floats, Floats]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Which blocks belong to the town, and their kinds: old in the middle, sheds on one side, houses outside."""
    cu, cv = (start + size / 2 for start, size in (lots_u, lots_v))
    v, u = np.meshgrid(cv, cu, indexing="ij")
    theta, far = np.arctan2(v, u), np.hypot(u, v) / town.radius_px
    edge = np.ones_like(theta)
    for k in range(1, 6):
        edge += rng.normal(0, 0.3 / k) * np.cos(k * theta + rng.uniform(0, 6.28))
    far = far / np.clip(edge, 0.4, 1.5)
    inside = far + rng.normal(0, 0.07, far.shape) < 1.0
    luck = rng.random(far.shape)
    if town.village:
        return inside, np.where(luck < 0.6, HOUSES, OLD)
    kind = np.where(far < 0.2 + 0.15 * luck, OLD, ROWS)
    kind = np.where((far > 0.55) & (luck < 0.5), HOUSES, kind)
    side = np.cos(theta - rng.uniform(0, 6.28))
    kind = np.where((side > 0.45) & (far > 0.35) & (luck < 0.85), SHEDS, kind)
    return inside, np.where(rng.random(far.shape) < 0.05, PARK, kind)


def _buildings(
    seed: int,
    iu: npt.NDArray[Any],
    iv: npt.NDArray[Any],
    a: Floats,
    b: Floats,
    table: Floats,
    kinds: npt.NDArray[Any],
    street: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Roof colours, heights in pixels of shadow (0 where there is no roof) and tones."""
    turned = hashed(seed, 1, iu, iv) < 0.25
    first, second = np.where(turned, b, a), np.where(turned, a, b)
    stretch = 0.85 + 0.4 * hashed(seed, 2, iu, iv)
    pitch_a, pitch_b = table[..., 0] * stretch, table[..., 1] * (0.9 + 0.3 * hashed(seed, 3, iu, iv))
    ca, cb = np.floor(first / pitch_a), np.floor(second / pitch_b)
    fa, fb = first / pitch_a - ca, second / pitch_b - cb
    key = ca.astype(np.int64) * 64 + cb.astype(np.int64)
    chance, pick, tone = (hashed(seed, n, iu, iv, key) for n in (11, 12, 13))
    size = 0.8 + 0.35 * hashed(seed, 14, iu, iv, key)
    margin_a, margin_b = (1 - table[..., 2] * size) / 2, (1 - table[..., 3] * size) / 2
    roofed = (np.abs(fa - 0.5) < 0.5 - margin_a) & (np.abs(fb - 0.5) < 0.5 - margin_b)
    roofed &= (chance < table[..., 5]) & (street > 2.2)
    options = np.array([_CHOICE[k] for k in range(5)])
    common = hashed(seed, 15, iu, iv)
    index = (np.where(pick < 0.65, common, tone) * 8).astype(np.intp)
    roof = np.moveaxis(_ROOFS[options[kinds, index]], -1, 0)
    ridge = np.where((kinds == HOUSES) | (kinds == OLD), 0.86 + 0.28 * (fb > 0.5), 1.0)
    return (
        roof,
        np.where(roofed, table[..., 4], 0).astype(np.float32),
        np.asarray((0.82 + 0.36 * tone) * ridge, np.float32),
    )
