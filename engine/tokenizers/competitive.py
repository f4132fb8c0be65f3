"""Competitive HOOK tokenizer: tokens that compete for every seed, trained through their assignment.

A variant of HOOK (arXiv 2403.18593) for dense prediction. The published object perception module lets every
token spread its attention over the seeds (softmax over *seeds*), which leaves the question "whose pixel is
this?" to an argmax nothing trains. Here the softmax runs over the *tokens* (as in Slot Attention, Locatello et
al. 2020, section 2.1), so the assignment is a distribution over tokens for each seed, is sharp, and carries the
gradient of the class map, which the head reads through it. Position comes from depth-wise convolutions instead
of windowed attention, so no grid of attention windows is printed on the token map, any image size works, and
the cost is linear in the seeds.

For comparison the published matching is at hand in the same place (``assignment="published"``): everything else stays
as it is, so that what competition changes can be measured alone.

Guarantees: ``assignment`` sums to one over tokens at every cell; image edges that are no multiple of 16 are padded
by replication inside and cropped again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.base import Tokenizer, Tokens
from engine.tokenizers.blocked import linear, plain
from engine.tokenizers.depthwise import DepthwiseConv
from engine.tokenizers.matching import FeedForward, MatchAttention, mixing_weights
from engine.tokenizers.padding import pad_to_multiple

AssignmentForm = Literal["competing", "published"]


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm and GELU; the norm folds into the convolution at inference."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.GELU(),
        )


class DepthwiseBlock(nn.Module):
    """Residual block: 7x7 depth-wise convolution for place, two 1x1 convolutions for content.

    The layout of ConvNeXt (Liu et al. 2022, section 2.6) with batch norm, which folds away at inference.
    """

    def __init__(self, channels: int, expansion: int = 3, kernel: int = 7) -> None:
        super().__init__()
        self.place = DepthwiseConv(channels, kernel)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, channels * expansion, 1)
        self.act = nn.GELU()
        self.contract = nn.Conv2d(channels * expansion, channels, 1)
        nn.init.normal_(self.contract.weight, std=0.02)
        if self.contract.bias is not None:
            nn.init.zeros_(self.contract.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``[B, C, h, w]`` in place and content; the shape stays."""
        placed = self.norm(self.place(x))
        if plain(x):
            rows = placed.permute(0, 2, 3, 1)
            return x + linear(linear(rows, self.expand, gelu=True), self.contract).permute(0, 3, 1, 2)
        change: Tensor = self.contract(self.act(self.expand(placed)))
        return x + change


class SeedPyramid(nn.Module):
    """Seeds at stride 4 that know their surroundings: a small pyramid down to stride 16 and back.

    Args:
        in_channels: Bands of the image.
        stem_width: Channels of the stem at stride 2.
        widths: Channels at strides 4, 8 and 16; the first is the seed width.
        depths: Blocks at strides 4, 8 and 16.
    """

    def __init__(
        self, in_channels: int, stem_width: int, widths: tuple[int, int, int], depths: tuple[int, int, int]
    ) -> None:
        super().__init__()
        w4, w8, w16 = widths
        self.stem = ConvNormAct(in_channels, stem_width, 3, 2)
        self.detail = ConvNormAct(stem_width, stem_width, 3)
        self.to4 = ConvNormAct(stem_width, w4, 3, 2)
        self.blocks4 = nn.Sequential(*(DepthwiseBlock(w4) for _ in range(depths[0])))
        self.to8 = ConvNormAct(w4, w8, 3, 2)
        self.blocks8 = nn.Sequential(*(DepthwiseBlock(w8) for _ in range(depths[1])))
        self.to16 = ConvNormAct(w8, w16, 3, 2)
        self.blocks16 = nn.Sequential(*(DepthwiseBlock(w16) for _ in range(depths[2])))
        self.scene = nn.Sequential(nn.Linear(w16, w16), nn.GELU(), nn.Linear(w16, w16))
        self.up8 = nn.Conv2d(w16, w8, 1)
        self.merge8 = DepthwiseBlock(w8, 2)
        self.up4 = nn.Conv2d(w8, w4, 1)
        self.merge4 = DepthwiseBlock(w4, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Compute seeds ``[B, widths[0], H/4, W/4]``; H and W are multiples of 16."""
        x4 = self.blocks4(self.to4(self.detail(self.stem(images))))
        x8 = self.blocks8(self.to8(x4))
        x16 = self.blocks16(self.to16(x8))
        x16 = x16 + self.scene(x16.mean(dim=(2, 3)))[:, :, None, None]
        x8 = self.merge8(x8 + _resize2(self.up8(x16)))
        seeds: Tensor = self.merge4(x4 + _resize2(self.up4(x8)))
        return seeds


class CompetitiveMatching(nn.Module):
    """Rounds of matching in which tokens compete for seeds.

    Each round: cosine similarity of every seed to every token, times a learned sharpness, softmax over the
    tokens; each token then moves towards the mean value of the seeds it won.

    Args:
        seed_dim: Channels of a seed.
        embed_dim: Width of a token.
        key_dim: Width in which seeds and tokens are compared.
        rounds: Rounds of competition.
    """

    def __init__(self, seed_dim: int, embed_dim: int, key_dim: int, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.norm_seeds = nn.LayerNorm(seed_dim)
        self.norm_tokens = nn.LayerNorm(embed_dim)
        self.to_q = nn.Linear(embed_dim, key_dim, bias=False)
        self.to_k = nn.Linear(seed_dim, key_dim, bias=False)
        self.to_v = nn.Linear(seed_dim, embed_dim, bias=False)
        self.to_out = nn.Linear(embed_dim, embed_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(embed_dim), nn.Linear(embed_dim, 2 * embed_dim), nn.GELU(), nn.Linear(2 * embed_dim, embed_dim)
        )
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, tokens: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens ``[B, N, D]`` compete for seeds ``[B, S, C]``.

        Returns:
            The updated tokens ``[B, N, D]`` and the assignment logits ``[B, N, S]`` (softmax over N claims).
        """
        seeds = self.norm_seeds(seeds)
        keys = F.normalize(self.to_k(seeds), dim=-1)
        values = self.to_v(seeds)
        sharpness = self.log_sharpness.exp().clamp(max=60.0)
        logits = self._match(tokens, keys, sharpness)
        for _ in range(self.rounds):
            claim = logits.softmax(dim=1)
            won = (claim @ values) / claim.sum(dim=2, keepdim=True).clamp_min(1e-4)
            tokens = tokens + self.to_out(won)
            tokens = tokens + self.mlp(tokens)
            logits = self._match(tokens, keys, sharpness)
        return tokens, logits

    def _match(self, tokens: Tensor, keys: Tensor, sharpness: Tensor) -> Tensor:
        queries = F.normalize(self.to_q(self.norm_tokens(tokens)), dim=-1)
        return sharpness * (queries @ keys.transpose(1, 2))


class PublishedMatching(nn.Module):
    """One round in which tokens gather seeds as published, each for itself (softmax over seeds).

    Args:
        seed_dim: Channels of a seed.
        embed_dim: Width of a token.
        key_dim: Width in which seeds and tokens are compared.
    """

    def __init__(self, seed_dim: int, embed_dim: int, key_dim: int) -> None:
        super().__init__()
        self.match_attn = MatchAttention(seed_dim, embed_dim, key_dim)
        self.match_ff = FeedForward(embed_dim)

    def forward(self, tokens: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens ``[B, N, D]`` gather seeds ``[B, S, C]``.

        Returns:
            The updated tokens ``[B, N, D]`` and the attention ``[B, N, S]``, which sums to one over seeds.
        """
        gathered, attention = self.match_attn(tokens, seeds)
        tokens = tokens + gathered
        return tokens + self.match_ff(tokens), attention


@dataclass(frozen=True, slots=True)
class SeedTokens:
    """Tokens together with the seeds that a dense head reads beside them.

    Attributes:
        tokens: The tokens.
        seeds: ``[B, C, h, w]`` seeds at stride 4.
    """

    tokens: Tokens
    seeds: Tensor


class CompetitiveTokenizer(Tokenizer):
    """Image -> competing tokens (see the module's first lines).

    Args:
        in_channels: Bands of the image.
        token_count: Tokens ``N``.
        embed_dim: Token width ``D``.
        key_dim: Width in which seeds and tokens are compared.
        rounds: Rounds of competition.
        stem_width: Channels at stride 2.
        widths: Channels at strides 4, 8, 16.
        depths: Blocks at strides 4, 8, 16.
        assignment: Whether tokens compete for seeds, or gather them as published; the published matching takes one
            round, and its assignment are the published mixing weights.
    """

    def __init__(
        self,
        in_channels: int = 3,
        token_count: int = 16,
        embed_dim: int = 192,
        key_dim: int = 64,
        rounds: int = 2,
        stem_width: int = 32,
        widths: tuple[int, int, int] = (64, 128, 256),
        depths: tuple[int, int, int] = (2, 3, 6),
        assignment: AssignmentForm = "competing",
    ) -> None:
        super().__init__()
        if assignment not in ("competing", "published"):
            raise OptionError(f"assignment is {assignment!r}", remedy="Choose competing or published.")
        self.embed_dim = embed_dim
        self.seed_dim = widths[0]
        self.pyramid = SeedPyramid(in_channels, stem_width, widths, depths)
        self.query = nn.Parameter(torch.randn(token_count, embed_dim))
        self.matching: CompetitiveMatching | PublishedMatching
        if assignment == "competing":
            self.matching = CompetitiveMatching(self.seed_dim, embed_dim, key_dim, rounds)
        else:
            self.matching = PublishedMatching(self.seed_dim, embed_dim, key_dim)

    def perceive(self, images: Tensor) -> SeedTokens:
        """Tokenize and keep the seeds, for heads that read classes through the assignment."""
        rows, cols = (-(-edge // 4) for edge in images.shape[2:])
        seeds = self.pyramid(pad_to_multiple(images, 16))
        flat = seeds.flatten(2).transpose(1, 2)
        features, matched = self.matching(self.query.expand(len(images), -1, -1), flat)
        grid = matched.unflatten(2, seeds.shape[2:])[:, :, :rows, :cols]
        if isinstance(self.matching, PublishedMatching):
            tokens = Tokens(features, mixing_weights(grid), grid.flatten(2)[:, None])
        else:
            tokens = Tokens(features, grid.softmax(dim=1))
        return SeedTokens(tokens, seeds[:, :, :rows, :cols])

    def forward(self, images: Tensor) -> Tokens:
        """Tokenize ``[B, C, H, W]``; the assignment has a cell for every 4 x 4 pixels, ``ceil(H/4)`` rows."""
        return self.perceive(images).tokens


def _resize2(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
