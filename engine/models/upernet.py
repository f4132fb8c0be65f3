"""``upernet_lemevit_tiny|small|base``: a class for every pixel, with UperNet on LeMeViT's four maps.

UperNet (Xiao et al. 2018, "Unified Perceptual Parsing for Scene Understanding", arXiv 1807.10221): a pyramid of pooled
scenes on the coarsest map, a feature pyramid down to stride 4, all levels fused. As LeMeViT's authors set it up for
Potsdam; parameter names are those of the segmentation library they use, so its checkpoints load.

The meta tokens come along: ``out.tokens`` are those behind the last block in which they look at the image. A loss on
the map alone never reaches that look (in the published form what tokens learn there is thrown away). With
``token_head`` each token also says its class, and the map read through the tokens' claims is handed out for a loss of
its own, which makes regions of them.

Guarantees: any image size; the auxiliary map is there in training only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.lemevit import LemevitDense, body_config
from engine.models.output import TokenOutput
from engine.tokenizers.base import Tokens
from engine.tokenizers.meta.block import Kind
from engine.tokenizers.meta.variants import VARIANTS

AUXILIARY_MAP = 2
"""Which of the four maps the auxiliary head reads: the third, of stride 16."""

_TINY = VARIANTS["lemevit_tiny"]
_PREFIX = "backbone."


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, h, w]`` to ``[B, K, h, w]``."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class UperHead(nn.Module):
    """Logits of stride 4 from four maps.

    Args:
        in_channels: Channels of the maps, the finest first.
        channels: Channels inside.
        pool_scales: Cells along the edge of the pooled scenes.
        dropout: Share of channels left out in training before the classes.
        num_classes: Classes ``K``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        pool_scales: Sequence[int],
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        top = in_channels[-1]
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvNormRelu(top, channels, 1)) for scale in pool_scales
        )
        self.bottleneck = ConvNormRelu(top + len(pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNormRelu(c, channels, 1) for c in in_channels[:-1])
        self.fpn_convs = nn.ModuleList(ConvNormRelu(channels, channels, 3) for _ in in_channels[:-1])
        self.fpn_bottleneck = ConvNormRelu(len(in_channels) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits ``[B, K, h, w]`` at the size of the first map."""
        top = maps[-1]
        pooled = [_resize(pool(top), top) for pool in self.psp_modules]
        levels = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=False)]
        levels.append(self.bottleneck(torch.cat((top, *pooled), dim=1)))
        for index in range(len(levels) - 2, -1, -1):
            levels[index] = levels[index] + _resize(levels[index + 1], levels[index])
        outs = [conv(x) for conv, x in zip(self.fpn_convs, levels, strict=False)] + levels[-1:]
        fused = self.fpn_bottleneck(torch.cat([_resize(x, outs[0]) for x in outs], dim=1))
        logits: Tensor = self.conv_seg(self.dropout(fused))
        return logits


class FcnHead(nn.Module):
    """Logits from one map: a 3 x 3 convolution, then the classes."""

    def __init__(self, in_channels: int, channels: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvNormRelu(in_channels, channels, 3))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K, h, w]`` of a map ``[B, C, h, w]``."""
        logits: Tensor = self.conv_seg(self.dropout(self.convs(x)))
        return logits


class UperNetLemevit(nn.Module):
    """Dense prediction with UperNet on LeMeViT (see the module's first lines).

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        depths: Blocks of each stage of the backbone.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks: C, D, D2 or S.
        mlp_ratio: Hidden width of the backbone's MLPs over their width.
        head_dim: Channels of an attention head.
        token_count: Meta tokens ``M``.
        drop_path_rate: Stochastic depth of the last block; it grows from 0 at the first.
        channels: Channels of the head.
        auxiliary_channels: Channels of the auxiliary head.
        pool_scales: Cells along the edge of the pooled scenes.
        dropout: Share of channels left out in training before the classes.
        token_head: Whether tokens say their class: ``out.token_logits``, and ``extras["through_tokens"]``, the map that
            their claims make of it. The assignment is then a distribution over tokens for each cell (the attention,
            normalised there), else the published one over cells for each token; the token map is the same.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        f"upernet_{name}": VARIANTS[name] for name in ("lemevit_tiny", "lemevit_small", "lemevit_base")
    }

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        depths: Sequence[int] = _TINY["depths"],
        widths: Sequence[int] = _TINY["widths"],
        kinds: Sequence[Kind] = _TINY["kinds"],
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
        drop_path_rate: float = 0.0,
        channels: int = 512,
        auxiliary_channels: int = 256,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        token_head: bool = False,
    ) -> None:
        super().__init__()
        if min(channels, auxiliary_channels, *pool_scales) < 1:
            raise OptionError("channels, auxiliary_channels and pool_scales must be at least 1")
        self.backbone = LemevitDense(
            in_channels, depths, widths, kinds, mlp_ratio, head_dim, token_count, drop_path_rate
        )
        self.decode_head = UperHead(self.backbone.channels, channels, pool_scales, dropout, num_classes)
        self.auxiliary_head = FcnHead(self.backbone.channels[AUXILIARY_MAP], auxiliary_channels, dropout, num_classes)
        self.token_head = nn.Linear(self.backbone.token_width, num_classes) if token_head else None
        if token_head:  # a loss reaches what tokens learn last, which the maps never hear
            for key, parameter in self.backbone.named_parameters():
                parameter.requires_grad_(parameter.requires_grad or self.backbone.is_last_word(key))

    def forward(self, images: Tensor, attention: bool = False) -> TokenOutput:
        """Segment ``[B, C, H, W]`` normalised floats of any size; logits lie on cells of 4 x 4 pixels.

        Args:
            images: The images.
            attention: Whether ``out.tokens.attention`` is wanted.

        Returns:
            The output; in training ``extras["auxiliary"]`` holds the auxiliary logits, on cells of 16 x 16 pixels.
        """
        seen = self.backbone.perceive(images, dense=True)
        maps = [x.permute(0, 3, 1, 2) for x in seen.maps[-LemevitDense.MAPS :]]
        logits = self.decode_head(maps)
        tokens = seen.tokens(seen.states, attention=attention)
        extras = {"auxiliary": self.auxiliary_head(maps[AUXILIARY_MAP])} if self.training else {}
        if self.token_head is None:
            return TokenOutput(logits, tokens, extras=extras)
        spread = tokens.assignment
        claims = spread / spread.sum(dim=1, keepdim=True).clamp_min(torch.finfo(spread.dtype).tiny)
        token_logits = self.token_head(tokens.features)
        extras["through_tokens"] = torch.einsum("bnk,bnhw->bkhw", token_logits, claims.to(token_logits.dtype))
        tokens = Tokens(tokens.features, claims, tokens.attention)
        return TokenOutput(logits, tokens, token_logits=token_logits, extras=extras)

    def class_biases(self) -> tuple[Tensor, ...]:
        """The biases of the decoder's last convolution and of the tokens' classes."""
        assert self.decode_head.conv_seg.bias is not None
        tokens = () if self.token_head is None else (self.token_head.bias,)
        return self.decode_head.conv_seg.bias, *tokens

    def unread(self, key: str) -> bool:
        """Whether the tensor of this name reaches no output."""
        own = key.removeprefix(_PREFIX)
        return own != key and self.backbone.unread(own) and not self.backbone.is_last_word(own)

    @classmethod
    def read_reference(cls, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors of a segmenter, whose names are ours, and the configuration that their shapes tell."""
        config = body_config({k.removeprefix(_PREFIX): v for k, v in weights.items() if k.startswith(_PREFIX)})
        if "decode_head.conv_seg.weight" in weights:
            config["num_classes"], config["channels"], *_ = weights["decode_head.conv_seg.weight"].shape
        if "auxiliary_head.conv_seg.weight" in weights:
            config["auxiliary_channels"] = weights["auxiliary_head.conv_seg.weight"].shape[1]
        config["token_head"] = "token_head.weight" in weights
        return dict(weights), config


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
