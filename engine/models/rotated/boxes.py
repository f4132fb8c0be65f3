"""Rotated boxes: centre, two sides and an angle; their corners, hulls and one canonical form.

A box is ``(x, y, w, h, a)`` in pixels: x counts columns and y rows, (0, 0) is the outer corner of the first pixel, so
pixel centres lie at halves. The side ``w`` points along ``(cos a, sin a)``, the side ``h`` along ``(-sin a, cos a)``;
``a`` is in radians and grows clockwise as seen on the screen (y points down). Canonical boxes have ``w >= h`` and
``-pi/2 <= a < pi/2``: the angle is that of the long side. Corners follow one another clockwise on the screen, at angle
0 from the top left one.

Guarantees: four corners of any shape, convex or not, give the smallest rectangle that holds them; corners of a box give
that box again, in canonical form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PAIRS = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3))
"""All lines through two of four points: the smallest rectangle has a side along one of them."""


def corners_of(boxes: Tensor) -> Tensor:
    """Corners ``[..., 4, 2]`` of boxes ``[..., 5]``."""
    x, y, w, h, angle = boxes.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    along = torch.stack((0.5 * w * cos, 0.5 * w * sin), dim=-1)
    across = torch.stack((-0.5 * h * sin, 0.5 * h * cos), dim=-1)
    centre = torch.stack((x, y), dim=-1)
    return torch.stack(
        (centre - along - across, centre + along - across, centre + along + across, centre - along + across), dim=-2
    )


def boxes_of(corners: Tensor) -> Tensor:
    """Canonical boxes ``[..., 5]``: the smallest rectangles that hold four corners ``[..., 4, 2]``."""
    origin = corners.mean(dim=-2, keepdim=True)
    points = corners - origin
    first, second = zip(*_PAIRS, strict=True)
    steps = points[..., list(second), :] - points[..., list(first), :]
    length = steps.norm(dim=-1, keepdim=True)
    flat = torch.zeros_like(steps)
    flat[..., 0] = 1.0
    along = torch.where(length > 0, steps / length.clamp_min(torch.finfo(steps.dtype).tiny), flat)
    across = torch.stack((-along[..., 1], along[..., 0]), dim=-1)
    u = torch.einsum("...pc,...kc->...pk", along, points)
    v = torch.einsum("...pc,...kc->...pk", across, points)
    (u_low, u_high), (v_low, v_high) = u.aminmax(dim=-1), v.aminmax(dim=-1)
    w, h = u_high - u_low, v_high - v_low
    best = (w * h).argmin(dim=-1, keepdim=True)

    def chosen(values: Tensor) -> Tensor:
        return values.gather(-1, best).squeeze(-1)

    middle = 0.5 * (u_low + u_high)[..., None] * along + 0.5 * (v_low + v_high)[..., None] * across
    centre = torch.stack((chosen(middle[..., 0]), chosen(middle[..., 1])), dim=-1) + origin.squeeze(-2)
    angle = torch.atan2(chosen(along[..., 1]), chosen(along[..., 0]))
    return canonical(torch.cat((centre, torch.stack((chosen(w), chosen(h), angle), dim=-1)), dim=-1))


def canonical(boxes: Tensor) -> Tensor:
    """The same boxes with ``w >= h`` and ``-pi/2 <= a < pi/2``."""
    x, y, w, h, angle = boxes.unbind(-1)
    upright = h > w
    return torch.stack(
        (x, y, torch.maximum(w, h), torch.minimum(w, h), half_turn(torch.where(upright, angle + math.pi / 2, angle))),
        dim=-1,
    )


def half_turn(angle: Tensor) -> Tensor:
    """Angles brought into ``[-pi/2, pi/2)`` by half turns, which leave a rectangle where it is."""
    turned = torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2
    return torch.where(turned >= math.pi / 2, turned - math.pi, turned)  # rounding may reach the open end


def hulls_of(boxes: Tensor) -> Tensor:
    """Upright boxes ``[..., 4]`` (left, top, right, bottom) that just hold boxes ``[..., 5]``."""
    x, y, w, h, angle = boxes.unbind(-1)
    cos, sin = angle.cos().abs(), angle.sin().abs()
    half_width, half_height = 0.5 * (w * cos + h * sin), 0.5 * (w * sin + h * cos)
    return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), dim=-1)


def upright(hulls: Tensor) -> Tensor:
    """Boxes ``[..., 5]`` of angle 0 from upright boxes ``[..., 4]``; not canonical where they are taller than wide."""
    left, top, right, bottom = hulls.unbind(-1)
    return torch.stack(
        (0.5 * (left + right), 0.5 * (top + bottom), right - left, bottom - top, torch.zeros_like(left)), dim=-1
    )
