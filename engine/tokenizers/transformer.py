"""Transformer parts with the parameter names of timm's ViT, on fused attention.

Guarantees: pre-norm blocks, exact GELU, LayerNorm eps 1e-5, no dropout; no attention map is ever stored; long
sequences run in blocks on processors (:mod:`engine.tokenizers.blocked`), with the same numbers to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.attend import attend
from engine.tokenizers.blocked import add, attend_in_blocks, attends_in_blocks, by_rows, linear


class SelfAttention(nn.Module):
    """Multi-head self-attention over ``[B, N, D]``; scale ``1/sqrt(D / heads)``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise OptionError(f"a width of {dim} cannot be shared by {heads} attention heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix ``[B, N, D]`` over N."""
        if attends_in_blocks(x, x.shape[1]):
            out = torch.empty_like(x)
            attend_in_blocks(
                [image[:, None] for image in x], [image[:, None] for image in out], self, _same, lambda _, mixed: mixed
            )
            return out
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v).transpose(1, 2).flatten(2)
        projected: Tensor = self.proj(mixed)
        return projected


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis."""
        return linear(linear(x, self.fc1, gelu=True), self.fc2)


class Block(nn.Module):
    """Pre-norm transformer block over tokens ``[B, N, D]``."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Refine tokens; the shape stays."""
        x = add(x, self.attn(self.norm1(x)))
        return by_rows(lambda rows: rows + self.mlp(self.norm2(rows)), x)


def _same(rows: Tensor) -> Tensor:
    return rows
