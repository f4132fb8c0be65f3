"""Which anchors and proposals are to answer for which object in training, and which of them are asked.

Guarantees: memory stays bounded whatever the number of anchors and objects; draws follow torch's generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.rotated.boxes import hulls_of
from engine.models.rotated.overlap import pairwise_hull_iou, pairwise_iou

NOTHING, UNDECIDED = -1, -2
_MOST_CELLS = 1 << 22


@dataclass(frozen=True, slots=True)
class MatchRule:
    """When a candidate stands for an object.

    Attributes:
        positive: From this overlap on it stands for the object it overlaps most.
        negative: Below this overlap with every object it stands for none; in between it is not asked.
        least: The candidates that overlap an object most stand for it from this overlap on; None: only ``positive``
            counts.
        samples: Candidates of an image that are asked.
        positive_share: Largest share of them that stand for an object.
    """

    positive: float
    negative: float
    least: float | None
    samples: int
    positive_share: float


@torch.no_grad()
def match_anchors(anchors: Tensor, boxes: Tensor, rule: MatchRule) -> Tensor:
    """Object of each upright anchor ``[A, 4]`` by overlap with the hulls of boxes ``[G, 5]``.

    Returns:
        ``[A]`` numbers of boxes, :data:`NOTHING` or :data:`UNDECIDED`.
    """
    best = anchors.new_zeros(len(anchors))
    which = torch.full((len(anchors),), NOTHING, device=anchors.device)
    hulls = hulls_of(boxes)
    closest: list[tuple[Tensor, Tensor]] = []
    step = max(1, _MOST_CELLS // max(1, len(anchors)))
    for start in range(0, len(hulls), step):
        overlap = pairwise_hull_iou(anchors, hulls[start : start + step])
        value, index = overlap.max(dim=1)
        which = torch.where(value > best, index + start, which)
        best = torch.maximum(best, value)
        if rule.least is not None:
            most = overlap.max(dim=0).values
            anchor, box = ((overlap == most) & (most >= rule.least)).nonzero(as_tuple=True)
            closest.append((anchor, box + start))
    found = _decide(best, which, rule)
    for anchor, box in closest:
        found[anchor] = box
    return found


@torch.no_grad()
def match_proposals(proposals: Tensor, boxes: Tensor, rule: MatchRule) -> Tensor:
    """Object of each proposal ``[P, 5]`` by rotated overlap with boxes ``[G, 5]``, as :func:`match_anchors` says."""
    if not len(boxes):
        return torch.full((len(proposals),), NOTHING, device=proposals.device)
    best, which = pairwise_iou(proposals, boxes).max(dim=1)
    return _decide(best, which, rule)


def _decide(best: Tensor, which: Tensor, rule: MatchRule) -> Tensor:
    found = torch.where(best >= rule.positive, which, UNDECIDED)
    return torch.where(best < rule.negative, NOTHING, found)


@torch.no_grad()
def draw_samples(matches: Tensor, rule: MatchRule) -> tuple[Tensor, Tensor]:
    """Numbers of the candidates that are asked: those that stand for an object, and those that stand for none."""
    positives = _draw((matches >= 0).nonzero().squeeze(1), int(rule.samples * rule.positive_share))
    negatives = _draw((matches == NOTHING).nonzero().squeeze(1), rule.samples - len(positives))
    return positives, negatives


def _draw(candidates: Tensor, count: int) -> Tensor:
    if len(candidates) <= count:
        return candidates
    return candidates[torch.randperm(len(candidates), device=candidates.device)[:count]]
