"""``hook_linear_segmenter`` and ``hook_linear_classifier``: HOOK whose cost grows linearly with the seeds.

The published models but for the perception of seeds (:mod:`engine.tokenizers.hook_linear`), which is the only part
whose cost the size of the image decides. Guarantees: outputs mean what those of the published models mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.models.gathered import GatheredClassifier, GatheredSegmenter
from engine.tokenizers.hook_linear import LinearHookTokenizer


class HookLinearClassifier(GatheredClassifier):
    """Scene classification from homogeneous tokens of seeds that are perceived at linear cost.

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        seed_dim: Channels of a seed.
        token_count: Tokens ``N``.
        embed_dim: Width of a token.
        depth: Transformer blocks over the tokens.
        num_heads: Their attention heads.
        out_layers: Blocks whose states are summed before the mean; None takes the last.
        stem_width: Channels of the stem at stride 2.
        depths: Blocks of the perception at strides 4, 8 and 16.
        seed_heads: Attention heads over the seeds, at stride 16.
        context_grid: Edge of the pooled grid they look at.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        seed_dim: int = 512,
        token_count: int = 6,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        out_layers: Sequence[int] | None = None,
        stem_width: int = 64,
        depths: Sequence[int] = (2, 2, 4),
        seed_heads: int = 8,
        context_grid: int = 8,
    ) -> None:
        tokenizer = LinearHookTokenizer(
            in_channels, seed_dim, token_count, embed_dim, stem_width, depths, seed_heads, context_grid
        )
        super().__init__(tokenizer, num_classes, depth, num_heads, out_layers)


class HookLinearSegmenter(GatheredSegmenter):
    """Dense prediction from homogeneous tokens of seeds that are perceived at linear cost.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the images the dense grid is told for.
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
        stem_width: Channels of the stem at stride 2.
        depths: Blocks of the perception at strides 4, 8 and 16.
        seed_heads: Attention heads over the seeds, at stride 16.
        context_grid: Edge of the pooled grid they look at.
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
        stem_width: int = 64,
        depths: Sequence[int] = (2, 2, 4),
        seed_heads: int = 8,
        context_grid: int = 8,
        temperature: float = 1.0,
        detach_weights: bool = True,
    ) -> None:
        tokenizer = LinearHookTokenizer(
            in_channels, seed_dim, token_count, embed_dim, stem_width, depths, seed_heads, context_grid
        )
        super().__init__(
            tokenizer,
            num_classes,
            image_size,
            depth,
            num_heads,
            out_layers,
            dense_size,
            dense_channels,
            head_dim,
            temperature,
            detach_weights,
        )
