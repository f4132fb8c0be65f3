"""Pairs made of single images: what comes and goes is known, what differs without being a change is drawn.

One image is seen on two dates. On one of them buildings are drawn on it or areas of other images pasted into it, with
soft borders, or a whole town whose buildings are known stands there; which date has them is a matter of chance. Then
each date is photographed by itself: light, tint, season of what is green, haze, blur, noise, compression, and the later
one a little beside the earlier.
Guarantees: equal seeds give equal pairs; images are turned, so no side is up; pasted areas differ from what was there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage import draw

from engine.training.change.photographs import Grounds, Mask, Town, draw_cut
from engine.training.change.recipe import SimulatedSource
from engine.training.detection.drawn.canvas import Canvas, Pixels, Pose, rectangle
from engine.training.detection.drawn.grounds import house

if TYPE_CHECKING:
    from engine.training.change.pairs import Pair

_TRIES = 6
_HOUSE_GSD_M = 0.5
_GREEN = 0.03
"""How much green must exceed the mean of red and blue to be vegetation."""


class SimulatedPairs:
    """Pairs that are made when they are drawn.

    Args:
        grounds: Images with values up to 255.
        source: How.
        count: Pairs of a pass.
    """

    def __init__(self, grounds: Grounds, source: SimulatedSource, count: int) -> None:
        self._grounds, self._source, self._count = grounds, source, count

    def __len__(self) -> int:
        return self._count

    def draw(self, place: int, rng: np.random.Generator) -> Pair:
        """Make a pair."""
        from engine.training.change.pairs import Pair

        before, after, changed = simulate(rng, self._grounds, self._source)
        return Pair(before, after, changed)

    def read(self, place: int) -> Pair:
        """The pair of this number, the same each time."""
        return self.draw(place, np.random.default_rng((place, 0xC4A)))


def simulate(rng: np.random.Generator, grounds: Grounds, how: SimulatedSource) -> tuple[np.ndarray, np.ndarray, Mask]:
    """Make a pair.

    Args:
        rng: Where chance comes from.
        grounds: Images with values up to 255.
        how: Strengths.

    Returns:
        Both dates ``[3, S, S]`` uint8 and what changed ``[S, S]``.
    """
    bare = bool(grounds.bare) and rng.random() < how.bare_share
    settled = bare and bool(grounds.towns) and rng.random() < how.towns_share
    plain = _piece(rng, grounds.bare if bare else grounds.all, how)
    other, changed = plain, np.zeros(plain.shape[:2], bool)
    houses = areas = 0
    if rng.random() >= how.unchanged:
        count = int(rng.integers(how.changes[0], how.changes[1] + 1))
        houses = int(rng.binomial(count, how.houses))
        areas = count - houses
    if settled:
        other, changed = _settled(rng, plain, grounds.towns, how)
        houses = areas = 0
    elif bare:  # other ground: no change, so it may be there without any, and all over
        areas = int(rng.integers(0, how.changes[1] + 1))
    elif grounds.bare:
        areas = 0
    for _ in range(areas):
        other, mask = _replaced(rng, other, grounds.bare or grounds.all, how)
        changed = changed if grounds.bare else changed | mask
    for _ in range(houses):
        other, mask = _built(rng, other, changed, how)
        changed = changed | mask
    dates = [plain, other] if rng.random() < 0.5 else [other, plain]
    dates[1] = _beside(rng, dates[1], how)
    before, after = (_photographed(rng, date, how) for date in dates)
    return before, after, changed


def _piece(rng: np.random.Generator, grounds: Sequence[np.ndarray], how: SimulatedSource) -> Pixels:
    """A piece of an image, turned and zoomed, ``[S, S, 3]`` in 0 to 1."""
    image = grounds[int(rng.integers(len(grounds)))]
    return draw_cut(rng, (image.shape[1], image.shape[2]), how).of_image(image)


def _settled(
    rng: np.random.Generator, ground: Pixels, towns: Sequence[Town], how: SimulatedSource
) -> tuple[Pixels, Mask]:
    """A town instead of the ground; where it is not known what stands there, the ground stays as it was."""
    town = towns[int(rng.integers(len(towns)))]
    cut = draw_cut(rng, (town.image.shape[1], town.image.shape[2]), how)
    known = ndimage.gaussian_filter(cut.of_mask(town.known).astype(np.float32), 0.7)[:, :, None]
    return (ground * (1 - known) + cut.of_image(town.image) * known).astype(np.float32), cut.of_mask(town.buildings)


def _built(rng: np.random.Generator, ground: Pixels, taken: Mask, how: SimulatedSource) -> tuple[Pixels, Mask]:
    """Buildings in one or two rows, with their shadows; the mask is what they stand on."""
    size = how.size_px
    low, high = (math.log(side) for side in how.house_px)
    inside: Any = draw.polygon
    canvas = Canvas(ground, (float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.2, 0.9))))
    mask = np.zeros((size, size), bool)
    length, width = sorted(np.exp(rng.uniform(low, high, 2)), reverse=True)
    turn = float(rng.uniform(0, np.pi))
    along = np.array((math.cos(turn), math.sin(turn)))
    across = np.array((-along[1], along[0]))
    start = rng.uniform(0.1, 0.9, 2) * size
    for row in range(int(rng.integers(1, 3))):
        for place in range(int(rng.integers(1, 6))):
            gap = rng.uniform(1.15, 1.6)
            x, y = start + along * place * length * gap + across * row * width * rng.uniform(1.5, 2.5)
            one, two = length * rng.uniform(0.8, 1.1), width * rng.uniform(0.8, 1.1)
            pose = Pose(float(x), float(y), turn + float(rng.normal(0, 0.04)), _HOUSE_GSD_M)
            outline = pose.place(rectangle(one * _HOUSE_GSD_M, two * _HOUSE_GSD_M))
            rows, cols = inside(outline[:, 1] - 0.5, outline[:, 0] - 0.5, mask.shape)
            if rows.size < 0.5 * one * two or taken[rows, cols].any() or mask[rows, cols].any():
                continue
            house(rng, canvas, pose, one * _HOUSE_GSD_M, two * _HOUSE_GSD_M)
            mask[rows, cols] = True
    return canvas.as_drawn(float(rng.uniform(0.3, 0.8))), mask


def _replaced(
    rng: np.random.Generator, ground: Pixels, grounds: Sequence[np.ndarray], how: SimulatedSource
) -> tuple[Pixels, Mask]:
    """An area of another image, blob or field, pasted with a soft border."""
    size = how.size_px
    mask = np.zeros((size, size), bool)
    for _ in range(_TRIES):
        donor = _piece(rng, grounds, how)
        mask = _area(rng, size, how.area_px)
        if mask.any() and np.abs(donor[mask].mean(axis=0) - ground[mask].mean(axis=0)).max() >= how.least_contrast:
            soft = ndimage.gaussian_filter(mask.astype(np.float32), rng.uniform(0.4, 1.5))[:, :, None]
            return (ground * (1 - soft) + donor * soft).astype(np.float32), mask
    return ground, np.zeros_like(mask)


def _area(rng: np.random.Generator, size: int, edges: tuple[float, float]) -> Mask:
    """A turned rectangle, half of the time with a ragged outline."""
    low, high = (math.log(edge) for edge in edges)
    length, width = np.exp(rng.uniform(low, high, 2))
    turn = rng.uniform(0, np.pi)
    middle = rng.uniform(0.05, 0.95, 2) * size
    rows, cols = np.mgrid[:size, :size] + 0.5
    x, y = cols - middle[0], rows - middle[1]
    u = (x * np.cos(turn) + y * np.sin(turn)) / (length / 2)
    v = (y * np.cos(turn) - x * np.sin(turn)) / (width / 2)
    if rng.random() < 0.5:
        return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= 1)
    ragged = 0.35 * _smooth(rng, size, max(8, round(min(length, width) / 4)))
    return np.asarray(u * u + v * v <= 1 + ragged)


def _beside(rng: np.random.Generator, image: Pixels, how: SimulatedSource) -> Pixels:
    """The image as a survey that is registered a little beside the other one."""
    turn = math.radians(rng.normal(0, how.turn_deg)) if how.turn_deg else 0.0
    shift = rng.normal(0, how.shift_px, 2) if how.shift_px else np.zeros(2)
    matrix = np.array(((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))))
    middle = (how.size_px - 1) / 2
    offset = middle + shift - matrix @ np.array((middle, middle))
    bands = [ndimage.affine_transform(image[:, :, b], matrix, offset, order=1, mode="reflect") for b in range(3)]
    return np.stack(bands, axis=-1)


def _photographed(rng: np.random.Generator, image: Pixels, how: SimulatedSource) -> npt.NDArray[np.uint8]:
    """What a camera makes of it on some day, ``[3, S, S]``."""
    red, green, blue = np.moveaxis(image, -1, 0)
    leaves = np.clip((green - 0.5 * (red + blue)) / _GREEN - 0.5, 0, 1)[:, :, None]
    dry = np.array((1.35, 1.08, 0.9)) if rng.random() < 0.5 else np.array((0.75, 0.9, 0.85))
    seen = image * (1 + leaves * how.season * rng.random() * (dry - 1))
    seen = seen * np.exp(how.uneven * _smooth(rng, how.size_px, how.size_px // 3))[:, :, None]
    seen = seen * np.exp(rng.normal(0, how.light)) * np.exp(rng.normal(0, how.tint, 3))
    seen = np.clip(seen, 0, None) ** np.exp(rng.normal(0, how.gamma))
    haze = how.haze * rng.random()
    seen = seen * (1 - haze) + haze * rng.uniform(0.5, 0.8)
    blur = how.blur * rng.random()
    if blur > 0.2:
        seen = ndimage.gaussian_filter(seen, (blur, blur, 0))
    noise = rng.standard_normal(seen.shape, np.float32) * how.noise * rng.random()
    pixels = np.clip(255 * (seen + noise), 0, 255).round().astype(np.uint8)
    if rng.random() < how.compression:
        stored = io.BytesIO()
        Image.fromarray(pixels).save(stored, "JPEG", quality=int(rng.integers(40, 95)))
        pixels = np.asarray(Image.open(stored))
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _smooth(rng: np.random.Generator, size: int, step: int) -> Pixels:
    """Smooth noise of deviation about 1 whose grains are ``step`` pixels wide."""
    cells = max(2, size // step + 2)
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    fine = ndimage.zoom(coarse, (size + step) / cells, order=3, mode="nearest")
    return np.asarray(fine[:size, :size], np.float32)
