"""Training samples that are pieces of tiles: mosaics, blobs, other tones and changed radiometry.

Guarantees: everything random comes from the generator that is handed in; labels are never interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.training.segmentation.recipe import Pieces
from engine.training.segmentation.tiles import IGNORE, Tile

_TONE_TRIES = 8
"""Draws of a tile that may hold nothing but the class itself."""

Draw = Callable[[np.random.Generator], Tile]
"""Draws a tile: rare classes and weighty sources come up more often."""


class PieceMaker:
    """Makes a sample of pieces: an image ``[C, S, S]`` in 0 to 1 and labels ``[S, S]`` (255 ignored).

    Args:
        augmentation: How.
        draw: Where tiles come from.
        full_range: Stored value that becomes 1.
    """

    def __init__(self, augmentation: Pieces, draw: Draw, full_range: float) -> None:
        self.augmentation = augmentation
        self.full_range = full_range
        self._draw = draw

    def make(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A sample."""
        size = self.augmentation.crop_px
        kind = rng.random()
        if kind < self.augmentation.mosaic:
            image, labels = self._mosaic(rng, size)
        else:
            image, labels = self._piece(rng, size, size)
            if kind < self.augmentation.mosaic + self.augmentation.blobs:
                image = self._recoloured(rng, image)
                fewest, most = self.augmentation.pastes
                for _ in range(rng.integers(fewest, most + 1)):
                    other, other_labels = self._piece(rng, size, size)
                    other = self._recoloured(rng, other)
                    inside = _blob(rng, size, self.augmentation)
                    image, labels = torch.where(inside, other, image), torch.where(inside, other_labels, labels)
        return self._radiometry(rng, image / self.full_range), labels.long()

    def _mosaic(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        cut_y, cut_x = rng.integers(size // 4, size - size // 4 + 1, 2).tolist()
        rows = []
        for height in (cut_y, size - cut_y):
            pieces = [self._piece(rng, height, width) for width in (cut_x, size - cut_x)]
            rows.append(tuple(torch.cat(parts, dim=-1) for parts in zip(*pieces, strict=True)))
        image, labels = (torch.cat(parts, dim=-2) for parts in zip(*rows, strict=True))
        return image, labels

    def _piece(self, rng: np.random.Generator, height: int, width: int) -> tuple[Tensor, Tensor]:
        tile = self._draw(rng)
        low, high = self.augmentation.scale
        scale = math.exp(rng.uniform(math.log(low), math.log(high)))
        if self.augmentation.own_scale and rng.random() < self.augmentation.own_scale:
            scale = 1.0
        full_h, full_w = tile.labels.shape
        h, w = min(full_h, max(8, round(height / scale))), min(full_w, max(8, round(width / scale)))
        top, left = int(rng.integers(0, full_h - h + 1)), int(rng.integers(0, full_w - w + 1))
        window = np.s_[..., top : top + h, left : left + w]
        image = torch.from_numpy(np.ascontiguousarray(tile.image[window])).float()
        labels = torch.from_numpy(np.ascontiguousarray(tile.labels[window]))
        if (h, w) != (height, width):
            image = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
            labels = F.interpolate(labels[None, None].float(), (height, width), mode="nearest-exact")[0, 0].to(
                torch.uint8
            )
        if height == width:
            turns = int(rng.integers(4))
            image, labels = torch.rot90(image, turns, (1, 2)), torch.rot90(labels, turns, (0, 1))
        if rng.random() < 0.5:
            image, labels = image.flip(-1), labels.flip(-1)
        return self._retoned(rng, image, labels), labels

    def _retoned(self, rng: np.random.Generator, image: Tensor, labels: Tensor) -> Tensor:
        """Give each class, by its chance, the mean colour of land of another class; its texture stays."""
        for code, chance in self.augmentation.retone.items():
            inside = labels == code
            if not inside.any() or rng.random() >= chance:
                continue
            for _ in range(_TONE_TRIES):
                other = self._draw(rng)
                outside = (other.labels != code) & (other.labels != IGNORE)
                if outside.any():
                    tone = torch.from_numpy(other.image[:, outside].mean(axis=1).astype(np.float32))
                    image = torch.where(inside, _toned(image, inside, tone, float(rng.uniform(0.3, 1.1))), image)
                    break
        return image

    def _recoloured(self, rng: np.random.Generator, image: Tensor) -> Tensor:
        spread = self.augmentation.recolour
        if not spread:
            return image
        gain = np.exp(rng.normal(0, spread) + rng.normal(0, spread / 4, (image.shape[0], 1, 1)))
        return image * torch.from_numpy(gain.astype(np.float32))

    def _radiometry(self, rng: np.random.Generator, image: Tensor) -> Tensor:
        a = self.augmentation
        bands = image.shape[0]
        gain = np.exp(rng.normal(0, a.gain) + rng.normal(0, a.band_gain, (bands, 1, 1)))
        offset = rng.normal(0, a.band_offset, (bands, 1, 1))
        image = image * torch.from_numpy(gain.astype(np.float32)) + torch.from_numpy(offset.astype(np.float32))
        if rng.random() < 0.5:
            image = image.clamp(1e-3, 1.2) ** math.exp(rng.normal(0, a.gamma))
        if rng.random() < a.desaturate:
            image = torch.lerp(image, image.mean(0, keepdim=True).expand_as(image), float(rng.uniform(0.1, 0.7)))
        if rng.random() < a.blur:
            image = F.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0]
        noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, a.noise)
        return (image + torch.from_numpy(noise.astype(np.float32))).clamp(0, 1)


def _toned(image: Tensor, inside: Tensor, tone: Tensor, share: float) -> Tensor:
    """Move the mean colour of ``inside`` towards ``tone``; what gets darker loses contrast in proportion."""
    mean = image[:, inside].mean(dim=1)
    goal = torch.lerp(mean, tone, share).clamp_min(0)
    contrast = (goal / mean.clamp_min(1e-6)).clamp(max=1.0)
    return (image - mean[:, None, None]) * contrast[:, None, None] + goal[:, None, None]


def _blob(rng: np.random.Generator, size: int, augmentation: Pieces) -> Tensor:
    fewest, most = augmentation.blob_cells
    cells = int(rng.integers(fewest, most + 1))
    field = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), dtype=np.float32))
    smooth = F.interpolate(field, (size, size), mode="bicubic", align_corners=True)[0, 0]
    if augmentation.blob_cover is None:
        return smooth > rng.normal(0, 0.3)
    return smooth > float(np.quantile(smooth.numpy(), 1.0 - rng.uniform(*augmentation.blob_cover)))  # torch sorts all
