"""The areas of one window: connected pixels of one token, what they look like, and which of them differ.

Guarantees: areas are 4-connected and numbered in scan order; token numbers themselves have no influence, only where
they change; specks inside a window never outlive it, specks at its border do, for they may go on next door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.fragments import absorb_small
from engine.regions.runs import Ints, connected, contacts

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

SAMPLE_STEP = 2
"""Looks are sampled at every second pixel of every second row: a quarter of the cost, the same means."""
SAMPLE_BANDS = 4
"""At most so many bands, evenly spread, take part in judging whether two areas look alike."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Connected areas of a window.

    Attributes:
        labels: ``[h, w]``, 1..count, 0 on nodata.
        count: Number of areas.
        tokens: ``[count]`` token of each area (of the greatest part where specks were absorbed).
        edges: First, second (both 1..count) and length of each contact between areas.
    """

    labels: Labels
    count: int
    tokens: Ints
    edges: tuple[Ints, Ints, Ints]


def find_areas(token_map: Array, no_token: int, speck_px: int) -> Areas:
    """Connected areas of a window's token map; specks smaller than ``speck_px`` join the longest neighbour."""
    labels = connected(token_map, no_token)
    count = int(labels.max(initial=0))
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    tokens = np.zeros(count + 1, np.int64)
    tokens[labels] = token_map
    edges = contacts(labels)
    if speck_px <= 1 or count < 2:
        return Areas(labels, count, tokens[1:], edges)
    on_border = np.zeros(count + 1, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        on_border[side] = True
    first, second, length = edges
    groups = absorb_small(sizes[1:], (first - 1, second - 1, length), speck_px, protected=on_border[1:])
    number = int(groups.max(initial=-1)) + 1
    if number == count:
        return Areas(labels, count, tokens[1:], edges)
    order = np.lexsort((-sizes[1:], groups))
    head = np.flatnonzero(np.diff(groups[order], prepend=-1) != 0)
    table = np.concatenate(([0], groups + 1)).astype(np.int32)
    merged = table[labels]
    return Areas(merged, number, tokens[1:][order[head]], contacts(merged))


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
        if moved.size:
            for table in self.tables:
                np.add.at(table, targets[moved], table[moved])
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
        norm = np.sqrt((f1 * f1).sum(axis=1) * (f2 * f2).sum(axis=1))
        cosine = (f1 * f2).sum(axis=1) / np.maximum(norm, 1e-12)
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
    cut = (slice(None, None, SAMPLE_STEP), slice(None, None, SAMPLE_STEP))
    area_count = features.shape[0]
    where = np.maximum(labels[cut].reshape(-1).astype(np.int64) - base, 0)
    codes = np.minimum(classes[cut].reshape(-1), class_count)
    joint = np.bincount(where * (class_count + 1) + codes, minlength=(area_count + 1) * (class_count + 1))
    histogram = joint.reshape(area_count + 1, class_count + 1).astype(np.float64)
    pixels = histogram.sum(axis=1)
    pixels[0] = 0
    sums = np.empty((area_count + 1, image.shape[0]))
    squares = np.empty_like(sums)
    for index, band in enumerate(image):
        values = band[cut].reshape(-1).astype(np.float64)
        sums[:, index] = np.bincount(where, values, minlength=area_count + 1)
        squares[:, index] = np.bincount(where, values * values, minlength=area_count + 1)
    vectors = np.zeros((area_count + 1, features.shape[1]), np.float32)
    norm = np.sqrt((features.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    vectors[1:] = features / np.maximum(norm, 1e-12) * np.maximum(pixels[1:, None], 1)
    return Looks(pixels, histogram[:, :class_count], sums, squares, vectors)


def band_sample(count: int) -> list[int]:
    """Which of ``count`` bands take part in judging looks."""
    if count <= SAMPLE_BANDS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (SAMPLE_BANDS - 1)) for i in range(SAMPLE_BANDS)})
