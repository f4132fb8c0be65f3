"""Training samples and pairs to measure on, of the task ``change``.

A sample's image is ``[2, C, H, W]``, the earlier date first; its target ``[H, W]`` holds 0, 1 and :data:`IGNORE`.
Guarantees: those of :mod:`engine.training.data`; both dates and the target are cut, zoomed and turned as one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.training.change.pairs import Pair, Pairs
from engine.training.change.recipe import ChangeRecipe, PairAugmentation
from engine.training.data import Measured, Sample, Samples, StoredSet
from engine.training.transforms import colour_jitter, resize

IGNORE = 255
"""Target of pixels beyond the edge of a pair."""


class ChangeSamples(Samples[Pair]):
    """Samples made of pairs.

    Args:
        recipe: How.
        sets: Where pairs come from.
    """

    unit = "pair"

    def __init__(self, recipe: ChangeRecipe, sets: list[Pairs]) -> None:
        super().__init__(recipe, sets)
        self._recipe = recipe
        self.set_epoch(0)

    def stored_image(self, index: int) -> np.ndarray | None:
        """Both images of a pair side by side."""
        pair = self.stored(index)
        return None if pair is None else np.concatenate((pair.before, pair.after), axis=2)

    def __getitem__(self, index: int) -> Sample:
        rng = self.chance(index)
        pair = self.readable(self.turn(index), lambda group, place: _drawn(group, place, rng))
        return make_sample(rng, pair, self._recipe.augmentation, self._recipe.full_range)


def _drawn(group: StoredSet[Pair], place: int, rng: np.random.Generator) -> Pair | None:
    assert isinstance(group, Pairs)
    return group.draw(place, rng)


def make_sample(rng: np.random.Generator, pair: Pair, how: PairAugmentation, full_range: float) -> Sample:
    """A piece of a pair and its mask: cut out, zoomed, flipped, turned, each date with colours of its own."""
    zoom = math.exp(rng.uniform(math.log(how.scale[0]), math.log(how.scale[1])))
    cut = round(how.crop_px / zoom)
    top, left = _place(rng, pair.changed, cut, how.centred)
    part = np.s_[..., top : top + cut, left : left + cut]
    dates = [
        _padded(torch.from_numpy(np.ascontiguousarray(image[part])).float() / full_range, cut)
        for image in (pair.before, pair.after)
    ]
    target = _padded(torch.from_numpy(np.ascontiguousarray(pair.changed[part])).long(), cut, IGNORE)
    if cut != how.crop_px:
        dates = [resize(date, how.crop_px, how.crop_px) for date in dates]
        target = F.interpolate(target[None, None].float(), (how.crop_px, how.crop_px), mode="nearest-exact")[
            0, 0
        ].long()
    if rng.random() < how.swap:
        dates.reverse()
    turns = int(rng.integers(1, 4)) if rng.random() < how.turn else 0
    flips = [axis for axis, chance in ((-1, how.flip), (-2, how.vertical_flip)) if rng.random() < chance]
    if how.recolours:
        dates = [
            colour_jitter(rng, date.clamp(0, 1), how.brightness, how.contrast, how.saturation, how.hue)
            for date in dates
        ]
    images = torch.rot90(torch.stack(dates), turns, (-2, -1)).flip(flips)
    return images.contiguous(), torch.rot90(target, turns, (-2, -1)).flip(flips).contiguous()


class MeasuredPairs(Measured):
    """Whole pairs of stored values ``[2, C, H, W]`` and targets ``[H, W]``.

    Args:
        sets: The pairs.
    """

    unit = "pairs"

    def __init__(self, sets: list[Pairs]) -> None:
        self._places = [(group, index) for group in sets for index in range(len(group))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample | None:
        group, place = self._places[index]
        pair = group.read(place)
        if pair is None:
            return None
        return torch.from_numpy(np.stack((pair.before, pair.after))), torch.from_numpy(pair.changed).long()


def _place(rng: np.random.Generator, changed: np.ndarray, cut: int, centred: float) -> tuple[int, int]:
    """Top left corner of a piece: round a changed pixel, or anywhere."""
    room = [max(0, length - cut) for length in changed.shape]
    if rng.random() < centred and any(room) and changed.any():
        rows, cols = np.nonzero(changed)
        pick = int(rng.integers(rows.size))
        corner = np.array((rows[pick], cols[pick])) - rng.uniform(0.1, 0.9, 2) * cut
        top, left = np.clip(np.rint(corner).astype(int), 0, room)
        return int(top), int(left)
    return int(rng.integers(0, room[0] + 1)), int(rng.integers(0, room[1] + 1))


def _padded(part: Tensor, edge: int, value: int | None = None) -> Tensor:
    """A square piece; where a small pair ends it goes on with a value or with its mean."""
    below, beside = edge - part.shape[-2], edge - part.shape[-1]
    if not (below or beside):
        return part
    fill = part.mean(dim=(-2, -1), keepdim=True) if value is None else torch.full((), value, dtype=part.dtype)
    whole = fill.expand(*part.shape[:-2], edge, edge).clone()
    whole[..., : part.shape[-2], : part.shape[-1]] = part
    return whole
