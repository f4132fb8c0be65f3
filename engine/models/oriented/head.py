"""The second stage: what is in each proposal, and its box made exact.

Guarantees: a proposal is looked at with some surroundings, as published; boxes are the same for all classes; empty
lists of proposals work.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.detection import Detections, Objects
from engine.models.oriented.coders import decode_oriented, encode_oriented
from engine.models.oriented.matching import MatchRule, draw_samples, match_proposals
from engine.models.rotated.align import rotated_roi_align
from engine.models.rotated.suppression import suppress

EXTEND = (1.4, 1.2)
"""How much longer and wider than the proposal the part that is looked at is."""
_FINEST_PX = 56.0
"""Objects of up to twice this size are read from the finest level."""


class OrientedHead(nn.Module):
    """Classes and box numbers of proposals.

    Args:
        channels: Channels of the pyramid.
        strides: Pixels a cell of the levels that are read, finest first.
        num_classes: Classes ``K``, without the background.
        hidden: Width of the two fully connected layers.
        grid: Cells along each side of what is read of a proposal.
    """

    def __init__(self, channels: int, strides: Sequence[int], num_classes: int, hidden: int, grid: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.num_classes, self.grid = num_classes, grid
        self.fc1 = nn.Linear(channels * grid * grid, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.classes = nn.Linear(hidden, num_classes + 1)
        self.numbers = nn.Linear(hidden, 5)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.numbers.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.classes, self.numbers):
            nn.init.zeros_(layer.bias)

    def forward(self, pyramid: Sequence[Tensor], proposals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Judge the proposals of all images, one image after the other.

        Args:
            pyramid: Levels ``[B, C, h, w]``; those beyond the head's own are not read.
            proposals: For each image ``[P, 5]``.

        Returns:
            Logits ``[R, K + 1]``, the background last, and numbers ``[R, 5]`` for the oriented coder, float32.
        """
        boxes = torch.cat(list(proposals))
        images = torch.cat([torch.full((len(p),), i, device=boxes.device) for i, p in enumerate(proposals)])
        size = (boxes[:, 2] * boxes[:, 3]).clamp_min(0).sqrt()
        levels = (size / _FINEST_PX + 1e-6).log2().floor().clamp(0, len(self.strides) - 1).long()
        seen = boxes * boxes.new_tensor((1, 1, *EXTEND, 1))
        read = list(pyramid[: len(self.strides)])
        features = rotated_roi_align(read, self.strides, seen, images, levels, size=self.grid)
        hidden = F.relu(self.fc2(F.relu(self.fc1(features.flatten(1)))))
        return self.classes(hidden).float(), self.numbers(hidden).float()

    def detections(
        self, pyramid: Sequence[Tensor], proposals: Sequence[Tensor], min_score: float, threshold: float, most: int
    ) -> list[Detections]:
        """Objects of each image.

        Args:
            pyramid: As for :meth:`forward`.
            proposals: As for :meth:`forward`.
            min_score: Less sure ones are left out.
            threshold: Overlap from which the less sure of two objects of a class is dropped.
            most: Most objects of an image.
        """
        logits, numbers = self(pyramid, proposals)
        counts = [len(p) for p in proposals]
        found = []
        for rois, scores, shape in zip(
            proposals, torch.split(logits.softmax(dim=1), counts), torch.split(numbers, counts), strict=True
        ):
            roi, label = (scores[:, : self.num_classes] > min_score).nonzero(as_tuple=True)
            sure = scores[roi, label]
            boxes = decode_oriented(rois, shape)[roi]
            kept = suppress(boxes, sure, threshold, label)[:most]
            found.append(Detections(boxes[kept], sure[kept], label[kept]))
        return found

    def losses(
        self, pyramid: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Objects], rule: MatchRule
    ) -> tuple[Tensor, Tensor]:
        """Losses of classes and of box numbers, means over the proposals that are asked.

        Args:
            pyramid: As for :meth:`forward`.
            proposals: For each image ``[P, 5]``; the objects' own boxes join them.
            targets: For each image its objects.
            rule: Which proposals stand for what.
        """
        asked, labels, wanted, shaped = [], [], [], []
        for boxes, known in zip(proposals, targets, strict=True):
            boxes = torch.cat((known.boxes, boxes))
            matches = match_proposals(boxes, known.boxes, rule)
            positives, negatives = draw_samples(matches, rule)
            asked.append(boxes[torch.cat((positives, negatives))])
            none = torch.full_like(negatives, self.num_classes)
            labels.append(torch.cat((known.labels[matches[positives]], none)))
            wanted.append(encode_oriented(boxes[positives], known.boxes[matches[positives]]))
            shaped.append(torch.arange(len(asked[-1]), device=boxes.device) < len(positives))
        logits, numbers = self(pyramid, asked)
        count = max(1, len(logits))
        classes = F.cross_entropy(logits, torch.cat(labels), reduction="sum")
        shape = F.smooth_l1_loss(numbers[torch.cat(shaped)], torch.cat(wanted), reduction="sum")
        return classes / count, shape / count
