"""3 x 3 convolutions of wide maps by Winograd's minimal filtering, for processors.

A tile of 4 x 4 outputs takes 36 products of channels instead of 144 (Lavin and Gray 2016, section 4); what remains are
plain matrix products. The interpolation points 0, +-3/4, +-3/2 and infinity keep the error that of the direct
convolution in float32, where the usual ones quadruple it (Barabasz et al. 2020 choose points for the same reason).

Guarantees: the numbers of the convolution within 1e-5 of the largest, in float32; any height and width; memory beyond
input and output stays bounded. The weights take four times the memory, so only convolutions that gain are swapped.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.tokenizers.cores import each

TILE = 4
"""Outputs along the edge of a tile."""

FEWEST_CHANNELS = 128
"""Channels, on both sides, from which the products saved outweigh the transforms."""

TILES = 64
"""Tiles that are worked on at once: few enough for the C library to keep their memory for the next ones."""

_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Cook and Toom's matrices for 4 outputs and 3 taps: of outputs ``[4, 6]``, taps ``[6, 3]``, inputs ``[6, 6]``."""
    points = torch.tensor(_POINTS, dtype=torch.float64)
    outputs = torch.zeros(TILE, 6, dtype=torch.float64)
    taps = torch.zeros(6, 3, dtype=torch.float64)
    inputs = torch.zeros(6, 6, dtype=torch.float64)
    outputs[:, :5] = torch.stack([points**power for power in range(TILE)])
    outputs[TILE - 1, 5] = taps[5, 2] = 1.0
    for i, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        scale = math.prod(point - other for other in others)
        taps[i] = torch.tensor([point**power / scale for power in range(3)], dtype=torch.float64)
        inputs[i, :5] = _polynomial(others)
    inputs[5] = _polynomial(list(_POINTS))
    return outputs, taps, inputs


def _polynomial(roots: list[float]) -> Tensor:
    """Coefficients of the product of ``x - root``, constant first."""
    coefficients = torch.ones(1, dtype=torch.float64)
    for root in roots:
        coefficients = F.pad(coefficients, (1, 0)) - root * F.pad(coefficients, (0, 1))
    return coefficients


class Winograd(nn.Module):
    """A 3 x 3 convolution of stride 1 and padding 1, computed tile by tile.

    Args:
        conv: The convolution to stand in for.
    """

    to_outputs: Tensor
    to_inputs: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, taps, inputs = _transforms()
        weight = torch.einsum("ai,ocij,bj->abco", taps, conv.weight.detach().double().cpu(), taps).flatten(0, 1)
        like = conv.weight
        self.weight = nn.Parameter(weight.to(like.device, like.dtype).contiguous(), requires_grad=False)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach(), requires_grad=False)
        self.register_buffer("to_outputs", torch.kron(outputs, outputs).to(like.device, like.dtype), persistent=False)
        self.register_buffer("to_inputs", torch.kron(inputs, inputs).to(like.device, like.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[B, C, H, W]``; the result lies channels last."""
        b, channels, h, w = x.shape
        rows, cols = -(-h // TILE), -(-w // TILE)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + cols * TILE - w, 1, 1 + rows * TILE - h))
        out = x.new_empty(b, rows * TILE, cols * TILE, self.weight.shape[2])
        step = max(1, TILES // cols)

        def work(piece: tuple[int, int]) -> None:
            image, top = piece
            bottom = min(top + step, rows)
            part = padded[image, top * TILE : bottom * TILE + 2]
            tiles = part.unfold(0, 6, TILE).unfold(1, 6, TILE).permute(3, 4, 0, 1, 2).reshape(36, -1)
            products = torch.bmm((self.to_inputs @ tiles).view(36, -1, channels), self.weight)
            drawn = (self.to_outputs @ products.flatten(1)).view(TILE, TILE, bottom - top, cols, -1)
            out[image, top * TILE : bottom * TILE].view(bottom - top, TILE, cols, TILE, -1).copy_(
                drawn.permute(2, 0, 3, 1, 4)
            )

        each(work, [(image, top) for image in range(b) for top in range(0, rows, step)])
        if self.bias is not None:
            out += self.bias
        return out[:, :h, :w].permute(0, 3, 1, 2)

    def convolution(self) -> nn.Conv2d:
        """A convolution of the same numbers."""
        taps = torch.linalg.pinv(_transforms()[1])
        weight = self.weight.detach().double().cpu()
        tiles = weight.view(6, 6, *weight.shape[1:])
        weight = torch.einsum("ia,abco,jb->ocij", taps, tiles, taps)
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=self.bias is not None, device="meta")
        conv.weight = nn.Parameter(weight.to(self.weight.device, self.weight.dtype), requires_grad=False)
        conv.bias = self.bias
        return conv.train(self.training)

    def written_out_macs(self, x: Tensor) -> tuple[int, int]:
        """Multiply-accumulates of the convolution as it is defined."""
        return x.numel() * 9 * self.weight.shape[2], 0


def swap_winograd(module: nn.Module) -> int:
    """Swap every 3 x 3 convolution inside ``module`` that gains by it, in place; returns how many there were.

    Classes derived from ``Conv2d`` are left alone: others may read their weights.
    """
    count = 0
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _gains(child):
            setattr(module, name, Winograd(child))
            count += 1
        else:
            count += swap_winograd(child)
    return count


def restore_convolutions(module: nn.Module) -> None:
    """Turn what :func:`swap_winograd` made back into convolutions, in place."""
    for name, child in module.named_children():
        if isinstance(child, Winograd):
            setattr(module, name, child.convolution())
        else:
            restore_convolutions(child)


def _gains(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding in ((1, 1), "same")
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.weight.dtype == torch.float32
        and min(conv.in_channels, conv.out_channels) >= FEWEST_CHANNELS
    )
