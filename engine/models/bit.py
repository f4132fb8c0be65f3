"""``bit_lemevit_tiny|small|base``: what changed between two images of one place, read through a few semantic tokens.

The head of BIT (Chen, Qi and Shi 2021, "Remote Sensing Image Change Detection with Transformers", arXiv 2103.00208) on
LeMeViT's map of stride 16, as LeMeViT's authors combine them. Each date is summarised by a few tokens, the tokens of
both dates are refined together, every pixel reads its own date's tokens, and the difference of the dates is classified.

Guarantees: exact for the authors' weights, whose layout is kept whole; the stage whose map nobody reads is not
computed; any image size (edges that are no multiple of 16 are padded by replication inside and cropped again).
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
from engine.tokenizers.attend import attend
from engine.tokenizers.base import Tokens
from engine.tokenizers.meta.attention import attend_to_few
from engine.tokenizers.meta.block import Kind
from engine.tokenizers.meta.variants import VARIANTS

STRIDE = 16
_TINY = VARIANTS["lemevit_tiny"]
_PREFIX = "backbone."


class _Normed(nn.Module):
    """A function of normalised vectors; the names are those of the authors' residual and norm wrappers."""

    def __init__(self, dim: int, function: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = function


class _Residual(nn.Module):
    def __init__(self, dim: int, function: nn.Module) -> None:
        super().__init__()
        self.fn = _Normed(dim, function)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        norm, function = self.fn.norm, self.fn.fn
        change: Tensor = function(norm(x)) if memory is None else function(norm(x), norm(memory))
        return x + change


class TokenAttention(nn.Module):
    """Self-attention among tokens; the scale is that of the tokens' width, not of a head's."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens ``[B, M, D]``."""
        b, m, d = x.shape
        q, k, v = self.to_qkv(x).view(b, m, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed: Tensor = attend(q, k, v, d**-0.5).transpose(1, 2).flatten(2)
        out: Tensor = self.to_out(mixed)
        return out


class PixelAttention(nn.Module):
    """Attention of pixels to few tokens; the scale is that of the pixels' width, not of a head's."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_k = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_v = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, dim))

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Let pixels ``[B, N, D]`` read tokens ``[B, M, D]``."""
        b, m, d = tokens.shape
        k = self.to_k(tokens).view(b, m, self.heads, -1).transpose(1, 2) * d**-0.5
        v = self.to_v(tokens).view(b, m, self.heads, -1).transpose(1, 2)
        query_weight = self.to_q.weight.view(self.heads, -1, d)
        out_weight, out_bias = self.to_out.parameters()
        read = attend_to_few(pixels, query_weight, None, k, v @ out_weight.t().reshape(self.heads, -1, d))
        return read + out_bias

    def written_out_macs(self, pixels: Tensor, tokens: Tensor) -> tuple[int, int]:
        """Multiply-accumulates with every projection written out: of the layers, and of the attention."""
        n, m, inner = pixels.shape[:2].numel(), tokens.shape[:2].numel(), self.to_q.out_features
        return (2 * n + 2 * m) * inner * self.to_q.in_features, 2 * n * tokens.shape[1] * inner


class FeedForward(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        # The third part stands where the authors have a dropout of nothing.
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis."""
        out: Tensor = self.net(x)
        return out


class _Layers(nn.Module):
    def __init__(
        self, attention: type[nn.Module], depth: int, dim: int, heads: int, head_dim: int, hidden: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList((_Residual(dim, attention(dim, heads, head_dim)), _Residual(dim, FeedForward(dim, hidden))))
            for _ in range(depth)
        )

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer[1](layer[0](x, memory))  # type: ignore[index]
        return x


class BitLemevit(nn.Module):
    """Change between two images (see the module's first lines).

    The counts published for it include LeMeViT's last stage and the other tensors that reach no output
    (:meth:`unread`): they are there, frozen, so that the authors' checkpoints fit, and may be missing in a checkpoint.

    Args:
        num_classes: Classes ``K``; "the same" comes first.
        in_channels: Bands of an image.
        depths: Blocks of each stage of the backbone.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks: C, D, D2 or S.
        mlp_ratio: Hidden width of the backbone's MLPs over their width.
        head_dim: Channels of a head in the backbone.
        token_count: Meta tokens of the backbone.
        drop_path_rate: Stochastic depth of the backbone's last block; it grows from 0 at the first.
        channels: Channels ``D`` of pixels and semantic tokens in the head.
        semantic_tokens: Semantic tokens of each date.
        encoder_depth: Layers in which the tokens of both dates are refined.
        decoder_depth: Layers in which pixels read tokens.
        heads: Attention heads of both.
        inner_dim: Channels of such a head.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        f"bit_{name}": VARIANTS[name] for name in ("lemevit_tiny", "lemevit_small", "lemevit_base")
    }

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        depths: Sequence[int] = _TINY["depths"],
        widths: Sequence[int] = _TINY["widths"],
        kinds: Sequence[Kind] = _TINY["kinds"],
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
        drop_path_rate: float = 0.0,
        channels: int = 32,
        semantic_tokens: int = 4,
        encoder_depth: int = 1,
        decoder_depth: int = 8,
        heads: int = 8,
        inner_dim: int = 64,
    ) -> None:
        super().__init__()
        self.backbone = LemevitDense(
            in_channels, depths, widths, kinds, mlp_ratio, head_dim, token_count, drop_path_rate
        )
        if STRIDE not in self.backbone.strides:
            raise OptionError(f"the backbone has no map of stride {STRIDE}", remedy="Choose kinds as published.")
        self.semantic_tokens = semantic_tokens
        self.pos_embedding = nn.Parameter(torch.randn(1, 2 * semantic_tokens, channels))
        width = self.backbone.channels[self.backbone.strides.index(STRIDE)]
        self.conv_pred = nn.Conv2d(width, channels, 3, padding=1)
        self.conv_a = nn.Conv2d(channels, semantic_tokens, 1, bias=False)
        self.transformer = _Layers(TokenAttention, encoder_depth, channels, heads, inner_dim, 2 * channels)
        self.transformer_decoder = _Layers(PixelAttention, decoder_depth, channels, heads, inner_dim, 2 * channels)
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, num_classes, 3, padding=1),
        )
        for key, parameter in self.named_parameters():
            if self.unread(key):
                parameter.requires_grad_(False)

    def forward(self, before: Tensor, after: Tensor) -> TokenOutput:
        """Compare two images ``[B, C, H, W]`` of one place, alike in size and scaling.

        Returns:
            Logits ``[B, K, H, W]``. The tokens are the semantic tokens of both dates, the first date's first, after
            they were refined together (``extras["tokens_after_encoder"]`` as well); a token claims cells of 8 x 8
            pixels of its own date.

        Raises:
            OptionError: The images differ in shape.
        """
        if before.shape != after.shape:
            raise OptionError(
                f"the images of two dates have shapes {list(before.shape)} and {list(after.shape)}",
                remedy="Bring both onto one grid.",
            )
        height, width = before.shape[-2:]
        both = torch.cat((before, after))
        pad_bottom, pad_right = -height % STRIDE, -width % STRIDE
        if pad_bottom or pad_right:
            both = F.pad(both, (0, pad_right, 0, pad_bottom), mode="replicate")
        pixels = self.conv_pred(_double(self._map(both)))
        rows, cols = pixels.shape[-2:]
        claims = self.conv_a(pixels).flatten(2).softmax(dim=2)
        flat = pixels.flatten(2).transpose(1, 2)
        paired = torch.cat((claims @ flat).chunk(2), dim=1) + self.pos_embedding
        refined = self.transformer(paired)
        read = self.transformer_decoder(flat, torch.cat(refined.chunk(2, dim=1)))
        first, second = read.transpose(1, 2).unflatten(2, (rows, cols)).chunk(2)
        difference = _double((first - second).abs())
        drawn = F.interpolate(difference, scale_factor=4.0, mode="bilinear", align_corners=True)
        logits = self.classifier(drawn)[:, :, :height, :width]
        here = torch.cat(claims.unflatten(2, (rows, cols)).chunk(2), dim=1)
        tokens = Tokens(refined, here[:, :, : -(-height // 8), : -(-width // 8)])
        return TokenOutput(logits, tokens, extras={"tokens_after_encoder": refined})

    def probe_answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """What stays the same but for rounding when the model is rewritten for speed: images against their mirror."""
        output = self(images, images.flip(3))
        return output.logits, output.tokens.features, output.tokens.assignment

    def _map(self, images: Tensor) -> Tensor:
        """The map of stride 16; later stages reach no output and are not run."""
        seen = self.backbone.perceive(images, dense=True, look=False, stage_count=self._stages_read)
        return seen.maps[-1].permute(0, 3, 1, 2)

    @property
    def _stages_read(self) -> int:
        return self.backbone.stage_strides.index(STRIDE) + 1

    def unread(self, key: str) -> bool:
        """Whether the tensor of this name reaches no output."""
        if not key.startswith(_PREFIX):
            return False
        own = key.removeprefix(_PREFIX)
        part, _, rest = own.partition(".")
        if part in {"stages", "downsample_layers"} and int(rest.partition(".")[0]) >= self._stages_read:
            return True
        return self.backbone.unread(own)

    @classmethod
    def read_reference(cls, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The authors' tensors, whose names are ours, and the configuration that their shapes tell."""
        config = body_config({k.removeprefix(_PREFIX): v for k, v in weights.items() if k.startswith(_PREFIX)})
        if "classifier.3.weight" in weights:
            config["num_classes"] = len(weights["classifier.3.weight"])
        return dict(weights), config


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
