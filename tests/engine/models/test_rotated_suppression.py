"""Suppression against its quadratic definition, word by word."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotated_boxes import random_boxes, shapely_iou

from engine.models.rotated.boxes import hulls_of, upright
from engine.models.rotated.overlap import matched_iou
from engine.models.rotated.suppression import suppress


def quadratic(boxes, scores, threshold, labels=None, overlap=matched_iou) -> list[int]:
    """The definition: by falling score, unless a kept one of the label overlaps it by more than the threshold."""
    order = sorted(range(len(boxes)), key=lambda i: -scores[i].item())
    kept: list[int] = []
    for i in order:
        rivals = [k for k in kept if labels is None or labels[k] == labels[i]]
        one = boxes[i].expand(len(rivals), 5)
        if not rivals or overlap(one, boxes[rivals]).max() <= threshold:
            kept.append(i)
    return kept


@settings(max_examples=60)
@given(
    count=st.integers(0, 60), seed=st.integers(0, 999), threshold=st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.8]),
    classes=st.integers(1, 4), extent=st.sampled_from([30.0, 100.0, 300.0]), levels=st.integers(2, 100),
)  # fmt: skip
def test_equal_to_the_quadratic_definition(count, seed, threshold, classes, extent, levels) -> None:
    boxes = random_boxes(count, seed, extent=extent, largest=60)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (count,), generator=generator) / levels  # equal scores among them
    labels = torch.randint(0, classes, (count,), generator=generator)
    assert suppress(boxes, scores, threshold, labels).tolist() == quadratic(boxes, scores, threshold, labels)
    assert suppress(boxes, scores, threshold, labels).tolist() == quadratic(
        boxes, scores, threshold, labels, shapely_iou
    )
    if classes == 1:
        assert suppress(boxes, scores, threshold).tolist() == quadratic(boxes, scores, threshold)


def test_a_long_chain_is_followed_to_its_end() -> None:
    count = 300
    boxes = torch.zeros(count, 5)
    boxes[:, 0] = torch.arange(count) * 6.0  # each overlaps its neighbours by a quarter and no other
    boxes[:, 2], boxes[:, 3] = 10.0, 4.0
    kept = suppress(boxes, torch.linspace(1, 0, count), 0.2)
    assert kept.tolist() == list(range(0, count, 2))


def test_upright_boxes_need_no_angle() -> None:
    boxes = random_boxes(200, 5, extent=150)
    hulls = hulls_of(boxes)
    scores = torch.rand(200, generator=torch.Generator().manual_seed(1))
    assert suppress(hulls, scores, 0.3).tolist() == quadratic(upright(hulls), scores, 0.3)


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = random_boxes(300, 7)
    scores = torch.rand(300, generator=torch.Generator().manual_seed(2))
    whole = suppress(boxes, scores, 0.1)
    monkeypatch.setattr("engine.models.rotated.overlap._SLAB", 7)
    monkeypatch.setattr("engine.models.rotated.overlap._MOST_PAIRS", 11)
    assert torch.equal(suppress(boxes, scores, 0.1), whole)


def test_labels_leave_each_other_alone() -> None:
    boxes = torch.tensor([[10.0, 10, 8, 4, 0.3]]).repeat(4, 1)
    kept = suppress(boxes, torch.tensor([0.2, 0.9, 0.5, 0.9]), 0.5, torch.tensor([0, 1, 0, 1]))
    assert kept.tolist() == [1, 2]
