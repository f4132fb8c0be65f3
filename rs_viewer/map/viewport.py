"""Where the map looks: the exact relation between map coordinates, screen pixels and the pixels of a grid.

Guarantees: values are plain floats without Qt, so every relation is testable; ``to_map`` undoes ``to_screen`` to
rounding; a zoom keeps the map point under its anchor; the scale never leaves its limits.
Screen positions are logical pixels from the widget's upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top in map units."""


class AffineLike(Protocol):
    """The six numbers of a grid's transform: ``x = a*col + b*row + c``, ``y = d*col + e*row + f``."""

    @property
    def a(self) -> float: ...  # noqa: D102
    @property
    def b(self) -> float: ...  # noqa: D102
    @property
    def c(self) -> float: ...  # noqa: D102
    @property
    def d(self) -> float: ...  # noqa: D102
    @property
    def e(self) -> float: ...  # noqa: D102
    @property
    def f(self) -> float: ...  # noqa: D102


class Affine2(NamedTuple):
    """``(u, v) -> (a*u + b*v + c, d*u + e*v + f)``."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def __call__(self, u: float, v: float) -> tuple[float, float]:
        """The image of a point."""
        return self.a * u + self.b * v + self.c, self.d * u + self.e * v + self.f

    @property
    def determinant(self) -> float:
        """How areas grow; negative when the axes are mirrored."""
        return self.a * self.e - self.b * self.d

    def inverse(self) -> Affine2:
        """The relation that undoes this one."""
        det = self.determinant
        if det == 0.0 or not math.isfinite(det):
            raise ValueError("the transform of a grid cannot be undone: its pixels have no area")
        a, b, d, e = self.e / det, -self.b / det, -self.d / det, self.a / det
        return Affine2(a, b, -(a * self.c + b * self.f), d, e, -(d * self.c + e * self.f))

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """Smallest upright box around the image of a box, as minimum and maximum of both coordinates."""
        corners = [self(left, top), self(right, top), self(right, bottom), self(left, bottom)]
        us, vs = [c[0] for c in corners], [c[1] for c in corners]
        return min(us), min(vs), max(us), max(vs)


def affine2(transform: AffineLike) -> Affine2:
    """Take the six numbers out of a grid's transform."""
    return Affine2(*(float(getattr(transform, name)) for name in "abcdef"))


@dataclass(frozen=True, slots=True)
class Viewport:
    """What part of the map is on the screen.

    Attributes:
        x: Map coordinate of the middle of the screen.
        y: Map coordinate of the middle of the screen.
        scale: Map units a logical pixel.
        width: Logical pixels across.
        height: Logical pixels down.
        y_up: Whether map y grows upwards; False for images without a place on Earth.
        min_scale: Closest view allowed.
        max_scale: Widest view allowed.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    width: int = 1
    height: int = 1
    y_up: bool = True
    min_scale: float = 1e-12
    max_scale: float = 1e12

    def to_screen(self, x: float, y: float) -> tuple[float, float]:
        """Screen position of a map point."""
        dy = self.y - y if self.y_up else y - self.y
        return (x - self.x) / self.scale + self.width / 2, dy / self.scale + self.height / 2

    def to_map(self, sx: float, sy: float) -> tuple[float, float]:
        """Map point at a screen position."""
        dy = (sy - self.height / 2) * self.scale
        return self.x + (sx - self.width / 2) * self.scale, self.y - dy if self.y_up else self.y + dy

    @property
    def bounds(self) -> Bounds:
        """Map area on the screen."""
        half_w, half_h = self.width / 2 * self.scale, self.height / 2 * self.scale
        return self.x - half_w, self.y - half_h, self.x + half_w, self.y + half_h

    def clamped(self, scale: float) -> float:
        """The scale, brought inside the limits."""
        return min(max(scale, self.min_scale), self.max_scale)

    def resized(self, width: int, height: int) -> Viewport:
        """Same middle and scale on another screen size."""
        return replace(self, width=max(width, 1), height=max(height, 1))

    def panned(self, dx: float, dy: float) -> Viewport:
        """The map dragged by so many logical pixels, right and down."""
        y = self.y + dy * self.scale if self.y_up else self.y - dy * self.scale
        return replace(self, x=self.x - dx * self.scale, y=y)

    def zoomed(self, factor: float, sx: float, sy: float) -> Viewport:
        """Seen ``factor`` times larger, the map point under a screen position kept in its place."""
        x, y = self.to_map(sx, sy)
        scale = self.clamped(self.scale / factor)
        ratio = scale / self.scale
        return replace(self, scale=scale, x=x + (self.x - x) * ratio, y=y + (self.y - y) * ratio)

    def centred(self, x: float, y: float) -> Viewport:
        """Same scale around another map point."""
        return replace(self, x=x, y=y)

    def fitted(self, bounds: Bounds, margin_px: float = 0.0) -> Viewport:
        """All of an area on the screen, with a margin in logical pixels."""
        left, bottom, right, top = bounds
        room_w, room_h = max(self.width - 2 * margin_px, 1.0), max(self.height - 2 * margin_px, 1.0)
        scale = max((right - left) / room_w, (top - bottom) / room_h)
        if scale <= 0.0:
            scale = self.scale
        return replace(self, x=(left + right) / 2, y=(bottom + top) / 2, scale=self.clamped(scale))

    def grid_to_screen(self, transform: Affine2) -> Affine2:
        """From (col, row) of a grid to logical screen pixels."""
        s, sign = 1.0 / self.scale, -1.0 if self.y_up else 1.0
        return Affine2(
            transform.a * s,
            transform.b * s,
            (transform.c - self.x) * s + self.width / 2,
            sign * transform.d * s,
            sign * transform.e * s,
            sign * (transform.f - self.y) * s + self.height / 2,
        )


def grid_bounds(transform: Affine2, width: int, height: int) -> Bounds:
    """Map area of a grid, whichever way it lies."""
    return transform.box(0, 0, width, height)


def joined(areas: Iterable[Bounds]) -> Bounds | None:
    """Smallest area around all areas, None without any."""
    parts = list(areas)
    if not parts:
        return None
    return min(p[0] for p in parts), min(p[1] for p in parts), max(p[2] for p in parts), max(p[3] for p in parts)
