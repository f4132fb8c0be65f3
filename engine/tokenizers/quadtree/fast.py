"""The default runner: greedy cutting as a selection, without a loop over cuts.

Let e(patch) be the latest key (see ``order``) on the path from its root. A patch is cut before another whenever its
e comes earlier, since the patch that holds both up is the same frontier. So with K cuts, everything whose e lies before
the K-th smallest e is cut; all that shares the K-th hangs below the one patch it belongs to, for keys are
unique. That patch is cut, and the same holds for the four trees below it with the cuts that are left: each round goes
one level down at least, so there are no more rounds than levels.

Guarantees: the answer of the plain definition (``runners.run_dict``) on any device; the work is a few passes over the
patches of the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engine.tokenizers.quadtree.layout import Layout
from engine.tokenizers.quadtree.order import NEVER, NUMBER

FIRST = -(1 << 63)
_CACHED_COLUMNS = 1 << 18


def cut_patches(layout: Layout, keys: Tensor, cuts: int) -> Tensor:
    """Which patches are cut.

    Args:
        layout: The tree.
        keys: Order of the patches that can be cut, ``[B, N]``.
        cuts: How many are cut, the same number in each image.

    Returns:
        ``[B, N]`` booleans.
    """
    if cuts == 0:
        return torch.zeros_like(keys, dtype=torch.bool)
    latest = path_max(keys, layout.grids[:-1])
    edge = _kth_smallest(latest, cuts)
    cut = latest < edge
    missing = cuts - 1 - cut.sum(dim=1, keepdim=True)
    held = edge & NUMBER
    most = int(missing.max())
    if most:
        below = _below(layout, held)  # none of these is cut yet: what holds up their root holds them up
        cut.scatter_(1, below, _cut_below(keys.gather(1, below), missing, most, len(layout.grids) - 2))
    return cut.scatter_(1, held, True)


def path_max(keys: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
    """Largest key on the path from each patch's root down to itself.

    Args:
        keys: ``[B, N]``.
        grids: Rows and columns of the levels, coarse to fine, each twice the one before.
    """
    latest = keys.clone()
    levels = torch.split(latest, [rows * cols for rows, cols in grids], dim=1)
    for grid, parents, children in zip(grids[:-1], levels[:-1], levels[1:], strict=True):
        torch.maximum(children, parents.index_select(1, _parents(grid, keys.device)), out=children)
    return latest


@lru_cache(maxsize=64)
def _parents(grid: tuple[int, int], device: torch.device) -> Tensor:
    """For each part of the patches of a grid, row by row, the patch it is a part of."""
    rows, cols = grid
    row = torch.arange(2 * rows, device=device) // 2 * cols
    return (row[:, None] + torch.arange(2 * cols, device=device) // 2).view(-1)


def _cut_below(keys: Tensor, missing: Tensor, most: int, depth: int) -> Tensor:
    """Which patches of the trees below one patch of each image are cut, ``missing`` ``[B, 1]`` of them."""
    grids = [(2 << level, 2 << level) for level in range(depth)]
    first = torch.full_like(missing, FIRST)
    chosen: Tensor | None = None
    latest = path_max(keys, grids)
    for level in range(depth):
        ordered = torch.cat((first, latest.topk(most, dim=1, largest=False).values), dim=1)
        edge = ordered.gather(1, missing)
        last = keys == edge
        new = (latest < edge).logical_or_(last)
        chosen = new if chosen is None else chosen.logical_or_(new)
        missing = missing - new.sum(dim=1, keepdim=True)
        most = int(missing.max())
        if most == 0:
            break
        inside = (latest == edge) > last
        latest = keys if level == depth - 2 else path_max(torch.where(inside, keys, FIRST), grids)
        latest = torch.where(inside, latest, NEVER)
    assert chosen is not None
    return chosen


def _kth_smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest value of each row, ``[B, 1]``; numpy selects several times as fast where it can."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, k - 1 : k])
    return values.kthvalue(k, dim=1, keepdim=True).values


def _below(layout: Layout, number: Tensor) -> Tensor:
    columns = layout.offsets[-2] * ((4 ** (len(layout.grids) - 1) - 1) // 3)
    if columns > _CACHED_COLUMNS:
        return _places_below(layout, number)
    return _places_table(layout, number.device).index_select(0, number.view(-1))


@lru_cache(maxsize=16)
def _places_table(layout: Layout, device: torch.device) -> Tensor:
    return _places_below(layout, torch.arange(layout.offsets[-2], device=device).unsqueeze(1))


def _places_below(layout: Layout, number: Tensor) -> Tensor:
    """Columns of the patches below one patch of each image; that patch's own where there are none.

    Args:
        layout: The tree.
        number: The patch of each image, ``[B, 1]``.

    Returns:
        ``[B, 4 + 16 + …]``, as many levels as can lie below a root.
    """
    device = number.device
    levels = len(layout.grids) - 1
    depth = levels - 1
    starts = torch.tensor(layout.offsets[:levels], device=device)
    level = torch.bucketize(number, starts, right=True) - 1
    cols = torch.tensor([grid[1] for grid in layout.grids[:levels]], device=device)
    place = number - starts[level]
    row, col = place // cols[level], place % cols[level]
    parts = []
    for down in range(1, depth + 1):
        edge = torch.arange(1 << down, device=device)
        target = level + down
        real = target < levels
        target = target.clamp_max(levels - 1)
        first = starts[target] + (row << down) * cols[target] + (col << down)
        within = (edge[:, None] * cols[target].unsqueeze(2) + edge).flatten(1)
        parts.append(torch.where(real, first + within, number))
    return torch.cat(parts, dim=1)
