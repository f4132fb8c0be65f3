"""Published HOOK tokenizer: homogeneous visual tokens (Shao et al. 2024, arXiv 2403.18593).

Seeds at stride 4 from a small convolutional stem; two attention blocks that give them meaning, the first inside 2 x 2
windows, the second over the whole image; then a few learned queries, each of which spreads its attention over all
seeds and becomes a token. Parameter names are the authors', so their weights load as they are.

Guarantees: exact at the size the weights were made for. Beyond the published code: any height and width (the
position table is interpolated, edges that are no multiple of 4 are padded by replication), batches of one, seed maps
that are not square, all widths as configuration. The cost grows with the square of the number of seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.blocked import OpenConv, add, attend_in_blocks, attends_in_blocks, by_rows, plain
from engine.tokenizers.cores import each
from engine.tokenizers.matching import GatheringTokenizer, Perceived
from engine.tokenizers.padding import pad_to_multiple
from engine.tokenizers.position import Interpolation, position_grid
from engine.tokenizers.transformer import Mlp, SelfAttention

STRIDE = 4
"""Pixels along the edge of a seed."""

STRIP_ROWS = 16
"""Rows of seeds in a strip of the stem."""


class DownsampleConv(nn.Module):
    """Image -> seeds at stride 4 (method section on semantic-independent regions).

    Args:
        in_channels: Bands of the image.
        out_channels: Channels of a seed.
        widths: Channels at full, half and quarter resolution; the published stem has 64, 128, 256.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        full, half, quarter = widths
        self.conv1 = nn.Conv2d(in_channels, full, 1)
        self.module1 = nn.Sequential(OpenConv(full, full, 3, padding=1), nn.BatchNorm2d(full), nn.GELU())
        self.module2 = nn.Sequential(nn.Conv2d(full, half, 2, stride=2), nn.BatchNorm2d(half))
        self.module3 = nn.Sequential(nn.Conv2d(half, half, 3, padding=1), nn.BatchNorm2d(half), nn.GELU())
        self.module4 = nn.Sequential(nn.Conv2d(half, quarter, 2, stride=2), nn.BatchNorm2d(quarter))
        self.conv2 = nn.Conv2d(quarter, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute seeds ``[B, C, H/4, W/4]``."""
        if images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        if plain(images) and not self.training:
            return self._in_strips(images)
        x = self.conv1(images)
        x = x + self.module1(x)
        x = self.module2(x)
        x = x + self.module3(x)
        seeds: Tensor = self.conv2(self.module4(x))
        return seeds

    def _in_strips(self, images: Tensor) -> Tensor:
        """The same for inference, strip by strip, so that the maps at full resolution stay in the cache.

        The first two convolutions have nothing between them, so ``module1``'s reads the image itself, from as many
        channels as that has. A channel of ones carries the bias of the first, so that beyond the edge there is
        nothing, as published.
        """
        b, inner = len(images), cast(nn.Conv2d, self.module1[0])
        height, rows = images.shape[2], images.shape[2] // STRIDE
        first = torch.cat((self.conv1.weight.flatten(1), cast(Tensor, self.conv1.bias)[:, None]), dim=1)
        weight = torch.einsum("omkl,mi->oikl", inner.weight, first).contiguous(memory_format=torch.channels_last)
        with_ones = torch.cat((images, torch.ones_like(images[:, :1])), dim=1)
        with_ones = with_ones.contiguous(memory_format=torch.channels_last)
        seeds = images.new_empty(b, rows, images.shape[3] // STRIDE, self.conv2.weight.shape[0])

        def work(piece: tuple[int, int]) -> None:
            image, top = piece
            bottom = min(top + STRIP_ROWS, rows)
            # Rows at half resolution with one more on each side, pixels likewise: what 3 x 3 convolutions read.
            low, high = max(0, 2 * top - 1), min(2 * rows, 2 * bottom + 1)
            above, below = max(0, 2 * low - 1), min(height, 2 * high + 1)
            part = with_ones[image : image + 1, :, above:below]
            x = self.conv1(part[:, :-1]) + self.module1[1:](F.conv2d(part, weight, inner.bias, padding=1))
            x = self.module2(x[:, :, 2 * low - above : 2 * high - above])
            x = (x + self.module3(x))[:, :, 2 * top - low : 2 * bottom - low]
            seeds[image, top:bottom] = self.conv2(self.module4(x))[0].permute(1, 2, 0)

        each(work, [(image, top) for image in range(b) for top in range(0, rows, STRIP_ROWS)])
        return seeds.permute(0, 3, 1, 2)


class SemanticBlock(nn.Module):
    """Pre-norm attention block over a seed map ``[B, h, w, C]``, inside windows or over the whole map.

    The published windows are half the edge of the training seed map. Where the map is no multiple of the window,
    the normalised map is padded with zeros right and below, and the padding takes part (the published behaviour,
    which weights may depend on). Maps of another size than the training one take the nearest number of windows
    of about the same size, so that there are never more padded rows than windows.

    Args:
        dim: Channels of a seed.
        heads: Attention heads.
        window: Edge of a window in seeds; 0 attends over the whole map.
        trained_edge: Edge of the seed map the window was chosen for.
    """

    def __init__(self, dim: int, heads: int, window: int, trained_edge: int) -> None:
        super().__init__()
        self.window = window
        self.trained_edge = trained_edge
        self.norm1 = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Refine seeds; the shape stays. They are given away: for inference the result may lie in their memory."""
        _, h, w, _ = x.shape
        wh, ww = (self._window_edge(h), self._window_edge(w)) if self.window else (h, w)
        if h % wh == 0 and w % ww == 0 and attends_in_blocks(x, wh * ww):
            windows = [part for row in torch.split(x, wh, 1) for column in torch.split(row, ww, 2) for part in column]
            attend_in_blocks(windows, windows, self.attn, self.norm1, lambda rows, mixed: self._own(add(rows, mixed)))
            return x
        return by_rows(self._own, add(x, self._attend(self.norm1(x))))

    def _own(self, rows: Tensor) -> Tensor:
        changed: Tensor = self.mlp(self.norm2(rows))
        return rows + changed

    def _attend(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        if not self.window:
            mixed: Tensor = self.attn(x.reshape(b, h * w, c))
            return mixed.view(b, h, w, c)
        wh, ww = self._window_edge(h), self._window_edge(w)
        pad_h, pad_w = -h % wh, -w % ww
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        rows, cols = (h + pad_h) // wh, (w + pad_w) // ww
        parts = x.view(b, rows, wh, cols, ww, c).transpose(2, 3).reshape(b * rows * cols, wh * ww, c)
        attended: Tensor = self.attn(parts)
        whole = attended.view(b, rows, cols, wh, ww, c).transpose(2, 3).reshape(b, rows * wh, cols * ww, c)
        return whole[:, :h, :w]

    def _window_edge(self, edge: int) -> int:
        if edge == self.trained_edge:
            return self.window
        count = max(1, round(edge / self.window))
        return -(-edge // count)


class HookTokenizer(GatheringTokenizer):
    """Image -> homogeneous tokens (see the module's first lines).

    Args:
        image_size: Edge in pixels of the square images the position table is for.
        in_channels: Bands of the image.
        seed_dim: Channels of a seed.
        token_count: Tokens ``N``.
        embed_dim: Width of a token.
        stem_widths: Channels of the stem at full, half and quarter resolution.
        seed_heads: Attention heads of the semantic module.
        window_size: Edge in seeds of the first block's windows; None takes half the seed map's, as published.
        interpolation: How the position table is brought to other sizes.
    """

    def __init__(
        self,
        image_size: int = 224,
        in_channels: int = 3,
        seed_dim: int = 512,
        token_count: int = 6,
        embed_dim: int = 768,
        stem_widths: Sequence[int] = (64, 128, 256),
        seed_heads: int = 8,
        window_size: int | None = None,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        super().__init__(seed_dim, token_count, embed_dim)
        if image_size < 2 * STRIDE or image_size % STRIDE:
            raise OptionError(f"image_size is {image_size}", remedy="It must be a multiple of 4, at least 8.")
        if len(stem_widths) != 3:
            raise OptionError("stem_widths must be three numbers")
        self.edge = image_size // STRIDE
        window = self.edge // 2 if window_size is None else window_size
        if not 1 <= window <= self.edge:
            raise OptionError(
                f"window_size is {window_size}",
                remedy=f"An image of {image_size} pixels has {self.edge} seeds an edge: choose 1 to {self.edge}.",
            )
        self.interpolation: Interpolation = interpolation
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, self.edge**2, seed_dim))
        self.downsample_module = DownsampleConv(in_channels, seed_dim, stem_widths)
        self.semantic_module = nn.Sequential(
            SemanticBlock(seed_dim, seed_heads, window, self.edge), SemanticBlock(seed_dim, seed_heads, 0, self.edge)
        )

    def perceive(self, images: Tensor) -> Perceived:
        """Tokenize and keep the seeds."""
        images = pad_to_multiple(images, STRIDE)
        seeds = self.downsample_module(images).permute(0, 2, 3, 1)
        seeds = add(position_grid(self.pos_embed, self.edge, seeds.shape[1], seeds.shape[2], self.interpolation), seeds)
        seeds = self.semantic_module(seeds)
        return Perceived(self.gather(seeds), seeds.permute(0, 3, 1, 2), (images.shape[2], images.shape[3]))
