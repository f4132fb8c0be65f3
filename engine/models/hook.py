"""``hook_segmenter`` and ``hook_classifier``: the published HOOK models, exact for the authors' weights.

Beyond the published code, and without a change at the published sizes: any image height and width, batches of one,
single or tied tokens, every width as configuration, a temperature for the mixing weights and a choice whether the
loss reaches the assignment through them.

Guarantees: state-dict keys are the authors'; ``out.tokens`` is what the tokenizer perceived, before the backbone;
``out.tokens.attention`` is the published map ``[B, 1, N, h*w]``; ``out.extras["states"]`` are the tokens after the
backbone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.dense import DenseTransform, SegFormerHead, dense_edge, dense_weights, upsample_padded
from engine.models.output import TokenOutput
from engine.models.tail import decode
from engine.models.vit import LinearHead, TokenViT, spread_layers
from engine.tokenizers.hook import HookTokenizer
from engine.tokenizers.position import Interpolation


class HookClassifier(nn.Module):
    """Scene classification from the mean of a few homogeneous tokens.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the images the position table is for.
        in_channels: Bands of the image.
        seed_dim: Channels of a seed.
        token_count: Tokens ``N``.
        embed_dim: Width of a token.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        out_layers: Blocks whose states are summed before the mean; None takes the last.
        stem_widths: Channels of the stem at full, half and quarter resolution.
        seed_heads: Attention heads over the seeds.
        interpolation: How the position table is brought to other sizes.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 224,
        in_channels: int = 3,
        seed_dim: int = 512,
        token_count: int = 6,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        out_layers: Sequence[int] | None = None,
        stem_widths: Sequence[int] = (64, 128, 256),
        seed_heads: int = 8,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        super().__init__()
        self.tokenizer = HookTokenizer(
            image_size, in_channels, seed_dim, token_count, embed_dim, stem_widths, seed_heads, interpolation
        )
        self.backbone = TokenViT(embed_dim, depth, num_heads, out_layers or (depth - 1,))
        self.taskHead = LinearHead(embed_dim, num_classes, "mean")

    def forward(self, images: Tensor) -> TokenOutput:
        """Classify ``[B, C, H, W]`` normalised floats; logits ``[B, K]``."""
        tokens = self.tokenizer(images)
        states = self.backbone(tokens.features)
        total = sum(states[1:], states[0])
        return TokenOutput(self.taskHead(total), tokens, extras={"states": total})


class HookSegmenter(nn.Module):
    """Dense prediction from a few homogeneous tokens, spread over a dense grid by their own attention.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the images the position table is for.
        in_channels: Bands of the image.
        seed_dim: Channels of a seed.
        token_count: Tokens ``N``.
        embed_dim: Width of a token.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        out_layers: The four blocks whose states are decoded; None takes 2, 5, 9, 11 of twelve, or as evenly spread.
        dense_size: Edge of the dense grid at ``image_size``, and in proportion at other sizes; None takes a
            sixteenth of ``image_size``.
        dense_channels: Channels of the four maps of the pyramid.
        head_dim: Channels of the decoder.
        stem_widths: Channels of the stem at full, half and quarter resolution.
        seed_heads: Attention heads over the seeds.
        interpolation: How the position table is brought to other sizes.
        temperature: Of the weights that spread tokens over the grid; 1 as published, smaller is sharper.
        detach_weights: Whether the loss stops at those weights, as published.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 512,
        in_channels: int = 3,
        seed_dim: int = 512,
        token_count: int = 8,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        out_layers: Sequence[int] | None = None,
        dense_size: int | None = None,
        dense_channels: Sequence[int] = (128, 256, 512, 512),
        head_dim: int = 256,
        stem_widths: Sequence[int] = (64, 128, 256),
        seed_heads: int = 8,
        interpolation: Interpolation = "bicubic",
        temperature: float = 1.0,
        detach_weights: bool = True,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise OptionError(f"temperature is {temperature}", remedy="It must be greater than 0.")
        layers = tuple(out_layers) if out_layers else spread_layers(depth)
        if len(layers) != 4:
            raise OptionError("out_layers must be four block numbers")
        self.image_size = image_size
        self.dense_size = dense_size or max(2, image_size // 16)
        self.temperature = temperature
        self.detach_weights = detach_weights
        self.tokenizer = HookTokenizer(
            image_size, in_channels, seed_dim, token_count, embed_dim, stem_widths, seed_heads, interpolation
        )
        self.backbone = TokenViT(embed_dim, depth, num_heads, layers)
        self.denseTransform = DenseTransform(embed_dim, dense_channels)
        self.taskHead = SegFormerHead(dense_channels, head_dim, num_classes)

    def forward(self, images: Tensor) -> TokenOutput:
        """Segment ``[B, C, H, W]`` normalised floats; logits lie on 4 times the dense grid."""
        seen = self.tokenizer.perceive(images)
        tokens = seen.tokens
        height, width = seen.padded_size
        rows = dense_edge(self.dense_size, height, self.image_size)
        cols = dense_edge(self.dense_size, width, self.image_size)
        states = self.backbone(tokens.features)
        maps = self.spread(tokens.assignment, states, rows, cols)
        logits = decode(self.denseTransform, self.taskHead, maps)
        upsample = upsample_padded(seen.padded_size, (images.shape[-2], images.shape[-1]))
        return TokenOutput(logits, tokens, upsample=upsample, extras={"states": states[-1]})

    def spread(self, attention: Tensor, states: Sequence[Tensor], rows: int, cols: int) -> list[Tensor]:
        """Spread token states ``[B, N, D]`` over a dense grid by their attention: maps ``[B, D, rows, cols]``."""
        weights = dense_weights(attention, rows, cols, self.temperature)
        if self.detach_weights:
            weights = weights.detach()
        mixing = weights.flatten(2).transpose(1, 2)
        return [(mixing.to(s.dtype) @ s).transpose(1, 2).reshape(len(s), -1, rows, cols) for s in states]
