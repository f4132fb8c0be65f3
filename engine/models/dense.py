"""From tokens to a dense map: HOOK's sparse-to-dense adapter, its dense transform, and the SegFormer head.

Parameter names are the authors'. Guarantees: grids of any height and width from 2 x 2 on; tied or single tokens give
equal weights instead of 0/0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.blocked import OpenConv
from engine.tokenizers.matching import mixing_weights


def dense_weights(attention: Tensor, rows: int, cols: int, temperature: float = 1.0) -> Tensor:
    """How much of each token goes into each cell of a dense grid: of the nearest seed's attention, the mixing weights.

    Args:
        attention: ``[B, N, h, w]``, non-negative.
        rows: Rows of the dense grid.
        cols: Columns of the dense grid.
        temperature: Divides the scaled attention; smaller is sharper.

    Returns:
        ``[B, N, rows, cols]``, summing to one over N.
    """
    return mixing_weights(F.interpolate(attention, (rows, cols), mode="nearest"), temperature)


class Up2(nn.Sequential):
    """Doubles a map: 3x3 convolution with norm and GELU, then a transposed convolution with norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.module1 = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1), nn.BatchNorm2d(in_channels), nn.GELU()
        )
        self.module2 = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1), nn.BatchNorm2d(out_channels)
        )


class DenseTransform(nn.Module):
    """Four maps of one size -> a pyramid of four sizes: 4, 2, 1 and 1/2 times the grid."""

    def __init__(self, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != 4:
            raise OptionError("dense_channels must be four numbers")
        self.upsampleX4 = nn.Sequential(Up2(dim, dim), Up2(dim, channels[0]))
        self.upsampleX2 = Up2(dim, channels[1])
        self.upsampleX1 = OpenConv(dim, channels[2], 3, padding=1)
        self.downsample2 = nn.Conv2d(dim, channels[3], 2, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn four maps ``[B, D, s, t]`` into the pyramid."""
        steps = (self.upsampleX4, self.upsampleX2, self.upsampleX1, self.downsample2)
        return [step(x) for step, x in zip(steps, maps, strict=True)]


class _Projection(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class SegFormerHead(nn.Module):
    """All-MLP decoder of SegFormer (Xie et al. 2021, section 3.2).

    Without norm or activation after the fusion, as HOOK's authors use it.
    """

    def __init__(self, channels: Sequence[int], hidden: int, num_classes: int) -> None:
        super().__init__()
        self.linear_c4 = _Projection(channels[3], hidden)
        self.linear_c3 = _Projection(channels[2], hidden)
        self.linear_c2 = _Projection(channels[1], hidden)
        self.linear_c1 = _Projection(channels[0], hidden)
        self.linear_fuse = nn.Conv2d(4 * hidden, hidden, 1)
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(hidden, num_classes, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Logits ``[B, K, 4s, 4t]`` at the size of the first map."""
        c1, c2, c3, c4 = pyramid
        size = c1.shape[-2:]
        parts = [
            F.interpolate(project(x), size, mode="bilinear", align_corners=False)
            for project, x in ((self.linear_c4, c4), (self.linear_c3, c3), (self.linear_c2, c2))
        ]
        fused = self.linear_fuse(torch.cat((*parts, self.linear_c1(c1)), dim=1))
        logits: Tensor = self.linear_pred(self.dropout(fused))
        return logits


def dense_edge(dense_size: int, pixels: int, image_size: int) -> int:
    """Cells along an edge of the dense grid: in proportion to the image, at least 2."""
    return max(2, round(dense_size * pixels / image_size))


def upsample_padded(covered: tuple[int, int], image: tuple[int, int]) -> Callable[[Tensor], Tensor] | None:
    """How to draw maps of an image that was padded right and below: bilinearly at the covered size.

    Args:
        covered: Height and width in pixels that the maps cover.
        image: Height and width of the image.

    Returns:
        What resizes maps to the covered size (the caller keeps the image's part); None where nothing was padded.
    """
    if covered == image:
        return None
    return lambda maps: F.interpolate(maps, covered, mode="bilinear", align_corners=False)
