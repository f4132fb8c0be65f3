"""The parts regions are built from: union-find with enemies, fragments, runs, disputes, quality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regions_fakes import kinds_map, picture

from engine.regions.components import find_areas
from engine.regions.forest import LabelForest
from engine.regions.fragments import absorb_small
from engine.regions.quality import (
    Quality,
    measure,
    seam_share,
    slic_areas,
    slic_segments_for,
    window_lines,
)
from engine.regions.runs import find_runs
from engine.regions.seams import resolve


def flat(positions):
    return np.ones(positions.size, np.float32)


def test_sets_kept_apart_never_join_through_a_third():
    forest = LabelForest()
    forest.add(5)
    forest.keep_apart(np.array([1]), np.array([2]))
    assert forest.union(1, 3)
    assert not forest.union(2, 3)
    assert forest.union(2, 4)
    assert not forest.union(4, 3)
    assert not forest.union(4, 1)
    assert forest.union(5, 4)
    assert not forest.union(5, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=40))
def test_roots_are_the_largest_labels(pairs):
    forest = LabelForest()
    forest.add(20)
    for one, other in pairs:
        forest.union(one, other)
    roots = forest.roots(np.arange(21))
    assert roots[0] == 0
    for root in np.unique(roots[1:]):
        assert np.flatnonzero(roots == root).max() == root
    assert all(roots[a] == roots[b] for a, b in pairs)
    forest.flatten(1)
    assert np.array_equal(forest.lookup[: forest.count + 1], roots)


def test_fragments_join_the_longest_border_smallest_first():
    edges = (np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([1, 9, 4]))
    groups = absorb_small(np.array([2, 50, 60]), edges, 10)
    assert groups.tolist() == [0, 1, 0]


def test_a_chain_of_fragments_becomes_one_before_it_joins():
    edges = (np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([1, 1, 1]))
    assert absorb_small(np.array([4, 4, 4, 100]), edges, 20).tolist() == [0, 0, 0, 0]
    assert absorb_small(np.array([4, 4, 4, 100]), edges, 10).tolist() == [0, 0, 0, 1]
    assert absorb_small(np.array([4, 4, 4, 100]), edges, 3).tolist() == [0, 1, 2, 3]


def test_protected_fragments_wait():
    edges = (np.array([0]), np.array([1]), np.array([3]))
    kept = absorb_small(np.array([4, 100]), edges, 10, protected=np.array([True, False]))
    assert kept.tolist() == [0, 1]


def test_areas_do_not_cross_windows_and_specks_inside_vanish():
    maps = np.zeros((2, 12, 12), np.uint8)
    maps[0, 5, 5] = 1
    maps[1, 0, 3] = 1
    areas = find_areas(maps, 255, 4)
    assert areas.window.tolist() == [0, 1, 1]
    assert (areas.labels[0] == 1).all()
    assert areas.labels[1, 0, 3] == 3
    assert areas.tokens.tolist() == [0, 0, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.int32])
def test_sums_over_runs_are_exact(dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (20, 30))
    values = rng.integers(0, 100, (20, 30)).astype(dtype)
    runs = find_runs(labels)
    assert runs.lengths.sum() == 600
    areas = runs.take(labels)
    totals, squares = runs.sums(areas, 2, values)
    table = runs.histogram(areas, 2, values.astype(np.uint8), 99)
    for label in (1, 2):
        mine = values[labels == label]
        assert totals[label - 1] == mine.sum()
        assert squares[label - 1] == (mine.astype(np.float64) ** 2).sum()
        assert np.array_equal(table[label - 1], np.bincount(mine.astype(np.int64), minlength=100)[:99])


def framed(band):
    return np.pad(np.asarray(band, np.int32), 1)


def decide(first, second, left, right, change=flat):
    first, second = framed(first), framed(second)
    land = np.zeros_like(first)
    land[1:-1, 0], land[1:-1, -1] = left, right
    lean = (first.shape[1] - 1) / 2 - np.arange(first.shape[1])
    taken = resolve(first, second, land, np.broadcast_to(lean, first.shape), change)
    return np.where(taken, first, second)[1:-1, 1:-1]


def test_a_dispute_goes_to_the_side_it_touches():
    first = np.full((6, 8), 1)
    second = np.full((6, 8), 2)
    assert (decide(first, second, 1, 9) == 1).all()
    assert (decide(first, second, 9, 2) == 2).all()


def test_a_dispute_between_both_sides_is_cut_where_the_image_changes():
    first, second = np.full((6, 12), 1), np.full((6, 12), 2)

    def change(positions):
        return np.where(positions % 14 == 3, 5.0, 0.0).astype(np.float32)

    found = decide(first, second, 1, 2, change)
    assert (found[:, :2] == 1).all()
    assert (found[:, 3:] == 2).all()


def test_an_island_only_one_window_saw_goes_by_distance():
    first, second = np.full((9, 12), 1), np.full((9, 12), 1)
    first[3:6, 1:4] = 5
    second[3:6, 8:11] = 6
    found = decide(first, second, 1, 1)
    assert (found[3:6, 1:4] == 5).all()
    assert (found[3:6, 8:11] == 6).all()
    first[3:6, 1:4], second[3:6, 8:11] = 1, 1
    first[3:6, 8:11] = 5
    assert (decide(first, second, 1, 1) == 1).all()


def test_quality_of_the_truth_is_perfect():
    truth = kinds_map(80, 90)
    quality = measure(truth.astype(np.int32) + 1, truth, 255)
    assert quality.purity == 1.0
    assert quality.boundary_recall == 1.0
    blind = measure(np.ones_like(truth), truth, 255)
    assert blind.boundary_recall == 0.0
    assert blind.purity == pytest.approx(np.bincount(truth.ravel()).max() / truth.size)
    both = quality + blind
    assert both.purity == pytest.approx((quality.purity + blind.purity) / 2)


def test_unknown_truth_counts_nowhere():
    truth = np.zeros((10, 10), np.uint8)
    truth[:, 5:] = 255
    quality = measure(np.ones((10, 10), np.int32), truth, 255)
    assert (quality.pixels, quality.purity, quality.border_pixels) == (50, 1.0, 0)


def test_recall_forgives_two_pixels_not_three():
    truth = np.zeros((20, 40), np.uint8)
    truth[:, 20:] = 1
    recalls = []
    for shift in (2, 3, 4):
        labels = np.ones((20, 40), np.int32)
        labels[:, 20 + shift :] = 2
        recalls.append(measure(labels, truth, 255).boundary_recall)
    assert recalls == [1.0, 0.5, 0.0]


def test_seams_count_against_chance():
    labels = np.ones((40, 40), np.int32)
    labels[:, 20:] = 2
    assert seam_share(labels, [20], []).ratio == pytest.approx(2 * 39)
    assert seam_share(labels, [10], []).ratio == 0.0
    assert window_lines((0, 48, 64), 64, 128) == [48, 64, 112]
    assert np.isnan(seam_share(np.ones((4, 4), np.int32), [2], []).ratio)


def test_slic_search_finds_fewest_segments():
    truth = kinds_map(96, 96, 4, 9.0)
    image = picture(truth)

    def slic_quality(segments):
        return measure(slic_areas(image, segments), truth, 255)

    few = slic_segments_for(0.9, slic_quality, 400)
    assert 1 < few < 400
    assert slic_segments_for(0.9, lambda n: Quality(n, 100, 0, 0, 0), 400) == 400
