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

from engine.jit import kernel
from engine.regions.components import Likeness, Looks
from engine.regions.forest import LabelForest
from engine.regions.runs import Ints, find_runs, sum_by, sum_pairs

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

    def change(self, rows: Ints, cols: Ints) -> Array:
        """How much bands and classes change around some pixels, as a cost for borders to follow."""
        height, width = self.classes.shape
        total = np.zeros(rows.size, np.float32)
        weights = 1.0 / np.maximum(self.scale, 1e-12)
        here = rows * width + cols
        planes = [(band.reshape(-1), weight) for band, weight in zip(self.bands, weights, strict=True)]
        codes = np.ascontiguousarray(self.classes).reshape(-1)
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            there = np.clip(rows + down, 0, height - 1) * width + np.clip(cols + right, 0, width - 1)
            for plane, weight in planes:
                total += np.abs(plane[here].astype(np.float32) - plane[there]) * np.float32(weight)
            total += (codes[here] != codes[there]) * np.float32(CLASS_STEP * len(planes))
        return total


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


def resolve(sheet_a: Labels, sheet_b: Labels, land: Labels, lean: Array, change: Callable[[Ints], Array]) -> Mask:
    """Decide for each pixel of a band whose label it takes.

    All rasters have one shape and a margin of at least one pixel around the band, in which the sheets are 0. Several
    bands may lie in one raster, each with its own margin.

    Args:
        sheet_a: Roots of the first sheet.
        sheet_b: Roots of the second sheet.
        land: Roots of what lies next to the band and is settled, in the margin; 0 is nothing.
        lean: Positive where the first sheet sees better; broadcast.
        change: Tells how much the image changes at flat positions in the raster.

    Returns:
        True where A's label is taken, False where B's is.
    """
    take_a: Mask = np.empty(sheet_a.shape, np.bool_)
    contested = _settle_disputes(sheet_a, sheet_b, land, lean, take_a)
    if contested.size:
        _cut(sheet_a, sheet_b, land, take_a, contested, change(contested))
    return take_a


@kernel
def _settle_disputes(sheet_a: Labels, sheet_b: Labels, land: Labels, lean: Array, take_a: Mask) -> Ints:
    """Decide all pixels, those that land on both sides claims for the time being; returns these."""
    height, width = sheet_a.shape
    disputed = 0
    for row in range(height):
        for col in range(width):
            a, b = sheet_a[row, col], sheet_b[row, col]
            take_a[row, col] = a > 0 and (b == 0 or lean[row, col] > 0)
            disputed += a > 0 and b > 0 and a != b
    places = np.empty(disputed, np.int64)
    if disputed == 0:
        return places
    piece = np.zeros((height, width), np.int32)  # from 1
    parent = np.empty(disputed + 1, np.int32)
    count = 0
    at = 0
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            a, b = sheet_a[row, col], sheet_b[row, col]
            if a == b or a == 0 or b == 0:
                continue
            places[at] = row * width + col
            at += 1
            mine = 0
            if sheet_a[row, col - 1] == a and sheet_b[row, col - 1] == b:
                mine = piece[row, col - 1]
                while parent[mine] != mine:
                    mine = parent[mine]
            if sheet_a[row - 1, col] == a and sheet_b[row - 1, col] == b:
                upper = piece[row - 1, col]
                while parent[upper] != upper:
                    parent[upper] = parent[parent[upper]]
                    upper = parent[upper]
                if mine == 0:
                    mine = upper
                parent[max(mine, upper)] = min(mine, upper)
                mine = min(mine, upper)
            if mine == 0:
                count += 1
                mine = count
                parent[mine] = mine
            piece[row, col] = mine
    places = places[:at]
    leaning = np.zeros(count + 1)
    to_a, to_b = np.zeros(count + 1, np.bool_), np.zeros(count + 1, np.bool_)
    for place in places:
        row, col = place // width, place % width
        mine = piece[row, col]
        while parent[mine] != mine:
            mine = parent[mine]
        piece[row, col] = mine
        leaning[mine] += lean[row, col]
        for shore in (land[row - 1, col], land[row + 1, col], land[row, col - 1], land[row, col + 1]):
            if shore > 0:
                to_a[mine] |= shore == sheet_a[row, col]
                to_b[mine] |= shore == sheet_b[row, col]
    contested = 0
    for place in places:
        row, col = place // width, place % width
        mine = piece[row, col]
        take_a[row, col] = leaning[mine] > 0 if to_a[mine] == to_b[mine] else to_a[mine]
        if to_a[mine] and to_b[mine]:
            places[contested] = place
            contested += 1
    return places[:contested].copy()


def _cut(sheet_a: Labels, sheet_b: Labels, land: Labels, take_a: Mask, contested: Ints, cost: Array) -> None:
    """Divide contested pixels between the land of both sides along the strongest change of the image."""
    width = land.shape[1]
    settled = np.where(land > 0, land, np.where(take_a, sheet_a, sheet_b)).reshape(-1)
    settled[contested] = 0
    a, b = sheet_a.reshape(-1)[contested], sheet_b.reshape(-1)[contested]
    seed_a, seed_b = np.zeros(contested.size, bool), np.zeros(contested.size, bool)
    for step in (-width, width, -1, 1):
        near = settled[contested + step]
        seed_a |= near == a
        seed_b |= near == b
    seed_a &= ~seed_b | take_a.reshape(-1)[contested]
    top, bottom = int(contested[0] // width), int(contested[-1] // width) + 1
    shape = (bottom - top, width)
    mask, seeds, heights = np.zeros(shape, bool), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    inside = contested - top * width
    mask.reshape(-1)[inside] = True
    seeds.reshape(-1)[inside] = np.where(seed_a, a, np.where(seed_b, b, 0))
    heights.reshape(-1)[inside] = cost
    flood: Callable[..., Array] = watershed
    flooded = flood(heights, seeds, connectivity=1, mask=mask).reshape(-1)[inside]
    flat = take_a.reshape(-1)
    flat[contested[flooded == a]] = True
    flat[contested[flooded == b]] = False
