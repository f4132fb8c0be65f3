"""A canvas for drawn scenes: polygons in metres of an object's own frame, shadows, and the camera at the end.

Drawing happens at twice the resolution of the picture. Guarantees: everything random comes from the generator that is
handed in, so equal seeds give equal pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import draw

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

FINER = 2
"""Canvas pixels along a pixel of the picture."""
_SHADE = 0.45
"""What shadow leaves of the light."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where an object lies: its middle in pixels of the picture, its angle, and the size of a pixel.

    Attributes:
        x: Column.
        y: Row.
        angle: Direction of its front, in radians clockwise from the right.
        gsd_m: Metres a pixel.
    """

    x: float
    y: float
    angle: float
    gsd_m: float

    def place(self, points_m: npt.ArrayLike) -> Floats:
        """Pixels of points in the object's frame: metres forward and to its right."""
        points = np.asarray(points_m, np.float64) / self.gsd_m
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = points[..., 0], points[..., 1]
        return np.stack((self.x + x * cos - y * sin, self.y + x * sin + y * cos), axis=-1)


class Canvas:
    """A picture being drawn.

    Args:
        ground: ``[H, W, 3]`` float32 0 to 1, at the picture's resolution.
        sun: Direction of shadows in radians clockwise from the right, and their length over the height of what throws
            them.
    """

    def __init__(self, ground: Pixels, sun: tuple[float, float]) -> None:
        self.height, self.width = ground.shape[:2]
        self._pixels = np.repeat(np.repeat(ground, FINER, axis=0), FINER, axis=1)
        self._sun = np.array((np.cos(sun[0]), np.sin(sun[0]))) * sun[1]

    def area(self, points: Floats, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon given in pixels of the picture."""
        rows, cols = self._inside(points)
        fill = np.asarray(colour, np.float32)
        self._pixels[rows, cols] += np.float32(opacity) * (fill - self._pixels[rows, cols])

    def shade(self, points: Floats, light: float) -> None:
        """Multiply what lies in a polygon by a factor."""
        rows, cols = self._inside(points)
        self._pixels[rows, cols] *= np.float32(light)

    def shadow(self, pose: Pose, outline_m: npt.ArrayLike, height_m: float) -> None:
        """Throw the shadow of something with an outline and a height."""
        self.shade(pose.place(outline_m) + self._sun * (height_m / pose.gsd_m), _SHADE)

    def part(self, pose: Pose, outline_m: npt.ArrayLike, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon given in metres of an object's frame."""
        self.area(pose.place(outline_m), colour, opacity)

    def lit_side(self, pose: Pose) -> tuple[float, float]:
        """Direction of the light in an object's frame, a unit vector; (0, 0) where the sun stands overhead."""
        length = float(np.hypot(*self._sun))
        if length == 0:
            return 0.0, 0.0
        toward = -self._sun / length
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        return float(toward[0] * cos + toward[1] * sin), float(toward[1] * cos - toward[0] * sin)

    def as_drawn(self, blur_px: float) -> Pixels:
        """The picture ``[H, W, 3]``, edges softened by a blur of this deviation."""
        soft = ndimage.gaussian_filter(self._pixels, (FINER * blur_px, FINER * blur_px, 0))
        return np.asarray(soft.reshape(self.height, FINER, self.width, FINER, 3).mean(axis=(1, 3)), np.float32)

    def picture(self, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """What a camera makes of it: ``[3, H, W]`` with blur, haze, a tint and noise."""
        blurred = ndimage.gaussian_filter(self._pixels, (*(2 * [FINER * rng.uniform(0.25, 0.75)]), 0))
        seen = blurred.reshape(self.height, FINER, self.width, FINER, 3).mean(axis=(1, 3))
        haze = rng.uniform(0, 0.18)
        seen = seen * (1 - haze) + haze * rng.uniform(0.5, 0.75) * np.array((0.97, 1.0, 1.04), np.float32)
        seen = seen ** np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.03, 3))
        noise = rng.standard_normal(seen.shape) * rng.uniform(0.004, 0.02)
        if rng.random() < 0.5:
            noise = ndimage.gaussian_filter(noise, (0.6, 0.6, 0))  # what a lossy format leaves of it
        return np.moveaxis(np.clip(255 * (seen + noise), 0, 255).astype(np.uint8), -1, 0)

    def _inside(self, points: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        rows, cols = points[:, 1] * FINER - 0.5, points[:, 0] * FINER - 0.5
        fill: Any = draw.polygon
        inside: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] = fill(rows, cols, self._pixels.shape[:2])
        return inside


def rectangle(length: float, width: float, x: float = 0.0, y: float = 0.0) -> Floats:
    """Corners of a rectangle round ``(x, y)``, its length along x."""
    return np.array(((-length, -width), (length, -width), (length, width), (-length, width))) / 2 + (x, y)


def rounded(length: float, width: float, x: float = 0.0, y: float = 0.0, corner: float = 0.25) -> Floats:
    """A rectangle with its corners cut off; ``corner`` is the share of the width."""
    cut = corner * width
    low, high = length / 2 - cut, width / 2 - cut
    half_l, half_w = length / 2, width / 2
    points = (
        (-low, -half_w), (low, -half_w), (half_l, -high), (half_l, high), (low, half_w), (-low, half_w),
        (-half_l, high), (-half_l, -high),
    )  # fmt: skip
    return np.add(points, (x, y))


def disc(radius: float, x: float = 0.0, y: float = 0.0, points: int = 36) -> Floats:
    """A circle as a polygon."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack((x + radius * np.cos(turn), y + radius * np.sin(turn)), axis=1)
