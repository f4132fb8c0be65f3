"""Rotated boxes and their overlap, against shapely."""

import math

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotated_boxes import random_boxes, shapely_iou, shapes

from engine.models.rotated.boxes import boxes_of, canonical, corners_of, hulls_of, upright
from engine.models.rotated.overlap import clipped_area, matched_iou, pairwise_hull_iou, pairwise_iou


def pairs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of every kind: apart, crossing, one in the other, identical, sharing an edge or a corner, without area."""
    rng = np.random.default_rng(seed)
    a = random_boxes(count, seed)
    b = random_boxes(count, seed + 1)
    kind = torch.from_numpy(rng.integers(0, 8, count))
    near = a.clone()
    near[:, :2] += torch.from_numpy(rng.normal(0, 10, (count, 2)))
    near[:, 4] += torch.from_numpy(rng.normal(0, 0.3, count))
    inside = a.clone()
    inside[:, 2:4] *= torch.from_numpy(rng.uniform(0.2, 0.9, (count, 2)))
    along = torch.stack((a[:, 4].cos(), a[:, 4].sin()), 1)
    across = torch.stack((-a[:, 4].sin(), a[:, 4].cos()), 1)
    beside, corner, shifted = a.clone(), a.clone(), a.clone()
    beside[:, :2] += a[:, 2:3] * along
    corner[:, :2] += a[:, 2:3] * along + a[:, 3:4] * across
    shifted[:, :2] += 0.3 * a[:, 2:3] * along  # two edges lie on one another
    flat = a.clone()
    flat[:, 3] = 0
    for number, some in enumerate((near, inside, a, beside, corner, shifted, flat), 1):
        b[kind == number] = some[kind == number]
    return a, b


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_iou_of_ten_thousand_pairs_is_shapelys(dtype: torch.dtype) -> None:
    a, b = (part.to(dtype) for part in pairs(10_000, 3))
    expected = shapely_iou(a, b)
    found = matched_iou(a, b)
    assert found.dtype == dtype
    assert np.abs(found.double().numpy() - expected).max() < (1e-9 if dtype == torch.float64 else 1e-4)
    assert (expected > 0.9).sum() > 500
    assert ((expected > 0.05) & (expected < 0.9)).sum() > 2500


def test_far_from_the_origin_single_precision_still_holds() -> None:
    a, b = pairs(4000, 5)
    a[:, :2] = (a[:, :2] * 8).round() / 8 + 100_000  # places that single precision knows exactly
    b[:, :2] = (b[:, :2] * 8).round() / 8 + 100_000
    a, b = a.float(), b.float()
    assert np.abs(matched_iou(a, b).double().numpy() - shapely_iou(a, b)).max() < 1e-4


@settings(max_examples=200)
@given(
    st.floats(-500, 500), st.floats(-500, 500), st.floats(0.1, 900), st.floats(0.1, 900), st.floats(-7, 7),
    st.floats(-7, 7),
)  # fmt: skip
def test_a_box_is_itself_in_single_precision(x, y, w, h, angle, other) -> None:
    box = torch.tensor([[x, y, w, h, angle]])
    assert float(matched_iou(box, box)) == pytest.approx(1, abs=1e-6)
    turned = torch.tensor([[x, y, h, w, angle + math.pi / 2]])
    rounding = 1e-6 * max(w / h, h / w)  # of the angle, which moves the ends of a slim box beside it
    assert float(matched_iou(box, turned)) == pytest.approx(1, abs=1e-4 + rounding)
    one, two = torch.tensor([[x, y, w, h, angle]]), torch.tensor([[x + 1, y, h, w, other]])
    assert float(matched_iou(one, two)) == pytest.approx(float(matched_iou(two, one)), abs=1e-4)


def test_shared_edges_and_flat_boxes_share_nothing() -> None:
    a = random_boxes(500, 9).float()
    along = torch.stack((a[:, 4].cos(), a[:, 4].sin()), 1)
    beside = a.clone()
    beside[:, :2] += a[:, 2:3] * along
    assert float(matched_iou(a, beside).max()) < 1e-4
    flat = a.clone()
    flat[:, 2] = 0
    assert float(matched_iou(a, flat).max()) == 0
    assert float(matched_iou(flat, flat).max()) == 0


def test_nearly_parallel_edges_do_no_harm() -> None:
    a = random_boxes(3000, 21)
    b = a.clone()
    b[:, 4] += 10.0 ** torch.linspace(-9, -2, 3000, dtype=torch.float64)
    b[:, 0] += 10.0 ** torch.linspace(-2, -9, 3000, dtype=torch.float64)
    expected = shapely_iou(a.float(), b.float())
    assert np.abs(matched_iou(a.float(), b.float()).double().numpy() - expected).max() < 1e-4


def test_pairwise_holds_every_pair_and_small_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = random_boxes(70, 1), random_boxes(50, 2)
    whole = pairwise_iou(a, b)
    rows, cols = (part.flatten() for part in torch.meshgrid(torch.arange(70), torch.arange(50), indexing="ij"))
    torch.testing.assert_close(whole.flatten(), matched_iou(a[rows], b[cols]))
    monkeypatch.setattr("engine.models.rotated.overlap._SLAB", 7)
    monkeypatch.setattr("engine.models.rotated.overlap._MOST_PAIRS", 11)
    torch.testing.assert_close(pairwise_iou(a, b), whole)
    assert pairwise_iou(a[:0], b).shape == (0, 50)
    assert pairwise_iou(a, b[:0]).shape == (70, 0)


def test_upright_iou_is_the_rotated_one_at_angle_zero() -> None:
    a, b = hulls_of(random_boxes(60, 4)), hulls_of(random_boxes(40, 5))
    torch.testing.assert_close(pairwise_hull_iou(a, b), pairwise_iou(upright(a), upright(b)))


def test_area_of_any_quadrilateral_in_a_box() -> None:
    rng = np.random.default_rng(0)
    boxes = random_boxes(2000, 6)
    spokes = np.sort(rng.uniform(0, 2 * np.pi, (2000, 4)), axis=1)
    radius = rng.uniform(2, 60, (2000, 4))
    quads = np.stack((radius * np.cos(spokes), radius * np.sin(spokes)), -1) + boxes[:, None, :2].numpy()
    good = shapely.is_valid(shapely.polygons(quads))  # arrows among them, crossing ones not
    quads, boxes = quads[good], boxes[torch.from_numpy(good)]
    expected = shapely.area(shapely.intersection(shapely.polygons(quads), shapes(boxes)))
    for order in (slice(None), slice(None, None, -1)):
        found = clipped_area(torch.from_numpy(quads[:, order].copy()), boxes).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-8, rtol=1e-9)


def test_corners_and_box_are_each_others_inverse() -> None:
    boxes = random_boxes(2000, 8)
    back = boxes_of(corners_of(boxes))
    torch.testing.assert_close(matched_iou(boxes, back), torch.ones(2000, dtype=torch.float64), atol=1e-9, rtol=0)
    assert bool((back[:, 2] >= back[:, 3]).all())
    assert bool(((back[:, 4] >= -math.pi / 2) & (back[:, 4] < math.pi / 2)).all())
    torch.testing.assert_close(canonical(back), back)
    torch.testing.assert_close(back[:, 2:4], canonical(boxes)[:, 2:4])


def test_the_convention_is_the_documented_one() -> None:
    level = torch.tensor([[10.0, 20.0, 6.0, 2.0, 0.0]])
    assert corners_of(level)[0].tolist() == [[7, 19], [13, 19], [13, 21], [7, 21]]
    down = torch.tensor([[0.0, 0.0, 6.0, 2.0, math.pi / 4]])  # to the right and down on the screen
    tip = corners_of(down)[0, 1:3].mean(0)
    torch.testing.assert_close(tip, torch.tensor([3.0, 3.0]) / math.sqrt(2))


def test_four_corners_give_the_smallest_rectangle() -> None:
    rng = np.random.default_rng(3)
    quads = rng.uniform(0, 50, (500, 4, 2))
    found = boxes_of(torch.from_numpy(quads))
    smallest = shapely.area([shapely.minimum_rotated_rectangle(shapely.MultiPoint(q)) for q in quads])
    np.testing.assert_allclose((found[:, 2] * found[:, 3]).numpy(), smallest, rtol=1e-6)
    held = shapely.buffer(shapes(found), 1e-6)
    assert shapely.covers(held, shapely.multipoints(quads)).all()


def test_boxes_of_no_extent_stay_finite() -> None:
    point = boxes_of(torch.full((1, 4, 2), 7.0))
    assert point.tolist() == [[7, 7, 0, 0, 0]]
    line = boxes_of(torch.tensor([[[0.0, 0], [4, 4], [4, 4], [0, 0]]]))[0]
    torch.testing.assert_close(line, torch.tensor([2, 2, math.sqrt(32), 0, math.pi / 4]), atol=1e-5, rtol=0)


def test_hulls_hold_their_boxes_tightly() -> None:
    boxes = random_boxes(300, 12)
    np.testing.assert_allclose(hulls_of(boxes).numpy(), shapely.bounds(shapes(boxes)), atol=1e-9)
    torch.testing.assert_close(hulls_of(upright(hulls_of(boxes))), hulls_of(boxes))
