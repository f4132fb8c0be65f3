"""A depth-wise convolution whose gradient is quick on processors.

There the library spends most of a training step on the weights' gradient of 7 x 7 depth-wise convolutions: it costs
thirty times the convolution itself. Here it is one pass over the pixels, channels side by side, in float32 whatever
the precision of the maps. Guarantees: outputs and gradients are those of :class:`torch.nn.Conv2d`, to rounding; on
other devices, for inference and for kernels smaller than :data:`SMALLEST_KERNEL` it is that class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.jit import fused_kernel
from engine.tokenizers.cores import each

SMALLEST_KERNEL = 5
"""Edge of the kernels from which the own gradient is the quicker one."""

IMAGES_A_PIECE = 4
"""Images whose gradient is summed at a time: fixed, so that the number of threads changes no digit."""


class DepthwiseConv(nn.Conv2d):
    """A square depth-wise convolution at stride 1 that keeps the map's size, without a bias.

    Args:
        channels: Channels of the map.
        kernel: Edge of the kernel, odd.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[B, C, h, w]``; the shape stays."""
        # Folding a batch norm gives the convolution a bias; what is folded is not trained.
        quick = torch.is_grad_enabled() and self.bias is None and x.device.type == "cpu"
        if not quick or self.kernel_size[0] < SMALLEST_KERNEL:
            return super().forward(x)
        out: Tensor = _Convolve.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        out = F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=len(weight))
        ctx.save_for_backward(x.to(out.dtype), weight)
        ctx.dtype = x.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        towards_x = towards_weight = None
        if ctx.needs_input_grad[0]:
            # The kernel is odd and the padding half of it, so the adjoint is the convolution with the kernel turned.
            turned = weight.flip(2, 3).to(grad.dtype)
            towards_x = F.conv2d(grad, turned, padding=weight.shape[-1] // 2, groups=len(weight)).to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            towards_weight = weight_gradient(x, grad, weight.shape[-1])[:, None].to(weight.dtype)
        return towards_x, towards_weight


def weight_gradient(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    """Gradient towards the weights of a depth-wise convolution.

    Args:
        x: ``[B, C, h, w]`` its input.
        grad: ``[B, C, h, w]`` gradient towards its output.
        kernel: Edge of its kernel.

    Returns:
        ``[C, kernel, kernel]``, float32.
    """
    pixels, pulls = (part.float().permute(0, 2, 3, 1).contiguous().numpy() for part in (x, grad))
    starts = range(0, len(pixels), IMAGES_A_PIECE)
    sums = np.zeros((len(starts), kernel, kernel, x.shape[1]), np.float32)

    def work(start: int) -> None:
        piece = slice(start, start + IMAGES_A_PIECE)
        _correlate(pixels[piece], pulls[piece], sums[start // IMAGES_A_PIECE])

    each(work, starts)
    return torch.from_numpy(sums.sum(axis=0)).permute(2, 0, 1)


@fused_kernel
def _correlate(pixels: np.ndarray, pulls: np.ndarray, sums: np.ndarray) -> None:
    """Add to ``sums[i, j]`` the products of every pull with the pixel that the kernel's cell ``i, j`` read for it."""
    images, height, width, channels = pixels.shape
    kernel = sums.shape[0]
    half = kernel // 2
    for image in range(images):
        for y in range(height):
            for i in range(max(0, half - y), min(kernel, height + half - y)):
                row, pull = pixels[image, y + i - half], pulls[image, y]
                for j in range(kernel):
                    cell = sums[i, j]
                    for x in range(max(0, half - j), min(width, width + half - j)):
                        seen, weighed = row[x + j - half], pull[x]
                        for c in range(channels):
                            cell[c] += seen[c] * weighed[c]
