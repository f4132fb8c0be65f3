"""Objects in one image in memory, of any size: in windows, with the same care for borders as in scenes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine.inference.detection.borders import settle
from engine.inference.detection.objects import FoundObjects
from engine.inference.plan import WindowPlan
from engine.models.detection import Detections

Detect = Callable[[Tensor], list[Detections]]
"""Stored values ``[B, C, H, W]`` in, one answer an image out."""


def find_in_image(
    detect: Detect, stored: Tensor, window_px: int, overlap_px: int, max_overlap: float, *, batch: int = 4
) -> Detections:
    """Find objects in an image.

    Args:
        detect: The detector, normalisation included.
        stored: ``[C, H, W]`` stored values.
        window_px: Larger images are looked at in windows of this edge.
        overlap_px: What neighbouring windows share.
        max_overlap: Overlap from which the less sure of two objects of a class is dropped.
        batch: Windows looked at together.
    """
    height, width = stored.shape[1:]
    if max(height, width) <= window_px:
        return detect(stored[None])[0]
    plan = WindowPlan(width, height, window_px, overlap_px)
    windows = [window for row in range(plan.rows) for window in plan.row_windows(row)]
    parts = []
    for start in range(0, len(windows), batch):
        some = windows[start : start + batch]
        pixels = torch.stack([stored[:, w.row : w.row + w.height, w.col : w.col + w.width] for w in some])
        for window, found in zip(some, detect(pixels), strict=True):
            boxes = found.boxes.double().cpu().numpy().copy()
            boxes[:, :2] += (window.col, window.row)
            scores, labels = found.scores.float().cpu().numpy(), found.labels.cpu().numpy().astype(np.int32)
            parts.append(FoundObjects(boxes, scores, labels, np.full(len(boxes), window.index, np.int64)))
    kept = settle(FoundObjects.joined(parts), plan, np.ones((plan.rows, plan.cols), np.bool_), max_overlap)
    return Detections(
        torch.from_numpy(kept.boxes).float(), torch.from_numpy(kept.scores), torch.from_numpy(kept.labels).long()
    )
