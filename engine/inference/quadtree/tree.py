"""``SceneQuadtree``: the scores of a scene's patches, from which any budget of patches is selected at once.

One budget holds for the whole scene, so no border of what was read at a time shows in the tree. Patches without any
valid pixel are no patches: they are neither selected nor counted. Levels count halvings that are left: 0 is the
smallest patch.

Guarantees: selecting K patches costs in proportion to K, not to the scene; the patches are those that
``engine.tokenizers.quadtree.run`` would cut; a larger budget only ever cuts further; plain numpy, no torch; immutable
and safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import OptionError
from engine.inference.quadtree.order import Flags, Ints, greedy_order, spread
from engine.scene.grid import Grid

Floats = npt.NDArray[np.float32]

_DEFAULT_TOKENS, _DEFAULT_SHARE = 4096, 6


@dataclass(frozen=True)
class Selection:
    """The patches of one budget, sorted by (size, top, left).

    Attributes:
        boxes: Left, top, size in pixels ``[P, 3]`` int64; those of the last row and column may reach beyond the scene.
        scores: ``[P]`` float32, the lower, the more there is to see. The smallest patches are never scored themselves
            and have the score of the patch they were cut from; NaN where there is none.
        levels: Halvings left ``[P]``: 0 for the smallest patch.
        min_size: Edge of the smallest patch in pixels.
        shape: Rows and columns of cells of ``min_size`` in the scene.
    """

    boxes: Ints
    scores: Floats
    levels: Ints
    min_size: int
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def index(self) -> npt.NDArray[np.int32]:
        """Number of the patch that covers each cell of ``min_size`` pixels, ``[rows, cols]``; -1 without data."""
        rows, cols = self.shape
        top_level = int(self.levels.max(initial=0))
        filled: npt.NDArray[Any] = np.full((-(-rows >> top_level), -(-cols >> top_level)), -1, np.int32)
        for level in range(top_level, -1, -1):
            level_rows, level_cols = -(-rows >> level), -(-cols >> level)
            if level < top_level:
                filled = spread(filled, level_rows, level_cols)
            start, stop = np.searchsorted(self.levels, (level, level + 1))
            left, top = self.boxes[start:stop, 0], self.boxes[start:stop, 1]
            size = self.min_size << level
            filled[top // size, left // size] = np.arange(start, stop, dtype=np.int32)
        return filled

    def patch_at(self, col: float, row: float) -> int | None:
        """Number of the patch at a pixel position; None outside the scene or without data."""
        r, c = int(row // self.min_size), int(col // self.min_size)
        if not (0 <= r < self.shape[0] and 0 <= c < self.shape[1]):
            return None
        found = int(self.index[r, c])
        return found if found >= 0 else None


@dataclass(frozen=True)
class SceneQuadtree:
    """Scores of all patches of a scene.

    Attributes:
        grid: Where the scene's pixels lie.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels.
        scores: Scores by size, coarse to fine, for every size above ``min_size``: ``[ceil(H / size), ceil(W / size)]``
            float32 each. What they are where there is no data does not matter.
        occupied: Which cells of ``min_size`` hold a valid pixel, ``[ceil(H / min_size), ceil(W / min_size)]``.
        scorer: What made the scores, in words.
        facts: What the scores come from (scene, bands, options), in plain types.
    """

    grid: Grid
    min_size: int
    max_size: int
    scores: Mapping[int, Floats]
    occupied: Flags
    scorer: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for size in (self.min_size, *self.scores):
            found = self.occupied.shape if size == self.min_size else self.scores[size].shape
            wanted = (-(-self.grid.height // size), -(-self.grid.width // size))
            if found != wanted:
                raise OptionError(f"patches of {size} pixels have {found} cells and not {wanted}", where="scores")
        if any(bool(np.isnan(values).any()) for values in self.scores.values()):
            raise OptionError("scores hold NaN, which has no order", where="scores")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edges of patches in pixels, coarse to fine."""
        count = (self.max_size // self.min_size).bit_length()
        return tuple(self.max_size >> level for level in range(count))

    @property
    def min_tokens(self) -> int:
        """Patches of the smallest budget: those of ``max_size`` that hold data."""
        return int(self._counts[0])

    @property
    def max_tokens(self) -> int:
        """Patches of the largest budget: everything cut."""
        return int(self._counts[-1])

    @property
    def default_tokens(self) -> int:
        """A budget where nobody names one: 4096, or a patch for six of the smallest ones if that is fewer."""
        return max(min(_DEFAULT_TOKENS, self.max_tokens // _DEFAULT_SHARE), self.min_tokens)

    def select(self, tokens: int) -> Selection:
        """The patches of a budget: as many as it allows, at most two fewer.

        A cut adds up to three patches (fewer where parts of a patch lie outside or hold no data), so not every number
        is met exactly.

        Raises:
            OptionError: The budget is below ``min_tokens`` or above ``max_tokens``.
        """
        if not self.min_tokens <= tokens <= self.max_tokens:
            raise OptionError(
                f"a budget of {tokens} patches cannot be met: this scene has {self.min_tokens} to {self.max_tokens} of "
                f"{self.min_size} to {self.max_size} pixels",
                where="tokens",
                remedy=f"Use {self.min_tokens if tokens < self.min_tokens else self.max_tokens}, or a number between.",
            )
        cuts = int(np.searchsorted(self._counts, tokens, side="right")) - 1
        order, place = self._order
        cut = np.sort(order[:cuts])
        ends = np.searchsorted(cut, self._starts)
        found = int(self._counts[cuts])
        boxes = np.empty((3, found), np.int64).T  # each column in one piece of memory
        scores, levels = np.empty(found, np.float32), np.empty(found, np.int64)
        stop = found
        for depth, size in enumerate(self.sizes):  # coarse to fine, written from the end
            start, cols = int(self._starts[depth]), self._there[depth].shape[1]
            if depth:
                patches = self._parts(depth - 1, cut[ends[depth - 1] : ends[depth]])
            else:
                patches = np.flatnonzero(self._there[0])
            level = len(self.sizes) - 1 - depth
            if level:
                patches = patches[place[start + patches] >= cuts]
            here = slice(stop - patches.size, stop)
            row = patches // cols
            col = patches - row * cols
            boxes[here, 0], boxes[here, 1], boxes[here, 2] = col * size, row * size, size
            levels[here] = level
            if level:
                scores[here] = self._flat_scores[start + patches]
            elif depth:
                above = self._starts[depth - 1] + (row >> 1) * self._there[depth - 1].shape[1] + (col >> 1)
                scores[here] = self._flat_scores[above]
            else:
                scores[here] = np.nan
            stop = here.start
        return Selection(boxes, scores, levels, self.min_size, self.occupied.shape)

    def prepare(self) -> SceneQuadtree:
        """Compute now what :meth:`select` computes on its first call; for a worker thread."""
        self.select(self.min_tokens)
        return self

    @cached_property
    def _there(self) -> tuple[Flags, ...]:
        """Which patches of each level hold data, coarse to fine, the smallest included."""
        found = [self.occupied]
        for _ in self.sizes[1:]:
            fine = found[-1]
            even = np.pad(fine, ((0, fine.shape[0] % 2), (0, fine.shape[1] % 2)))
            found.append(even[0::2, 0::2] | even[1::2, 0::2] | even[0::2, 1::2] | even[1::2, 1::2])
        return tuple(found[::-1])

    @cached_property
    def _starts(self) -> Ints:
        """First number of each level; then the number of all patches."""
        return np.cumsum([0, *(flags.size for flags in self._there)])

    @cached_property
    def _flat_scores(self) -> Floats:
        """Scores by number; of the smallest patches none; one more for "no patch"."""
        parts = [self.scores[size].ravel() for size in self.sizes[:-1]]
        return np.concatenate([*parts, np.full(1, np.nan, np.float32)])

    @cached_property
    def _order(self) -> tuple[Ints, Ints]:
        """Patches in the order of cutting, and the place of each number in it (beyond the end where never cut)."""
        order = greedy_order([self.scores[size] for size in self.sizes[:-1]], self._there[:-1])
        place = np.full(int(self._starts[-1]), order.size, np.int64)
        place[order] = np.arange(order.size)
        return order, place

    @cached_property
    def _counts(self) -> Ints:
        """Patches after each number of cuts, from none on."""
        order, _ = self._order
        level, row, col = self._where(order)
        parts = np.full(order.size, -1, np.int64)
        for down in (0, 1):
            for right in (0, 1):
                parts += self._numbers(level + 1, 2 * row + down, 2 * col + right)[1]
        return np.concatenate(([0], np.cumsum(parts))) + int(self._there[0].sum())

    def _where(self, numbers: Ints) -> tuple[Ints, Ints, Ints]:
        """Level, row and column of patches."""
        level = np.searchsorted(self._starts, numbers, side="right") - 1
        place = numbers - self._starts[level]
        cols = np.array([flags.shape[1] for flags in self._there])[level]
        return level, place // cols, place % cols

    def _parts(self, depth: int, cut: Ints) -> Ints:
        """Places on the next grid of what the cut patches of a depth (numbers) become, in order."""
        rows, cols = self._there[depth + 1].shape
        place = cut - self._starts[depth]
        row = place // self._there[depth].shape[1]
        col = 2 * (place - row * self._there[depth].shape[1])
        upper = 2 * row * cols + col
        inside, below = col + 1 < cols, 2 * row + 1 < rows
        lower = upper + cols
        parts = np.concatenate((upper, upper[inside] + 1, lower[below], lower[inside & below] + 1))
        return np.sort(parts[self._there[depth + 1].ravel()[parts]])

    def _numbers(self, level: Ints, row: Ints, col: Ints) -> tuple[Ints, Flags]:
        """Numbers of patches (0 where there is none), and whether they lie inside and hold data."""
        shapes = np.array([flags.shape for flags in self._there])
        real = (row < shapes[level, 0]) & (col < shapes[level, 1])
        number = np.where(real, self._starts[level] + row * shapes[level, 1] + col, 0)
        return number, real & self._flat_there[number]

    @cached_property
    def _flat_there(self) -> Flags:
        return np.concatenate([flags.ravel() for flags in self._there])


def from_importance(
    grid: Grid,
    importance: Sequence[npt.NDArray[np.floating[Any]]],
    occupied: Flags,
    min_size: int,
    max_size: int,
    scorer: str,
    facts: Mapping[str, Any] | None = None,
) -> SceneQuadtree:
    """A tree from importance on cells of ``min_size``: a patch scores minus the mean over its cells that hold data.

    Args:
        grid: Where the scene's pixels lie.
        importance: Maps of cells ``[rows, cols]``: one for all, or one for each size above the smallest, fine first.
        occupied: Which cells hold a valid pixel.
        min_size: Edge of a cell in pixels.
        max_size: Edge of the largest patch in pixels.
        scorer: What the importance is, in words.
        facts: What it comes from.
    """
    halvings = (max_size // min_size).bit_length() - 1
    if len(importance) not in (1, halvings):
        raise OptionError(f"{len(importance)} maps of importance are not one, nor one for each of {halvings} sizes")
    scores = {}
    for halving in range(1, halvings + 1):
        total = np.where(occupied, importance[min(halving, len(importance)) - 1], 0.0)
        share = occupied.astype(np.float64)
        for _ in range(halving):
            total, share = (_four_summed(part) for part in (total, share))
        scores[min_size << halving] = (-total / np.maximum(share, 1.0)).astype(np.float32)
    return SceneQuadtree(grid, min_size, max_size, scores, occupied, scorer, facts or {})


def _four_summed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    even = np.pad(values, ((0, values.shape[0] % 2), (0, values.shape[1] % 2)))
    return np.asarray((even[0::2, 0::2] + even[1::2, 0::2]) + (even[0::2, 1::2] + even[1::2, 1::2]))
