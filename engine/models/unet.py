"""``unet_segmenter``: a plain convolutional U-Net, the yardstick that tokenizers are held against.

Ronneberger, Fischer and Brox 2015 (arXiv 1505.04597), with padded convolutions and batch norms, as is usual today. It
has no tokenizer: its tokens are the cells of its coarsest map, so that whatever is measured of tokens and regions is
defined for it too. Guarantees: any image size; logits lie on the image's own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.dense import upsample_padded
from engine.models.output import TokenOutput
from engine.tokenizers.padding import pad_to_multiple
from engine.tokenizers.patch import cell_tokens


class UnetSegmenter(nn.Module):
    """Dense prediction with a U-Net.

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        widths: Channels at each scale, the finest first; each but the first halves the resolution. The default makes a
            million parameters.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, widths: Sequence[int] = (16, 32, 64, 96, 160)) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise OptionError(
                "widths must be at least two positive numbers", remedy="For example [16, 32, 64, 96, 160]."
            )
        self.stride = 2 ** (len(widths) - 1)
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(_double(into, width) for into, width in zip(inputs, widths, strict=True))
        upwards = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in upwards)
        self.join = nn.ModuleList(_double(2 * fine, fine) for fine, _ in upwards)
        self.classes = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: Tensor) -> TokenOutput:
        """Segment ``[B, C, H, W]`` normalised floats."""
        height, width = images.shape[-2:]
        x = pad_to_multiple(images, self.stride)
        covered = (x.shape[2], x.shape[3])
        seen: list[Tensor] = []
        for index, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if index else x)
            seen.append(x)
        tokens = cell_tokens(x.permute(0, 2, 3, 1))
        for raised, block, skipped in zip(self.up, self.join, seen[-2::-1], strict=True):
            x = block(torch.cat((skipped, raised(x)), dim=1))
        return TokenOutput(self.classes(x), tokens, upsample=upsample_padded(covered, (height, width)))

    def class_biases(self) -> tuple[Tensor, ...]:
        """The bias of the last convolution; tokens have no classes of their own."""
        assert self.classes.bias is not None
        return (self.classes.bias,)


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for into in (in_channels, out_channels):
        layers += [nn.Conv2d(into, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(True)]
    return nn.Sequential(*layers)
