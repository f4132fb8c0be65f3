"""``hook_segmenter`` and ``hook_classifier``: the published HOOK models, exact for the authors' weights.

How the published code's peculiarities are settled, by their number in the project's specification; tests hold each:

==== ==================================================== ==========================================================
no.  published                                            here
==== ==================================================== ==========================================================
1    a batch of one, or one token, raises                 works: only the axis of heads is dropped
2    tied columns give 0/0                                tied tokens share a cell equally
3    mixing weights lie within a factor e                 kept; ``temperature`` divides, default 1
4    no gradient through the mixing weights               kept; ``detach_weights=False`` lets it through
5    fixed number of pixels, square maps assumed          the table is interpolated; rows and columns are counted apart
6    dense grid of 32 x 32                                ``dense_size``, in proportion to the image
7    flags ignored, pictures always saved, memory grows   recipes and commands of our own
8    fp16 without loss scaling                            bfloat16 or a scaler (training)
9    global attention over all seeds                      kept, in blocks that never hold the map; or ``hook_linear_*``
10   Patch Embed is blind to positions                    kept; ``positions=True`` is the fair one
11   token areas depend on the normalisation over seeds   kept: weights depend on it
12   a second reading of the attention gives other values the map is an output, never changed
13   parts that nothing uses                              left out
14   logs that the code cannot reproduce                  --
15   labels are changed while pictures are saved          labels are read only
16   columns of a table by position                       by name (training)
==== ==================================================== ==========================================================

Guarantees: state-dict keys are the authors'; ``out.tokens`` is what the tokenizer perceived, before the backbone;
``out.tokens.attention`` is the published map ``[B, 1, N, h*w]``; ``out.extras["states"]`` are the tokens after the
backbone.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.models.gathered import GatheredClassifier, GatheredSegmenter
from engine.tokenizers.hook import HookTokenizer
from engine.tokenizers.position import Interpolation


class HookClassifier(GatheredClassifier):
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
        window_size: Edge in seeds of the first attention's windows; None takes half the seed map's, as published.
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
        window_size: int | None = None,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        tokenizer = HookTokenizer(
            image_size,
            in_channels,
            seed_dim,
            token_count,
            embed_dim,
            stem_widths,
            seed_heads,
            window_size,
            interpolation,
        )
        super().__init__(tokenizer, num_classes, depth, num_heads, out_layers)


class HookSegmenter(GatheredSegmenter):
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
        window_size: Edge in seeds of the first attention's windows; None takes half the seed map's, as published.
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
        window_size: int | None = None,
        interpolation: Interpolation = "bicubic",
        temperature: float = 1.0,
        detach_weights: bool = True,
    ) -> None:
        tokenizer = HookTokenizer(
            image_size,
            in_channels,
            seed_dim,
            token_count,
            embed_dim,
            stem_widths,
            seed_heads,
            window_size,
            interpolation,
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
