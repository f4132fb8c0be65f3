"""Oriented R-CNN on LeMeViT, as its authors detect objects on DOTA.

Guarantees: with the published configuration the number of parameters is the published one. The authors' detection body
holds four norms that it never applies; they are held here too, frozen, so that sizes and files compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from engine.models.oriented.detector import OrientedRCNN
from engine.models.registry import create

DOTA_CLASS_COUNT = 15


class OrientedLemevit(OrientedRCNN):
    """Finds rotated boxes with a LeMeViT body.

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        body: The variant.
        drop_path_rate: Stochastic depth of the body's last block.
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
        freeze_norms: Whether the body's batch norms keep their statistics in training, as published for a pre-trained
            body.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        f"oriented_rcnn_{body}": {"body": body} for body in ("lemevit_tiny", "lemevit_small", "lemevit_base")
    }

    def __init__(
        self,
        num_classes: int = DOTA_CLASS_COUNT,
        in_channels: int = 3,
        body: Literal["lemevit_tiny", "lemevit_small", "lemevit_base"] = "lemevit_tiny",
        drop_path_rate: float = 0.1,
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
        super().__init__(
            create(f"{body}_dense", in_channels=in_channels, drop_path_rate=drop_path_rate),
            num_classes,
            pyramid_channels,
            hidden,
            grid,
            anchor_scale,
            anchor_ratios,
            proposals,
            proposal_overlap,
            min_score,
            max_overlap,
            max_objects,
            freeze_norms,
        )
        channels: Sequence[int] = self.backbone.channels  # type: ignore[assignment]
        self.token_count = len(self.backbone.meta_tokens)  # type: ignore[arg-type]
        self.extra_norms = nn.ModuleList(nn.LayerNorm(width) for width in channels).requires_grad_(False)
