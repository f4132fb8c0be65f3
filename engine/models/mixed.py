"""Patches as tokens of a ViT, by quadtree or all of one size, for images of any size and any budget.

The tokenizers are those of ``engine.tokenizers.quadtree``; here a budget is added that is meant for images of one size
and holds in proportion to the area for others. Guarantees: the budget can be set anew at any time; where the edges are
no multiples of the patches, these see the edge pixels repeated, and those that lie wholly outside are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.base import Tokens
from engine.tokenizers.quadtree import BandBlur, Layout, PixelBlur, Random, Scorer, tokenize
from engine.tokenizers.quadtree.layout import image_layout
from engine.tokenizers.quadtree.reverse import patch_index, reverse
from engine.tokenizers.quadtree.tokenizer import PatchEmbedding, QuadtreeTokenizer, VanillaTokenizer

ScorerName = Literal["blur", "bands", "random"]

_SCORERS: dict[str, Callable[[], Scorer]] = {"blur": PixelBlur, "bands": BandBlur, "random": lambda: Random(0)}


@dataclass(frozen=True, slots=True)
class Cut:
    """An image cut up.

    Attributes:
        tokens: A token for each patch.
        size: Height and width of the image in pixels.
        covered: Height and width in pixels that the cells of the tokens' assignment cover.
        boxes: Left, top and size of a quadtree's patches in pixels, ``[B, P, 3]``, else None.
        inside: Which patches touch the image, ``[B, P]``; None where all do.
    """

    tokens: Tokens
    size: tuple[int, int]
    covered: tuple[int, int]
    boxes: Tensor | None = None
    inside: Tensor | None = None


class Cutter(PatchEmbedding):
    """What both ways of cutting are.

    Attributes:
        image_size: Edge of the square images that the budget is for.
        num_patches: The budget.
    """

    image_size: int
    num_patches: int

    def check_budget(self, count: int) -> None:
        """Refuse a budget that cannot be met for images of ``image_size``.

        Raises:
            OptionError: It cannot; the message names the nearest that can.
        """
        raise TypeError(f"{type(self).__name__} does not say what budgets it meets")

    def cut(self, images: Tensor) -> Cut:
        """Cut and embed ``[B, C, H, W]`` normalised floats."""
        raise TypeError(f"{type(self).__name__} does not say how it cuts")

    def cells(self, states: Tensor, cut: Cut) -> Tensor:
        """Tokens ``[B, P, D]`` copied to the cells of ``patch_size`` pixels that they cover, ``[B, D, h, w]``."""
        raise TypeError(f"{type(self).__name__} does not say which cells a token covers")


class QuadtreeCutter(QuadtreeTokenizer, Cutter):
    """A quadtree's patches.

    Args:
        image_size: Edge of the square images that the budget is for.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        num_patches: The budget.
        min_size: Edge of the smallest patch in pixels; all are resampled to it.
        max_size: Edge of the largest patch in pixels, ``min_size`` times a power of two.
        scorer: ``blur`` (of pixels, as published), ``bands`` (blur for any number of bands in any units) or ``random``.
        antialias: Whether larger patches average all their pixels; published is no.
        scale_embedding: Whether a learned vector says how large a patch is; published is no.

    Attributes:
        scorer: Says where to cut; any scorer may be put in its place.
    """

    def __init__(
        self,
        image_size: int,
        in_channels: int,
        embed_dim: int,
        num_patches: int,
        min_size: int,
        max_size: int,
        scorer: ScorerName,
        antialias: bool,
        scale_embedding: bool,
    ) -> None:
        if scorer not in get_args(ScorerName):
            raise OptionError(f"there is no scorer {scorer!r}", remedy=f"Use {', '.join(get_args(ScorerName))}.")
        super().__init__(
            _SCORERS[scorer](), num_patches, min_size, max_size, in_channels, embed_dim, antialias=antialias
        )
        self.image_size = image_size
        self.check_budget(num_patches)
        levels = (max_size // min_size).bit_length()
        self.scale_embed = nn.Parameter(torch.zeros(levels, embed_dim)) if scale_embedding else None

    def check_budget(self, count: int) -> None:
        """Refuse a budget that no number of cuts leads to (see ``Cutter``)."""
        Layout(self.image_size, self.image_size, self.min_size, self.max_size).splits(count)

    def budget(self, layout: Layout) -> int:
        """Patches of an image: ``num_patches`` in proportion to its area, as near as cuts can come."""
        wanted = self.num_patches * layout.height * layout.width / self.image_size**2
        low, high = layout.min_patches, layout.max_patches
        return min(max(low + 3 * round((wanted - low) / 3), low), high)

    def cut(self, images: Tensor) -> Cut:
        """Cut and embed; cells have ``min_size`` pixels (see ``Cutter``)."""
        layout = image_layout(images, self.min_size, self.max_size)
        count = self.budget(layout)
        images = images.contiguous()  # patches are read, and scored, in rows of pixels
        with torch.no_grad():
            scores = self.scorer(images.float(), self.min_size, self.max_size)
        patches = tokenize(images, scores, count, self.min_size, self.max_size, self.runner, antialias=self.antialias)
        features = self.embed(patches)
        if self.scale_embed is not None:
            features = features + self.scale_embed[patches.scale_ids]
        owners = patch_index(patches.boxes, layout.height, layout.width, self.min_size)
        claims = torch.zeros(len(images), count, *owners.shape[1:], device=images.device)
        claims.scatter_(1, owners.unsqueeze(1), 1.0)
        left, top, _ = patches.boxes.unbind(2)
        inside = None if layout.whole else (left < layout.width) & (top < layout.height)
        covered = owners.shape[1] * self.min_size, owners.shape[2] * self.min_size
        return Cut(Tokens(features, claims), (layout.height, layout.width), covered, patches.boxes, inside)

    def cells(self, states: Tensor, cut: Cut) -> Tensor:
        """The reverse quadtree (see ``Cutter``)."""
        assert cut.boxes is not None  # the cut is this class's own
        return reverse(states, cut.boxes, *cut.size, self.min_size)


class VanillaCutter(VanillaTokenizer, Cutter):
    """Patches of one size, such that there are as many as the budget says, in rows and columns.

    The image is resized (smoothed) so that each patch has ``min_size`` pixels along its edge: a plain ViT on a smaller
    image.

    Args:
        image_size: Edge of the square images that the budget is for.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        num_patches: The budget, a square number.
        min_size: Edge that patches are resampled to.
    """

    def __init__(self, image_size: int, in_channels: int, embed_dim: int, num_patches: int, min_size: int) -> None:
        super().__init__(min_size, in_channels, embed_dim)
        self.image_size = image_size
        self.check_budget(num_patches)
        self.num_patches = num_patches

    def check_budget(self, count: int) -> None:
        """Refuse a budget that is no square number, or makes patches smaller than ``min_size`` (see ``Cutter``)."""
        edge, most = math.isqrt(max(count, 0)), -(-self.image_size // self.patch_size)
        if edge * edge == count and 1 <= edge <= most:
            return
        below = min(max(edge, 1), most)
        nearest = f"{below**2}" if below == most or count < 1 else f"{below**2} or {(below + 1) ** 2}"
        raise OptionError(
            f"a budget of {count} patches cannot be met: {self.image_size} x {self.image_size} pixels are cut into a "
            f"square number of patches of one size, 1 to {most**2}",
            where="num_patches",
            remedy=f"Use {nearest}.",
        )

    def cut(self, images: Tensor) -> Cut:
        """Cut and embed; cells are the patches (see ``Cutter``)."""
        height, width = images.shape[-2:]
        edge = self.image_size / math.isqrt(self.num_patches)
        rows, cols = max(1, round(height / edge)), max(1, round(width / edge))
        size = rows * self.patch_size, cols * self.patch_size
        if size != (height, width):
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        return Cut(self(images), (height, width), (height, width))

    def cells(self, states: Tensor, cut: Cut) -> Tensor:
        """Each cell has the token of the patch its middle lies in (see ``Cutter``)."""
        rows, cols = cut.tokens.assignment.shape[2:]
        grid = states.transpose(1, 2).reshape(len(states), -1, rows, cols)
        size = -(-cut.size[0] // self.patch_size), -(-cut.size[1] // self.patch_size)
        return F.interpolate(grid, size, mode="nearest-exact")
