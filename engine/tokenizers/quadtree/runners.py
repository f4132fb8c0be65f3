"""Three readable runners: the definition with a heap, the table of open patches, and the array in z-order.

They cut one patch after the other, as the publication does, and exist to be read, compared and tested against; the
default, ``fast``, gives the same answer at once. Guarantees: each returns the boxes ``[B, P, 3]`` (left, top, size in
pixels) sorted by (size, top, left), ties cut as ``order`` says.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.tokenizers.quadtree.layout import Layout
from engine.tokenizers.quadtree.order import NEVER, check_numbers, order_keys

Scores = Mapping[int, Tensor]


def run_dict(layout: Layout, scores: Scores, batch: int, cuts: int) -> Tensor:
    """The definition: for each image a heap of open patches, the first of which is cut ``cuts`` times."""
    levels = layout.checked_scores(scores, batch)
    check_numbers(layout, levels)
    tables = {size: values.tolist() for size, values in zip(layout.splittable_sizes, levels, strict=True)}
    boxes = [
        _heap_boxes(layout, {size: table[image] for size, table in tables.items()}, cuts) for image in range(batch)
    ]
    return torch.tensor(boxes, dtype=torch.int64, device=levels[0].device if levels else None)


def _heap_boxes(layout: Layout, tables: Mapping[int, Any], cuts: int) -> list[tuple[int, int, int]]:
    settled: list[tuple[int, int, int]] = []
    heap: list[tuple[float, int, int, int]] = []

    def add(size: int, top: int, left: int) -> None:
        if size == layout.min_size or top >= layout.height or left >= layout.width:
            settled.append((size, top, left))
        else:
            heapq.heappush(heap, (tables[size][top // size][left // size], -size, top, left))

    for top in range(0, layout.height, layout.max_size):
        for left in range(0, layout.width, layout.max_size):
            add(layout.max_size, top, left)
    for _ in range(cuts):
        _, minus_size, top, left = heapq.heappop(heap)
        half = -minus_size // 2
        for down in (0, half):
            for right in (0, half):
                add(half, top + down, left + right)
    settled += [(-minus_size, top, left) for _, minus_size, top, left in heap]
    return [(left, top, size) for size, top, left in sorted(settled)]


def run_tensor(layout: Layout, scores: Scores, batch: int, cuts: int) -> Tensor:
    """All images at once: a table of every patch ever opened; each step takes the first key and appends four rows."""
    keys = order_keys(layout, scores, batch)
    device = keys.device
    boxes = all_boxes(layout, device)
    keys = _padded(keys, len(boxes))
    children = _raster_children(layout, device)
    roots = layout.min_patches
    open_keys = torch.full((batch, roots + 4 * cuts), NEVER, device=device)
    patches = torch.zeros(batch, roots + 4 * cuts, dtype=torch.int64, device=device)
    alive = torch.ones(batch, roots + 4 * cuts, dtype=torch.bool, device=device)
    open_keys[:, :roots] = keys[:, :roots]
    patches[:, :roots] = torch.arange(roots, device=device)
    for start in range(roots, roots + 4 * cuts, 4):
        first = open_keys.argmin(dim=1, keepdim=True)
        open_keys.scatter_(1, first, NEVER)
        alive.scatter_(1, first, False)
        opened = children[patches.gather(1, first).squeeze(1)]
        open_keys[:, start : start + 4] = keys.gather(1, opened)
        patches[:, start : start + 4] = opened
    return sort_boxes(boxes[patches[alive]].view(batch, -1, 3))


def run_z_curve(layout: Layout, scores: Scores, batch: int, cuts: int) -> Tensor:
    """All images at once: one array of all patches in z-order below a common root, children of t at 4 t + 1 to 4 t + 4.

    The array is that of the smallest power-of-two square of roots; patches beyond the image are never active.
    """
    keys = order_keys(layout, scores, batch)
    device = keys.device
    boxes = all_boxes(layout, device)
    keys = _padded(keys, len(boxes) + 1)
    places = _z_places(layout, device)
    z_keys = keys[:, places]
    active = torch.zeros_like(z_keys, dtype=torch.bool)
    active[:, places < layout.min_patches] = True
    four = torch.arange(1, 5, device=device)
    for _ in range(cuts):
        first = torch.where(active, z_keys, NEVER).argmin(dim=1, keepdim=True)
        active.scatter_(1, first, False)
        active.scatter_(1, 4 * first + four, True)
    return sort_boxes(boxes[places.expand(batch, -1)[active]].view(batch, -1, 3))


def all_boxes(layout: Layout, device: torch.device) -> Tensor:
    """Every patch of the tree as (left, top, size), coarse to fine, row by row: ``[N, 3]``."""
    parts = []
    for size, (rows, cols) in zip(layout.sizes, layout.grids, strict=True):
        top, left = torch.meshgrid(
            torch.arange(0, rows * size, size, device=device),
            torch.arange(0, cols * size, size, device=device),
            indexing="ij",
        )
        parts.append(torch.stack((left.flatten(), top.flatten(), torch.full_like(top, size).flatten()), dim=1))
    return torch.cat(parts)


def sort_boxes(boxes: Tensor) -> Tensor:
    """Boxes ``[B, P, 3]`` sorted by (size, top, left)."""
    for column in (0, 1, 2):
        order = boxes[:, :, column].sort(dim=1, stable=True).indices
        boxes = boxes.gather(1, order.unsqueeze(2).expand_as(boxes))
    return boxes


def _padded(keys: Tensor, count: int) -> Tensor:
    """Keys of ``count`` patches, of which those not given are never cut."""
    rest = torch.full((keys.shape[0], count - keys.shape[1]), NEVER, device=keys.device)
    return torch.cat((keys, rest), dim=1)


def _raster_children(layout: Layout, device: torch.device) -> Tensor:
    """Numbers of the four parts of each patch that can be cut, ``[N, 4]``."""
    parts = []
    for level, (rows, cols) in enumerate(layout.grids[:-1]):
        row, col = torch.meshgrid(
            torch.arange(0, 2 * rows, 2, device=device), torch.arange(0, 2 * cols, 2, device=device), indexing="ij"
        )
        first = (layout.offsets[level + 1] + row * 2 * cols + col).flatten()
        parts.append(torch.stack((first, first + 1, first + 2 * cols, first + 2 * cols + 1), dim=1))
    return torch.cat(parts) if parts else torch.empty(0, 4, dtype=torch.int64, device=device)


def _z_places(layout: Layout, device: torch.device) -> Tensor:
    """Number of the patch at each place of the z-ordered array; the number of patches where there is none."""
    rows, cols = layout.grids[0]
    nothing = layout.offsets[-1]
    above = (max(rows, cols) - 1).bit_length()
    parts = [torch.full((1 << (2 * k),), nothing, device=device) for k in range(above)]
    for level, (level_rows, level_cols) in enumerate(layout.grids):
        bits = above + level
        code = torch.arange(1 << (2 * bits), device=device)
        row, col = torch.zeros_like(code), torch.zeros_like(code)
        for bit in range(bits):
            col |= ((code >> (2 * bit)) & 1) << bit
            row |= ((code >> (2 * bit + 1)) & 1) << bit
        real = (row < level_rows) & (col < level_cols)
        parts.append(torch.where(real, layout.offsets[level] + row * level_cols + col, nothing))
    return torch.cat(parts)
