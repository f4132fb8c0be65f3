"""Blur scorers: a patch is worth cutting if shrinking it to the smallest size would lose much.

``PixelBlur`` is the published one; ``BandBlur`` is the same for any bands in any units. Both compare the image with
what is left of it when each patch keeps ``min_size`` x ``min_size`` pixels.

Guarantees: a score depends on the pixels of its patch and ``size / min_size`` beyond, and is the same bit for bit
wherever a window that holds them begins (sums are added in a fixed order); pixels without data neither blur into others
nor count as error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from engine.errors import OptionError
from engine.tokenizers.quadtree.layout import image_layout
from engine.tokenizers.quadtree.patches import mean_of_cells, pad_to_roots, shrink
from engine.tokenizers.quadtree.scores import Scores, check_valid, hide_empty, pad_flags

_SAMPLE_PX = 1 << 20
BAND_CLIP = 4.0
"""Distance from the median in spreads beyond which ``BandBlur`` does not look."""
_NORMAL_IQR = 1.349
"""Distance of the quartiles of a normal distribution in standard deviations."""


class PixelBlur:
    """Error of each patch against its blurred self: ``-sqrt(MSE * size)``, MSE over all bands.

    Args:
        antialias: Whether shrinking averages all pixels; published is no (see ``patches``).
    """

    def __init__(self, *, antialias: bool = False) -> None:
        self.antialias = antialias

    @property
    def name(self) -> str:
        """What it is."""
        return "pixel blur" + (", antialiased" if self.antialias else "")

    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images (see ``Scorer``)."""
        return Scores(blur_scores(images, min_size, max_size, valid, self.antialias), self.name)


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Where the values of each band lie.

    Attributes:
        centre: Median of each band, ``[C]`` or ``[B, C]``.
        spread: Distance of its quartiles, scaled to a standard deviation; never zero.
    """

    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, values: Tensor) -> BandStatistics:
        """Of values ``[C, N]``; where there is none, 0 and 1."""
        if not values.shape[1]:
            return cls(torch.zeros(len(values)).double(), torch.ones(len(values)).double())
        ordered = values.double().sort(dim=1).values
        at = [round(share * (values.shape[1] - 1)) for share in (0.25, 0.5, 0.75)]
        low, middle, high = (ordered[:, place] for place in at)
        spread = (high - low) / _NORMAL_IQR
        spread = torch.where(spread > 0, spread, ordered.std(dim=1, correction=0))
        return cls(middle, torch.where(spread > 0, spread, 1.0))


class BandBlur:
    """Blur error for any number of bands, in any units (16-bit reflectance, radar, indices).

    Each band is centred on its median and divided by its quartile distance, so that none outweighs the others by its
    units, and clipped at four of those, so that clouds, roofs and other outliers do not take all patches.

    Args:
        statistics: Of the bands, where pieces of one scene must be scored alike; None takes each image's own.
        antialias: Whether shrinking averages all pixels.
    """

    def __init__(self, statistics: BandStatistics | None = None, *, antialias: bool = True) -> None:
        self.statistics = statistics
        self.antialias = antialias

    @property
    def name(self) -> str:
        """What it is."""
        return "blur of robustly standardised bands" + ("" if self.antialias else ", not antialiased")

    @torch.no_grad()
    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images (see ``Scorer``)."""
        if valid is not None:
            check_valid(valid, images)
        found = self.statistics or _statistics_of(images, valid)
        dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
        centre = found.centre.to(images.device, dtype).view(-1, images.shape[1], 1, 1)
        spread = found.spread.to(images.device, dtype).view(-1, images.shape[1], 1, 1)
        alike = ((images.to(dtype) - centre) / spread).clamp(-BAND_CLIP, BAND_CLIP).float()
        return Scores(blur_scores(alike, min_size, max_size, valid, self.antialias), self.name)


@torch.no_grad()
def blur_scores(
    images: Tensor, min_size: int, max_size: int, valid: Tensor | None, antialias: bool
) -> dict[int, Tensor]:
    """Scores ``-sqrt(MSE * size)`` of all sizes above the smallest, ``[B, rows, cols]`` each.

    Args:
        images: ``[B, C, H, W]`` floats.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels.
        valid: Where there is data, ``[B, H, W]``; None is everywhere.
        antialias: Whether shrinking averages all pixels.

    Raises:
        OptionError: Images are no floats.
    """
    if not images.is_floating_point():
        raise OptionError(f"images are {images.dtype}", remedy="Give floats, for example images.float() / 255.")
    layout = image_layout(images, min_size, max_size)
    weights: Tensor | None = None
    flags = valid
    if valid is not None:
        check_valid(valid, images)
    if valid is not None or not layout.whole:
        if valid is None:
            valid = images.new_ones(images.shape[:1] + images.shape[2:], dtype=torch.bool)
        if not layout.whole:
            valid, images = pad_flags(valid, layout), pad_to_roots(images, layout)
        weights = valid[:, None].to(images.dtype)
        images = torch.where(weights > 0, images, 0.0)
    found = {}
    for size, (rows, cols) in zip(layout.splittable_sizes, layout.score_grids, strict=False):
        error = _squared_error(images, weights, size // min_size, antialias)
        batch, height, width = error.shape
        cells = error.reshape(batch, height // size, size, width // size, size)
        found[size] = -(mean_of_cells(cells)[:, :rows, :cols] * size).sqrt()
    return hide_empty(found, layout, flags)


def _squared_error(images: Tensor, weights: Tensor | None, factor: int, antialias: bool) -> Tensor:
    """Squared difference to the image shrunk by ``factor`` and grown again, mean over bands, ``[B, H, W]``."""
    small = shrink(images, factor, antialias=antialias)
    if weights is None:
        difference = images - _grow(small, factor)
    else:
        share = shrink(weights, factor, antialias=antialias)
        there = (share > 0).to(images.dtype)
        small = small / torch.where(share > 0, share, 1.0)
        near = _grow(there, factor)
        difference = (images - _grow(small, factor) / torch.where(near > 0, near, 1.0)) * weights * (near > 0)
    bands = (difference * difference).unbind(1)
    return reduce(torch.add, bands) / len(bands)


def _grow(small: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement of ``[..., h, w]`` by an even factor.

    Written with plain products and sums: those round alike whatever an element's place in memory.
    """
    return _grow_axis(_grow_axis(small, factor, -2), factor, -1)


def _grow_axis(small: Tensor, factor: int, axis: int) -> Tensor:
    values = small.movedim(axis, -1) if axis != -1 else small
    before = torch.cat((values[..., :1], values[..., :-1]), dim=-1)
    after = torch.cat((values[..., 1:], values[..., -1:]), dim=-1)
    far = (torch.arange(factor // 2, device=small.device, dtype=small.dtype) + 0.5) / factor
    near = far + 0.5
    values, before, after = values.unsqueeze(-1), before.unsqueeze(-1), after.unsqueeze(-1)
    first = before * (1 - near) + values * near
    second = values * (1 - far) + after * far
    grown = torch.cat((first, second), dim=-1).flatten(-2)
    return grown.movedim(-1, axis) if axis != -1 else grown


def _statistics_of(images: Tensor, valid: Tensor | None) -> BandStatistics:
    step = max(1, round((images.shape[2] * images.shape[3] / _SAMPLE_PX) ** 0.5))
    found = []
    for number, image in enumerate(images[:, :, ::step, ::step]):
        kept = None if valid is None else valid[number, ::step, ::step]
        found.append(BandStatistics.of(image.flatten(1) if kept is None else image[:, kept]))
    return BandStatistics(torch.stack([one.centre for one in found]), torch.stack([one.spread for one in found]))
