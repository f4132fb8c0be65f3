import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.regions.homogeneity import (
    RIVALS,
    Homogeneity,
    class_counts,
    entropies,
    measure_homogeneity,
    patch_areas,
    quadtree_areas,
    resampled,
    variance_explained,
)

IGNORE = 255


def test_pure_areas_have_no_entropy_and_mixed_ones_the_textbook_value() -> None:
    counts = np.array([[8, 0, 0], [4, 4, 0], [2, 2, 4], [0, 0, 0]])
    assert entropies(counts).tolist() == pytest.approx([0.0, 1.0, 1.5, 0.0])


def test_class_counts_leave_the_unknown_out() -> None:
    areas = np.array([[0, 0], [2, 2]])
    truth = np.array([[1, IGNORE], [0, 1]])
    assert class_counts(areas, truth, 2, IGNORE).tolist() == [[0, 1], [0, 0], [1, 1]]


@given(
    hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 4)),
    hnp.arrays(np.float64, (2, 6, 7), elements=st.floats(0, 255)),
)
def test_variance_explained_is_one_minus_what_is_left_within(areas: np.ndarray, image: np.ndarray) -> None:
    total = sum(float(((band - band.mean()) ** 2).sum()) for band in image)
    within = sum(
        float(((band[areas == a] - band[areas == a].mean()) ** 2).sum()) for a in np.unique(areas) for band in image
    )
    found = variance_explained(areas, image)
    if total < 1e-6:
        return
    assert found == pytest.approx(1 - within / total, abs=1e-6)


@given(
    hnp.arrays(np.uint8, (8, 8), elements=st.integers(0, 2)), hnp.arrays(np.int64, (8, 8), elements=st.integers(0, 3))
)
def test_splitting_areas_never_raises_the_entropy(truth: np.ndarray, areas: np.ndarray) -> None:
    image = np.zeros((1, 8, 8))
    coarse = measure_homogeneity(areas // 2, image, truth, 3, IGNORE)
    fine = measure_homogeneity(areas, image, truth, 3, IGNORE)
    assert fine.entropy_bits <= coarse.entropy_bits + 1e-9 <= coarse.whole_entropy_bits + 2e-9
    assert math.isnan(fine.variance_explained)  # an image of one colour


def test_true_areas_beat_a_grid() -> None:
    truth = np.zeros((32, 32), np.uint8)
    truth[:, 13:] = 1
    image = np.stack([50.0 + 100.0 * truth, 80.0 - 30.0 * truth])
    right = measure_homogeneity(truth.astype(np.int64), image, truth, 2, IGNORE)
    grid = measure_homogeneity(patch_areas(image, 4), image, truth, 2, IGNORE)
    assert (right.entropy_bits, right.variance_explained) == (0.0, pytest.approx(1.0))
    assert grid.entropy_bits > 0.1
    assert grid.variance_explained < 0.9
    both = right + grid
    assert both.images == 2
    assert both.entropy_bits == pytest.approx(grid.entropy_bits / 2)
    assert math.isnan(Homogeneity().entropy_bits)


@pytest.mark.parametrize(("height", "width", "count"), [(224, 224, 16), (64, 128, 8), (100, 60, 7), (40, 40, 1)])
def test_patches_are_a_grid_of_at_most_the_count(height: int, width: int, count: int) -> None:
    areas = patch_areas(np.zeros((3, height, width)), count)
    sizes = np.bincount(areas.ravel())
    assert count * 0.7 <= len(sizes) <= count
    assert sizes.max() < 1.5 * sizes.min()


def test_the_quadtree_is_fine_where_the_image_is_busy() -> None:
    image = np.full((3, 64, 64), 100.0)
    image[:, :32, :32] += np.random.default_rng(0).normal(0, 30, (3, 32, 32))
    areas = quadtree_areas(image, 16)
    assert len(np.unique(areas)) == 16
    busy, calm = len(np.unique(areas[:32, :32])), len(np.unique(areas[32:, 32:]))
    assert busy > 2 * calm


@pytest.mark.parametrize("name", list(RIVALS))
def test_every_rival_covers_the_image(name: str) -> None:
    coarse = np.random.default_rng(0).integers(0, 255, (3, 5, 7)).astype(np.uint8)
    image = np.kron(coarse, np.ones((1, 10, 10), np.uint8))
    areas = RIVALS[name](image, 12)
    assert areas.shape == (50, 70)
    assert areas.min() == 0
    assert 9 <= len(np.unique(areas)) <= 15


def test_partitions_are_resampled_by_nearest_pixel() -> None:
    areas = np.array([[0, 1], [2, 3]])
    assert np.array_equal(resampled(areas, 4, 4), np.kron(areas, np.ones((2, 2), int)))
