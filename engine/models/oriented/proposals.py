"""The oriented region proposal network (Xie et al. 2021, section 3.1): boxes of any angle that may hold an object.

Guarantees: anchors lie round the middle of their cell, so the answer does not hang on the side an image starts from;
boxes are computed in float32 whatever the precision of the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.oriented.coders import decode_midpoints, encode_midpoints
from engine.models.oriented.matching import MatchRule, draw_samples, match_anchors
from engine.models.rotated.boxes import hulls_of
from engine.models.rotated.suppression import suppress

SMOOTH_BELOW = 1 / 9
"""Where the loss of box numbers turns from a parabola into a line."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the network says about the anchors of one level.

    Attributes:
        anchors: ``[A, 4]`` upright boxes.
        logits: ``[B, A]`` of being an object.
        numbers: ``[B, A, 6]`` for the midpoint coder.
    """

    anchors: Tensor
    logits: Tensor
    numbers: Tensor


class ProposalNetwork(nn.Module):
    """Scores and shapes anchors at every cell of a pyramid.

    Args:
        channels: Channels of the pyramid.
        strides: Pixels a cell of each level.
        scale: Edge of an anchor in cells.
        ratios: Height over width of the anchors.
    """

    def __init__(self, channels: int, strides: Sequence[int], scale: float, ratios: Sequence[float]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.scale, self.ratios = scale, tuple(ratios)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, len(self.ratios), 1)
        self.numbers = nn.Conv2d(channels, 6 * len(self.ratios), 1)
        for conv in (self.conv, self.objectness, self.numbers):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, pyramid: Sequence[Tensor]) -> list[Candidates]:
        """Candidates of each level."""
        found = []
        for level, stride in zip(pyramid, self.strides, strict=True):
            hidden = F.relu(self.conv(level))
            logits = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1)
            numbers = self.numbers(hidden).permute(0, 2, 3, 1).reshape(len(level), -1, 6)
            found.append(Candidates(self._anchors(level, stride), logits.float(), numbers.float()))
        return found

    def proposals(self, candidates: Sequence[Candidates], count: int, threshold: float) -> list[Tensor]:
        """The best boxes of each image.

        Args:
            candidates: What :meth:`forward` returned.
            count: Boxes of a level before suppression, and of an image after it.
            threshold: Overlap of hulls from which the lesser of two boxes of a level is dropped.

        Returns:
            For each image ``[P, 5]``, without gradients.
        """
        found = []
        for image in range(len(candidates[0].logits)):
            boxes, scores, levels = [], [], []
            for number, level in enumerate(candidates):
                best = level.logits[image].detach().topk(min(count, len(level.anchors)))
                numbers = level.numbers[image, best.indices].detach()
                boxes.append(decode_midpoints(level.anchors[best.indices], numbers))
                scores.append(best.values)
                levels.append(torch.full_like(best.indices, number))
            rotated = torch.cat(boxes)
            kept = suppress(hulls_of(rotated), torch.cat(scores), threshold, torch.cat(levels))
            found.append(rotated[kept[:count]])
        return found

    def losses(
        self, candidates: Sequence[Candidates], boxes: Sequence[Tensor], image_size: tuple[int, int], rule: MatchRule
    ) -> tuple[Tensor, Tensor]:
        """Losses of objectness and of box numbers, means over the anchors that are asked.

        Args:
            candidates: What :meth:`forward` returned.
            boxes: For each image the boxes ``[G, 5]`` of its objects.
            image_size: Height and width of the images; anchors that reach beyond are not asked.
            rule: Which anchors stand for what.
        """
        anchors = torch.cat([level.anchors for level in candidates])
        logits = torch.cat([level.logits for level in candidates], dim=1)
        numbers = torch.cat([level.numbers for level in candidates], dim=1)
        height, width = image_size
        limit = anchors.new_tensor((width, height))
        inside = ((anchors[:, :2] >= 0) & (anchors[:, 2:] <= limit)).all(dim=1).nonzero().squeeze(1)
        objectness, shape = logits.sum() * 0, numbers.sum() * 0
        asked = 0
        for image, objects in enumerate(boxes):
            matches = match_anchors(anchors[inside], objects, rule)
            positives, negatives = draw_samples(matches, rule)
            both = torch.cat((positives, negatives))
            asked += len(both)
            truth = (torch.arange(len(both), device=both.device) < len(positives)).float()
            answers = logits[image, inside[both]]
            objectness = objectness + F.binary_cross_entropy_with_logits(answers, truth, reduction="sum")
            places = inside[positives]
            wanted = encode_midpoints(anchors[places], objects[matches[positives]])
            shape = shape + F.smooth_l1_loss(numbers[image, places], wanted, reduction="sum", beta=SMOOTH_BELOW)
        return objectness / max(1, asked), shape / max(1, asked)

    def _anchors(self, level: Tensor, stride: int) -> Tensor:
        """Upright anchors ``[h * w * ratios, 4]`` of a level, in the order of the maps."""
        height, width = level.shape[2:]
        device = level.device
        edge = self.scale * stride
        roots = torch.tensor(self.ratios, device=device).sqrt()
        half = 0.5 * edge * torch.stack((1 / roots, roots), dim=1)
        rows = (torch.arange(height, device=device) + 0.5) * stride
        cols = (torch.arange(width, device=device) + 0.5) * stride
        y, x = torch.meshgrid(rows, cols, indexing="ij")
        centres = torch.stack((x, y), dim=2)[:, :, None]
        return torch.cat((centres - half, centres + half), dim=3).flatten(0, 2)
