"""From settled strips to regions: what is connected, which fragments join whom, and the sums of each region.

Guarantees: a region is 4-connected; regions are numbered from 1 in scan order of their first pixel; sums over
regions are sums over their pixels, each counted once. Only tables by atom or region are held, never pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import CancelledError
from engine.regions.components import band_sample
from engine.regions.forest import LabelForest
from engine.regions.fragments import Affinity, absorb_small
from engine.regions.result import RegionResult, RegionSums
from engine.regions.runs import Ints, add_rows, connected_groups, fold_edges, sum_by, sum_pairs
from engine.regions.strips import StripStore
from engine.regions.windows import WindowTable
from engine.scene import Grid

Array = npt.NDArray[Any]

OTHER_CLASS = 0.1
"""What a neighbour of quite another class counts for, against 1 of the same."""
CONTRAST_WEIGHT = 4.0
"""How much a difference of mean colours, in variances of the scene, counts against a neighbour."""


@dataclass(frozen=True, slots=True)
class _Patches:
    """Connected pieces of one label through all strips.

    Attributes:
        of_atom: Patch of each atom.
        edges: Contacts between patches: both ends and the pixel edges shared.
        pixels: Pixels of each patch.
        area_m2: Ground area, NaN without CRS.
        first: Scan index of the first pixel.
        classes: ``[n, K]`` pixels by class.
        sums: ``[n, B]`` sums of the bands that judge looks.
        spread: ``[B]`` variance of these bands over the scene.
    """

    of_atom: Ints
    edges: tuple[Ints, Ints, Ints]
    pixels: Array
    area_m2: Array
    first: Array
    classes: Array
    sums: Array
    spread: Array


def assemble(
    grid: Grid,
    store: StripStore,
    table: WindowTable,
    forest: LabelForest,
    *,
    class_names: Sequence[str],
    band_names: Sequence[str],
    min_m2: float | None,
    min_pixels: int,
    progress: Callable[[float], None] | None,
    cancel: Callable[[], bool] | None,
) -> RegionResult:
    """Decide what is one region and add everything up.

    Args:
        grid: The analysis grid.
        store: All strips.
        table: Where labels come from.
        forest: Which labels are one.
        class_names: Names of the classes by code.
        band_names: Names of the bands in order.
        min_m2: Smaller regions join neighbours; None goes by pixels.
        min_pixels: Smaller regions join neighbours where ``min_m2`` is None.
        progress: Told the share that is done.
        cancel: Asked whether to stop.
    """

    def step(share: float) -> None:
        if cancel is not None and cancel():
            raise CancelledError("the regions were cancelled", remedy="Run again to continue.")
        if progress is not None:
            progress(share)

    step(0.0)
    patches = _find_patches(grid, store, forest, len(class_names), band_sample(len(band_names)), step)
    joined = absorb_small(
        patches.pixels if min_m2 is None else patches.area_m2,
        patches.edges,
        min_pixels if min_m2 is None else min_m2,
        affinity=_affinity(patches),
    )
    region = _in_scan_order(joined, patches.first)[patches.of_atom]
    step(0.6)
    sums = _add_up(grid, store, table, region, len(class_names), len(band_names), step)
    lookup = np.concatenate(([0], region + 1)).astype(np.uint32)
    return RegionResult(grid, store, table, lookup, sums, tuple(class_names), tuple(band_names))


def _find_patches(
    grid: Grid,
    store: StripStore,
    forest: LabelForest,
    class_count: int,
    bands: list[int],
    step: Callable[[float], None],
) -> _Patches:
    """Connect atoms of one label, and add them up."""
    labels, ends = [np.empty(0, np.int32)], [np.empty((0, 3), np.int32)]
    for index, base in enumerate(store.atom_bases[:-1]):
        label, edges = store.tables(index, "label", "edges")
        labels.append(forest.roots(label))
        ends.append((edges + np.array((base, base, 0))).astype(np.int32))
        step(0.2 * (index + 1) / len(store))
    root = np.concatenate(labels)
    one, other, length = np.concatenate(ends).T
    same = root[one] == root[other]
    number, patch = connected_groups(root.size, one[same], other[same])
    edges_between = fold_edges(patch[one[~same]], patch[other[~same]], length[~same])
    del labels, ends, one, other, length, same, root
    pixels, area = np.zeros(number, np.int64), np.zeros(number)
    first = np.full(number, np.iinfo(np.int64).max)
    classes, sums = np.zeros((number, class_count), np.int32), np.zeros((number, len(bands)))
    scene = np.zeros((2, len(bands)))
    for index, base in enumerate(store.atom_bases[:-1]):
        size, head, position, histogram, total, squares = store.tables(
            index, "pixels", "first", "position", "classes", "sums", "squares"
        )
        mine = patch[base : base + size.size]
        np.add.at(pixels, mine, size)
        np.add.at(area, mine, pixel_area_m2(grid, position, size) * size)
        np.minimum.at(first, mine, head)
        add_rows(classes, mine, histogram)
        add_rows(sums, mine, total[:, bands])
        scene += (total[:, bands].sum(axis=0), squares[:, bands].sum(axis=0))
        step(0.2 + 0.3 * (index + 1) / len(store))
    mean, mean_square = scene / max(float(pixels.sum()), 1.0)
    spread = np.maximum(mean_square - mean * mean, 1e-12)
    return _Patches(patch, edges_between, pixels, area, first, classes, sums, spread)


def pixel_area_m2(grid: Grid, position: Array, pixels: Array) -> Array:
    """Ground area of a pixel at the centroid of each atom; NaN without CRS."""
    if grid.crs is None:
        return np.full(pixels.size, np.nan)
    centre = position / pixels[:, None]
    return np.asarray(grid.ground(centre[:, 1], centre[:, 0]).area_m2)


def _affinity(patches: _Patches) -> Affinity:
    """Shared edge, times likeness of class, over difference of colour."""

    def score(groups: Ints, first: Ints, second: Ints, length: Ints) -> npt.NDArray[np.float64]:
        count = int(groups.max()) + 1
        size = sum_by(groups, patches.pixels, count)[:, None]
        shares = _sum_rows(groups, patches.classes, count) / size
        means = _sum_rows(groups, patches.sums, count) / size
        alike = np.minimum(shares[first], shares[second]).sum(axis=1)
        contrast = ((means[first] - means[second]) ** 2 / patches.spread).mean(axis=1)
        return np.asarray(length * (OTHER_CLASS + (1 - OTHER_CLASS) * alike) / (1.0 + CONTRAST_WEIGHT * contrast))

    return score


def _sum_rows(keys: Array, table: Array, count: int) -> Array:
    return np.stack([sum_by(keys, column, count) for column in table.T], axis=1)


def _in_scan_order(group: Ints, first: Array) -> Ints:
    """Groups renumbered from 0 by the first pixel of each."""
    count = int(group.max(initial=-1)) + 1
    head = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(head, group, first)
    rank = np.empty(count, np.int64)
    rank[np.argsort(head)] = np.arange(count)
    return rank[group]


def _add_up(
    grid: Grid,
    store: StripStore,
    table: WindowTable,
    region: Ints,
    class_count: int,
    band_count: int,
    step: Callable[[float], None],
) -> RegionSums:
    count = int(region.max(initial=-1)) + 1
    total = RegionSums.zeros(count, class_count, band_count)
    owned: list[tuple[Ints, Ints, Ints]] = []
    for index, base in enumerate(store.atom_bases[:-1]):
        pixels, bbox, position, classes, runner_up, confidence, sums, squares, owners = store.tables(
            index, "pixels", "bbox", "position", "classes", "runner_up", "confidence", "sums", "squares", "owners"
        )
        mine = region[base : base + pixels.size]
        area = pixel_area_m2(grid, position, pixels) * pixels
        added = (pixels, area, position, classes, runner_up, confidence, sums, squares)
        for target, values in zip(total.additive, added, strict=True):
            add_rows(target, mine, values)
        np.minimum.at(total.bbox[:, 0], mine, bbox[:, 0])
        np.maximum.at(total.bbox[:, 1], mine, bbox[:, 1])
        np.minimum.at(total.bbox[:, 2], mine, bbox[:, 2])
        np.maximum.at(total.bbox[:, 3], mine, bbox[:, 3])
        owned.append(sum_pairs(mine[owners[:, 0]], owners[:, 1], owners[:, 2]))
        step(0.6 + 0.4 * (index + 1) / len(store))
    _name_sources(total, table, owned)
    return total


def _name_sources(total: RegionSums, table: WindowTable, owned: list[tuple[Ints, Ints, Ints]]) -> None:
    """Number of windows of each region, and the token that owns most of it."""
    if not owned:
        return
    region, label, pixels = sum_pairs(*(np.concatenate(parts) for parts in zip(*owned, strict=True)))
    window, token, vector = table.sources()
    order = np.lexsort((label, -pixels, region))
    head = order[np.flatnonzero(np.diff(region[order], prepend=-1) != 0)]
    total.window[region[head]] = window[label[head]]
    total.token[region[head]] = token[label[head]]
    total.vector[region[head]] = vector[label[head]]
    claimed = window[label] >= 0
    pairs = sum_pairs(region[claimed], window[label[claimed]])
    total.windows[:] = sum_by(pairs[0], None, total.pixels.size)
