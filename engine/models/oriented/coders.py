"""How Oriented R-CNN writes boxes as numbers a network can learn.

Proposals (Xie et al. 2021, section 3.1): an upright anchor is moved and stretched to the hull of the box, and two
offsets say where along the hull's top and right side the box's corners lie. Boxes of the second stage: a proposal is
moved, stretched and turned in its own frame.

Guarantees: decoding what was encoded gives the box again; decoded boxes are canonical rectangles with sides of at
least a pixel, whatever the numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.models.rotated.boxes import canonical, corners_of, half_turn, hulls_of

MIDPOINT_STDS = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
ORIENTED_STDS = (0.1, 0.1, 0.2, 0.2, 0.1)

_MOST_STRETCH = math.log(1000 / 16)
"""Natural logarithm of the largest change of a side."""
_LEVEL_PX = 0.01
"""Corners this close to the top of the hull count as lying on it."""


def encode_midpoints(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Numbers ``[N, 6]`` of boxes ``[N, 5]`` as seen from upright anchors ``[N, 4]``."""
    x, y, w, h = _centres(hulls_of(boxes))
    anchor_x, anchor_y, anchor_w, anchor_h = _centres(anchors)
    corner_x, corner_y = corners_of(boxes).unbind(-1)
    # Of two corners on the hull's top the right one is meant; the next one clockwise is the one on its right side.
    on_top = corner_y - corner_y.min(dim=1, keepdim=True).values <= _LEVEL_PX
    first = torch.where(on_top, corner_x, -torch.inf).argmax(dim=1, keepdim=True)
    top = corner_x.gather(1, first).squeeze(1)
    right = corner_y.gather(1, (first + 1) % 4).squeeze(1)
    numbers = (
        (x - anchor_x) / anchor_w,
        (y - anchor_y) / anchor_h,
        (w.clamp_min(1) / anchor_w).log(),
        (h.clamp_min(1) / anchor_h).log(),
        (top - x) / w.clamp_min(1),
        (right - y) / h.clamp_min(1),
    )
    return torch.stack(numbers, dim=1) / boxes.new_tensor(MIDPOINT_STDS)


def decode_midpoints(anchors: Tensor, numbers: Tensor) -> Tensor:
    """Boxes ``[N, 5]`` from numbers ``[N, 6]`` and upright anchors ``[N, 4]``."""
    move_x, move_y, stretch_w, stretch_h, top, right = (numbers * numbers.new_tensor(MIDPOINT_STDS)).unbind(1)
    anchor_x, anchor_y, anchor_w, anchor_h = _centres(anchors)
    x, y = anchor_x + move_x * anchor_w, anchor_y + move_y * anchor_h
    w = anchor_w * stretch_w.clamp(-_MOST_STRETCH, _MOST_STRETCH).exp()
    h = anchor_h * stretch_h.clamp(-_MOST_STRETCH, _MOST_STRETCH).exp()
    # Half diagonals of the parallelogram; made equally long, they are those of a rectangle.
    to_top = torch.stack((top.clamp(-0.5, 0.5) * w, -0.5 * h), dim=1)
    to_right = torch.stack((0.5 * w, right.clamp(-0.5, 0.5) * h), dim=1)
    length_top, length_right = to_top.norm(dim=1, keepdim=True), to_right.norm(dim=1, keepdim=True)
    longest = torch.maximum(length_top, length_right)
    to_top, to_right = to_top * (longest / length_top), to_right * (longest / length_right)
    along, across = to_right - to_top, to_right + to_top
    angle = torch.where(
        along.norm(dim=1) >= across.norm(dim=1),
        torch.atan2(along[:, 1], along[:, 0]),
        torch.atan2(across[:, 1], across[:, 0]) + math.pi / 2,
    )
    return _box(x, y, along.norm(dim=1), across.norm(dim=1), angle)


def encode_oriented(proposals: Tensor, boxes: Tensor) -> Tensor:
    """Numbers ``[N, 5]`` of boxes ``[N, 5]`` as seen from proposals ``[N, 5]``.

    A box can be written with either side first; the one that asks for the smaller turn is taken.
    """
    x, y, w, h, angle = proposals.unbind(1)
    offset_x, offset_y = boxes[:, 0] - x, boxes[:, 1] - y
    cos, sin = angle.cos(), angle.sin()
    turn, other = half_turn(boxes[:, 4] - angle), half_turn(boxes[:, 4] - angle + math.pi / 2)
    swap = turn.abs() > other.abs()
    box_w, box_h = torch.where(swap, boxes[:, 3], boxes[:, 2]), torch.where(swap, boxes[:, 2], boxes[:, 3])
    w, h = w.clamp_min(1), h.clamp_min(1)
    numbers = (
        (offset_x * cos + offset_y * sin) / w,
        (offset_y * cos - offset_x * sin) / h,
        (box_w.clamp_min(1) / w).log(),
        (box_h.clamp_min(1) / h).log(),
        torch.where(swap, other, turn),
    )
    return torch.stack(numbers, dim=1) / boxes.new_tensor(ORIENTED_STDS)


def decode_oriented(proposals: Tensor, numbers: Tensor) -> Tensor:
    """Boxes ``[N, 5]`` from numbers ``[N, 5]`` and proposals ``[N, 5]``."""
    move_w, move_h, stretch_w, stretch_h, turn = (numbers * numbers.new_tensor(ORIENTED_STDS)).unbind(1)
    x, y, w, h, angle = proposals.unbind(1)
    w, h = w.clamp_min(1), h.clamp_min(1)
    cos, sin = angle.cos(), angle.sin()
    along, across = move_w * w, move_h * h
    return _box(
        x + along * cos - across * sin,
        y + along * sin + across * cos,
        w * stretch_w.clamp(-_MOST_STRETCH, _MOST_STRETCH).exp(),
        h * stretch_h.clamp(-_MOST_STRETCH, _MOST_STRETCH).exp(),
        angle + turn,
    )


def _box(x: Tensor, y: Tensor, w: Tensor, h: Tensor, angle: Tensor) -> Tensor:
    return canonical(torch.stack((x, y, w.clamp_min(1), h.clamp_min(1), angle), dim=1))


def _centres(hulls: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre and sides of upright boxes."""
    left, top, right, bottom = hulls.unbind(1)
    return 0.5 * (left + right), 0.5 * (top + bottom), right - left, bottom - top
