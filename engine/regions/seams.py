"""Where windows overlap: which areas are the same, and where the border runs when windows disagree.

Two sheets of labels cover a *band* of the scene: sheet A goes on before it (to the left, or above), sheet B after it.

Matching. Areas of A and B that cover the same ground are joined, the best fits first: those that overlap by more than
half, and those that lie one in the other and look alike. Two areas that one window saw side by side as different
things stay apart for good, so no chain of half-fits can leak a lake into the fields around it.

Resolving. Pixels where both sheets say the same need no decision. The others fall into connected *disputes*, each a
pair (a, b). A dispute that only touches a's land outside the band goes to a as a whole, likewise b; one that touches
neither goes to the window that sees it nearer to its middle. So borders run where some window saw a border. Only a
dispute between land on both sides must be cut, and it is cut where the image changes most (watershed).

Guarantees: nothing here looks at token numbers; every pixel gets one of the labels its sheets gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.segmentation import watershed

from engine.regions.components import Likeness, Looks
from engine.regions.forest import LabelForest
from engine.regions.runs import Ints, connected, find_runs, sum_by, sum_pairs

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

SAME_SHAPE = 0.5
"""Intersection over union in the band above which two areas are one."""
INSIDE = 0.5
"""Share of the smaller one inside the other above which two areas that look alike are one."""
SAME_CLASS = 0.6
"""Overlap of class histograms below which two areas are never one."""
LOOK_ALIKE = 0.5
"""Contrast (see :class:`Likeness`) below which two areas look alike."""
AKIN = 0.9
"""Cosine of token vectors from which twice the contrast is forgiven."""
CLASS_STEP = 1.0
"""What a change of class counts for as a border, in standard deviations of the image."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a part of the scene looks like.

    Attributes:
        bands: ``[B, h, w]`` values of the bands that judge looks, without NaN.
        classes: ``[h, w]`` final classes.
        scale: ``[B]`` spread of each band over the scene.
    """

    bands: Array
    classes: Array
    scale: Array

    def part(self, rows: slice, cols: slice) -> Ground:
        """A view of a part."""
        return Ground(self.bands[:, rows, cols], self.classes[rows, cols], self.scale)

    @property
    def turned(self) -> Ground:
        """A view with rows and columns exchanged."""
        return Ground(self.bands.transpose(0, 2, 1), self.classes.T, self.scale)

    def change(self, box: tuple[slice, slice]) -> Array:
        """How much bands and classes change around each pixel of a box, as a cost for borders to follow."""
        total = np.zeros(self.classes[box].shape, np.float32)
        for band, spread in zip(self.bands, self.scale, strict=True):
            values = band[box].astype(np.float32) / np.float32(max(spread, 1e-12))
            _add_steps(total, np.abs(np.diff(values, axis=0)), np.abs(np.diff(values, axis=1)))
        codes = self.classes[box]
        weight = np.float32(CLASS_STEP * len(self.bands))
        _add_steps(total, (codes[1:] != codes[:-1]) * weight, (codes[:, 1:] != codes[:, :-1]) * weight)
        return total


def _add_steps(total: Array, down: Array, across: Array) -> None:
    total[1:] += down
    total[:-1] += down
    total[:, 1:] += across
    total[:, :-1] += across


def look_alike(likeness: Likeness) -> Mask:
    """Whether areas are of the same class and look the same."""
    forgiven = np.where(likeness.cosine >= AKIN, 2.0 * LOOK_ALIKE, LOOK_ALIKE)
    return np.asarray((likeness.shared_class >= SAME_CLASS) & (likeness.contrast < forgiven))


@dataclass(frozen=True, slots=True)
class Overlap:
    """How two sheets of labels lie over one another.

    Attributes:
        first: Labels of sheet A, one for each pair.
        second: Labels of sheet B.
        pixels: Pixels that both claim.
    """

    first: Ints
    second: Ints
    pixels: Ints


def count_overlap(sheet_a: Labels, sheet_b: Labels) -> Overlap:
    """Count the pixels that each pair of labels shares."""
    if sheet_a.size == 0:
        empty = np.empty(0, np.int64)
        return Overlap(empty, empty, empty)
    runs = find_runs(sheet_a, sheet_b)
    a, b = runs.take(sheet_a), runs.take(sheet_b)
    both = (a > 0) & (b > 0)
    return Overlap(*sum_pairs(a[both], b[both], runs.lengths[both]))


def join_overlaps(overlaps: list[Overlap]) -> Overlap:
    """Several bands as one."""
    return Overlap(*(np.concatenate([getattr(o, name) for o in overlaps]) for name in ("first", "second", "pixels")))


def match(overlap: Overlap, forest: LabelForest, looks: Looks, base: int, noise: Array) -> int:
    """Join the areas of two sheets that are the same.

    Args:
        overlap: The pairs, by root.
        forest: Takes the unions; pairs it keeps apart stay apart.
        looks: Looks of the labels, row ``label - base``; joined rows are added up in the root's.
        base: See ``looks``.
        noise: Differences of mean values that mean nothing.

    Returns:
        Number of unions.
    """
    root_a, root_b = forest.roots(overlap.first), forest.roots(overlap.second)
    apart = root_a != root_b
    first, second, pixels = sum_pairs(root_a[apart], root_b[apart], overlap.pixels[apart])
    if first.size == 0:
        return 0
    of_a, of_b = _total_of(overlap.first, overlap.pixels, forest), _total_of(overlap.second, overlap.pixels, forest)
    in_a, in_b = of_a(first), of_b(second)
    iou = pixels / (in_a + in_b - pixels)
    inside = pixels / np.minimum(in_a, in_b)
    likeness = looks.alike(first - base, second - base, noise)
    alike = look_alike(likeness)
    fits = (iou >= SAME_SHAPE) & (likeness.shared_class >= SAME_CLASS) | (inside >= INSIDE) & alike
    score = iou + np.where(alike, inside, 0.0) / (1.0 + likeness.contrast)
    chosen = np.flatnonzero(fits)
    chosen = chosen[np.lexsort((second[chosen], first[chosen], -score[chosen]))]
    joined = 0
    for one, other in zip(first[chosen].tolist(), second[chosen].tolist(), strict=True):
        joined += forest.union(one, other)
    if joined:
        forest.flatten(base + 1)
        looks.add_to(np.concatenate(([0], forest.lookup[base + 1 : forest.count + 1] - base)))
    return joined


def _total_of(labels: Ints, pixels: Ints, forest: LabelForest) -> Callable[[Ints], Array]:
    roots, index = np.unique(forest.roots(labels), return_inverse=True)
    totals = sum_by(index, pixels, roots.size)
    return lambda wanted: totals[np.searchsorted(roots, wanted)]


def resolve(
    sheet_a: Labels,
    sheet_b: Labels,
    ground: Ground,
    *,
    before: Labels | None,
    after: Labels | None,
    settled: Labels | None = None,
) -> Mask:
    """Decide for each pixel of a band whose label it takes.

    Args:
        sheet_a: ``[h, w]`` roots of the sheet that goes on to the left of the band; 0 is none.
        sheet_b: ``[h, w]`` roots of the sheet that goes on to the right of it.
        ground: What the band looks like.
        before: ``[h]`` roots left of the band, None where nothing is.
        after: ``[h]`` roots right of the band.
        settled: ``[w]`` roots of the row above the band where that is decided already.

    Returns:
        True where A's label is taken, False where B's is.
    """
    take_a = sheet_a > 0
    disputed = take_a & (sheet_b > 0) & (sheet_a != sheet_b)
    height, width = sheet_a.shape
    nearer_a = np.broadcast_to(np.arange(width) < width / 2, (height, width))
    take_a &= (sheet_b == 0) | nearer_a
    if not disputed.any():
        return take_a
    rows, cols = np.nonzero(disputed)
    box = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
    piece, side = _disputes(sheet_a[box], sheet_b[box], disputed[box])
    number = side[0].size
    whole = np.zeros((height, width), np.int32)
    whole[box] = piece
    touches = np.zeros((2, number), bool)
    fringe = _fringe(before, after, settled, height, width)
    for sheet, flags in ((sheet_a, touches[0]), (sheet_b, touches[1])):
        for edge, outside in (
            (np.s_[:, 0], fringe[1:-1, 0]),
            (np.s_[:, -1], fringe[1:-1, -1]),
            (np.s_[0], fringe[0, 1:-1]),
        ):
            inside = whole[edge]
            flags[inside[(inside > 0) & (sheet[edge] == outside)]] = True
    flat = whole[disputed]
    mean_col = sum_by(flat, cols, number) / np.maximum(sum_by(flat, None, number), 1)
    to_a = np.where(touches[0] == touches[1], mean_col < (width - 1) / 2, touches[0])
    take_a[disputed] = to_a[flat]
    contested = touches[0] & touches[1]
    if contested.any():
        _cut(sheet_a, sheet_b, take_a, contested[whole], ground, fringe)
    return take_a


def _disputes(sheet_a: Labels, sheet_b: Labels, disputed: Mask) -> tuple[Labels, tuple[Array, Array]]:
    """Connected pieces of equal pairs, 1..n, and the pair of each (row 0 is none)."""
    code = (sheet_a[disputed].astype(np.int64) << 32) | sheet_b[disputed]
    kinds, index = np.unique(code, return_inverse=True)
    canvas = np.zeros(disputed.shape, np.int32)
    canvas[disputed] = index + 1
    piece = connected(canvas, 0)
    kind = np.zeros(int(piece.max()) + 1, np.int64)
    kind[piece[disputed]] = kinds[index]
    return piece, (kind >> 32, kind & 0xFFFFFFFF)


def _fringe(before: Labels | None, after: Labels | None, settled: Labels | None, height: int, width: int) -> Labels:
    """One pixel of land around a band; 0 where nothing is known."""
    land = np.zeros((height + 2, width + 2), np.int32)
    for where, given in ((np.s_[1:-1, 0], before), (np.s_[1:-1, -1], after), (np.s_[0, 1:-1], settled)):
        if given is not None:
            land[where] = given
    return land


def _cut(sheet_a: Labels, sheet_b: Labels, take_a: Mask, contested: Mask, ground: Ground, fringe: Labels) -> None:
    """Divide contested pixels between the land of both sides along the strongest change of the image."""
    land = fringe.copy()
    land[1:-1, 1:-1] = np.where(contested, 0, np.where(take_a, sheet_a, sheet_b))
    seed_a, seed_b = np.zeros_like(contested), np.zeros_like(contested)
    for near in (land[1:-1, :-2], land[1:-1, 2:], land[:-2, 1:-1], land[2:, 1:-1]):
        seed_a |= near == sheet_a
        seed_b |= near == sheet_b
    seeds = np.zeros(contested.shape, np.int32)
    seeds[contested & seed_b] = sheet_b[contested & seed_b]
    only_a = contested & seed_a & (~seed_b | take_a)
    seeds[only_a] = sheet_a[only_a]
    rows, cols = np.nonzero(contested)
    box = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
    flooded = np.zeros(contested.shape, np.int32)
    flood: Callable[..., Array] = watershed
    flooded[box] = flood(ground.change(box), seeds[box], connectivity=1, mask=contested[box])
    take_a[contested & (flooded == sheet_a)] = True
    take_a[contested & (flooded == sheet_b)] = False
