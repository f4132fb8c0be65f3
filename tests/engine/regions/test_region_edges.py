"""Borders move from the model's cells to the edges of the image."""

from __future__ import annotations

import numpy as np
import pytest
from regions_fakes import build, drawn, kinds_map, permuted_windows, picture

from engine.inference.plan import WindowPlan
from engine.regions.edges import REACH, Colours, EdgeFollower, follow_edges
from engine.regions.quality import seam_share
from engine.regions.strips import StripMaps


def blocky(kinds, cell=4):
    """What a model on a grid of cells would answer: the kind at the middle of each cell."""
    middle = cell // 2
    cells = kinds[middle::cell, middle::cell]
    return np.kron(cells, np.ones((cell, cell), kinds.dtype))[: kinds.shape[0], : kinds.shape[1]]


def colours_of(image):
    flat = image.reshape(3, -1).astype(float)
    return Colours([0, 1, 2], flat.mean(axis=1), flat.std(axis=1))


def layers(classes, image, start=0, stop=None):
    part = slice(start, stop)
    return StripMaps(start, classes[part], classes[part], classes[part], image[:, part])


@pytest.fixture
def scene():
    kinds = kinds_map(160, 200, kinds=4, scale=9, seed=2)
    return kinds, picture(kinds, noise=8)


def test_borders_follow_the_image_not_the_cells(scene):
    kinds, image = scene
    owners = blocky(kinds).astype(np.int32) + 1
    moved = follow_edges(owners, np.arange(9, dtype=np.int32), image, colours_of(image), 0)
    before, after = (owners != kinds + 1).mean(), (moved != kinds + 1).mean()
    assert after < 0.25 * before
    lines = (range(4, 200, 4), range(4, 160, 4))
    assert seam_share(owners, *lines).ratio > 3
    assert seam_share(moved, *lines).ratio < 1.3


@pytest.mark.parametrize("heights", [(160,), (40, 120), (5, 3, 60, 1, 91), (1,) * 160])
def test_strips_leave_no_trace(scene, heights):
    kinds, image = scene
    owners = blocky(kinds).astype(np.int32) + 1
    lookup, colours = np.arange(9, dtype=np.int32), colours_of(image)
    whole = follow_edges(owners, lookup, image, colours, 0)
    follower, found, start = EdgeFollower(), [], 0
    for height in heights:
        stop = start + height
        strip = layers(kinds, image, start, stop)
        done = follower.push(owners[start:stop], strip, lookup, colours, last=stop == 160)
        if done is not None:
            assert done[1].row_start == sum(part.shape[0] for part, _ in found)
            assert np.array_equal(done[1].classes, kinds[done[1].row_start :][: done[0].shape[0]])
            found.append(done)
        start = stop
    assert np.array_equal(np.concatenate([part for part, _ in found]), whole)
    assert all(part.shape[0] <= max(heights) + REACH for part, _ in found)


def test_nodata_neither_moves_nor_spreads(scene):
    kinds, image = scene
    owners = blocky(kinds).astype(np.int32) + 1
    hole = np.zeros(owners.shape, bool)
    hole[50:70, 60:90] = True
    owners[hole] = 0
    moved = follow_edges(owners, np.arange(9, dtype=np.int32), image, colours_of(image), 0)
    assert np.array_equal(moved == 0, hole)


def test_borders_between_areas_of_one_label_do_not_move(scene):
    kinds, image = scene
    owners = blocky(kinds).astype(np.int32) + 1
    moved = follow_edges(owners, np.ones(9, np.int32), image, colours_of(image), 0)
    assert np.array_equal(moved, owners)


def test_a_flat_image_moves_straight_borders_nowhere():
    owners = np.ones((40, 40), np.int32)
    owners[:, 20:] = 2
    image = np.full((3, 40, 40), 100, np.uint8)
    moved = follow_edges(
        owners, np.arange(3, dtype=np.int32), image, Colours([0, 1, 2], np.full(3, 100.0), np.ones(3)), 0
    )
    assert np.array_equal(moved, owners)


def test_a_single_pixel_of_its_own_stays():
    owners = np.ones((9, 9), np.int32)
    owners[4, 4] = 2
    image = np.full((3, 9, 9), 100, np.uint8)
    colours = Colours([0, 1, 2], np.full(3, 100.0), np.ones(3))
    assert follow_edges(owners, np.arange(3, dtype=np.int32), image, colours, 0)[4, 4] == 2


def test_a_blocky_model_gives_smooth_regions(tmp_path, scene):
    kinds, image = scene
    plan = WindowPlan(200, 160, 64, 16)
    rows = [permuted_windows(blocky(kinds), plan, row) for row in range(plan.rows)]
    labels = drawn(build(tmp_path, kinds, image, rows, plan))
    assert seam_share(labels, range(4, 200, 4), range(4, 160, 4)).ratio < 1.4
