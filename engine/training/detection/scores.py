"""Average precision as DOTA measures it: detections against annotated quadrilaterals, class by class.

A detection is right where it overlaps an object of its class by more than half and no surer one took that object
before; each detection is held against the object it overlaps most. Difficult objects count neither for nor against.
The area form integrates the falling envelope of precision over recall (VOC from 2010 on); the 11-point form, which
DOTA's own kit prints, averages it at recalls 0, 0.1, ... 1 (VOC 2007).

Guarantees: overlap is that of the annotated quadrilateral itself, not of a rectangle round it; the mean is over classes
that have objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engine.models.detection import Detections
from engine.models.rotated.overlap import pairwise_quad_iou
from engine.training.detection.dota import Annotations

Floats = npt.NDArray[np.float64]

OVERLAP = 0.5
_RIGHT, _WRONG, _IGNORED = 1, 0, -1


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Scores of one split.

    Attributes:
        ap_area: Average precision of each class, area form; NaN where a class has no objects.
        ap_11: The same, 11-point form.
        recall: Share of each class's objects that are found at any score.
        objects: Objects of each class that count.
        best_f1: Highest F1 of all classes together over all thresholds of the score.
        best_score: The threshold it is reached at.
    """

    ap_area: tuple[float, ...]
    ap_11: tuple[float, ...]
    recall: tuple[float, ...]
    objects: tuple[int, ...]
    best_f1: float
    best_score: float

    @property
    def map_area(self) -> float:
        """Mean of the area form."""
        return _mean(self.ap_area)

    @property
    def map_11(self) -> float:
        """Mean of the 11-point form."""
        return _mean(self.ap_11)


class DetectionScorer:
    """Collects detections and objects image by image.

    Args:
        classes: Number of classes.
        overlap: Overlap beyond which a detection is right.
    """

    def __init__(self, classes: int, overlap: float = OVERLAP) -> None:
        self._overlap = overlap
        self._scores: list[list[Floats]] = [[] for _ in range(classes)]
        self._outcomes: list[list[npt.NDArray[np.int8]]] = [[] for _ in range(classes)]
        self._objects = np.zeros(classes, np.int64)

    def add(self, found: Detections, truth: Annotations) -> None:
        """Judge the detections of one image."""
        easy = truth.labels[~truth.difficult]
        self._objects += np.bincount(easy, minlength=len(self._objects))
        boxes, scores, labels = found.boxes.double().cpu(), found.scores.double().cpu().numpy(), found.labels.cpu()
        for label in sorted(set(labels.tolist())):
            mine = (labels == label).nonzero().squeeze(1)
            mine = mine[torch.from_numpy(np.argsort(-scores[mine.numpy()], kind="stable"))]
            objects = truth.only(truth.labels == label)
            self._scores[label].append(scores[mine.numpy()])
            self._outcomes[label].append(self._judge(boxes[mine], objects))

    def scores(self) -> DetectionScores:
        """Scores of all images so far."""
        areas, elevens, recalls = [], [], []
        all_scores: list[Floats] = [np.zeros(0)]
        all_outcomes: list[npt.NDArray[np.int8]] = [np.zeros(0, np.int8)]
        for scores, outcomes, objects in zip(self._scores, self._outcomes, self._objects, strict=True):
            sure = np.concatenate([np.zeros(0), *scores])
            outcome = np.concatenate([np.zeros(0, np.int8), *outcomes])
            recall, precision, _ = curve(sure, outcome, int(objects))
            areas.append(area_precision(recall, precision) if objects else float("nan"))
            elevens.append(eleven_point_precision(recall, precision) if objects else float("nan"))
            recalls.append(float(recall[-1]) if objects and len(recall) else 0.0 if objects else float("nan"))
            all_scores.append(sure)
            all_outcomes.append(outcome)
        best_f1, best_score = _best_f1(
            np.concatenate(all_scores), np.concatenate(all_outcomes), int(self._objects.sum())
        )
        return DetectionScores(
            tuple(areas), tuple(elevens), tuple(recalls), tuple(self._objects.tolist()), best_f1, best_score
        )

    def _judge(self, boxes: torch.Tensor, objects: Annotations) -> npt.NDArray[np.int8]:
        """Outcome of each box, the surest first."""
        outcome = np.full(len(boxes), _WRONG, np.int8)
        if not len(objects):
            return outcome
        overlap, which = (part.numpy() for part in pairwise_quad_iou(boxes, torch.from_numpy(objects.corners)).max(1))
        hit = overlap > self._overlap
        outcome[hit & objects.difficult[which]] = _IGNORED
        places = np.flatnonzero(hit & ~objects.difficult[which])
        _, first = np.unique(which[places], return_index=True)
        outcome[places[first]] = _RIGHT
        return outcome


def curve(scores: Floats, outcomes: npt.NDArray[np.int8], objects: int) -> tuple[Floats, Floats, Floats]:
    """Recall, precision and score at each detection that counts, by falling score."""
    order = np.argsort(-scores, kind="stable")
    outcomes, scores = outcomes[order], scores[order]
    counted = outcomes != _IGNORED
    right = np.cumsum(outcomes[counted] == _RIGHT)
    return right / max(1, objects), right / np.arange(1, len(right) + 1), scores[counted]


def area_precision(recall: Floats, precision: Floats) -> float:
    """Area under the falling envelope of precision over recall."""
    edges = np.concatenate(([0.0], recall))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(edges) * envelope))


def eleven_point_precision(recall: Floats, precision: Floats) -> float:
    """Mean of the best precision at recalls of at least 0, 0.1, ... 1."""
    points = np.arange(11) / 10
    return float(np.mean([precision[recall >= point].max(initial=0.0) for point in points]))


def _best_f1(scores: Floats, outcomes: npt.NDArray[np.int8], objects: int) -> tuple[float, float]:
    recall, precision, at = curve(scores, outcomes, objects)
    if not len(at) or not recall[-1]:
        return 0.0, 1.0
    # Equal scores fall together: only the last of them is a threshold.
    last = np.append(at[1:] < at[:-1], True)
    recall, precision, at = recall[last], precision[last], at[last]
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-12)
    best = int(f1.argmax())
    return float(f1[best]), float(at[best])


def _mean(values: Sequence[float]) -> float:
    known = np.array(values)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")
