"""Scorers that need no look at the pixels: importance that is known already, and chance.

Guarantees: chance is the same on every device (numbers are drawn on the processor).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.errors import OptionError
from engine.tokenizers.quadtree.layout import image_layout
from engine.tokenizers.quadtree.scores import Scores, hide_empty, importance_scores


class Precomputed:
    """Importance from outside: saliency, a model's uncertainty, a map drawn by hand.

    Args:
        importance: ``[B, h, w]`` for all sizes; or one map for each size above the smallest, fine to coarse, stacked
            as ``[B, sizes, h, w]`` or as a sequence. Maps cover the whole image; the higher, the earlier a cut.
        name: What it is, in words.
    """

    def __init__(self, importance: Tensor | Sequence[Tensor], name: str = "precomputed importance") -> None:
        self.importance = importance
        self.name = name

    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images (see ``Scorer``).

        Raises:
            OptionError: The maps are for another number of images or sizes, or too coarse.
        """
        layout = image_layout(images, min_size, max_size)
        first = self.importance if isinstance(self.importance, Tensor) else self.importance[0]
        if len(first) != len(images):
            raise OptionError(f"importance is for {len(first)} images and not {len(images)}", where="importance")
        found = {size: one.to(images.device) for size, one in importance_scores(self.importance, layout).items()}
        return Scores(hide_empty(found, layout, valid), self.name)


class Random:
    """Uniform importance in [0, 1), drawn for each size anew.

    Args:
        seed: The generator for patches of a size starts from ``seed + size``, as published, so that the same images
            are always cut alike; None draws from torch's own generator.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    @property
    def name(self) -> str:
        """What it is."""
        return "random" if self.seed is None else f"random, seed {self.seed}"

    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images (see ``Scorer``)."""
        layout = image_layout(images, min_size, max_size)
        found = {}
        for size, (rows, cols) in zip(layout.splittable_sizes, layout.score_grids, strict=False):
            source = None if self.seed is None else torch.Generator().manual_seed(self.seed + size)
            drawn = torch.rand((len(images), rows * cols), generator=source)
            found[size] = -drawn.view(-1, rows, cols).to(images.device)
        return Scores(hide_empty(found, layout, valid), self.name)
