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
    places = np.empty(_take_first(sheet_a, sheet_b, lean, take_a), np.int64)
    if not places.size:
        return take_a
    number = np.zeros(sheet_a.shape, np.int32)
    contested = places[: _settle_disputes(sheet_a, sheet_b, land, lean, take_a, places, number)]
    if contested.size:
        number[...] = 0
        _cut(sheet_a, sheet_b, land, take_a, contested, change(contested), number)
    return take_a


@kernel
def _take_first(sheet_a: Labels, sheet_b: Labels, lean: Array, take_a: Mask) -> int:
    """Decide each pixel by itself; returns how many are disputed."""
    disputed = 0
    for row in range(sheet_a.shape[0]):
        for col in range(sheet_a.shape[1]):
            a, b = sheet_a[row, col], sheet_b[row, col]
            take_a[row, col] = (a > 0) & ((b == 0) | (lean[row, col] > 0))
            disputed += (a > 0) & (b > 0) & (a != b)
    return disputed


@kernel
def _settle_disputes(
    sheet_a: Labels, sheet_b: Labels, land: Labels, lean: Array, take_a: Mask, places: Ints, piece: Labels
) -> int:
    """Decide disputes as wholes, those that land on both sides claims for the time being.

    Args:
        sheet_a: See :func:`resolve`.
        sheet_b: See :func:`resolve`.
        land: See :func:`resolve`.
        lean: See :func:`resolve`.
        take_a: The decisions, changed where pixels are disputed.
        places: Room for all disputed pixels; begins with the contested ones when this returns how many there are.
        piece: Zeros, to be filled with the dispute of each pixel.
    """
    height, width = sheet_a.shape
    parent = np.empty(places.size + 1, np.int32)
    count, size = 0, 0
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            a, b = sheet_a[row, col], sheet_b[row, col]
            if a == b or a == 0 or b == 0:
                continue
            places[size] = row * width + col
            size += 1
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
    leaning = np.zeros(count + 1, np.float64)
    touches = np.zeros((2, count + 1), np.bool_)
    for i in range(size):
        row, col = places[i] // width, places[i] % width
        mine = piece[row, col]
        while parent[mine] != mine:
            mine = parent[mine]
        piece[row, col] = mine
        leaning[mine] += lean[row, col]
        for side in range(4):
            shore = land[row + (side == 0) - (side == 1), col + (side == 2) - (side == 3)]
            if shore > 0:
                touches[0, mine] |= shore == sheet_a[row, col]
                touches[1, mine] |= shore == sheet_b[row, col]
    contested = 0
    for i in range(size):
        row, col = places[i] // width, places[i] % width
        mine = piece[row, col]
        to_a, to_b = touches[0, mine], touches[1, mine]
        take_a[row, col] = leaning[mine] > 0 if to_a == to_b else to_a
        if to_a and to_b:
            places[contested] = places[i]
            contested += 1
    return contested


@kernel
def _cut(
    sheet_a: Labels,
    sheet_b: Labels,
    land: Labels,
    take_a: Mask,
    contested: Ints,
    cost: npt.NDArray[np.float32],
    number: Labels,
) -> None:
    """Divide contested pixels between the land of both sides along the strongest change of the image.

    A watershed (Meyer 1991): what is settled floods the contested pixels next to it, the cheapest first, of equally
    cheap ones those that were reached first. ``number`` is room, zeros.
    """
    width = land.shape[1]
    for i in range(contested.size):
        number[contested[i] // width, contested[i] % width] = i + 1
    owner = np.zeros(contested.size, np.int32)
    heap, age = np.empty(contested.size, np.int64), np.empty(contested.size, np.int64)
    waiting, reached = 0, 0
    for i in range(contested.size):
        row, col = contested[i] // width, contested[i] % width
        a, b = sheet_a[row, col], sheet_b[row, col]
        seed_a, seed_b = False, False
        for side in range(4):
            y, x = row + (side == 3) - (side == 0), col + (side == 2) - (side == 1)
            if number[y, x] > 0:
                continue
            settled = land[y, x]
            if settled <= 0:
                settled = sheet_a[y, x] if take_a[y, x] else sheet_b[y, x]
            seed_a |= settled == a
            seed_b |= settled == b
        if seed_a and (not seed_b or take_a[row, col]):
            owner[i] = a
        elif seed_b:
            owner[i] = b
        if owner[i] > 0:
            age[i] = reached
            reached += 1
            _push(heap, waiting, i, cost, age)
            waiting += 1
    while waiting > 0:
        i = _pop(heap, waiting, cost, age)
        waiting -= 1
        row, col = contested[i] // width, contested[i] % width
        for side in range(4):
            j = number[row + (side == 3) - (side == 0), col + (side == 2) - (side == 1)] - 1
            if j >= 0 and owner[j] == 0:
                owner[j] = owner[i]
                age[j] = reached
                reached += 1
                _push(heap, waiting, j, cost, age)
                waiting += 1
    for i in range(contested.size):
        row, col = contested[i] // width, contested[i] % width
        if owner[i] == sheet_a[row, col]:
            take_a[row, col] = True
        elif owner[i] == sheet_b[row, col]:
            take_a[row, col] = False


@kernel
def _push(heap: Ints, size: int, item: int, cost: npt.NDArray[np.float32], age: Ints) -> None:
    """Put an item into a heap of ``size`` items, ordered by cost, then by age."""
    at = size
    while at > 0:
        above = (at - 1) // 2
        other = heap[above]
        if cost[other] < cost[item] or (cost[other] == cost[item] and age[other] < age[item]):
            break
        heap[at] = other
        at = above
    heap[at] = item


@kernel
def _pop(heap: Ints, size: int, cost: npt.NDArray[np.float32], age: Ints) -> int:
    """Take the first item out of a heap of ``size`` items."""
    first: int = heap[0]
    item = heap[size - 1]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size - 1:
            break
        if below + 1 < size - 1:
            one, other = heap[below], heap[below + 1]
            if cost[other] < cost[one] or (cost[other] == cost[one] and age[other] < age[one]):
                below += 1
        next_item = heap[below]
        if cost[item] < cost[next_item] or (cost[item] == cost[next_item] and age[item] < age[next_item]):
            break
        heap[at] = next_item
        at = below
    heap[at] = item
    return first
