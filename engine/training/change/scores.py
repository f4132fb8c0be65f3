"""Scores of change detection: precision, recall, F1 and IoU of what changed, and the accuracy of all pixels.

Published figures of BIT on LeMeViT are means over the batches of validation, which depend on how pairs fall into
batches; those of one confusion matrix over all pixels do not. Both are given.
Guarantees: the threshold that counts as best is found among 200, from the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from engine.training.change.samples import IGNORE

BINS = 200
"""Steps of probability at which a threshold may lie."""
PUBLISHED_BATCH = 16
"""Pairs of a batch in the published validation."""


@dataclass(frozen=True, slots=True)
class ChangeScores:
    """Scores of a split; those of the changed class where a class is meant.

    Attributes:
        precision: Share of what was called changed that is.
        recall: Share of what changed that was called so.
        f1: Their harmonic mean.
        iou: Intersection over union.
        accuracy: Share of all pixels that are right.
        best_f1: F1 at the threshold where it is highest.
        best_threshold: That threshold.
        batch_f1: Mean over batches of 16 pairs of each batch's F1.
        confusion: ``[2, 2]`` pixels, rows are the truth.
    """

    precision: float
    recall: float
    f1: float
    iou: float
    accuracy: float
    best_f1: float
    best_threshold: float
    batch_f1: float
    confusion: np.ndarray


class ChangeScorer:
    """Counts pixels pair by pair."""

    def __init__(self) -> None:
        self._counts = np.zeros((2, BINS), np.int64)
        self._batch = np.zeros((2, 2), np.int64)
        self._pairs = 0
        self._batches: list[float] = []

    def add(self, probability: Tensor, truth: Tensor) -> None:
        """Count some pairs.

        Args:
            probability: ``[B, H, W]`` that a pixel changed.
            truth: ``[B, H, W]`` 0, 1 and :data:`IGNORE`.
        """
        values, known = probability.detach().float().cpu().numpy(), truth.cpu().numpy()
        for drawn, real in zip(values, known, strict=True):
            valid = real != IGNORE
            place = np.minimum((drawn[valid] * BINS).astype(np.int64), BINS - 1)
            counts = np.bincount(real[valid].astype(np.int64) * BINS + place, minlength=2 * BINS).reshape(2, BINS)
            self._counts += counts
            self._batch += _confusion(counts, BINS // 2)
            self._pairs += 1
            if self._pairs == PUBLISHED_BATCH:
                self._close_batch()

    def scores(self) -> ChangeScores:
        """Scores of everything so far."""
        batches = [*self._batches, _f1(self._batch)] if self._pairs else self._batches
        tables = [_confusion(self._counts, start) for start in range(1, BINS)]
        best = int(np.argmax([_f1(table) for table in tables]))
        confusion = _confusion(self._counts, BINS // 2)
        (_, wrong), (missed, right) = confusion.tolist()
        return ChangeScores(
            precision=_share(right, right + wrong),
            recall=_share(right, right + missed),
            f1=_f1(confusion),
            iou=_share(right, right + wrong + missed),
            accuracy=_share(int(np.trace(confusion)), int(confusion.sum())),
            best_f1=_f1(tables[best]),
            best_threshold=(best + 1) / BINS,
            batch_f1=float(np.mean(batches)) if batches else 0.0,
            confusion=confusion,
        )

    def _close_batch(self) -> None:
        self._batches.append(_f1(self._batch))
        self._batch, self._pairs = np.zeros((2, 2), np.int64), 0


def _confusion(counts: np.ndarray, start: int) -> np.ndarray:
    """Truth against prediction where pixels from bin ``start`` on are called changed."""
    return np.stack((counts[:, :start].sum(axis=1), counts[:, start:].sum(axis=1)), axis=1)


def _f1(confusion: np.ndarray) -> float:
    right = int(confusion[1, 1])
    return _share(2 * right, 2 * right + int(confusion[0, 1]) + int(confusion[1, 0]))


def _share(part: int, whole: int) -> float:
    """A share; nothing of nothing is none."""
    return part / whole if whole else 0.0
