"""``quadformer_*``: a ViT on the patches of a quadtree, for scenes and for maps; ``vanilla_vit_*``: its twins.

After Ronen et al. 2023, "Vision Transformers with Mixed-Resolution Tokenization" (arXiv 2304.00287): a class token and
patches of several sizes (see ``mixed``) through a plain ViT. The twins have as many patches, all of one size, and are
the same in all else: with the same configuration every parameter of one has its like in the other. For maps each token
is copied to the cells that its box covers (the reverse quadtree), and a light convolutional decoder draws the classes.

Guarantees: ``num_patches`` can be set anew at any time, the weights fit any budget; token maps are the boxes, exactly,
on the cells and at the pixels; ``out.tokens.features`` are the states behind the blocks, zero for patches that lie
wholly outside the image. A plain ViT's weights (timm's names) load through ``from_reference``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.mixed import Cut, Cutter, QuadtreeCutter, ScorerName, VanillaCutter
from engine.models.output import TokenOutput
from engine.models.vit import TokenViT
from engine.tokenizers.base import Tokens


class PlainViT(nn.Module):
    """A plain ViT on patches of any kind: class token, pre-norm blocks, a norm behind them.

    Args:
        tokenizer: Cuts and embeds.
        depth: Transformer blocks.
        num_heads: Their attention heads.
    """

    def __init__(self, tokenizer: Cutter, depth: int, num_heads: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.backbone = TokenViT(tokenizer.embed_dim, depth, num_heads, (depth - 1,))
        self.norm = nn.LayerNorm(tokenizer.embed_dim)
        if tokenizer.cls_token is not None:
            nn.init.trunc_normal_(tokenizer.cls_token, std=0.02)
        for part in self.backbone.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    @property
    def num_patches(self) -> int:
        """Patches of an image of ``image_size``; may be set, without training anew.

        Raises:
            OptionError: The images cannot be cut into so many; the message names the nearest that work.
        """
        return self.tokenizer.num_patches

    @num_patches.setter
    def num_patches(self, count: int) -> None:
        self.tokenizer.check_budget(count)
        self.tokenizer.num_patches = count

    def perceive(self, images: Tensor) -> tuple[Tensor, Cut]:
        """Cut ``[B, C, H, W]`` normalised floats and run the blocks: states ``[B, 1 + P, D]``, and the cut."""
        cut = self.tokenizer.cut(images)
        sequence = self.tokenizer.sequence(cut.tokens.features)
        if cut.inside is None:
            return self._states(sequence), cut
        # Patches outside go to the end; images with as many inside pass the blocks together, without the others.
        there = F.pad(cut.inside, (1, 0), value=True)
        order = there.logical_not().byte().argsort(dim=1, stable=True)
        sequence = sequence.gather(1, order.unsqueeze(2).expand_as(sequence))
        counts = there.sum(dim=1)
        parts, places = [], []
        for count in sorted(set(counts.tolist())):
            place = (counts == count).nonzero()[:, 0]
            states = self._states(sequence[place, :count])
            parts.append(F.pad(states, (0, 0, 0, sequence.shape[1] - count)))
            places.append(place)
        states = torch.cat(parts)[torch.cat(places).argsort()]
        back = order.argsort(dim=1)
        return states.gather(1, back.unsqueeze(2).expand_as(states)), cut

    def _states(self, sequence: Tensor) -> Tensor:
        (states,) = self.backbone(sequence)
        normed: Tensor = self.norm(states)
        return normed

    @classmethod
    def read_reference(cls, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Our names of a plain ViT's tensors as timm calls them, and the configuration that their shapes tell.

        Its learned positions are left out: they are those of one grid.
        """
        if "patch_embed.proj.weight" not in weights:
            return dict(weights), {}
        own = {_own_key(key): value for key, value in weights.items() if key != "pos_embed"}
        width, bands, edge, _ = weights["patch_embed.proj.weight"].shape
        depth = 1 + max((int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", key) for key in weights) if m), default=0)
        return own, {"embed_dim": width, "in_channels": bands, "min_size": edge, "depth": depth}


def _own_key(key: str) -> str:
    return re.sub(r"^blocks\.", "backbone.module.", re.sub(r"^(patch_embed\.|(?=cls_token$))", "tokenizer.", key))


class _Classifier(PlainViT):
    def __init__(self, tokenizer: Cutter, depth: int, num_heads: int, num_classes: int) -> None:
        super().__init__(tokenizer, depth, num_heads)
        self.head = nn.Linear(tokenizer.embed_dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> TokenOutput:
        """Classify ``[B, C, H, W]`` normalised floats; logits ``[B, K]``."""
        states, cut = self.perceive(images)
        scene = states[:, 0]
        tokens = Tokens(states[:, 1:], cut.tokens.assignment)
        return TokenOutput(self.head(scene), tokens, extras={"features": scene, **_boxes(cut)})


class QuadformerClassifier(_Classifier):
    """Scene classification from the class token of a Quadformer.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the square images that ``num_patches`` is for; elsewhere it is in proportion to the area.
        in_channels: Bands of the image.
        embed_dim: Width of a token, a multiple of 4.
        depth: Transformer blocks.
        num_heads: Their attention heads.
        num_patches: Patches of an image of ``image_size``.
        min_size: Edge of the smallest patch in pixels; all are resampled to it.
        max_size: Edge of the largest patch in pixels, ``min_size`` times a power of two.
        scorer: Where to cut: ``blur``, ``bands`` or ``random``; any scorer may be set as ``tokenizer.scorer``.
        antialias: Whether larger patches average all their pixels; published is no.
        scale_embedding: Whether a learned vector says how large a patch is; published is no.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 256,
        in_channels: int = 3,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        num_patches: int = 196,
        min_size: int = 16,
        max_size: int = 64,
        scorer: ScorerName = "blur",
        antialias: bool = False,
        scale_embedding: bool = False,
    ) -> None:
        tokenizer = QuadtreeCutter(
            image_size, in_channels, embed_dim, num_patches, min_size, max_size, scorer, antialias, scale_embedding
        )
        super().__init__(tokenizer, depth, num_heads, num_classes)


class VanillaVitClassifier(_Classifier):
    """The Quadformer's twin: as many patches, all of one size, resampled to the same ``min_size``.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the square images that ``num_patches`` is for; elsewhere it is in proportion to the area.
        in_channels: Bands of the image.
        embed_dim: Width of a token, a multiple of 4.
        depth: Transformer blocks.
        num_heads: Their attention heads.
        num_patches: Patches of an image of ``image_size``, a square number.
        min_size: Edge that patches are resampled to, in pixels.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 256,
        in_channels: int = 3,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        num_patches: int = 196,
        min_size: int = 16,
    ) -> None:
        tokenizer = VanillaCutter(image_size, in_channels, embed_dim, num_patches, min_size)
        super().__init__(tokenizer, depth, num_heads, num_classes)


class CellDecoder(nn.Sequential):
    """Classes from the tokens copied to their cells: ``[B, D, h, w]`` to logits ``[B, K, 2 h, 2 w]``.

    Args:
        dim: Width of a token.
        channels: Channels in between.
        depth: Convolutions that look at neighbouring cells.
        num_classes: Classes ``K``.
    """

    def __init__(self, dim: int, channels: int, depth: int, num_classes: int) -> None:
        mixing: list[nn.Module] = []
        for _ in range(depth):
            mixing += [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.GELU()]
        super().__init__(
            nn.Conv2d(dim, channels, 1),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            *mixing,
            nn.Dropout2d(0.1),
            nn.Conv2d(channels, 4 * num_classes, 1),
            nn.PixelShuffle(2),
        )


@dataclass(frozen=True, slots=True)
class Painting:
    """Draws maps at pixels: claims as they are, cell by cell, and finer maps bilinearly.

    Attributes:
        grid: Rows and columns of the claims.
        claims_px: Height and width in pixels that they cover.
        logits_px: Height and width in pixels that finer maps cover.
    """

    grid: tuple[int, int]
    claims_px: tuple[int, int]
    logits_px: tuple[int, int]

    def __call__(self, maps: Tensor) -> Tensor:
        """Draw ``maps`` ``[B, C, h, w]``."""
        if tuple(maps.shape[2:]) == self.grid:
            return F.interpolate(maps, self.claims_px, mode="nearest-exact")
        return F.interpolate(maps, self.logits_px, mode="bilinear", align_corners=False)


class _Segmenter(PlainViT):
    def __init__(
        self,
        tokenizer: Cutter,
        depth: int,
        num_heads: int,
        num_classes: int,
        decoder_channels: int,
        decoder_depth: int,
    ) -> None:
        super().__init__(tokenizer, depth, num_heads)
        self.decoder = CellDecoder(tokenizer.embed_dim, decoder_channels, decoder_depth, num_classes)

    def forward(self, images: Tensor) -> TokenOutput:
        """Segment ``[B, C, H, W]`` normalised floats; logits lie on cells of half of ``min_size``."""
        states, cut = self.perceive(images)
        tokens = Tokens(states[:, 1:], cut.tokens.assignment)
        cells = self.tokenizer.cells(tokens.features, cut)
        grid = (tokens.assignment.shape[2], tokens.assignment.shape[3])
        edge = self.tokenizer.patch_size
        upsample = Painting(grid, cut.covered, (cells.shape[2] * edge, cells.shape[3] * edge))
        return TokenOutput(self.decoder(cells), tokens, upsample=upsample, extras=_boxes(cut))


def _boxes(cut: Cut) -> dict[str, Tensor]:
    return {} if cut.boxes is None else {"boxes": cut.boxes}


class QuadformerSegmenter(_Segmenter):
    """Dense prediction with a Quadformer.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the square images that ``num_patches`` is for; elsewhere it is in proportion to the area.
        in_channels: Bands of the image.
        embed_dim: Width of a token, a multiple of 4.
        depth: Transformer blocks.
        num_heads: Their attention heads.
        num_patches: Patches of an image of ``image_size``.
        min_size: Edge of the smallest patch in pixels; all are resampled to it.
        max_size: Edge of the largest patch in pixels, ``min_size`` times a power of two.
        scorer: Where to cut: ``blur``, ``bands`` or ``random``; any scorer may be set as ``tokenizer.scorer``.
        antialias: Whether larger patches average all their pixels; published is no.
        scale_embedding: Whether a learned vector says how large a patch is; published is no.
        decoder_channels: Channels of the decoder.
        decoder_depth: Its 3 x 3 convolutions.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 256,
        in_channels: int = 3,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        num_patches: int = 196,
        min_size: int = 8,
        max_size: int = 32,
        scorer: ScorerName = "blur",
        antialias: bool = False,
        scale_embedding: bool = False,
        decoder_channels: int = 128,
        decoder_depth: int = 2,
    ) -> None:
        tokenizer = QuadtreeCutter(
            image_size, in_channels, embed_dim, num_patches, min_size, max_size, scorer, antialias, scale_embedding
        )
        super().__init__(tokenizer, depth, num_heads, num_classes, decoder_channels, decoder_depth)


class VanillaVitSegmenter(_Segmenter):
    """The Quadformer's twin for dense prediction: as many patches, all of one size, resampled to ``min_size``.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the square images that ``num_patches`` is for; elsewhere it is in proportion to the area.
        in_channels: Bands of the image.
        embed_dim: Width of a token, a multiple of 4.
        depth: Transformer blocks.
        num_heads: Their attention heads.
        num_patches: Patches of an image of ``image_size``, a square number.
        min_size: Edge that patches are resampled to, and of the decoder's cells, in pixels.
        decoder_channels: Channels of the decoder.
        decoder_depth: Its 3 x 3 convolutions.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 256,
        in_channels: int = 3,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        num_patches: int = 196,
        min_size: int = 8,
        decoder_channels: int = 128,
        decoder_depth: int = 2,
    ) -> None:
        tokenizer = VanillaCutter(image_size, in_channels, embed_dim, num_patches, min_size)
        super().__init__(tokenizer, depth, num_heads, num_classes, decoder_channels, decoder_depth)
