from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OptionError
from engine.inference.plan import WindowPlan, running_shares, taper, window_starts

SIZES = {"length": st.integers(1, 500), "window": st.integers(1, 64), "share": st.floats(0, 0.99)}


@given(**SIZES)
def test_windows_cover_every_pixel_and_end_on_the_edge(length, window, share) -> None:
    overlap = int(window * share)
    starts = window_starts(length, window, overlap)
    covered = np.zeros(length, int)
    for start in starts:
        covered[start : start + window] += 1
    assert covered.min() >= 1
    assert list(starts) == sorted(set(starts))
    if length > window:
        assert starts[-1] + window == length
        assert all(b - a <= window - overlap for a, b in pairwise(starts))
    else:
        assert starts == (0,)


@given(window=st.integers(1, 64), share=st.floats(0, 0.99))
def test_weights_are_strictly_positive_and_symmetric(window, share) -> None:
    weight = taper(window, int(window * share))
    assert weight.min() > 0
    np.testing.assert_allclose(weight, weight[::-1])


@given(**SIZES)
def test_running_mean_is_the_weighted_mean(length, window, share) -> None:
    overlap = int(window * share)
    starts = window_starts(length, window, overlap)
    rng = np.random.default_rng(length)
    size = starts[-1] + window
    mean, total, weights = np.zeros(size), np.zeros(size), np.zeros(size)
    for start, shares in zip(starts, running_shares(starts, window, overlap), strict=True):
        value = rng.random(window)
        part = slice(start, start + window)
        total[part] += taper(window, overlap) * value
        weights[part] += taper(window, overlap)
        seen = len(shares)
        mean[start : start + seen] += shares * (value[:seen] - mean[start : start + seen])
        mean[start + seen : start + window] = value[seen:]
    np.testing.assert_allclose(mean, total / weights, rtol=1e-5)


@given(width=st.integers(1, 300), height=st.integers(1, 300), window=st.integers(4, 64), share=st.floats(0, 0.9))
def test_final_rows_tile_the_grid(width, height, window, share) -> None:
    plan = WindowPlan(width, height, window, int(share * window))
    stop = 0
    for row in range(plan.rows):
        first, last = plan.final_rows(row)
        assert first == stop
        assert last <= plan.band_stop(row)
        stop = last
    assert stop == height
    assert plan.window(plan.rows * plan.cols - 1) == plan.row_windows(plan.rows - 1)[-1]


@pytest.mark.parametrize(("window", "overlap"), [(32, 32), (32, 40), (32, -1)])
def test_overlaps_that_cannot_work_are_refused(window, overlap) -> None:
    with pytest.raises(OptionError, match="overlap of"):
        WindowPlan(100, 100, window, overlap)
