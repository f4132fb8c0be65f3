"""Training samples and whole tiles to measure on, of the task ``segmentation``.

Guarantees: those of :mod:`engine.training.data`; tiles that hold rare classes are drawn more often for pieces, and
exactly once an epoch where whole tiles are trained on.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.training.data import Measured, Sample, Samples
from engine.training.images import BrokenImageError
from engine.training.segmentation.pieces import PieceMaker
from engine.training.segmentation.recipe import Measuring, Pieces, SegmentationRecipe, Whole
from engine.training.segmentation.tiles import Tile, TileSet, cuts, total_shares
from engine.training.transforms import colour_jitter, gaussian_blur, quarter_turn, resize


class TileSamples(Samples[Tile]):
    """Samples made of tiles.

    Args:
        recipe: How; of the augmentations whose epoch has come, the last counts.
        sets: Where tiles come from.
    """

    unit = "tile"

    def __init__(self, recipe: SegmentationRecipe, sets: list[TileSet]) -> None:
        super().__init__(recipe, sets)
        self._recipe = recipe
        self._sets = sets
        self.class_shares: np.ndarray | None = None
        self._wanted: list[np.ndarray] = []
        pieces = any(isinstance(a, Pieces) for a in recipe.augmentation)
        if pieces or recipe.loss.class_power or recipe.loss.logit_adjustment:
            shares = [group.class_shares(len(recipe.classes)) for group in sets]
            self.class_shares = total_shares(shares)
            self._wanted = [_wanted(part, self.class_shares) for part in shares]
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that samples are made for."""
        super().set_epoch(epoch)
        self.augmentation = [a for a in self._recipe.augmentation if a.from_epoch <= epoch][-1]
        self._maker: PieceMaker | None = None
        if isinstance(self.augmentation, Pieces):
            parts = [
                wanted * (group.weight if epoch >= group.from_epoch else 0.0)
                for group, wanted in zip(self._sets, self._wanted, strict=True)
            ]
            chances = np.cumsum(np.concatenate(parts))
            self.chances = chances / chances[-1]
            self._maker = PieceMaker(self.augmentation, self._draw, self._recipe.full_range)

    def stored_image(self, index: int) -> np.ndarray | None:
        """The tile's image as stored."""
        tile = self.stored(index)
        return None if tile is None else tile.image

    def __getitem__(self, index: int) -> Sample:
        rng = self.chance(index)
        if self._maker is not None:
            return self._maker.make(rng)
        assert isinstance(self.augmentation, Whole)
        tile = self.readable(self.turn(index))
        return whole_sample(rng, tile, self.augmentation, self._recipe.full_range)

    def _draw(self, rng: np.random.Generator) -> Tile:
        place = int(np.searchsorted(self.chances, rng.random(), side="right"))
        return self.readable(min(self.stored_count - 1, place))


def whole_sample(rng: np.random.Generator, tile: Tile, how: Whole, full_range: float) -> Sample:
    """A whole tile at one size: image ``[C, S, S]`` in 0 to 1, labels ``[S, S]``."""
    image = resize(torch.from_numpy(tile.image).float() / full_range, how.size_px, how.size_px)
    labels = _nearest(torch.from_numpy(tile.labels), how.size_px)
    if how.turn:
        image, labels = quarter_turn(rng, image, labels)
    for axis in (-1, -2):
        if rng.random() < how.flip:
            image, labels = image.flip(axis), labels.flip(axis)
    if rng.random() < how.blur:
        image = gaussian_blur(image, how.blur_kernel, float(rng.uniform(*how.blur_sigma)))
    image = colour_jitter(rng, image, how.brightness, how.contrast, how.saturation, how.hue)
    return image.clamp(0, 1), labels.long()


class MeasuredTiles(Measured):
    """Whole tiles, or the windows they are cut into: stored values ``[C, h, w]`` and labels ``[H, W]``.

    Args:
        sets: The tiles.
        measuring: How they are shown.
    """

    unit = "tiles"

    def __init__(self, sets: list[TileSet], measuring: Measuring) -> None:
        self.sets = sets
        self._measuring = measuring
        self._last: tuple[TileSet, int, Tile | None] | None = None
        self._parts = [
            (group, index, row, col)
            for group in sets
            for index in range(len(group))
            for row, col in self._windows(group, index)
        ]

    @property
    def tile_count(self) -> int:
        """Tiles there are."""
        return sum(len(group) for group in self.sets)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> Sample | None:
        group, place, (top, h), (left, w) = self._parts[index]
        tile = self._read(group, place)
        if tile is None:
            return None
        h, w = h or tile.labels.shape[0], w or tile.labels.shape[1]
        image = torch.from_numpy(np.ascontiguousarray(tile.image[:, top : top + h, left : left + w]))
        labels = torch.from_numpy(np.ascontiguousarray(tile.labels[top : top + h, left : left + w])).long()
        edge = self._measuring.resize_px
        return (image if edge is None else resize(image.float(), edge, edge)), labels

    def _windows(self, group: TileSet, index: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        edge = self._measuring.window_px
        if edge is None:
            return [((0, 0), (0, 0))]
        try:
            height, width = group.size_px(index)
        except BrokenImageError:  # reading it does what the recipe asks for
            return [((0, 0), (0, 0))]
        return [(row, col) for row in cuts(height, edge) for col in cuts(width, edge)]

    def _read(self, group: TileSet, place: int) -> Tile | None:
        if self._last is None or self._last[0] is not group or self._last[1] != place:
            self._last = group, place, group.read(place)
        return self._last[2]


def _nearest(labels: Tensor, edge: int) -> Tensor:
    if labels.shape == (edge, edge):
        return labels
    return F.interpolate(labels[None, None].float(), (edge, edge), mode="nearest-exact")[0, 0].to(labels.dtype)


def _wanted(shares: np.ndarray, total: np.ndarray) -> np.ndarray:
    wanted = (shares / np.sqrt(total)).sum(axis=1) + 0.05
    share: np.ndarray = wanted / wanted.sum()
    return share
