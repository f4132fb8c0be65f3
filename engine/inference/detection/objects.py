"""Objects found in a scene, as arrays: what rows journal, what settling works on, what the table is written from.

Boxes follow :mod:`engine.models.rotated.boxes`, in pixels of the analysis grid, float64. Importing this module does not
import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """Objects, one a row.

    Attributes:
        boxes: ``[n, 5]`` float64.
        scores: ``[n]`` float32, 0 to 1.
        labels: ``[n]`` int32 class codes.
        windows: ``[n]`` int64 number of the window each was seen in.
    """

    boxes: Floats
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    windows: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> FoundObjects:
        """No objects."""
        return cls(np.zeros((0, 5)), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[FoundObjects]) -> FoundObjects:
        """All of some lists, one after the other."""
        everything = [cls.none(), *parts]
        return cls(*(np.concatenate([getattr(part, field.name) for part in everything]) for field in fields(cls)))

    def take(self, places: npt.NDArray[Any]) -> FoundObjects:
        """Those at some places, or where a mask holds."""
        return FoundObjects(self.boxes[places], self.scores[places], self.labels[places], self.windows[places])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __len__(self) -> int:
        return len(self.scores)


def corners(boxes: Floats) -> Floats:
    """Corners ``[n, 4, 2]`` of boxes, clockwise on the screen."""
    x, y, w, h, angle = boxes.T
    along = 0.5 * w[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    across = 0.5 * h[:, None] * np.stack((-np.sin(angle), np.cos(angle)), axis=1)
    middle = np.stack((x, y), axis=1)
    ends = (middle - along - across, middle + along - across, middle + along + across, middle - along + across)
    return np.stack(ends, axis=1)


def hulls(boxes: Floats) -> Floats:
    """Upright boxes ``[n, 4]`` (left, top, right, bottom) round boxes."""
    points = corners(boxes)
    return np.concatenate((points.min(axis=1), points.max(axis=1)), axis=1)
