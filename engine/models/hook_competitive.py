"""``hook_competitive_segmenter``: competitive tokens, a ViT on them, and a class map read through the assignment.

``hook_competitive_classifier`` reads the mean of the same tokens.

The shipped land-cover default. Three paths add up to the logits of a seed: what its tokens say
(token logits, mixed by the assignment, so that the loss teaches the assignment) and what the seed itself says
(a skip, so that detail finer than a token survives). Pixel-level maps come from learned convex upsampling
(Teed and Deng 2020, RAFT, section 3.3): each pixel is a convex mixture of the 3 x 3 cells around it, so
class and region edges follow the image instead of the 4-pixel grid and no value leaves its neighbours' range.

The steps from the published form to this one can be taken one by one, with the same seeds, widths and depths:

======================================  ==================================================================
configuration                           step
======================================  ==================================================================
``assignment="published"``, the others  tokens gather for themselves; the map is read through the published
``False`` and ``"bilinear"``            mixing weights, which no loss reaches
``assignment="competing"``              tokens compete for seeds
``assignment_gradient=True``            the loss reaches the assignment through what is read through it
``seed_skip=True``                      a seed has its own say beside its tokens
``upsampling="convex"``                 pixels mix cells as the image asks (all defaults)
======================================  ==================================================================
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.output import TokenOutput
from engine.tokenizers.attend import attend
from engine.tokenizers.base import Tokens
from engine.tokenizers.competitive import AssignmentForm, CompetitiveTokenizer

STRIDE = 4


class TokenBlock(nn.Module):
    """Pre-norm transformer block over tokens, with fused attention."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Let tokens ``[B, N, D]`` exchange what they know."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(mixed)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ConvexUpsampler(nn.Module):
    """Predicts, for each pixel of a cell, how to mix the 3 x 3 cells around it."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.predict = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, 9 * STRIDE * STRIDE, 1)
        )

    def forward(self, guide: Tensor) -> ConvexUpsampling:
        """Learn from the guide ``[B, C, h, w]`` how to draw maps of its size."""
        predicted: Tensor = self.predict(guide).permute(0, 2, 3, 1)
        return ConvexUpsampling(predicted.reshape(*predicted.shape[:3], 9, STRIDE * STRIDE))


class ConvexUpsampling:
    """Draws maps at four times the resolution.

    Args:
        scores: ``[B, h, w, 9, 16]``: how much each of the 3 x 3 cells counts for each of a cell's 4 x 4 pixels,
            before the softmax over the 9.
    """

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    @cached_property
    def weights(self) -> Tensor:
        """Mixing weights, shaped as the scores; they sum to one over the 9."""
        return self.scores.float().softmax(dim=3)

    def __call__(self, maps: Tensor) -> Tensor:
        """Draw ``maps`` ``[B, C, h, w]``."""
        return convex_upsample(maps, self.weights)


def convex_upsample(maps: Tensor, weights: Tensor) -> Tensor:
    """Draw ``maps`` ``[B, C, h, w]`` at four times the resolution with ``weights`` ``[B, h, w, 9, 16]``.

    Cells beyond the edge repeat the edge, so a constant map stays constant. One small matrix product a cell, with
    channels last throughout: a quarter of the time of nine shifted products over whole maps.
    """
    b, c, h, w = maps.shape
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)
    around = torch.stack([padded[:, y : y + h, x : x + w] for y in range(3) for x in range(3)], dim=3)
    drawn = weights.to(maps.dtype).flatten(0, 2).transpose(1, 2) @ around.flatten(0, 2)
    rows = drawn.view(b, h, w, STRIDE, STRIDE, c).transpose(2, 3)
    return rows.reshape(b, h * STRIDE, w * STRIDE, c).permute(0, 3, 1, 2)


class HookCompetitiveSegmenter(nn.Module):
    """Dense prediction with competing HOOK tokens (see the module's first lines).

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        token_count: Tokens ``N`` a window.
        embed_dim: Token width ``D``.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        key_dim: Width in which seeds and tokens are compared.
        rounds: Rounds of competition.
        stem_width: Channels of the stem at stride 2.
        widths: Channels at strides 4, 8 and 16; the first is the seed width.
        depths: Convolution blocks at strides 4, 8 and 16.
        assignment: Whether tokens compete for seeds, or gather them as published.
        assignment_gradient: Whether losses reach the assignment that classes and regions are read through; without, it
            learns from what tokens gather alone, as published.
        seed_skip: Whether a seed has its own say in its classes.
        upsampling: How maps are drawn at pixels: by learned convex mixtures, or bilinearly as published.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        token_count: int = 16,
        embed_dim: int = 192,
        depth: int = 3,
        num_heads: int = 6,
        key_dim: int = 64,
        rounds: int = 2,
        stem_width: int = 32,
        widths: tuple[int, int, int] = (64, 128, 256),
        depths: tuple[int, int, int] = (2, 3, 6),
        assignment: AssignmentForm = "competing",
        assignment_gradient: bool = True,
        seed_skip: bool = True,
        upsampling: Literal["convex", "bilinear"] = "convex",
    ) -> None:
        super().__init__()
        if upsampling not in ("convex", "bilinear"):
            raise OptionError(f"upsampling is {upsampling!r}", remedy="Choose convex or bilinear.")
        self.assignment_gradient = assignment_gradient
        self.tokenizer = CompetitiveTokenizer(
            in_channels, token_count, embed_dim, key_dim, rounds, stem_width, widths, depths, assignment
        )
        self.backbone = nn.ModuleList(TokenBlock(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.token_head = nn.Linear(embed_dim, num_classes)
        self._shared_out = assignment == "competing"
        seed_dim = self.tokenizer.seed_dim
        self.seed_head: nn.Sequential | None = None
        if seed_skip:
            self.seed_head = nn.Sequential(
                nn.Conv2d(seed_dim, seed_dim, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(seed_dim, num_classes, 1)
            )
        self.upsampler = ConvexUpsampler(seed_dim, seed_dim) if upsampling == "convex" else None

    def forward(self, images: Tensor) -> TokenOutput:
        """Segment ``[B, C, H, W]`` normalised floats of any size; maps are at stride 4 before ``at_pixels``."""
        seen = self.tokenizer.perceive(images)
        features = seen.tokens.features
        for block in self.backbone:
            features = block(features)
        features = self.norm(features)
        token_logits = self.token_head(features)
        claims = seen.tokens.assignment
        if not self.assignment_gradient:
            claims = claims.detach()
        through_tokens = torch.einsum("bnk,bnhw->bkhw", token_logits, claims.to(token_logits.dtype))
        logits = through_tokens if self.seed_head is None else through_tokens + self.seed_head(seen.seeds)
        return TokenOutput(
            logits=logits,
            tokens=Tokens(features, claims, seen.tokens.attention),
            upsample=None if self.upsampler is None else self.upsampler(seen.seeds),
            token_logits=token_logits,
            extras={"through_tokens": through_tokens},
        )

    def class_biases(self) -> tuple[Tensor, ...]:
        """The bias of the tokens' classes, which competing tokens share out among them at every pixel."""
        if not self._shared_out:
            raise OptionError(
                "tokens that gather seeds as published do not share out pixels, so no bias moves their classes alike",
                remedy="Leave loss.logit_adjustment at 0.",
            )
        return (self.token_head.bias,)


class HookCompetitiveClassifier(nn.Module):
    """Scene classification from the mean of competing HOOK tokens.

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        token_count: Tokens ``N``.
        embed_dim: Token width ``D``.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        key_dim: Width in which seeds and tokens are compared.
        rounds: Rounds of competition.
        stem_width: Channels of the stem at stride 2.
        widths: Channels at strides 4, 8 and 16; the first is the seed width.
        depths: Convolution blocks at strides 4, 8 and 16.
        assignment: Whether tokens compete for seeds, or gather them as published.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        token_count: int = 16,
        embed_dim: int = 192,
        depth: int = 3,
        num_heads: int = 6,
        key_dim: int = 64,
        rounds: int = 2,
        stem_width: int = 32,
        widths: tuple[int, int, int] = (64, 128, 256),
        depths: tuple[int, int, int] = (2, 3, 6),
        assignment: AssignmentForm = "competing",
    ) -> None:
        super().__init__()
        self.tokenizer = CompetitiveTokenizer(
            in_channels, token_count, embed_dim, key_dim, rounds, stem_width, widths, depths, assignment
        )
        self.backbone = nn.ModuleList(TokenBlock(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, images: Tensor) -> TokenOutput:
        """Classify ``[B, C, H, W]`` normalised floats of any size; logits ``[B, K]``."""
        seen = self.tokenizer(images)
        states = seen.features
        for block in self.backbone:
            states = block(states)
        states = self.norm(states)
        features = states.mean(dim=1)
        tokens = Tokens(states, seen.assignment, seen.attention)
        return TokenOutput(self.head(features), tokens, extras={"features": features})
