"""The plain ViT that works on tokens, and the linear head for scenes, as HOOK's authors use both.

Guarantees: no norm after the last block unless asked for and no position added to tokens, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.transformer import Block


class TokenViT(nn.Module):
    """Transformer blocks over tokens that hand out the states after chosen blocks.

    Args:
        dim: Width of a token.
        depth: Number of blocks.
        heads: Attention heads.
        out_layers: Blocks whose output is returned, in order; counted from 0.
        mlp_ratio: Hidden width of the MLPs over the token width.
        final_norm: Whether the states pass through a norm; published is no.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        out_layers: Sequence[int],
        mlp_ratio: int = 4,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        if depth < 1 or not out_layers or any(not 0 <= i < depth for i in out_layers):
            raise OptionError(
                f"out_layers {list(out_layers)} do not lie in a depth of {depth}",
                remedy=f"Use block numbers from 0 to {depth - 1}.",
            )
        self.out_layers = tuple(out_layers)
        self.module = nn.ModuleList(Block(dim, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim) if final_norm else nn.Identity()

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """States ``[B, N, D]`` after each of the chosen blocks."""
        states: list[Tensor] = []
        for block in self.module[: max(self.out_layers) + 1]:
            tokens = block(tokens)
            states.append(tokens)
        return [self.norm(states[index]) for index in self.out_layers]


class LinearHead(nn.Module):
    """Class logits of a scene from its tokens: their mean, or the first of them, through one linear layer."""

    def __init__(self, dim: int, num_classes: int, pool: Literal["mean", "first"]) -> None:
        super().__init__()
        self.pool = pool
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[B, K]`` from tokens ``[B, N, D]``."""
        logits: Tensor = self.fc(self.pooled(tokens))
        return logits

    def pooled(self, tokens: Tensor) -> Tensor:
        """What the linear layer reads, ``[B, D]``."""
        return tokens.mean(dim=1) if self.pool == "mean" else tokens[:, 0]


def spread_layers(depth: int) -> tuple[int, int, int, int]:
    """Four blocks spread evenly over a depth; the published 2, 5, 9, 11 for twelve."""
    if depth == 12:
        return 2, 5, 9, 11
    first, second, third, last = (max(0, round(depth * quarter / 4) - 1) for quarter in (1, 2, 3, 4))
    return first, second, third, last
