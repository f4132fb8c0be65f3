"""Blocks of LeMeViT: position by a depth-wise convolution, one of the attentions, an MLP; for image and meta tokens.

Norms and MLP are shared by both. A map travels as ``[B, H, W, C]``, which is a convolution's channels-last memory and a
matrix of pixels at once, so nothing is rearranged between convolutions and matrix products.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from engine.tokenizers.meta.attention import (
    CrossAttention,
    DualCrossAttention,
    SharedDualCrossAttention,
    StandardAttention,
)

Kind = Literal["C", "D", "D2", "S"]

HIDDEN_VALUES = 2**20
"""Hidden values (4 MB) of an MLP that a processor keeps in its caches; up to twice as many are computed in one go."""


class Mlp(nn.Sequential):
    """Linear, GELU, Linear; the second place is where the authors would have a convolution."""

    def __init__(self, dim: int, ratio: int) -> None:
        widen, narrow = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)
        super().__init__(widen, nn.Identity(), nn.GELU(), narrow)

    def added_in_parts(self, rows: Tensor, norm: nn.Module) -> Tensor:
        """``rows + self(norm(rows))`` without gradients: a long batch in parts, each added where it belongs."""
        (w1, b1), (w2, b2) = (tuple(self[index].parameters()) for index in (0, 3))
        step = len(rows) if len(rows) * len(w1) <= 2 * HIDDEN_VALUES else max(1, HIDDEN_VALUES // len(w1))
        out = rows + b2
        hidden = rows.new_empty(min(step, len(rows)), len(w1))
        for start in range(0, len(rows), step):
            part = norm(rows[start : start + step])
            seen = torch.addmm(b1, part, w1.t(), out=hidden[: len(part)])
            place = out[start : start + step]
            torch.addmm(place, torch.ops.aten.gelu_(seen), w2.t(), out=place)
        return out


class MetaBlock(nn.Module, ABC):
    """What blocks of every kind share.

    Args:
        dim: Width ``C``.
        head_dim: Channels of a head.
        mlp_ratio: Hidden width of the MLP over ``dim``.
        drop_path: Probability with which a sample leaves out a branch in training (stochastic depth).
    """

    attention: type[nn.Module]
    looks = True
    """Whether the meta tokens look at the image in this block."""

    def __init__(self, dim: int, head_dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = self.attention(dim, head_dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_ratio)
        self.drop_path = drop_path

    def place(self, x: Tensor) -> Tensor:
        """Tell pixels ``[B, H, W, C]`` where they lie."""
        placed: Tensor = x + self.pos_embed(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return placed

    def thin(self, change: Tensor, sets: tuple[tuple[int, int], ...]) -> Tensor:
        """Leave a branch out for some samples of each set, see :meth:`StandardAttention.forward` for ``sets``."""
        if not self.training or self.drop_path == 0.0:
            return change
        keep = 1.0 - self.drop_path
        draws = [change.new_empty(batch).bernoulli_(keep).div_(keep).repeat_interleave(n) for batch, n in sets]
        return change * torch.cat(draws)[:, None]

    def refine(self, rows: Tensor, sets: tuple[tuple[int, int], ...]) -> Tensor:
        """The MLP branch over rows ``[R, C]``."""
        if self.training or torch.is_grad_enabled() or not _plain(rows):
            return rows + self.thin(self.mlp(self.norm2(rows)), sets)
        return self.mlp.added_in_parts(rows, self.norm2)

    @abstractmethod
    def forward(
        self, x: Tensor, c: Tensor, tell: bool = True, keep: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Let a map ``[B, H, W, C]`` and meta tokens ``[B, M, C]`` learn from one another.

        Args:
            x: The map.
            c: The meta tokens.
            tell: Whether the meta tokens are updated; without it they come back as they are.
            keep: Whether the weights with which they attend to pixels, ``[B, heads, M, H*W]``, are wanted.

        Returns:
            Map, tokens and those weights.
        """


class CrossBlock(MetaBlock):
    """C: only the meta tokens learn; the map is returned as it came, without the positions."""

    attention = CrossAttention

    def forward(
        self, x: Tensor, c: Tensor, tell: bool = True, keep: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """See :meth:`MetaBlock.forward`."""
        if not tell:
            return x, c, None
        sets = (_size(c),)
        change, weights = self.attn(self.norm1(self.place(x).flatten(1, 2)), self.norm1(c), keep)
        rows = c.flatten(0, 1) + self.thin(change.flatten(0, 1), sets)
        return x, self.refine(rows, sets).view_as(c), weights


class DualBlock(MetaBlock):
    """D: image and meta tokens learn from one another."""

    attention: type[nn.Module] = DualCrossAttention

    def forward(
        self, x: Tensor, c: Tensor, tell: bool = True, keep: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """See :meth:`MetaBlock.forward`."""
        placed = self.place(x).flatten(1, 2)
        change_x, change_c, weights = self.attn(self.norm1(placed), self.norm1(c), tell, keep)
        sets = (_size(placed),)
        rows = placed.flatten(0, 1) + self.thin(change_x.flatten(0, 1), sets)
        x = self.refine(rows, sets).view_as(x)
        if change_c is not None:
            sets = (_size(c),)
            rows = c.flatten(0, 1) + self.thin(change_c.flatten(0, 1), sets)
            c = self.refine(rows, sets).view_as(c)
        return x, c, weights


class SharedDualBlock(DualBlock):
    """D2: as D, with queries and keys shared."""

    attention = SharedDualCrossAttention


class StandardBlock(MetaBlock):
    """S: image and meta tokens each attend to themselves; one pass of the shared weights serves both."""

    attention = StandardAttention
    looks = False

    def forward(
        self, x: Tensor, c: Tensor, tell: bool = True, keep: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """See :meth:`MetaBlock.forward`; there are no weights over the image."""
        placed = self.place(x).flatten(1, 2)
        sets = (_size(placed), _size(c)) if tell else (_size(placed),)
        rows = torch.cat((placed.flatten(0, 1), c.flatten(0, 1))) if tell else placed.flatten(0, 1)
        rows = rows + self.thin(self.attn(self.norm1(rows), sets), sets)
        rows = self.refine(rows, sets)
        pixels = len(placed) * placed.shape[1]
        return rows[:pixels].view_as(x), rows[pixels:].view_as(c) if tell else c, None


BLOCKS: dict[Kind, type[MetaBlock]] = {"C": CrossBlock, "D": DualBlock, "D2": SharedDualBlock, "S": StandardBlock}


def _plain(rows: Tensor) -> bool:
    """Whether vectors are computed with as they are: by a processor, in their own precision, not by a compiler."""
    autocast = torch.is_autocast_enabled("cpu")
    return rows.device.type == "cpu" and not autocast and not torch.compiler.is_compiling()


def _size(vectors: Tensor) -> tuple[int, int]:
    return vectors.shape[0], vectors.shape[1]
