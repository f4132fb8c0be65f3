"""HOOK's object vectorisation: learned queries gather seeds and become tokens; their map says which seeds they are.

Shared by every tokenizer that has seeds and gathers them as published (Shao et al. 2024, arXiv 2403.18593, section on
object vectorisation). Parameter names are the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.base import Tokenizer, Tokens


class MatchAttention(nn.Module):
    """One-head cross-attention from tokens to seeds; its map says which seeds a token is made of.

    Tokens are few, so the key projection is carried over to them, and values are projected once gathered: the same
    function with hardly a product for each seed.

    Args:
        seed_dim: Channels of a seed.
        embed_dim: Width of a token.
        key_dim: Width in which they are compared; published is half the seed's.
    """

    def __init__(self, seed_dim: int, embed_dim: int, key_dim: int) -> None:
        super().__init__()
        self.scale = key_dim**-0.5
        self.norm_media = nn.LayerNorm(seed_dim)
        self.norm_latents = nn.LayerNorm(embed_dim)
        self.to_q = nn.Linear(embed_dim, key_dim, bias=False)
        self.to_kv = nn.Linear(seed_dim, 2 * key_dim, bias=False)
        self.to_out = nn.Linear(key_dim, embed_dim, bias=False)

    def forward(self, latents: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Gather seeds ``[B, S, C]`` into latents ``[N, D]`` or ``[B, N, D]``.

        Returns:
            What each token gathered ``[B, N, D]``, and the map ``[B, N, S]``, float32, each row of which sums to one.
        """
        key, value = self.to_kv.weight.chunk(2)
        seeds = self.norm_media(seeds)
        queries = (self.to_q(self.norm_latents(latents)) * self.scale) @ key
        attention = (queries @ seeds.transpose(1, 2)).softmax(dim=-1, dtype=torch.float32)
        return self.to_out((attention.to(seeds.dtype) @ seeds) @ value.transpose(0, 1)), attention

    def written_out_macs(self, latents: Tensor, seeds: Tensor) -> tuple[int, int]:
        """Multiply-accumulates with keys and values projected for every seed, as published."""
        b, count, _ = seeds.shape
        tokens, key_dim = latents.shape[-2], self.to_q.out_features
        rows = latents.numel() // latents.shape[-1]
        layers = rows * self.to_q.weight.numel() + b * count * self.to_kv.weight.numel()
        return layers + b * tokens * self.to_out.weight.numel(), 2 * b * tokens * count * key_dim


class FeedForward(nn.Sequential):
    """What a token makes of what it gathered: norm and an MLP four times as wide, without biases."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim, bias=False), nn.GELU(), nn.Linear(4 * dim, dim, bias=False)
        )


@dataclass(frozen=True, slots=True)
class Perceived:
    """Tokens with the seeds they were gathered from.

    Attributes:
        tokens: The tokens.
        seeds: ``[B, C, h, w]`` seeds at stride 4.
        padded_size: Height and width in pixels that the seeds cover: the image's, rounded up to whole seeds.
    """

    tokens: Tokens
    seeds: Tensor
    padded_size: tuple[int, int]


class GatheringTokenizer(Tokenizer):
    """What tokenizers share that gather seeds as published; how seeds are perceived is their own.

    Args:
        seed_dim: Channels of a seed.
        token_count: Tokens ``N``.
        embed_dim: Width of a token.
    """

    def __init__(self, seed_dim: int, token_count: int, embed_dim: int) -> None:
        super().__init__()
        if token_count < 1:
            raise OptionError(f"token_count is {token_count}", remedy="It must be at least 1.")
        self.embed_dim = embed_dim
        self.query = nn.Parameter(torch.randn(token_count, embed_dim))
        self.match_attn = MatchAttention(seed_dim, embed_dim, max(1, seed_dim // 2))
        self.match_ff = FeedForward(embed_dim)

    def gather(self, seeds: Tensor) -> Tokens:
        """Tokens of seeds ``[B, h, w, C]``; the assignment is the published attention map, ``[B, N, h, w]``."""
        b, h, w, _ = seeds.shape
        gathered, attention = self.match_attn(self.query, seeds.reshape(b, h * w, -1))
        features = gathered + self.query
        features = features + self.match_ff(features)
        return Tokens(features, attention.unflatten(2, (h, w)), attention[:, None])

    def perceive(self, images: Tensor) -> Perceived:
        """Tokenize and keep the seeds."""
        raise TypeError(f"{type(self).__name__} does not say how it perceives seeds")

    def forward(self, images: Tensor) -> Tokens:
        """Tokenize ``[B, C, H, W]``; the assignment has a cell for every 4 x 4 pixels, ``ceil(H/4)`` rows."""
        return self.perceive(images).tokens


def mixing_weights(attention: Tensor, temperature: float = 1.0) -> Tensor:
    """How much of each token goes into each cell, from the published attention.

    Attention is scaled to [0, 1] over the tokens of a cell and put through a softmax over tokens. At the published
    temperature of 1 the weights of a cell lie within a factor e of one another; tied or single tokens share equally.

    Args:
        attention: ``[B, N, h, w]``, non-negative.
        temperature: Divides the scaled attention; smaller is sharper.

    Returns:
        ``[B, N, h, w]``, summing to one over N.
    """
    low, high = attention.aminmax(dim=1, keepdim=True)
    span = high - low
    scaled = (attention - low) / span.masked_fill(span <= 0, 1.0)
    return (scaled / temperature).softmax(dim=1)
