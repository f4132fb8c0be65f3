"""1 x 1 convolutions as matrix products over channels-last maps, for processors.

With one thread torch runs a 1 x 1 convolution of a small batch through a slow general path; the same product as a
linear layer over ``[B, H, W, C]`` is a plain matrix product, and costs nothing to arrange in channels-last memory.
Guarantees: the same numbers but for rounding; only stride 1, undilated, ungrouped, unpadded convolutions are swapped.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Module):
    """A 1 x 1 convolution, computed as a matrix product.

    Args:
        conv: The convolution to stand in for.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1).contiguous(), requires_grad=False)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, K, H, W]``, channels last."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def swap_pointwise(module: nn.Module) -> int:
    """Swap every 1 x 1 convolution inside ``module`` in place; returns how many there were."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and _is_pointwise(child):
            setattr(module, name, Pointwise(child))
            count += 1
        else:
            count += swap_pointwise(child)
    return count


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and conv.padding in ((0, 0), "valid")
    )
