"""Scores of dense prediction from a confusion matrix.

The table of the HOOK paper: aAcc (pixel accuracy), mAcc (mean class accuracy), mIoU, and each class. Classes that
occur neither in truth nor in prediction count in no mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one split.

    Attributes:
        miou: Mean intersection over union.
        accuracy: Share of labelled pixels that are right.
        mean_accuracy: Mean over classes of the share of their pixels that are right.
        iou: IoU of each class; NaN where a class occurs nowhere.
        class_accuracy: Share right for each class.
        pixels: Labelled pixels.
    """

    miou: float
    accuracy: float
    mean_accuracy: float
    iou: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    pixels: int


def scores_from_confusion(confusion: np.ndarray) -> Scores:
    """Compute scores.

    Args:
        confusion: ``[K, K]`` pixel counts, rows are the truth.
    """
    matrix = confusion.astype(np.float64)
    right, truth, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = right / (truth + predicted - right)
        accuracy = right / truth
    return Scores(
        miou=_mean(iou),
        accuracy=float(right.sum() / max(1.0, matrix.sum())),
        mean_accuracy=_mean(accuracy),
        iou=tuple(float(v) for v in iou),
        class_accuracy=tuple(float(v) for v in accuracy),
        pixels=int(matrix.sum()),
    )


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
