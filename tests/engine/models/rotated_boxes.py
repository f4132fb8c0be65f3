"""Random rotated boxes and shapely's word on them, for the tests of rotated geometry."""

from __future__ import annotations

import numpy as np
import shapely
import torch
from torch import Tensor

from engine.models.rotated.boxes import corners_of


def random_boxes(count: int, seed: int, extent: float = 200.0, largest: float = 120.0) -> Tensor:
    """Boxes ``[count, 5]`` float64 of mixed sizes, some of them thin, at any angle."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(0.5), np.log(largest), (count, 2)))
    place = rng.uniform(0, extent, (count, 2))
    angle = rng.choice([0.0, np.pi / 2, np.pi / 4, np.nan], count, p=[0.1, 0.05, 0.05, 0.8])
    angle = np.where(np.isnan(angle), rng.uniform(-np.pi, np.pi, count), angle)
    return torch.from_numpy(np.column_stack((place, sides, angle)))


def shapes(boxes: Tensor) -> np.ndarray:
    """The boxes as shapely polygons."""
    return shapely.polygons(corners_of(boxes.double()).numpy())


def shapely_iou(a: Tensor, b: Tensor) -> np.ndarray:
    """Intersection over union of boxes, pair by pair."""
    p, q = shapes(a), shapes(b)
    shared = shapely.area(shapely.intersection(p, q))
    union = shapely.area(p) + shapely.area(q) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
