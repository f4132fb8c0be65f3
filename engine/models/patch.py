"""``patch_segmenter`` and ``patch_classifier``: the Patch Embed baselines beside HOOK, alike but for the tokenizer.

By default they are the published baselines, exact for the authors' weights. With ``positions`` they are the fair
comparison, since a ViT without positions does not know where its patches lie. Their other keys beyond the published
ones (``mlp_ratio``, ``final_norm``, ``pool``) make the backbone and the head of a twin the same as those of the model
it stands beside.

Guarantees: the authors' state dicts load through ``from_reference``; ``out.tokens`` is what the tokenizer made;
``out.extras["states"]`` are the tokens after the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.dense import DenseTransform, SegFormerHead, dense_edge, upsample_padded
from engine.models.output import TokenOutput
from engine.models.tail import decode
from engine.models.vit import LinearHead, TokenViT, spread_layers
from engine.tokenizers.patch import PatchTokenizer
from engine.tokenizers.position import Interpolation


class PatchClassifier(nn.Module):
    """Scene classification from a class token in front of patches.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the images the position table is for.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        depth: Transformer blocks.
        num_heads: Their attention heads.
        out_layers: Blocks whose states are summed; None takes the last.
        patch_size: Edge of a patch.
        positions: Whether patches get a learned position; published is no.
        mlp_ratio: Hidden width of the MLPs over the token width.
        final_norm: Whether tokens pass through a norm behind the last block; published is no.
        pool: What the linear layer reads: the class token (``first``), as published, or the mean of the patches,
            without a class token (``mean``).
        interpolation: How the position table is brought to other sizes.
    """

    _PARTS = ("tokenizer", "backbone", "taskHead")

    def __init__(
        self,
        num_classes: int,
        image_size: int = 224,
        in_channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        out_layers: Sequence[int] | None = None,
        patch_size: int = 16,
        positions: bool = False,
        mlp_ratio: int = 4,
        final_norm: bool = False,
        pool: Literal["first", "mean"] = "first",
        interpolation: Interpolation = "bicubic",
    ) -> None:
        super().__init__()
        if pool not in ("first", "mean"):
            raise OptionError(f"pool is {pool!r}", remedy="Choose first or mean.")
        class_token = pool == "first"
        self.tokenizer = PatchTokenizer(
            image_size, in_channels, embed_dim, patch_size, class_token, positions, interpolation
        )
        self.backbone = TokenViT(embed_dim, depth, num_heads, out_layers or (depth - 1,), mlp_ratio, final_norm)
        self.taskHead = LinearHead(embed_dim, num_classes, pool)

    def forward(self, images: Tensor) -> TokenOutput:
        """Classify ``[B, C, H, W]`` normalised floats; logits ``[B, K]``."""
        tokens = self.tokenizer(images)
        states = self.backbone(self.tokenizer.sequence(tokens.features))
        total = sum(states[1:], states[0])
        features = self.taskHead.pooled(total)
        patches = total[:, -tokens.features.shape[1] :]
        return TokenOutput(self.taskHead.fc(features), tokens, extras={"states": patches, "features": features})

    @classmethod
    def own_key(cls, key: str) -> str:
        """Our name of a tensor from the authors', who number the three parts of this model."""
        part, dot, rest = key.partition(".")
        return f"{cls._PARTS[int(part)]}{dot}{rest}" if part in {"0", "1", "2"} else key


class PatchSegmenter(nn.Module):
    """Dense prediction from patches, with HOOK's decoder.

    Args:
        num_classes: Classes ``K``.
        image_size: Edge of the images the position table is for.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        depth: Transformer blocks.
        num_heads: Their attention heads.
        out_layers: The four blocks whose states are decoded; None takes 2, 5, 9, 11 of twelve, or as evenly spread.
        dense_size: Edge of the dense grid at ``image_size``, and in proportion at other sizes; None takes the grid
            of patches as it is.
        dense_channels: Channels of the four maps of the pyramid.
        head_dim: Channels of the decoder.
        patch_size: Edge of a patch.
        positions: Whether patches get a learned position; published is no.
        mlp_ratio: Hidden width of the MLPs over the token width.
        final_norm: Whether tokens pass through a norm behind the last block; published is no.
        interpolation: How the position table is brought to other sizes.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 512,
        in_channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        out_layers: Sequence[int] | None = None,
        dense_size: int | None = None,
        dense_channels: Sequence[int] = (128, 256, 512, 512),
        head_dim: int = 256,
        patch_size: int = 16,
        positions: bool = False,
        mlp_ratio: int = 4,
        final_norm: bool = False,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        super().__init__()
        layers = tuple(out_layers) if out_layers else spread_layers(depth)
        if len(layers) != 4:
            raise OptionError("out_layers must be four block numbers")
        self.image_size = image_size
        self.dense_size = dense_size
        self.tokenizer = PatchTokenizer(image_size, in_channels, embed_dim, patch_size, False, positions, interpolation)
        self.backbone = TokenViT(embed_dim, depth, num_heads, layers, mlp_ratio, final_norm)
        self.denseTransform = DenseTransform(embed_dim, dense_channels)
        self.taskHead = SegFormerHead(dense_channels, head_dim, num_classes)

    def forward(self, images: Tensor) -> TokenOutput:
        """Segment ``[B, C, H, W]`` normalised floats; logits lie on 4 times the dense grid."""
        tokens = self.tokenizer(images)
        height, width = images.shape[-2:]
        grid: tuple[int, int] = (tokens.assignment.shape[2], tokens.assignment.shape[3])
        covered = (grid[0] * self.tokenizer.patch_size, grid[1] * self.tokenizer.patch_size)
        states = self.backbone(tokens.features)
        dense = self._dense_grid(grid, covered)
        maps = [s.transpose(1, 2).unflatten(2, grid) for s in states]
        if dense != grid:
            maps = [F.interpolate(x, dense, mode="nearest") for x in maps]
        logits = decode(self.denseTransform, self.taskHead, maps)
        upsample = upsample_padded(covered, (height, width))
        return TokenOutput(logits, tokens, upsample=upsample, extras={"states": states[-1]})

    def class_biases(self) -> tuple[Tensor, ...]:
        """The bias of the decoder's last convolution; tokens have no classes of their own."""
        assert self.taskHead.linear_pred.bias is not None
        return (self.taskHead.linear_pred.bias,)

    def _dense_grid(self, grid: tuple[int, int], covered: tuple[int, int]) -> tuple[int, int]:
        if self.dense_size is None:
            return max(2, grid[0]), max(2, grid[1])
        rows, cols = (dense_edge(self.dense_size, pixels, self.image_size) for pixels in covered)
        return rows, cols
