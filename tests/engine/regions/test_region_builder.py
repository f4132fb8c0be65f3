"""Regions of scenes: merged across windows, without seams, exact, the same however windows number their tokens."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from regions_fakes import NODATA, blank_out, build, drawn, kinds_map, kinds_result, permuted_windows, picture
from scipy.ndimage import label as label_image
from test_polygons import connected

from engine.errors import AnalysisError, CancelledError
from engine.inference.plan import WindowPlan
from engine.regions.polygons import coverage
from engine.regions.quality import seam_share, window_lines


def same_partition(one, other):
    pairs = np.unique(np.stack((one.ravel(), other.ravel())), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_windows_that_agree_give_the_areas_themselves(tmp_path):
    kinds = kinds_map(200, 260)
    labels = drawn(kinds_result(tmp_path, kinds, min_region_m2=0))
    assert same_partition(labels, connected(kinds))


def test_ids_count_from_one_in_scan_order(tmp_path):
    result = kinds_result(tmp_path, kinds_map(150, 170), min_region_m2=0)
    labels = drawn(result).ravel()
    _, first = np.unique(labels, return_index=True)
    assert np.unique(labels).tolist() == list(range(1, result.count + 1))
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize(("window", "overlap"), [(64, 16), (64, 32), (64, 48), (64, 8), (64, 0), (300, 16)])
def test_disk_over_many_windows_is_one_region(tmp_path, window, overlap):
    rows, cols = np.mgrid[:230, :250]
    kinds = ((rows - 110) ** 2 + (cols - 120) ** 2 < 90**2).astype(np.uint8)
    result = kinds_result(tmp_path, kinds, window, overlap)
    labels = drawn(result)
    assert result.count == 2
    assert np.array_equal(labels == labels[110, 120], kinds == 1)


def test_disk_seen_differently_by_each_window_has_no_seam(tmp_path):
    rows, cols = np.mgrid[:400, :420]
    kinds = ((rows - 200) ** 2 + (cols - 210) ** 2 < 170**2).astype(np.uint8)
    result = kinds_result(tmp_path, kinds, 96, 32, windows={"shift": 2, "speckle": 0.02})
    labels = drawn(result)
    disk = labels == labels[200, 210]
    assert result.count == 2
    assert (disk & (kinds == 1)).sum() / (disk | (kinds == 1)).sum() > 0.97


@pytest.mark.parametrize(("window", "overlap"), [(96, 24), (96, 32), (128, 64)])
def test_borders_do_not_follow_window_lines(tmp_path, window, overlap):
    kinds = kinds_map(600, 700, kinds=6, scale=12)
    plan = WindowPlan(700, 600, window, overlap)
    result = kinds_result(tmp_path, kinds, window, overlap, windows={"shift": 3, "speckle": 0.01})
    lines = (window_lines(plan.col_starts, window, 700), window_lines(plan.row_starts, window, 600))
    assert seam_share(drawn(result), *lines).ratio < 1.3


def test_a_field_that_one_window_lumps_with_the_lake_does_not_flood_it(tmp_path):
    """One window sees lake and field as one token; its neighbours tell them apart."""
    kinds = np.zeros((96, 224), np.uint8)
    kinds[:48] = 1
    plan = WindowPlan(224, 96, 96, 32)
    rows = [permuted_windows(kinds, plan, 0)]
    middle = rows[0][1]
    middle.token_map[:] = 3
    result = build(tmp_path, kinds, picture(kinds), rows, plan)
    labels = drawn(result)
    assert labels[10, 10] != labels[80, 10]
    assert labels[10, 210] != labels[80, 210]


def test_token_numbers_mean_nothing(tmp_path):
    kinds = kinds_map(180, 200)
    one, other = (drawn(kinds_result(tmp_path / str(seed), kinds, windows={"seed": seed})) for seed in (1, 2))
    assert np.array_equal(one, other)


def test_the_same_twice(tmp_path):
    kinds = kinds_map(180, 200)
    seen = {"shift": 3, "speckle": 0.03}
    one, other = (drawn(kinds_result(tmp_path / name, kinds, windows=seen)) for name in "ab")
    assert np.array_equal(one, other)


def test_rows_may_come_in_ahead_of_strips(tmp_path):
    kinds = kinds_map(180, 200)
    seen = {"shift": 2}
    one = drawn(kinds_result(tmp_path / "a", kinds, windows=seen))
    other = drawn(kinds_result(tmp_path / "b", kinds, windows=seen, ahead=True))
    assert np.array_equal(one, other)


def test_strips_must_come_in_order(tmp_path):
    kinds = kinds_map(64, 64)
    with pytest.raises(AnalysisError, match="0 was due"):
        kinds_result(tmp_path, kinds, 32, 8, first_row=1)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    window=st.sampled_from([16, 24, 40]),
    share=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    seed=st.integers(0, 99),
    holes=st.booleans(),
)
def test_vector_area_is_raster_area(tmp_path_factory, height, width, window, share, seed, holes):
    kinds = kinds_map(height, width, 4, 2.0, seed)
    classes = kinds.copy()
    if holes:
        classes[np.random.default_rng(seed).random(kinds.shape) < 0.1] = NODATA
    plan = WindowPlan(width, height, window, int(window * share))
    rows = [permuted_windows(kinds, plan, row, seed=seed, shift=2, speckle=0.05) for row in range(plan.rows)]
    for row in rows:
        for w in row:
            w.token_map[
                classes[w.row : w.row + w.token_map.shape[0], w.col : w.col + w.token_map.shape[1]] == NODATA
            ] = NODATA
    result = build(tmp_path_factory.mktemp("r"), classes, picture(kinds), rows, plan, class_count=4)
    labels = drawn(result)
    assert labels.shape == classes.shape
    assert np.array_equal(labels > 0, classes != NODATA)
    ids, polygons = coverage(labels)
    assert shapely.coverage_is_valid(polygons)
    assert np.array_equal(shapely.area(polygons), result.sums.pixels)
    assert np.array_equal(ids, np.arange(1, result.count + 1))
    for number in ids:
        assert label_image(labels == number)[1] == 1


def test_small_fragments_join_their_best_neighbour(tmp_path):
    kinds = np.zeros((128, 128), np.uint8)
    kinds[:, 64:] = 1
    kinds[30:33, 62:65] = 2
    kinds[60:100, 20:40] = 3
    result = kinds_result(tmp_path, kinds, 64, 16, min_region_m2=50 * 16.0)
    labels = drawn(result)
    assert result.count == 3
    assert labels[31, 63] in (labels[0, 0], labels[0, 127])


def test_min_region_zero_keeps_every_pixel(tmp_path):
    kinds = kinds_map(64, 64, 3, 0.8)
    labels = drawn(kinds_result(tmp_path, kinds, 64, 16, min_region_m2=0))
    assert same_partition(labels, connected(kinds))


def test_isolated_speck_survives_and_nodata_stays_out(tmp_path):
    classes = np.full((40, 40), NODATA, np.uint8)
    classes[3, 5] = 0
    classes[10:30, 10:30] = 1
    plan = WindowPlan(40, 40, 16, 4)
    rows = [permuted_windows(np.zeros_like(classes), plan, row) for row in range(plan.rows)]
    blank_out(rows, classes)
    result = build(tmp_path, classes, picture(np.zeros_like(classes)), rows, plan)
    assert result.count == 2
    assert result.sums.pixels.tolist() == [1, 400]


def test_pixels_without_a_token_become_regions_of_their_class(tmp_path):
    classes = np.zeros((48, 48), np.uint8)
    classes[24:] = 1
    plan = WindowPlan(48, 48, 48, 0)
    rows = [permuted_windows(classes, plan, 0)]
    rows[0][0].token_map[30:40, 10:20] = NODATA
    result = build(tmp_path, classes, picture(classes), rows, plan)
    labels = drawn(result)
    assert (labels > 0).all()
    assert labels[35, 15] != labels[26, 15]
    assert result.sums.token[labels[35, 15] - 1] == -1


def test_empty_scene_has_no_regions(tmp_path):
    classes = np.full((40, 50), NODATA, np.uint8)
    plan = WindowPlan(50, 40, 16, 4)
    result = build(
        tmp_path, classes, np.zeros((3, 40, 50), np.uint8), [[] for _ in range(plan.rows)], plan, class_count=2
    )
    assert result.count == 0
    assert not drawn(result).any()


def test_preview_labels_cover_the_strip(tmp_path):
    kinds = kinds_map(180, 200)
    preview = []
    result = kinds_result(tmp_path, kinds, preview=preview)
    early = np.concatenate(preview)
    assert early.shape == drawn(result).shape
    assert (early > 0).all()


def test_cancel_is_heard(tmp_path):
    with pytest.raises(CancelledError):
        kinds_result(tmp_path, kinds_map(64, 64), cancel=lambda: True)
