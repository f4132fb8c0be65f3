"""HOOK with an object perception module whose cost grows with the number of seeds, not with its square.

The published module lets every seed attend to every other, which at 512 pixels is two thirds of the whole model. Here
seeds learn of their neighbours by depth-wise convolutions, at strides 4, 8 and 16, and of the whole image at stride 16
by attending to a fixed number of pooled cells (linear spatial reduction attention, Wang et al. 2022, PVT v2,
section 3.2); what is learned there comes back to stride 4 step by step. Matching, tokens and everything behind them
are the published ones.

Convolutions tell a seed its place, so there is no position table and no window whose grid could print on the token
map; a boundary is decided at stride 4, by blocks that see both the seed and what lies around it.

Guarantees: any image size; the multiply-accumulates are proportional to the pixels (those of the tokens aside, which
are the same for any image); edges that are no multiple of 16 are padded by replication inside and cropped again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.attend import attend
from engine.tokenizers.competitive import ConvNormAct, DepthwiseBlock
from engine.tokenizers.hook import STRIDE
from engine.tokenizers.matching import GatheringTokenizer, Perceived
from engine.tokenizers.padding import pad_to_multiple


class PooledAttention(nn.Module):
    """Residual attention from every cell of a map to the means of a fixed grid of cells.

    Args:
        dim: Channels.
        heads: Attention heads.
        grid: Edge of the pooled grid: ``grid * grid`` keys and values, whatever the map's size.
    """

    def __init__(self, dim: int, heads: int, grid: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise OptionError(f"a width of {dim} cannot be shared by {heads} attention heads")
        if grid < 1:
            raise OptionError(f"the pooled grid has an edge of {grid}", remedy="It must be at least 1.")
        self.heads = heads
        self.grid = grid
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Let cells of ``[B, C, h, w]`` learn of the whole map; the shape stays."""
        cells = self.norm(x.permute(0, 2, 3, 1))
        b, h, w, c = cells.shape
        pooled = F.adaptive_avg_pool2d(cells.permute(0, 3, 1, 2), self.grid).flatten(2).transpose(1, 2)
        q = self.q(cells).view(b, h * w, self.heads, -1).transpose(1, 2)
        k, v = self.kv(pooled).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v).transpose(1, 2).reshape(b, h, w, c)
        change: Tensor = self.proj(mixed)
        return x + change.permute(0, 3, 1, 2)


class LinearPerception(nn.Module):
    """Image -> seeds at stride 4 that know their surroundings and the whole image.

    Args:
        in_channels: Bands of the image.
        seed_dim: Channels ``C`` of a seed; maps at strides 4, 8 and 16 have ``C/4``, ``C/2`` and ``C``.
        stem_width: Channels at stride 2.
        depths: Blocks at strides 4, 8 and 16.
        heads: Attention heads at stride 16.
        grid: Edge of the pooled grid that attention looks at.
    """

    def __init__(
        self, in_channels: int, seed_dim: int, stem_width: int, depths: Sequence[int], heads: int, grid: int
    ) -> None:
        super().__init__()
        if seed_dim < 4 or seed_dim % 4:
            raise OptionError(f"seed_dim is {seed_dim}", remedy="It must be a multiple of 4.")
        if len(depths) != 3:
            raise OptionError("depths must be three numbers")
        w4, w8, w16 = seed_dim // 4, seed_dim // 2, seed_dim
        self.stem = ConvNormAct(in_channels, stem_width, 3, 2)
        self.detail = ConvNormAct(stem_width, stem_width, 3)
        self.to4 = ConvNormAct(stem_width, w4, 3, 2)
        self.blocks4 = nn.Sequential(*(DepthwiseBlock(w4) for _ in range(depths[0])))
        self.to8 = ConvNormAct(w4, w8, 3, 2)
        self.blocks8 = nn.Sequential(*(DepthwiseBlock(w8) for _ in range(depths[1])))
        self.to16 = ConvNormAct(w8, w16, 3, 2)
        self.blocks16 = nn.Sequential()
        for _ in range(depths[2]):
            self.blocks16.extend((DepthwiseBlock(w16), PooledAttention(w16, heads, grid)))
        self.up8 = nn.Conv2d(w16, w8, 1)
        self.merge8 = DepthwiseBlock(w8, 2)
        self.up4 = nn.Conv2d(w8, w4, 1)
        self.merge4 = DepthwiseBlock(w4, 2)
        self.out8 = nn.Conv2d(w8, seed_dim, 1)
        self.out4 = nn.Conv2d(w4, seed_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute seeds ``[B, C, H/4, W/4]``; H and W are multiples of 16."""
        x4 = self.blocks4(self.to4(self.detail(self.stem(images))))
        x8 = self.blocks8(self.to8(x4))
        x16 = self.blocks16(self.to16(x8))
        x8 = self.merge8(x8 + _twice(self.up8(x16)))
        x4 = self.merge4(x4 + _twice(self.up4(x8)))
        seeds: Tensor = self.out4(x4) + _twice(self.out8(x8))
        return seeds


class LinearHookTokenizer(GatheringTokenizer):
    """Image -> homogeneous tokens at linear cost (see the module's first lines).

    Args:
        in_channels: Bands of the image.
        seed_dim: Channels of a seed.
        token_count: Tokens ``N``.
        embed_dim: Width of a token.
        stem_width: Channels at stride 2.
        depths: Blocks at strides 4, 8 and 16.
        seed_heads: Attention heads at stride 16.
        context_grid: Edge of the pooled grid that attention looks at.
    """

    def __init__(
        self,
        in_channels: int = 3,
        seed_dim: int = 512,
        token_count: int = 6,
        embed_dim: int = 768,
        stem_width: int = 64,
        depths: Sequence[int] = (2, 2, 4),
        seed_heads: int = 8,
        context_grid: int = 8,
    ) -> None:
        super().__init__(seed_dim, token_count, embed_dim)
        self.perception = LinearPerception(in_channels, seed_dim, stem_width, depths, seed_heads, context_grid)

    def perceive(self, images: Tensor) -> Perceived:
        """Tokenize and keep the seeds."""
        rows, cols = (-(-edge // STRIDE) for edge in images.shape[2:])
        seeds = self.perception(pad_to_multiple(images, 4 * STRIDE))[:, :, :rows, :cols]
        return Perceived(self.gather(seeds.permute(0, 2, 3, 1)), seeds, (STRIDE * rows, STRIDE * cols))


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
