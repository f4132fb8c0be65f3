"""The areas of one window: connected pixels of one token, what they look like, and which of them differ.

Guarantees: areas are 4-connected and numbered in scan order; token numbers themselves have no influence, only where
they change; specks inside a window never outlive it, specks at its border do, for they may go on next door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.jit import kernel
from engine.regions.fragments import absorb_small
from engine.regions.runs import Ints, add_rows, fold_edges, map_runs, sum_by

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

SAMPLE_STEP = 3
"""Looks are sampled at every third pixel of every third row: a ninth of the pixels, much the same means."""
SAMPLE_BANDS = 4
"""At most so many bands, evenly spread, take part in judging whether two areas look alike."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Connected areas of several windows of one size.

    Attributes:
        labels: ``[n, h, w]``, numbered from 1 through all windows, window by window; 0 on nodata.
        window: Window of each area, from 0.
        tokens: Token of each area (of its greatest part where specks were absorbed).
        edges: First, second (both from 1) and length of each contact between areas.
    """

    labels: Labels
    window: Ints
    tokens: Ints
    edges: tuple[Ints, Ints, Ints]

    @property
    def count(self) -> int:
        """Number of areas."""
        return int(self.window.size)


def find_areas(token_maps: Array, no_token: int, speck_px: int) -> Areas:
    """Connected areas of the token maps ``[n, h, w]``; specks below ``speck_px`` pixels join the longest neighbour."""
    windows, height, width = token_maps.shape
    stack = np.ascontiguousarray(token_maps).reshape(-1, width)
    graph = map_runs(stack, period=height)
    runs = graph.runs
    token = runs.take(stack)
    count, area = graph.connect(token, no_token)
    inside = area > 0
    of_run = area[inside] - 1
    row, col = np.divmod(runs.starts[inside], width)
    window, tokens = np.zeros(count, np.int64), np.zeros(count, np.int64)
    window[of_run], tokens[of_run] = row // height, token[inside]
    sizes = sum_by(of_run, runs.lengths[inside], count).astype(np.int64)
    edges = graph.contacts(area, count)
    if speck_px > 1 and edges[0].size:
        row %= height
        border = (row == 0) | (row == height - 1) | (col == 0) | (col + runs.lengths[inside] == width)
        on_border = np.zeros(count, bool)
        on_border[of_run[border]] = True
        first, second, length = edges
        groups = absorb_small(sizes, (first - 1, second - 1, length), speck_px, protected=on_border)
        order = np.lexsort((-sizes, groups))
        head = order[np.flatnonzero(np.diff(groups[order], prepend=-1) != 0)]
        window, tokens = window[head], tokens[head]
        edges = fold_edges(groups[first - 1] + 1, groups[second - 1] + 1, length)
        area = np.concatenate(([0], groups + 1))[area]
    labels = np.repeat(area.astype(np.int32), runs.lengths).reshape(windows, height, width)
    return Areas(labels, window, tokens, edges)


@dataclass
class Looks:
    """What areas look like: sums that can be added when areas join. Row 0 belongs to no area.

    Attributes:
        pixels: ``[n]`` sampled pixels.
        classes: ``[n, K]`` sampled pixels by final class.
        sums: ``[n, B]`` sum of values.
        squares: ``[n, B]`` sum of squared values.
        features: ``[n, D]`` sum of unit token vectors, weighted by size.
    """

    pixels: Array
    classes: Array
    sums: Array
    squares: Array
    features: Array

    def add_to(self, targets: Array) -> None:
        """Add each row to row ``targets[row]`` and clear it, where that is another row."""
        moved = np.flatnonzero(targets != np.arange(targets.size))
        moved = moved[self.features[moved].any(axis=1)]
        if moved.size:
            for table in self.tables:
                add_rows(table, targets[moved], table[moved])
                table[moved] = 0

    @staticmethod
    def none(rows: int, classes: int, bands: int, width: int) -> Looks:
        """Rows 0..``rows`` that know nothing yet."""
        size = rows + 1
        return Looks(
            np.zeros(size),
            np.zeros((size, classes)),
            np.zeros((size, bands)),
            np.zeros((size, bands)),
            np.zeros((size, width), np.float32),
        )

    @property
    def tables(self) -> tuple[Array, ...]:
        """All tables."""
        return self.pixels, self.classes, self.sums, self.squares, self.features

    def resized(self, dropped: int, rows: int) -> Looks:
        """Without the rows 1..``dropped``, and with blank ones up to row ``rows`` of what remains."""
        tables = []
        for table in self.tables:
            kept = table[dropped + 1 :]
            fresh = np.zeros((rows + 1, *table.shape[1:]), table.dtype)
            fresh[1 : kept.shape[0] + 1] = kept
            tables.append(fresh)
        return Looks(*tables)

    def put(self, before: int, other: Looks) -> None:
        """Write the rows of ``other`` (without its row 0) behind row ``before``."""
        for table, theirs in zip(self.tables, other.tables, strict=True):
            table[before + 1 : before + theirs.shape[0]] = theirs[1:]

    def alike(self, first: Array, second: Array, noise: Array) -> Likeness:
        """Compare areas pairwise.

        Args:
            first: Rows of the first areas.
            second: Rows of the second areas.
            noise: ``[B]`` differences of means that mean nothing whatever the spread.
        """
        known = (self.pixels[first] > 0) & (self.pixels[second] > 0)
        n1, n2 = (np.maximum(self.pixels[rows], 1)[:, None] for rows in (first, second))
        m1, m2 = self.sums[first] / n1, self.sums[second] / n2
        v1 = np.maximum(self.squares[first] / n1 - m1 * m1, 0)
        v2 = np.maximum(self.squares[second] / n2 - m2 * m2, 0)
        contrast = ((m1 - m2) ** 2 / (v1 + v2 + noise**2)).mean(axis=1)
        shared = np.minimum(self.classes[first] / n1, self.classes[second] / n2).sum(axis=1)
        f1, f2 = self.features[first], self.features[second]
        one, both, other = (np.einsum("ij,ij->i", a, b) for a, b in ((f1, f1), (f1, f2), (f2, f2)))
        cosine = both / np.maximum(np.sqrt(one * other), 1e-12)
        return Likeness(np.where(known, contrast, 0.0), np.where(known, shared, 1.0), cosine)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike pairs of areas are.

    Attributes:
        contrast: Squared difference of mean colours over the sum of variances, averaged over bands; 0 where unknown.
        shared_class: Overlap of the class histograms, 0..1; 1 where unknown.
        cosine: Cosine of the token vectors.
    """

    contrast: Array
    shared_class: Array
    cosine: Array


def sampled_looks(
    labels: Labels,
    base: int,
    classes: Array,
    image: Array,
    class_count: int,
    features: Array,
) -> Looks:
    """Looks of the areas of a window from the rows of it that are final.

    Args:
        labels: ``[h, w]`` areas base + 1..base + n, 0 none.
        base: See ``labels``.
        classes: ``[h, w]`` final classes.
        image: ``[B, h, w]`` values of the bands to judge by, without NaN.
        class_count: Number of classes.
        features: ``[n, D]`` token vector of each area.
    """
    area_count = features.shape[0]
    histogram = np.zeros((area_count + 1, class_count + 1))
    sums, squares = np.zeros((area_count + 1, image.shape[0])), np.zeros((area_count + 1, image.shape[0]))
    _sample(labels, base, classes, image, histogram, sums, squares)
    pixels = histogram.sum(axis=1)
    pixels[0] = 0
    vectors = np.zeros((area_count + 1, features.shape[1]), np.float32)
    norm = np.sqrt(np.einsum("ij,ij->i", features, features, dtype=np.float64))
    vectors[1:] = features * (np.maximum(pixels[1:], 1) / np.maximum(norm, 1e-12)).astype(np.float32)[:, None]
    return Looks(pixels, histogram[:, :class_count], sums, squares, vectors)


@kernel
def _sample(
    labels: Labels, base: int, classes: Array, image: Array, histogram: Array, sums: Array, squares: Array
) -> None:
    """Add every third pixel of every third row to the rows of its area: its class, its values and their squares."""
    height, width = labels.shape
    other = histogram.shape[1] - 1
    for row in range(0, height, SAMPLE_STEP):
        for col in range(0, width, SAMPLE_STEP):
            area = max(labels[row, col] - base, 0)
            histogram[area, min(classes[row, col], other)] += 1
            for band in range(image.shape[0]):
                value = np.float64(image[band, row, col])
                sums[area, band] += value
                squares[area, band] += value * value


def band_sample(count: int) -> list[int]:
    """Which of ``count`` bands take part in judging looks."""
    if count <= SAMPLE_BANDS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (SAMPLE_BANDS - 1)) for i in range(SAMPLE_BANDS)})
