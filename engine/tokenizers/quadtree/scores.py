"""Scores: how little there is to see in each patch, at every size; and what all scorers share.

A scorer is an object ``scorer(images, min_size, max_size) -> Scores``. The lower a score, the earlier a patch is cut;
scores of different sizes are compared with one another. Scorers that measure importance give its negative.

Guarantees: patches without any valid pixel score plus infinity; scores carry no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import OptionError
from engine.tokenizers.quadtree.layout import Layout


class Scores(dict[int, Tensor]):
    """Scores ``[B, rows, cols]`` by patch size in pixels, for every size above the smallest.

    Args:
        scores: The scores.
        scorer: What made them, in words, with the name of the network where there is one.
    """

    def __init__(self, scores: Mapping[int, Tensor], scorer: str) -> None:
        super().__init__(scores)
        self.scorer = scorer


class Scorer(Protocol):
    """What every scorer is."""

    @property
    def name(self) -> str:
        """What it is, in words; with the name of the network where there is one."""
        ...

    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images.

        Args:
            images: ``[B, C, H, W]`` floats.
            min_size: Edge of the smallest patch in pixels.
            max_size: Edge of the largest patch in pixels, ``min_size`` times a power of two.
            valid: Where there is data, ``[B, H, W]`` booleans; None is everywhere.
        """
        ...


def pad_flags(valid: Tensor, layout: Layout) -> Tensor:
    """Flags ``[B, H, W]`` on the ground that the roots cover, False beyond the image."""
    rows, cols = layout.grids[-1]
    extra = (0, cols * layout.min_size - layout.width, 0, rows * layout.min_size - layout.height)
    return F.pad(valid, extra)


def hide_empty(scores: Mapping[int, Tensor], layout: Layout, valid: Tensor | None) -> dict[int, Tensor]:
    """Scores with plus infinity for patches that hold no valid pixel ``[B, H, W]``."""
    if valid is None:
        return dict(scores)
    if tuple(valid.shape[1:]) != (layout.height, layout.width):
        raise OptionError(f"valid has the shape {list(valid.shape)}", remedy=_flags_remedy(layout.height, layout.width))
    rows, cols = layout.grids[-1]
    some = pad_flags(valid, layout).view(-1, rows, layout.min_size, cols, layout.min_size).any(dim=4).any(dim=2)
    found: dict[int, Tensor] = {}
    for size, (inner_rows, inner_cols) in zip(layout.sizes[-2::-1], layout.score_grids[-2::-1], strict=True):
        rows, cols = rows // 2, cols // 2
        some = some.view(-1, rows, 2, cols, 2).any(dim=4).any(dim=2)
        found[size] = scores[size].masked_fill(~some[:, :inner_rows, :inner_cols], math.inf)
    return found


def check_valid(valid: Tensor, images: Tensor) -> None:
    """Refuse flags that do not fit images ``[B, C, H, W]``.

    Raises:
        OptionError: They have another shape or are no booleans.
    """
    if valid.shape != images.shape[:1] + images.shape[2:] or valid.dtype != torch.bool:
        raise OptionError(
            f"valid is {valid.dtype} of shape {list(valid.shape)}", remedy=_flags_remedy(*images.shape[2:])
        )


def _flags_remedy(height: int, width: int) -> str:
    return f"Give booleans of shape [images, {height}, {width}]."


def importance_scores(maps: Tensor | Sequence[Tensor], layout: Layout) -> dict[int, Tensor]:
    """Scores from maps of importance that cover the image.

    A map is averaged over each patch where whole cells of it fall into one, and sampled bilinearly at the middle of
    patches otherwise (both as published).

    Args:
        maps: ``[B, h, w]`` for all sizes; or one for each size above the smallest, fine to coarse, stacked as
            ``[B, sizes, h, w]`` or as a sequence of ``[B, h, w]``.
        layout: The tree.

    Raises:
        OptionError: There are not as many maps as sizes, or one is coarser than the grid of its patches.
    """
    sizes = layout.sizes[-2::-1]
    if isinstance(maps, Tensor):
        listed = [maps] * len(sizes) if maps.ndim == 3 else list(maps.unbind(1)) if maps.ndim == 4 else []
    else:
        listed = list(maps)
    if len(listed) != len(sizes) or any(one.ndim != 3 for one in listed):
        raise OptionError(
            f"importance maps do not fit {len(sizes)} sizes of patches above the smallest",
            where="importance",
            remedy=f"Give one map [images, rows, columns] for all, or {len(sizes)} of them, fine to coarse.",
        )
    pooled = zip(sizes, layout.score_grids[-2::-1], listed, strict=True)
    return {size: -_pool(one.detach(), layout, size, grid) for size, grid, one in pooled}


def _pool(importance: Tensor, layout: Layout, size: int, grid: tuple[int, int]) -> Tensor:
    rows, cols = grid
    height, width = importance.shape[1:]
    if height < rows or width < cols:
        raise OptionError(
            f"the importance map has {height} x {width} cells, fewer than the {rows} x {cols} patches of {size} pixels",
            where="importance",
            remedy="Use a finer map, or a larger min_size.",
        )
    if (height, width) == grid:
        return importance
    if layout.height % size == 0 and layout.width % size == 0:
        if height % rows == 0 and width % cols == 0:
            return F.avg_pool2d(importance[:, None], (height // rows, width // cols))[:, 0]
    elif (height, width) == layout.score_grids[-1]:
        return _pool_inside(importance, size // layout.min_size, grid)
    row = (torch.arange(rows, device=importance.device) + 0.5) * (size * height / layout.height) - 0.5
    col = (torch.arange(cols, device=importance.device) + 0.5) * (size * width / layout.width) - 0.5
    return _lerp(_lerp(importance, row, 1), col, 2)


def _pool_inside(importance: Tensor, cells: int, grid: tuple[int, int]) -> Tensor:
    """Average over blocks of ``cells`` x ``cells``, of which the last hang over the edge."""
    extra = (0, grid[1] * cells - importance.shape[2], 0, grid[0] * cells - importance.shape[1])
    total = F.avg_pool2d(F.pad(importance, extra)[:, None], cells)
    share = F.avg_pool2d(F.pad(torch.ones_like(importance[:1]), extra)[:, None], cells)
    return (total / share)[:, 0]


def _lerp(values: Tensor, places: Tensor, dim: int) -> Tensor:
    """Values of a map at places along an axis, between cells linearly, constant beyond the ends."""
    last = values.shape[dim] - 1
    places = places.clamp(0, last)
    low = places.floor().long().clamp(max=max(last - 1, 0))
    shape = [1] * values.ndim
    shape[dim] = -1
    part = (places - low).to(values.dtype).view(shape)
    high = (low + 1).clamp(max=last)
    return values.index_select(dim, low) * (1 - part) + values.index_select(dim, high) * part
