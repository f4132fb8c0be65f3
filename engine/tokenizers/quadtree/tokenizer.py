"""Quadtree and vanilla tokenizers: patches to tokens through the patch embedding of a plain ViT.

Each patch, shrunk to ``min_size`` x ``min_size`` pixels, goes through the one projection, and gets the sinusoidal
position of its centre; how large it was is not told (as published). The vanilla tokenizer is the same with patches of
one size, so that the two can be compared and share weights.

Guarantees: the projection is a convolution called ``proj`` as in ``PatchTokenizer``, so state dicts fit all three;
``assignment`` lies on the grid of ``min_size`` cells, each of which belongs to exactly one token; patches wholly
outside the image claim no cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import CheckpointError, OptionError
from engine.tokenizers.base import Tokenizer, Tokens
from engine.tokenizers.quadtree.layout import patch_sizes
from engine.tokenizers.quadtree.patches import Patches
from engine.tokenizers.quadtree.position import centre_positions, check_width
from engine.tokenizers.quadtree.reverse import patch_index
from engine.tokenizers.quadtree.scores import Scorer
from engine.tokenizers.quadtree.tree import Runner, tokenize


@dataclass(frozen=True, slots=True)
class QuadtreeTokens:
    """Tokens with the patches they come from.

    Attributes:
        tokens: The tokens.
        patches: Boxes and pixels, in the order of the tokens.
        inside: Which patches touch the image, ``[B, P]``; the others must be left out of attention. None where all do.
    """

    tokens: Tokens
    patches: Patches
    inside: Tensor | None


class PatchEmbedding(Tokenizer):
    """What both tokenizers share: the projection and the class token.

    Args:
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        patch_size: Edge of the patches that are projected, in pixels.
        class_token: Whether :meth:`sequence` puts a learned token, without position, in front.
    """

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int, class_token: bool) -> None:
        super().__init__()
        check_width(embed_dim)
        self.embed_dim = embed_dim
        self.patch_size = patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if class_token else None
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)

    def sequence(self, tokens: Tensor) -> Tensor:
        """What a transformer reads: the tokens ``[B, N, D]``, behind the class token where there is one."""
        if self.cls_token is None:
            return tokens
        return torch.cat((self.cls_token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens), dim=1)

    def load_patch_embed(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take projection and class token from a plain ViT (``patch_embed.proj.*``, ``cls_token``), all else ignored.

        Raises:
            CheckpointError: They are not there, or for other patches.
        """
        found = {
            own: state_dict[key]
            for own in self.state_dict()
            for key in (own if own == "cls_token" else f"patch_embed.{own}", own)
            if key in state_dict
        }
        wrong = [key for key, own in self.state_dict().items() if key not in found or found[key].shape != own.shape]
        if wrong:
            have = f"of shape {list(found[wrong[0]].shape)}" if wrong[0] in found else "missing"
            raise CheckpointError(
                f"the ViT's {wrong[0]} is {have}",
                remedy=f"It must be {list(self.state_dict()[wrong[0]].shape)}: "
                "patch size, bands, width and class token must agree.",
            )
        self.load_state_dict(found)


class QuadtreeTokenizer(PatchEmbedding):
    """Image -> one token for each patch of its quadtree (see the module's first lines).

    Args:
        scorer: What says how little there is to see (it sees the images that :meth:`forward` gets).
        num_patches: Tokens of an image.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        class_token: Whether :meth:`sequence` puts a learned token in front.
        runner: Which implementation builds the tree.
        antialias: Whether larger patches average all their pixels; published is no.
    """

    def __init__(
        self,
        scorer: Scorer,
        num_patches: int,
        min_size: int = 16,
        max_size: int = 64,
        in_channels: int = 3,
        embed_dim: int = 768,
        class_token: bool = True,
        runner: Runner = "fast",
        antialias: bool = False,
    ) -> None:
        super().__init__(in_channels, embed_dim, min_size, class_token)
        patch_sizes(min_size, max_size)
        self.scorer = scorer
        self.num_patches = num_patches
        self.min_size = min_size
        self.max_size = max_size
        self.runner: Runner = runner
        self.antialias = antialias

    def forward(self, images: Tensor) -> Tokens:
        """Tokenize ``[B, C, H, W]``; tokens are in the order (size, top, left) of their patches."""
        return self.perceive(images).tokens

    def perceive(
        self, images: Tensor, scores: Mapping[int, Tensor] | None = None, *, valid: Tensor | None = None
    ) -> QuadtreeTokens:
        """Tokenize and keep the patches.

        Args:
            images: ``[B, C, H, W]`` normalised floats.
            scores: Scores to use instead of the scorer's.
            valid: Where there is data, ``[B, H, W]``, for the scorer.
        """
        if scores is None:
            scores = self.scorer(images, self.min_size, self.max_size, valid=valid)
        patches = tokenize(
            images, scores, self.num_patches, self.min_size, self.max_size, self.runner, antialias=self.antialias
        )
        features = self.embed(patches)
        height, width = images.shape[-2:]
        index = patch_index(patches.boxes, height, width, self.min_size).to(images.device)
        claims = torch.zeros(len(images), self.num_patches, *index.shape[1:], device=images.device)
        claims.scatter_(1, index.unsqueeze(1), 1.0)
        left, top, _ = patches.boxes.unbind(2)
        inside = (left < width) & (top < height)
        return QuadtreeTokens(Tokens(features, claims), patches, None if bool(inside.all()) else inside)

    def embed(self, patches: Patches, *, positions: bool = True) -> Tensor:
        """Tokens ``[B, P, D]`` of patches, with or without their positions."""
        flat = patches.pixels.flatten(2)
        features = F.linear(flat, self.proj.weight.flatten(1), self.proj.bias)
        if not positions:
            return features
        return features + centre_positions(patches.centres, self.embed_dim).to(features)


class VanillaTokenizer(PatchEmbedding):
    """Image -> one token for each patch of a regular grid, with sinusoidal positions.

    Args:
        patch_size: Edge of a patch in pixels.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        class_token: Whether :meth:`sequence` puts a learned token in front.
        half_cell: Whether positions are those of patch centres, as in the quadtree; the published vanilla tokenizer
            takes whole numbers, half a cell off, and weights trained with it expect that.
    """

    def __init__(
        self,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dim: int = 768,
        class_token: bool = True,
        half_cell: bool = True,
    ) -> None:
        if patch_size < 1:
            raise OptionError(f"patch_size is {patch_size}", remedy="Patches have an edge of 1 pixel at least.")
        super().__init__(in_channels, embed_dim, patch_size, class_token)
        self.half_cell = half_cell

    def forward(self, images: Tensor) -> Tokens:
        """Tokenize ``[B, C, H, W]``; tokens are in raster order, edges padded by replication."""
        height, width = images.shape[-2:]
        extra = (0, -width % self.patch_size, 0, -height % self.patch_size)
        if any(extra):
            images = F.pad(images, extra, mode="replicate")
        grid = self.proj(images)
        b, _, h, w = grid.shape
        row, col = torch.meshgrid(
            torch.arange(h, device=images.device), torch.arange(w, device=images.device), indexing="ij"
        )
        centres = torch.stack((col, row), dim=2).float() + (0.5 if self.half_cell else 0.0)
        features = grid.permute(0, 2, 3, 1) + centre_positions(centres, self.embed_dim).to(grid)
        claims = torch.eye(h * w, device=images.device).view(1, h * w, h, w).expand(b, -1, -1, -1)
        return Tokens(features.reshape(b, h * w, -1), claims)
