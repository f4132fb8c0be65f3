"""Exact overlap of rotated boxes, by the area of one polygon's outline pressed into the other box.

Press every point of the plane onto a box, each to the box's nearest point. A polygon's outline, pressed this way,
encloses exactly the part of the polygon that lies inside the box: what was outside now runs along the border and
encloses nothing. In the box's own frame pressing is clamping, so each edge becomes four straight pieces at most and the
area is a sum of trapezia. No corner is ever sorted or called inside or outside, so touching, contained, identical and
flat boxes are no special cases, and rounding moves the area as little as it moves the corners.

Guarantees: no loop over pairs; memory is bounded whatever the number of boxes; boxes of no area overlap nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from engine.models.rotated.boxes import corners_of, hulls_of

_SLAB, _GPU_SLAB = 256, 4096
"""Boxes whose partners are looked for in one go."""
_MOST_PAIRS = 1 << 20
"""Pairs measured in one go."""


def clipped_area(polygons: Tensor, boxes: Tensor) -> Tensor:
    """Area of polygons inside boxes, pair by pair.

    Args:
        polygons: ``[P, V, 2]`` corners of simple polygons, in either sense of rotation.
        boxes: ``[P, 5]``.

    Returns:
        ``[P]`` areas in square pixels.
    """
    offset = polygons - boxes[:, None, :2]
    cos, sin = boxes[:, 4:5].cos(), boxes[:, 4:5].sin()
    x = offset[..., 0] * cos + offset[..., 1] * sin
    y = offset[..., 1] * cos - offset[..., 0] * sin
    return _pressed_area(x, y, boxes[:, 2:4])


def intersection_areas(a: Tensor, b: Tensor) -> Tensor:
    """Area ``[P]`` that boxes ``[P, 5]`` share, pair by pair."""
    # Corners come from differences of centres and angles: far from the origin, and for boxes that lie on one another,
    # that costs no digits.
    offset = a[:, :2] - b[:, :2]
    cos, sin = b[:, 4].cos(), b[:, 4].sin()
    moved = torch.stack(
        (
            offset[:, 0] * cos + offset[:, 1] * sin,
            offset[:, 1] * cos - offset[:, 0] * sin,
            a[:, 2],
            a[:, 3],
            a[:, 4] - b[:, 4],
        ),
        dim=1,
    )
    corners = corners_of(moved)
    shared = _pressed_area(corners[..., 0], corners[..., 1], b[:, 2:4])
    return torch.minimum(shared, torch.minimum(a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]).clamp_min(0))


def _pressed_area(x0: Tensor, y0: Tensor, sides: Tensor) -> Tensor:
    """Area of polygons inside boxes of ``sides`` ``[P, 2]``; corners ``[P, V]`` are given in the box's own frame."""
    half_w, half_h = 0.5 * sides[:, 0:1], 0.5 * sides[:, 1:2]
    x1, y1 = x0.roll(-1, dims=1), y0.roll(-1, dims=1)
    dx, dy = x1 - x0, y1 - y0
    # An edge between which two points (as shares of its length) has its height inside the box, and its width.
    zero, one = torch.zeros_like(dx), torch.ones_like(dx)
    enter, leave = _crossings(y0, dy, half_h, zero, one)
    early, late = _crossings(x0, dx, half_w, enter, leave)
    shares = torch.stack((enter, early, late, leave))
    x = (x0 + shares * dx).clamp(-half_w, half_w)
    y = (y0 + shares * dy).clamp(-half_h, half_h)
    y[0], y[3] = y0.clamp(-half_h, half_h), y1.clamp(-half_h, half_h)  # where the next edge goes on, to the last bit
    return (0.5 * (x[1:] + x[:-1]) * (y[1:] - y[:-1])).sum(dim=(0, 2)).abs()


def _crossings(start: Tensor, step: Tensor, half: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``start + t * step`` passes ``-half`` and ``half``, in order, brought between ``low`` and ``high``."""
    level = step == 0
    step = torch.where(level, 1.0, step)
    one, other = (-half - start) / step, (half - start) / step
    first, last = torch.minimum(one, other), torch.maximum(one, other)
    # A level edge has no crossing: the whole of it is one piece.
    first, last = torch.where(level, low, first), torch.where(level, low, last)
    return torch.minimum(torch.maximum(first, low), high), torch.minimum(torch.maximum(last, low), high)


def matched_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union ``[P]`` of boxes ``[P, 5]``, pair by pair; 0 where both are flat."""
    shared = intersection_areas(a, b)
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - shared
    return torch.where(union > 0, shared / union.clamp_min(torch.finfo(union.dtype).tiny), 0.0).clamp(max=1.0)


@torch.no_grad()
def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union ``[N, M]`` of boxes ``[N, 5]`` and ``[M, 5]``."""
    out = a.new_zeros((len(a), len(b)))
    for rows, cols in touching_pairs(hulls_of(a), hulls_of(b)):
        out[rows, cols] = matched_iou(a[rows], b[cols])
    return out


def quad_areas(quads: Tensor) -> Tensor:
    """Areas ``[P]`` of simple polygons ``[P, V, 2]``."""
    x, y = (quads - quads[:, :1]).unbind(-1)
    return 0.5 * (x * y.roll(-1, dims=1) - y * x.roll(-1, dims=1)).sum(dim=1).abs()


@torch.no_grad()
def pairwise_quad_iou(boxes: Tensor, quads: Tensor) -> Tensor:
    """Intersection over union ``[N, M]`` of boxes ``[N, 5]`` and simple quadrilaterals ``[M, 4, 2]``."""
    out = boxes.new_zeros((len(boxes), len(quads)))
    areas = quad_areas(quads)
    hulls = torch.cat((quads.amin(dim=1), quads.amax(dim=1)), dim=1) if len(quads) else quads.new_zeros((0, 4))
    for rows, cols in touching_pairs(hulls_of(boxes), hulls):
        shared = clipped_area(quads[cols], boxes[rows])
        union = boxes[rows, 2] * boxes[rows, 3] + areas[cols] - shared
        out[rows, cols] = shared / union.clamp_min(torch.finfo(union.dtype).tiny)
    return out


def touching_pairs(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of upright boxes ``[N, 4]`` and ``[M, 4]`` that share area, as numbers of ``a`` and of ``b``.

    Both are gone through from left to right, a slab of ``a`` at a time beside the boxes of ``b`` that reach over it.
    """
    if not len(a) or not len(b):
        return
    a_order, b_order = a[:, 0].argsort(), b[:, 0].argsort()
    a, b = a[a_order], b[b_order]
    slab = _SLAB if a.device.type == "cpu" else _GPU_SLAB
    starts = torch.arange(0, len(a), slab, device=a.device)
    rights = torch.stack([part.max() for part in torch.split(a[:, 2], slab)])
    first = torch.searchsorted(b[:, 2].cummax(0).values, a[starts, 0].contiguous(), right=True)
    last = torch.searchsorted(b[:, 0].contiguous(), rights)
    for start, low, high in zip(starts.tolist(), first.tolist(), last.tolist(), strict=True):
        one, other = a[start : start + slab, None], b[low:high]
        meet = (
            (one[..., 0] < other[:, 2])
            & (one[..., 2] > other[:, 0])
            & (one[..., 1] < other[:, 3])
            & (one[..., 3] > other[:, 1])
        )
        rows, cols = meet.nonzero(as_tuple=True)
        for some_rows, some_cols in zip(torch.split(rows, _MOST_PAIRS), torch.split(cols, _MOST_PAIRS), strict=True):
            yield a_order[start + some_rows], b_order[low + some_cols]


@torch.no_grad()
def pairwise_hull_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union ``[N, M]`` of upright boxes ``[N, 4]`` and ``[M, 4]``."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(dim=-1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(dim=-1) - shared
    return torch.where(union > 0, shared / union.clamp_min(torch.finfo(union.dtype).tiny), 0.0)
