"""The quadtree itself: images and scores in, boxes of the chosen patches out, by one of four runners.

See the package for the rule. Guarantees: every runner gives the same boxes for the same scores, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from engine.errors import OptionError
from engine.tokenizers.quadtree.fast import cut_patches
from engine.tokenizers.quadtree.layout import Layout, image_layout
from engine.tokenizers.quadtree.order import counted, order_keys
from engine.tokenizers.quadtree.patches import Patches, all_pixels, chosen_pixels
from engine.tokenizers.quadtree.runners import run_dict, run_tensor, run_z_curve

Runner = Literal["fast", "dict", "tensor", "z_curve"]

_CACHED_PATCHES = 1 << 18


def run(
    images: Tensor,
    scores: Mapping[int, Tensor],
    num_patches: int,
    min_size: int,
    max_size: int,
    runner: Runner = "fast",
) -> Tensor:
    """Cut each image into ``num_patches`` patches: small where scores are low, large elsewhere.

    Args:
        images: ``[B, C, H, W]``; only the shape is used.
        scores: For each size above ``min_size`` the scores ``[B, ceil(H / size), ceil(W / size)]`` of its patches; the
            lower, the earlier a patch is cut.
        num_patches: Patches of each image, those that lie wholly outside counted (there are none where ``max_size``
            divides both edges).
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels, ``min_size`` times a power of two.
        runner: Which implementation; all give the same answer.

    Returns:
        ``[B, P, 3]`` int64: left, top and size of each patch in pixels, sorted by (size, top, left), on the device of
        the scores.

    Raises:
        OptionError: The image is empty, sizes do not go together, the budget cannot be met, or scores are missing, of
            another shape or NaN; the message says what would work.
    """
    layout = image_layout(images, min_size, max_size)
    cuts = layout.splits(num_patches)
    if runner not in get_args(Runner):
        raise OptionError(f"there is no runner {runner!r}", remedy=f"Runners are {', '.join(get_args(Runner))}.")
    boxes = _RUNNERS[runner](layout, scores, images.shape[0], cuts)
    return boxes if layout.splittable_sizes else boxes.to(images.device)


def tokenize(
    images: Tensor,
    scores: Mapping[int, Tensor],
    num_patches: int,
    min_size: int,
    max_size: int,
    runner: Runner = "fast",
    *,
    antialias: bool = False,
) -> Patches:
    """Cut each image into ``num_patches`` patches (see :func:`run`) and fetch their pixels.

    The default reads the pixels of the chosen patches only; the other runners cut up the image at every scale and
    choose then, as published. The answer is the same, bit for bit.

    Args:
        images: ``[B, C, H, W]`` floats.
        scores: As for :func:`run`.
        num_patches: Patches of each image.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels.
        runner: Which implementation.
        antialias: Whether larger patches average all their pixels; published is no.

    Raises:
        OptionError: As for :func:`run`.
    """
    boxes = run(images, scores, num_patches, min_size, max_size, runner)
    fetch = chosen_pixels if runner == "fast" else all_pixels
    return Patches(boxes, fetch(images, boxes, min_size, max_size, antialias=antialias))


def run_fast(layout: Layout, scores: Mapping[int, Tensor], batch: int, cuts: int) -> Tensor:
    """All images and all cuts at once (see ``fast``); boxes ``[B, P, 3]`` sorted by (size, top, left)."""
    keys = order_keys(layout, scores, batch)
    return boxes_of(layout, cut_patches(layout, keys, cuts))


def boxes_of(layout: Layout, cut: Tensor) -> Tensor:
    """Boxes ``[B, P, 3]`` left when the patches ``cut`` ``[B, N]`` are cut, as many in each image."""
    batch = cut.shape[0]
    grids = layout.grids[:-1]
    counts = [rows * cols for rows, cols in grids]
    pairs = cut.to(torch.int16).mul_(0x0101)  # two booleans side by side: whole words are copied many times faster
    kept: list[Tensor] = []
    there: Tensor | None = None
    for (rows, cols), own, pair in zip(grids, torch.split(cut, counts, 1), torch.split(pairs, counts, 1), strict=True):
        kept.append(~own if there is None else there > own)
        there = pair.view(batch, rows, 1, cols).expand(-1, -1, 2, -1).contiguous().view(torch.bool).view(batch, -1)
    kept.append(torch.ones(batch, layout.min_patches, dtype=torch.bool, device=cut.device) if there is None else there)
    numbers = _true_places(torch.cat(kept[::-1], dim=1).view(-1)).view(batch, -1)
    numbers = numbers - counted(batch, cut.device, layout.offsets[-1])[:, None]
    return _boxes_fine_first(layout, cut.device).index_select(0, numbers.view(-1)).view(batch, -1, 3)


def _true_places(mask: Tensor) -> Tensor:
    """Where a flat mask is True; numpy collects several times as fast where it can."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero()[:, 0]


def _boxes_fine_first(layout: Layout, device: torch.device) -> Tensor:
    small = layout.offsets[-1] <= _CACHED_PATCHES
    return _cached_boxes(layout, device) if small else _make_boxes(layout, device)


def _make_boxes(layout: Layout, device: torch.device) -> Tensor:
    parts = []
    for size, (rows, cols) in zip(layout.sizes[::-1], layout.grids[::-1], strict=True):
        top = torch.arange(0, rows * size, size, device=device)
        left = torch.arange(0, cols * size, size, device=device)
        part = torch.empty(rows, cols, 3, dtype=torch.int64, device=device)
        part[:, :, 0], part[:, :, 1], part[:, :, 2] = left, top[:, None], size
        parts.append(part.view(-1, 3))
    return torch.cat(parts)


_cached_boxes = lru_cache(maxsize=16)(_make_boxes)

_RUNNERS: dict[str, Callable[[Layout, Mapping[int, Tensor], int, int], Tensor]] = {
    "fast": run_fast,
    "dict": run_dict,
    "tensor": run_tensor,
    "z_curve": run_z_curve,
}
