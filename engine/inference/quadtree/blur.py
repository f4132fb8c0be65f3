"""Blur scores of a piece of a scene: what ``engine.tokenizers.quadtree.PixelBlur`` and ``BandBlur`` find, antialiased.

Pieces pass through compiled loops on one thread. Threads that share the work of each small step would have to wait for
one another at every one of them, which on a busy machine costs more than the work itself.

Guarantees: a score depends on the pixels of its patch and ``size / min_size`` beyond, and is the same bit for bit
wherever pieces begin; pixels without data neither blur into others nor count as error; plain numpy, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.inference.quadtree.kernels import blur_errors, halve
from engine.inference.quadtree.pieces import Piece
from engine.inference.quadtree.tree import Floats

_NONE = np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class BlurScorer:
    """Scores ``-sqrt(MSE * size)`` of patches, MSE over some bands in some units.

    Attributes:
        name: What it is, in words.
        bands: Band numbers from 1.
        origin: Stored value of each band that becomes 0.
        unit: Distance of each band that becomes 1.
        least: Lower values become this.
        most: Higher values become this.
    """

    name: str
    bands: tuple[int, ...]
    origin: npt.NDArray[np.float64]
    unit: npt.NDArray[np.float64]
    least: float
    most: float

    def score(self, piece: Piece, min_size: int, max_size: int, margin: int) -> dict[int, Floats]:
        """Scores of all sizes above the smallest, ``[rows, cols]`` each.

        Args:
            piece: Some pixels; without margin a multiple of ``max_size``.
            min_size: Edge of the smallest patch in pixels.
            max_size: Edge of the largest patch in pixels.
            margin: Pixels on each side of the piece that are looked at and not scored, ``max_size / min_size``.
        """
        small = images = self._alike(piece)
        share = weights = _NONE[None] if piece.valid.all() else piece.valid[None].astype(np.float32)
        rows, cols = ((edge - 2 * margin) // min_size for edge in piece.valid.shape)
        found = {}
        factor = 1
        while min_size * factor < max_size:
            factor, rows, cols = 2 * factor, rows // 2, cols // 2
            small = _halved(small)
            cells: Floats = small
            there: Floats = _NONE[None]
            if weights.size:
                share = _halved(share)
                cells = np.divide(small, np.where(share > 0, share, np.float32(1)), dtype=np.float32)
                there = (share > 0).astype(np.float32)
            errors = np.empty((rows, cols), np.float32)
            size = factor * min_size
            blur_errors(images, weights[0], cells, there[0], factor, size, margin, errors)
            found[size] = np.asarray(-np.sqrt(errors / np.float32(len(images) * size)), np.float32)
        return found

    def _alike(self, piece: Piece) -> Floats:
        """Values in units of each band, 0 where there is no data."""
        exact = np.float32 if np.can_cast(piece.data.dtype, np.float32) else np.float64
        values: npt.NDArray[Any] = piece.data.astype(exact)
        values -= self.origin[:, None, None].astype(exact)
        values /= self.unit[:, None, None].astype(exact)
        np.clip(values, self.least, self.most, out=values)
        if not piece.valid.all():
            values *= piece.valid
        return values.astype(np.float32, copy=False)


def _halved(values: Floats) -> Floats:
    out = np.empty((len(values), values.shape[1] // 2, values.shape[2] // 2), np.float32)
    halve(values, out)
    return out
