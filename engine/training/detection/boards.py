"""Images side by side, for pieces that are larger than one image.

Guarantees: every image keeps its scale; an object of which too little is left in its cell is taken out; what no image
fills is grey, with the first image's mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from engine.models.rotated.boxes import upright
from engine.models.rotated.overlap import clipped_area, quad_areas
from engine.training.detection.dota import Annotations
from engine.training.detection.pictures import AnnotatedImage

_TRIES = 4
"""Draws of an image that may be too small for a cell."""

Another = Callable[[np.random.Generator], AnnotatedImage]
"""Draws a further image."""


def lay_out(
    rng: np.random.Generator, first: AnnotatedImage, another: Another, edge: int, visible: float
) -> AnnotatedImage:
    """A board of images at least ``edge`` wide and high; an image that is as large already stays alone.

    Args:
        rng: What everything random comes from.
        first: An image of the board, at a random place; its size is that of the cells.
        another: Draws the others, which are cut to the size of a cell.
        edge: Pixels the board must have in both directions.
        visible: Share of an object that must be left in its cell for it to stay.
    """
    bands, height, width = first.image.shape
    rows, cols = -(-edge // height), -(-edge // width)
    if rows == cols == 1:
        return first
    board = np.empty((bands, rows * height, cols * width), first.image.dtype)
    board[:] = first.image.mean(axis=(1, 2), keepdims=True).astype(board.dtype)
    own = int(rng.integers(rows * cols))
    parts = []
    for place in range(rows * cols):
        top, left = place // cols * height, place % cols * width
        cell = first if place == own else _cell(rng, another, height, width, visible)
        if cell is None:
            continue
        board[:, top : top + height, left : left + width] = cell.image
        parts.append(cell.objects.moved(left, top))
    objects = Annotations(
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.difficult for part in parts]),
    )
    return AnnotatedImage(board, objects)


def mostly_inside(corners: torch.Tensor, height: float, width: float, visible: float) -> torch.Tensor:
    """``[n]`` which outlines ``[n, 4, 2]`` lie in a picture with at least this share of their area."""
    frame = upright(corners.new_tensor([[0.0, 0.0, width, height]])).expand(len(corners), 5)
    return clipped_area(corners, frame) >= visible * quad_areas(corners)


def _cell(rng: np.random.Generator, another: Another, height: int, width: int, visible: float) -> AnnotatedImage | None:
    """A piece of another image, as large as a cell; None where only smaller images come up."""
    for _ in range(_TRIES):
        drawn = another(rng)
        room = drawn.image.shape[1] - height, drawn.image.shape[2] - width
        if min(room) >= 0:
            top, left = (int(rng.integers(0, free + 1)) for free in room)
            piece = drawn.image[:, top : top + height, left : left + width]
            objects = drawn.objects.moved(-left, -top)
            quads = torch.from_numpy(objects.corners)
            kept = mostly_inside(quads, height, width, visible).numpy()
            return AnnotatedImage(piece, objects.only(kept))
    return None
