"""Oriented R-CNN over any backbone that gives maps at strides 4, 8, 16 and 32.

Xie et al. 2021, "Oriented R-CNN for Object Detection"; the numbers are those of LeMeViT's DOTA configuration.
Guarantees: images of any size; boxes, scores and labels in float32 whatever the precision inside; in training the
published sampling, losses and frozen norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.models.detection import Detections, Objects
from engine.models.oriented.head import OrientedHead
from engine.models.oriented.matching import MatchRule
from engine.models.oriented.proposals import ProposalNetwork
from engine.models.oriented.pyramid import FeaturePyramid

STRIDES = (4, 8, 16, 32)
ANCHOR_RULE = MatchRule(positive=0.7, negative=0.3, least=0.3, samples=256, positive_share=0.5)
HEAD_RULE = MatchRule(positive=0.5, negative=0.5, least=None, samples=512, positive_share=0.25)


@dataclass(frozen=True, slots=True)
class DetectorRules:
    """How a detector is taught; the published values.

    Attributes:
        anchors: Which anchors stand for what.
        heads: Which proposals stand for what.
        proposals: Proposals of an image that the head may be asked about.
    """

    anchors: MatchRule = ANCHOR_RULE
    heads: MatchRule = HEAD_RULE
    proposals: int = 2000


class OrientedRCNN(nn.Module):
    """Finds rotated boxes.

    Args:
        backbone: Images ``[B, C, H, W]`` -> four maps at strides 4, 8, 16 and 32; ``channels`` tells their widths.
            ``token_count`` tells its tokens where it has any.
        num_classes: Classes ``K``.
        pyramid_channels: Channels of the pyramid.
        hidden: Width of the head's fully connected layers.
        grid: Cells along each side of what the head reads of a proposal.
        anchor_scale: Edge of an anchor in cells.
        anchor_ratios: Height over width of the anchors.
        proposals: Proposals of an image.
        proposal_overlap: Overlap of hulls from which the lesser of two proposals is dropped.
        min_score: Less sure objects are left out.
        max_overlap: Overlap from which the less sure of two objects of a class is dropped.
        max_objects: Most objects of an image.
        freeze_norms: Whether the backbone's batch norms keep their statistics in training, as published for a
            pre-trained backbone.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        pyramid_channels: int = 256,
        hidden: int = 1024,
        grid: int = 7,
        anchor_scale: float = 8.0,
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        proposals: int = 2000,
        proposal_overlap: float = 0.8,
        min_score: float = 0.05,
        max_overlap: float = 0.1,
        max_objects: int = 2000,
        freeze_norms: bool = True,
    ) -> None:
        super().__init__()
        levels = (*STRIDES, 2 * STRIDES[-1])
        channels: Sequence[int] = backbone.channels  # type: ignore[assignment]
        self.backbone = backbone
        self.pyramid = FeaturePyramid(channels, pyramid_channels, len(levels))
        self.proposer = ProposalNetwork(pyramid_channels, levels, anchor_scale, anchor_ratios)
        self.head = OrientedHead(pyramid_channels, STRIDES, num_classes, hidden, grid)
        self.proposals, self.proposal_overlap = proposals, proposal_overlap
        self.min_score, self.max_overlap, self.max_objects = min_score, max_overlap, max_objects
        self.freeze_norms = freeze_norms
        self.token_count = int(getattr(backbone, "token_count", 1))

    def forward(self, images: Tensor) -> list[Detections]:
        """Find objects in normalised images ``[B, C, H, W]``."""
        return self.detect(images)

    def detect(self, images: Tensor) -> list[Detections]:
        """Find objects in normalised images ``[B, C, H, W]``; no gradients."""
        with torch.no_grad():
            levels = self.pyramid(self.backbone(images))
            proposals = self.proposer.proposals(self.proposer(levels), self.proposals, self.proposal_overlap)
            return self.head.detections(levels, proposals, self.min_score, self.max_overlap, self.max_objects)

    def losses(
        self, images: Tensor, targets: Sequence[Objects], rules: DetectorRules | None = None
    ) -> dict[str, Tensor]:
        """The four losses of a batch; their sum is what is minimised.

        Args:
            images: ``[B, C, H, W]`` normalised floats.
            targets: For each image its objects, on the images' device.
            rules: How candidates are chosen; None takes the published rules.

        Returns:
            ``proposal_objectness``, ``proposal_boxes``, ``classes`` and ``boxes``.
        """
        rules = rules or DetectorRules()
        levels = self.pyramid(self.backbone(images))
        candidates = self.proposer(levels)
        size = (images.shape[2], images.shape[3])
        objectness, shape = self.proposer.losses(candidates, [t.boxes for t in targets], size, rules.anchors)
        proposals = self.proposer.proposals(candidates, rules.proposals, self.proposal_overlap)
        classes, boxes = self.head.losses(levels, proposals, targets, rules.heads)
        return {"proposal_objectness": objectness, "proposal_boxes": shape, "classes": classes, "boxes": boxes}

    def probe_answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """What must stay the same when the module is rewritten for speed: maps, before anything is chosen by rank."""
        levels = self.pyramid(self.backbone(images))
        return (*levels, *(part for level in self.proposer(levels) for part in (level.logits, level.numbers)))

    def train(self, mode: bool = True) -> OrientedRCNN:
        """Switch to training; the backbone's batch norms stay as they are where they are frozen."""
        super().train(mode)
        if mode and self.freeze_norms:
            for part in self.backbone.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self
