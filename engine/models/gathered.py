"""What models on gathered seeds share: a ViT on their few tokens, and a head for scenes or for dense prediction.

Guarantees: ``out.tokens`` is what the tokenizer perceived, before the backbone; ``out.extras["states"]`` are the
tokens after it; parameter names are those of HOOK's authors.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.dense import DenseTransform, SegFormerHead, dense_edge, dense_weights, upsample_padded
from engine.models.output import TokenOutput
from engine.models.tail import decode
from engine.models.vit import LinearHead, TokenViT, spread_layers
from engine.tokenizers.matching import GatheringTokenizer


class GatheredClassifier(nn.Module):
    """Scene classification from the mean of a few gathered tokens.

    Args:
        tokenizer: Makes the tokens.
        num_classes: Classes ``K``.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        out_layers: Blocks whose states are summed before the mean; None takes the last.
    """

    def __init__(
        self,
        tokenizer: GatheringTokenizer,
        num_classes: int,
        depth: int,
        num_heads: int,
        out_layers: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.backbone = TokenViT(tokenizer.embed_dim, depth, num_heads, out_layers or (depth - 1,))
        self.taskHead = LinearHead(tokenizer.embed_dim, num_classes, "mean")

    def forward(self, images: Tensor) -> TokenOutput:
        """Classify ``[B, C, H, W]`` normalised floats; logits ``[B, K]``."""
        tokens = self.tokenizer(images)
        states = self.backbone(tokens.features)
        total = sum(states[1:], states[0])
        features = self.taskHead.pooled(total)
        return TokenOutput(self.taskHead.fc(features), tokens, extras={"states": total, "features": features})


class GatheredSegmenter(nn.Module):
    """Dense prediction from a few gathered tokens, spread over a dense grid by their own attention.

    Args:
        tokenizer: Makes the tokens.
        num_classes: Classes ``K``.
        image_size: Edge of the images the dense grid is told for.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        out_layers: The four blocks whose states are decoded; None takes 2, 5, 9, 11 of twelve, or as evenly spread.
        dense_size: Edge of the dense grid at ``image_size``, and in proportion at other sizes; None takes a
            sixteenth of ``image_size``.
        dense_channels: Channels of the four maps of the pyramid.
        head_dim: Channels of the decoder.
        temperature: Of the weights that spread tokens over the grid; smaller is sharper.
        detach_weights: Whether the loss stops at those weights.
    """

    def __init__(
        self,
        tokenizer: GatheringTokenizer,
        num_classes: int,
        image_size: int,
        depth: int,
        num_heads: int,
        out_layers: Sequence[int] | None,
        dense_size: int | None,
        dense_channels: Sequence[int],
        head_dim: int,
        temperature: float,
        detach_weights: bool,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise OptionError(f"temperature is {temperature}", remedy="It must be greater than 0.")
        layers = tuple(out_layers) if out_layers else spread_layers(depth)
        if len(layers) != 4:
            raise OptionError("out_layers must be four block numbers")
        embed_dim = tokenizer.embed_dim
        self.image_size = image_size
        self.dense_size = dense_size or max(2, image_size // 16)
        self.temperature = temperature
        self.detach_weights = detach_weights
        self.tokenizer = tokenizer
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
