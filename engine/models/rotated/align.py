"""Rotated RoI align: a fixed grid of features for each rotated box, from a pyramid of maps, in one gather.

Each cell of the grid is the mean of a few points spread evenly over it, each read bilinearly from the map; the grid
turns with the box (Mask R-CNN, section 3, with the angle of RoI Transformer). A point up to one cell outside the map
takes the border's value, one further out counts as 0. All maps of all images are rows of one table, so that the whole
is one weighted sum of rows per cell, with no intermediate as large as points times channels.

Guarantees: at angle 0 this is the half-pixel aligned RoI align; constant maps give constants inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_WEIGHTS = 1 << 23
"""Weights computed in one go."""


def rotated_roi_align(
    maps: Sequence[Tensor],
    strides: Sequence[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    *,
    size: int = 7,
    samples: int = 2,
) -> Tensor:
    """Features of rotated boxes.

    Args:
        maps: The pyramid, each ``[B, C, h, w]``.
        strides: Pixels a cell of each map.
        boxes: ``[R, 5]`` in pixels.
        images: ``[R]`` which image of the batch each box lies in.
        levels: ``[R]`` which map each box reads.
        size: Cells along each side of the grid.
        samples: Points along each side of a cell.

    Returns:
        ``[R, C, size, size]``; rows of the grid run along the box's side ``h``, columns along ``w``.
    """
    table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in maps])
    if table.dtype not in (torch.float32, torch.float64):
        table = table.float()
    heights, widths, scales, starts = _layout(maps, strides, boxes)
    pooled = []
    piece = max(1, _MOST_WEIGHTS // (4 * (size * samples) ** 2))
    pieces = (torch.split(part, piece) for part in (boxes, images, levels))
    for some, image, level in zip(*pieces, strict=True):
        with torch.no_grad():
            height, width = heights[level], widths[level]
            x, y = _points(some.to(table.dtype) * _per_box(scales[level], table.dtype), size, samples)
            first = starts[level] + image * height * width
            rows, weights = _neighbours(x - 0.5, y - 0.5, first, height, width)
            weights = weights / samples**2
        bags = F.embedding_bag(
            rows.reshape(-1, 4 * samples**2), table, per_sample_weights=weights.reshape(-1, 4 * samples**2), mode="sum"
        )
        pooled.append(bags.view(len(some), size, size, table.shape[1]))
    return torch.cat(pooled).permute(0, 3, 1, 2)


def _layout(maps: Sequence[Tensor], strides: Sequence[float], like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Height, width, cells a pixel and first table row of each map."""
    sizes = [(m.shape[2], m.shape[3], m.shape[0]) for m in maps]
    starts, end = [], 0
    for height, width, batch in sizes:
        starts.append(end)
        end += height * width * batch
    device = like.device
    return (
        torch.tensor([s[0] for s in sizes], device=device),
        torch.tensor([s[1] for s in sizes], device=device),
        torch.tensor([1.0 / s for s in strides], device=device),
        torch.tensor(starts, device=device),
    )


def _per_box(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Factors ``[R, 5]`` that bring a box to a map: all but the angle."""
    scale = scale.to(dtype)
    return torch.stack((scale, scale, scale, scale, torch.ones_like(scale)), dim=-1)


def _points(boxes: Tensor, size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Positions ``[R, size, size, samples, samples]`` of the points, in cells of the map."""
    count = size * samples
    steps = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count - 0.5
    x, y, w, h, angle = (part[:, None, None] for part in boxes.unbind(-1))
    along, across = w * steps[None, None, :], h * steps[None, :, None]
    cos, sin = angle.cos(), angle.sin()
    shape = (len(boxes), size, samples, size, samples)
    points = x + along * cos - across * sin, y + along * sin + across * cos
    px, py = (p.reshape(shape).transpose(2, 3) for p in points)
    return px, py


def _neighbours(x: Tensor, y: Tensor, first: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Table rows and weights of the four cells round each point.

    Args:
        x: ``[R, ...]`` column of each point, 0 at the centre of the first cell.
        y: Its row.
        first: ``[R]`` table row of the map's first cell.
        height: ``[R]`` rows of the map.
        width: ``[R]`` columns of the map.
    """
    first, height, width = (part.view(-1, *(1,) * (x.dim() - 1)) for part in (first, height, width))
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    x = torch.minimum(x.clamp_min(0), (width - 1).to(x.dtype))
    y = torch.minimum(y.clamp_min(0), (height - 1).to(y.dtype))
    left, top = x.floor(), y.floor()
    share_x, share_y = x - left, y - top
    col, row = left.long(), top.long()
    right, below = torch.minimum(col + 1, width - 1), torch.minimum(row + 1, height - 1)
    rows = torch.stack(
        (row * width + col, row * width + right, below * width + col, below * width + right), dim=-1
    ) + first.unsqueeze(-1)
    weights = torch.stack(
        ((1 - share_y) * (1 - share_x), (1 - share_y) * share_x, share_y * (1 - share_x), share_y * share_x), dim=-1
    )
    return rows, weights * inside.unsqueeze(-1)
