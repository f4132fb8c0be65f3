"""Oriented R-CNN: its coders, its choice of samples, and that it learns to find drawn bars."""

from dataclasses import replace

import pytest
import torch
from oriented_parts import SmallBackbone, bars, small_detector
from rotated_boxes import random_boxes

from engine.models.detection import Detector, Objects
from engine.models.oriented.coders import decode_midpoints, decode_oriented, encode_midpoints, encode_oriented
from engine.models.oriented.detector import ANCHOR_RULE, HEAD_RULE, DetectorRules, OrientedRCNN
from engine.models.oriented.matching import NOTHING, UNDECIDED, draw_samples, match_anchors, match_proposals
from engine.models.oriented.pyramid import FeaturePyramid
from engine.models.rotated.boxes import canonical, corners_of, hulls_of, upright
from engine.models.rotated.overlap import matched_iou, pairwise_hull_iou, pairwise_iou

QUICK = DetectorRules(replace(ANCHOR_RULE, samples=32), replace(HEAD_RULE, samples=32), proposals=40)


def boxes_of_some_size(count: int, seed: int) -> torch.Tensor:
    boxes = canonical(random_boxes(count, seed))
    boxes[:, 2:4] = boxes[:, 2:4].clamp_min(4)
    return boxes


def test_midpoint_offsets_give_the_box_again() -> None:
    boxes, anchors = boxes_of_some_size(3000, 1), hulls_of(boxes_of_some_size(3000, 2))
    back = decode_midpoints(anchors, encode_midpoints(anchors, boxes))
    overlap = matched_iou(boxes, back)
    assert float(overlap.min()) > 0.98  # a corner within a hundredth of a pixel of the hull's top counts as on it
    assert float(overlap.median()) > 1 - 1e-9


def test_midpoint_offsets_of_an_upright_box_point_to_its_corners() -> None:
    box = torch.tensor([[50.0, 40.0, 30.0, 10.0, 0.0]])
    anchor = torch.tensor([[30.0, 20.0, 70.0, 60.0]])
    numbers = encode_midpoints(anchor, box)
    torch.testing.assert_close(numbers[0, 4:] * 0.5, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(decode_midpoints(anchor, numbers), box, atol=1e-4, rtol=1e-5)


def test_any_numbers_decode_to_a_rectangle() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = 4 * torch.randn(2000, 6, generator=generator)
    anchors = hulls_of(boxes_of_some_size(2000, 3)).float()
    boxes = decode_midpoints(anchors, numbers)
    assert bool(boxes.isfinite().all())
    assert float(boxes[:, 2:4].min()) >= 1
    turned = decode_oriented(boxes, numbers[:, :5])
    assert bool(turned.isfinite().all())
    torch.testing.assert_close(canonical(turned), turned)


def test_a_parallelogram_becomes_the_rectangle_of_its_longer_diagonal() -> None:
    anchor = torch.tensor([[0.0, 0.0, 40.0, 20.0]])
    numbers = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.2, 0.4]])  # offsets of 0.1 and 0.2 of the sides
    corners = corners_of(decode_midpoints(anchor, numbers))[0]
    length = torch.tensor([20.0, 4.0]).norm()
    top, right = torch.tensor([4.0, -10.0]), torch.tensor([20.0, 4.0])
    expected = torch.stack((top / top.norm() * length, right)) + torch.tensor([20.0, 10.0])
    distance = torch.cdist(expected, corners).min(dim=1).values
    torch.testing.assert_close(distance, torch.zeros(2), atol=1e-4, rtol=0)


def test_oriented_numbers_give_the_box_again_by_the_smaller_turn() -> None:
    boxes, proposals = boxes_of_some_size(3000, 4), boxes_of_some_size(3000, 5)
    numbers = encode_oriented(proposals, boxes)
    assert float((numbers[:, 4] * 0.1).abs().max()) <= torch.pi / 4 + 1e-9
    near = (numbers[:, 2:4] * 0.2).abs().max(dim=1).values < 4
    back = decode_oriented(proposals, numbers)
    torch.testing.assert_close(matched_iou(boxes, back)[near], torch.ones(int(near.sum())).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(encode_oriented(boxes, boxes), torch.zeros_like(boxes), atol=1e-9, rtol=0)


def test_matches_follow_their_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = boxes_of_some_size(12, 6)
    anchors = hulls_of(torch.cat((boxes_of_some_size(800, 7), boxes)))
    overlap = pairwise_hull_iou(anchors, hulls_of(boxes))
    best, which = overlap.max(dim=1)
    found = match_anchors(anchors, boxes, ANCHOR_RULE)
    for anchor in range(len(anchors)):
        closest = [g for g in range(12) if overlap[anchor, g] == overlap[:, g].max() >= 0.3]
        if closest:
            assert found[anchor] == closest[-1]
        elif best[anchor] >= 0.7:
            assert found[anchor] == which[anchor]
        else:
            assert found[anchor] == (NOTHING if best[anchor] < 0.3 else UNDECIDED)
    monkeypatch.setattr("engine.models.oriented.matching._MOST_CELLS", 900)
    assert torch.equal(match_anchors(anchors, boxes, ANCHOR_RULE), found)


def test_without_objects_everything_stands_for_nothing() -> None:
    none = torch.zeros(0, 5)
    assert set(match_anchors(torch.rand(9, 4), none, ANCHOR_RULE).tolist()) == {NOTHING}
    assert set(match_proposals(torch.rand(9, 5), none, HEAD_RULE).tolist()) == {NOTHING}


def test_samples_keep_their_shares() -> None:
    matches = torch.tensor([0] * 300 + [NOTHING] * 900 + [UNDECIDED] * 50)
    positives, negatives = draw_samples(matches, HEAD_RULE)
    assert (len(positives), len(negatives)) == (128, 384)
    assert bool((matches[positives] == 0).all())
    assert bool((matches[negatives] == NOTHING).all())
    few, many = draw_samples(matches[298:], HEAD_RULE)
    assert (len(few), len(many)) == (2, 510)


@pytest.mark.parametrize("size", [(64, 64), (75, 51), (33, 130)])
def test_any_image_size_gives_losses_and_detections(size: tuple[int, int]) -> None:
    model = small_detector(min_score=0.0, max_objects=7)
    images = torch.randn(2, 3, *size)
    empty = Objects(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    one = Objects(torch.tensor([[20.0, 18.0, 16.0, 8.0, 0.5]]), torch.tensor([1]))
    losses = model.train().losses(images, [empty, one], QUICK)
    assert set(losses) == {"proposal_objectness", "proposal_boxes", "classes", "boxes"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    found = model.eval()(images)
    assert [len(part) for part in found] == [7, 7]
    for part in found:
        assert part.boxes.shape == (7, 5)
        assert bool((part.scores[:-1] >= part.scores[1:]).all())
        rows = pairwise_iou(part.boxes, part.boxes) * (part.labels[:, None] == part.labels[None])
        assert float(rows.fill_diagonal_(0).max()) <= 0.1


def test_an_image_without_objects_teaches_the_background_alone() -> None:
    model = small_detector().train()
    empty = Objects(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    losses = model.losses(torch.randn(1, 3, 64, 64), [empty], QUICK)
    values = {name: loss.item() for name, loss in losses.items()}
    assert values["proposal_boxes"] == values["boxes"] == 0
    assert values["classes"] > 0


def test_it_learns_to_find_drawn_bars() -> None:
    model = small_detector().train()
    data = [bars(seed, size=64, count=2) for seed in range(3)]
    images, targets = torch.stack([image for image, _ in data]), [objects for _, objects in data]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    torch.manual_seed(1)
    for _ in range(120):
        optimizer.zero_grad()
        sum(model.losses(images, targets, QUICK).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    hits = []
    for found, known in zip(model.eval()(images), targets, strict=True):
        same = (known.labels[:, None] == found.labels[None]) & (found.scores > 0.2)
        hits += (pairwise_iou(known.boxes, found.boxes) * same).max(dim=1).values.tolist()
    assert sum(hit > 0.5 for hit in hits) >= 5, hits


def test_frozen_norms_keep_their_statistics() -> None:
    model = OrientedRCNN(SmallBackbone(), 2, pyramid_channels=8, hidden=16, grid=3)
    norm = model.backbone.stem[1]
    assert model.train().head.training
    before = norm.running_mean.clone()
    model.losses(torch.randn(1, 3, 64, 64), [bars(0, 64, 1)[1]], QUICK)
    assert torch.equal(norm.running_mean, before)
    model.freeze_norms = False
    model.train().losses(torch.randn(1, 3, 64, 64), [bars(0, 64, 1)[1]], QUICK)
    assert not torch.equal(norm.running_mean, before)


def test_pyramid_levels_halve_and_know_what_lies_above() -> None:
    pyramid = FeaturePyramid((4, 8), 6, 4)
    fine, coarse = torch.randn(1, 4, 9, 11), torch.randn(1, 8, 5, 6)
    levels = pyramid([fine, coarse])
    assert [tuple(level.shape) for level in levels] == [(1, 6, 9, 11), (1, 6, 5, 6), (1, 6, 3, 3), (1, 6, 2, 2)]
    changed = pyramid([fine, coarse + 1])
    assert not torch.allclose(changed[0], levels[0])


def test_anchors_lie_round_the_middle_of_their_cells() -> None:
    model = small_detector(anchor_scale=8.0)
    level = model.proposer([torch.zeros(1, 16, -(-64 // s), -(-64 // s)) for s in (4, 8, 16, 32, 64)])[1]
    boxes = upright(level.anchors).view(8, 8, 3, 5)
    torch.testing.assert_close(boxes[2, 5, :, :2], torch.tensor([[44.0, 20.0]] * 3))
    torch.testing.assert_close(boxes[0, 0, :, 2] * boxes[0, 0, :, 3], torch.full((3,), 64.0**2))
    torch.testing.assert_close(boxes[0, 0, :, 3] / boxes[0, 0, :, 2], torch.tensor([0.5, 1.0, 2.0]))


def test_it_is_a_detector() -> None:
    assert isinstance(small_detector(), Detector)
