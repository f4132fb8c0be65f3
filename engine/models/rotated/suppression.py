"""Non-maximum suppression of rotated and upright boxes, by its quadratic definition and without its loop.

The definition: go through the boxes by falling score, the first of equals first; keep a box unless a kept one of the
same label overlaps it by more than the threshold. Only pairs that overlap that much matter. Whether a box is kept
follows from the better boxes it overlaps; asking all boxes at once, again and again until no answer changes, gives the
definition's answer after as many rounds as the longest chain of them (a handful in practice).

Guarantees: equal to the definition on every input; runs on the boxes' device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.models.rotated.boxes import hulls_of
from engine.models.rotated.overlap import matched_iou, touching_pairs


@torch.no_grad()
def suppress(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Which boxes to keep.

    Args:
        boxes: ``[N, 5]`` rotated, or ``[N, 4]`` upright ones as left, top, right, bottom.
        scores: ``[N]``.
        threshold: Boxes that overlap a kept one by more than this are dropped.
        labels: ``[N]`` integers; boxes of different labels leave each other alone. None takes all for one label.

    Returns:
        Indices of the kept boxes by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    better, worse = overlapping_pairs(boxes[order], threshold, None if labels is None else labels[order])
    return order[_settle(better, worse, len(order))]


@torch.no_grad()
def overlapping_pairs(boxes: Tensor, threshold: float, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pairs ``(i, j)``, ``i < j``, of boxes of one label that overlap by more than ``threshold``."""
    hulls = hulls_of(boxes) if boxes.shape[-1] == 5 else boxes
    places = hulls
    if labels is not None and len(boxes):
        # Labels side by side, too far apart to touch: boxes of different ones are never even compared.
        extent = (hulls[:, 2].max() - hulls[:, 0].min()).double() + 1
        places = hulls.double()
        places[:, [0, 2]] += (labels * extent)[:, None]
    firsts, seconds = [boxes.new_zeros(0, dtype=torch.long)], [boxes.new_zeros(0, dtype=torch.long)]
    for i, j in touching_pairs(places, places):
        ahead = i < j if labels is None else (i < j) & (labels[i] == labels[j])
        i, j = i[ahead], j[ahead]
        overlap = matched_iou(boxes[i], boxes[j]) if boxes.shape[-1] == 5 else _upright_iou(hulls[i], hulls[j])
        strong = overlap > threshold
        firsts.append(i[strong])
        seconds.append(j[strong])
    return torch.cat(firsts), torch.cat(seconds)


def _upright_iou(a: Tensor, b: Tensor) -> Tensor:
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=-1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=-1) + (b[:, 2:] - b[:, :2]).prod(dim=-1) - shared
    return shared / union.clamp_min(torch.finfo(union.dtype).tiny)


def _settle(better: Tensor, worse: Tensor, count: int) -> Tensor:
    """Numbers that are kept, where each keeps its ``worse`` partners out as long as it is kept itself."""
    kept = torch.ones(count, dtype=torch.bool, device=better.device)
    while True:
        next_kept = torch.ones_like(kept)
        next_kept[worse[kept[better]]] = False
        if torch.equal(next_kept, kept):
            return kept.nonzero().squeeze(1)
        kept = next_kept
