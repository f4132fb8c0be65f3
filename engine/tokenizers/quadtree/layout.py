"""Which patches a quadtree over an image can have: sizes, grids, budgets, and the checks of what a caller gives.

The image is covered by squares of ``max_size``, the roots; a patch larger than ``min_size`` can be cut into four. Roots
of the last row and column may hang over the edge, whatever the image's size. A patch that lies wholly outside is part
of the tree (a cut always makes four patches, so that every image of a batch has the same number of them), but it has
no score, is never cut itself and holds no pixel.

Guarantees: sizes are integers throughout; every refusal is an :class:`~engine.errors.OptionError` that names what would
work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from engine.errors import OptionError


@dataclass(frozen=True)
class Layout:
    """The full tree over an image. Levels run from the coarsest (roots) to the finest (``min_size``).

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of a root in pixels, ``min_size`` times a power of two.
    """

    height: int
    width: int
    min_size: int
    max_size: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise OptionError(
                f"the image is empty ({self.height} x {self.width} pixels)",
                remedy="Give it a row and a column at least.",
            )
        patch_sizes(self.min_size, self.max_size)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Edges of patches in pixels, level by level, from ``max_size`` down to ``min_size``."""
        return tuple(reversed(patch_sizes(self.min_size, self.max_size)))

    @cached_property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each level over the ground that the roots cover."""
        rows, cols = -(-self.height // self.max_size), -(-self.width // self.max_size)
        return tuple((rows << level, cols << level) for level in range(len(self.sizes)))

    @cached_property
    def score_grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each level that touch the image; what a scorer gives a score for."""
        return tuple((-(-self.height // size), -(-self.width // size)) for size in self.sizes)

    @property
    def whole(self) -> bool:
        """Whether the roots cover the image exactly, so that nothing lies outside."""
        return self.height % self.max_size == 0 and self.width % self.max_size == 0

    @property
    def splittable_sizes(self) -> tuple[int, ...]:
        """Sizes that can be cut, coarse to fine."""
        return self.sizes[:-1]

    @cached_property
    def min_patches(self) -> int:
        """Patches before the first cut."""
        rows, cols = self.grids[0]
        return rows * cols

    @cached_property
    def max_patches(self) -> int:
        """Patches when everything that can be cut is cut."""
        return self.min_patches + 3 * sum(rows * cols for rows, cols in self.score_grids[:-1])

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First number of each level where patches are numbered coarse to fine, row by row; then their count."""
        starts = [0]
        for rows, cols in self.grids:
            starts.append(starts[-1] + rows * cols)
        return tuple(starts)

    def splits(self, num_patches: int) -> int:
        """Cuts that lead to ``num_patches``.

        Raises:
            OptionError: No number of cuts does; the message names the nearest budgets that work.
        """
        low, high = self.min_patches, self.max_patches
        if low <= num_patches <= high and (num_patches - low) % 3 == 0:
            return (num_patches - low) // 3
        below = min(max(low, num_patches - (num_patches - low) % 3), high)
        above = min(below + 3, high)
        nearest = str(below) if num_patches <= low or num_patches >= high or above == below else f"{below} or {above}"
        raise OptionError(
            f"a budget of {num_patches} patches cannot be met: {self.height} x {self.width} pixels are covered by "
            f"{low} to {high} patches of {self.min_size} to {self.max_size} pixels, in steps of 3",
            where="num_patches",
            remedy=f"Use {nearest}.",
        )

    def checked_scores(self, scores: Mapping[int, Tensor], batch: int) -> list[Tensor]:
        """Scores of the sizes that can be cut, coarse to fine, each ``[batch, rows, cols]``.

        Raises:
            OptionError: A size has no scores, or they have another shape.
        """
        found = []
        for size, grid in zip(self.splittable_sizes, self.score_grids, strict=False):
            if size not in scores:
                have = ", ".join(str(key) for key in sorted(scores)) or "none"
                raise OptionError(
                    f"there are no scores for patches of {size} pixels (only for {have})",
                    where="scores",
                    remedy=f"Give scores for {', '.join(map(str, self.splittable_sizes))}.",
                )
            values = scores[size]
            if tuple(values.shape) != (batch, *grid):
                raise OptionError(
                    f"scores for patches of {size} pixels have the shape {list(values.shape)}",
                    where="scores",
                    remedy=f"Give {[batch, *grid]}: images, rows, columns.",
                )
            if values.is_complex():
                raise OptionError(f"scores for patches of {size} pixels are complex", where="scores")
            found.append(values.detach())
        return found


def patch_sizes(min_size: int, max_size: int) -> tuple[int, ...]:
    """Edges of patches in pixels, from ``min_size`` doubling up to ``max_size``.

    Raises:
        OptionError: ``max_size`` is not ``min_size`` times a power of two.
    """
    if min_size < 1:
        raise OptionError(f"min_size is {min_size}", remedy="Patches have an edge of 1 pixel at least.")
    ratio = max_size // min_size
    if ratio < 1 or max_size % min_size or ratio & (ratio - 1):
        below = min_size << max(ratio, 1).bit_length() - 1
        nearest = f"{below}" if max_size < min_size else f"{below} or {2 * below}"
        raise OptionError(
            f"patches of {max_size} pixels cannot be halved down to {min_size}",
            where="max_size",
            remedy=f"It must be min_size times a power of two: use {nearest}.",
        )
    return tuple(min_size << level for level in range(ratio.bit_length()))


def image_layout(images: Tensor, min_size: int, max_size: int) -> Layout:
    """The tree over images ``[B, C, H, W]``.

    Raises:
        OptionError: They are not such, or hold nothing; or the sizes do not go together.
    """
    if images.ndim != 4 or images.shape[0] < 1 or images.shape[1] < 1:
        raise OptionError(
            f"images have the shape {list(images.shape)}", remedy="Give [images, bands, rows, columns], one of each."
        )
    return _layout(images.shape[2], images.shape[3], min_size, max_size)


_layout = lru_cache(maxsize=64)(Layout)


def outside(layout: Layout, level: int, device: torch.device | str = "cpu") -> Tensor:
    """Which patches of a level lie wholly outside the image, ``[rows, cols]``."""
    (rows, cols), (inner_rows, inner_cols) = layout.grids[level], layout.score_grids[level]
    mask = torch.ones(rows, cols, dtype=torch.bool, device=device)
    mask[:inner_rows, :inner_cols] = False
    return mask
