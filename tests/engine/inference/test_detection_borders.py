"""Each object of a scene is found once, wherever windows cut it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detection_fakes import detect, detector, write_places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.inference import open_analysis
from engine.inference.detection.borders import edge_margin, settle
from engine.inference.detection.objects import FoundObjects, corners, hulls
from engine.inference.plan import WindowPlan
from engine.models.rotated.boxes import canonical, corners_of, hulls_of
from engine.models.rotated.overlap import matched_iou, pairwise_iou


def scatter(seed: int, width: int, height: int, count: int, longest: float) -> torch.Tensor:
    """Boxes inside a scene, none touching another."""
    rng = np.random.default_rng(seed)
    boxes = torch.zeros(0, 5, dtype=torch.float64)
    for _ in range(40 * count):
        w, h = rng.uniform(6, longest), rng.uniform(4, 8)
        new = torch.tensor([[rng.uniform(0, width), rng.uniform(0, height), w, h, rng.uniform(-1.6, 1.6)]]).double()
        left, top, right, bottom = hulls_of(new)[0].tolist()
        if left < 1 or top < 1 or right > width - 1 or bottom > height - 1:
            continue
        grown = new + torch.tensor([0, 0, 6, 6, 0])
        if len(boxes) and float(pairwise_iou(grown, boxes).max()) > 0:
            continue
        boxes = torch.cat((boxes, canonical(new)))
        if len(boxes) == count:
            break
    return boxes


def assert_each_once(found: FoundObjects, truth: torch.Tensor, least: float) -> None:
    assert len(found) == len(truth)
    overlap = pairwise_iou(truth, torch.from_numpy(found.boxes))
    best, which = overlap.max(dim=1)
    assert len(set(which.tolist())) == len(truth)
    assert float(best.min()) > least


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000), width=st.integers(40, 260), height=st.integers(40, 220), overlap=st.integers(26, 50),
    batch=st.integers(1, 5),
)  # fmt: skip
def test_objects_shorter_than_the_overlap_are_found_once_and_whole(
    tmp_path_factory, seed, width, height, overlap, batch
) -> None:
    folder = tmp_path_factory.mktemp("borders")
    longest = overlap - 2 * edge_margin(64) - 1
    truth = scatter(seed, width, height, 14, longest)
    path = write_places(folder / "scene.tif", width, height)
    model = detector([tuple(box) for box in truth.tolist()], window=64, overlap=overlap)
    detect(path, model, folder / "out", batch=batch)
    found = open_analysis(folder / "out").objects()
    assert_each_once(found, truth, 0.999)
    assert set(found.scores.tolist()) <= {np.float32(0.9)}  # never a part, though parts are surer here


@pytest.mark.parametrize("angle", [0.0, 0.1, np.pi / 2, -0.6, 0.785])
@pytest.mark.parametrize("length", [70.0, 130.0, 190.0])
def test_an_object_longer_than_the_overlap_is_put_together(tmp_path: Path, angle: float, length: float) -> None:
    truth = torch.tensor([[128.0, 121.0, length, 9.0, angle]], dtype=torch.float64)
    path = write_places(tmp_path / "scene.tif", 250, 240)
    detect(path, detector([tuple(truth[0].tolist())], window=64, overlap=24), tmp_path / "out")
    assert_each_once(open_analysis(tmp_path / "out").objects(), canonical(truth), 0.8)


def test_neighbouring_long_objects_are_not_mixed_up(tmp_path: Path) -> None:
    truth = torch.tensor([[100.0, 60.0 + 14 * k, 150.0, 8.0, 0.05] for k in range(6)], dtype=torch.float64)
    path = write_places(tmp_path / "scene.tif", 220, 180)
    model = detector([tuple(box) for box in truth.tolist()], labels=[k % 2 for k in range(6)])
    detect(path, model, tmp_path / "out")
    found = open_analysis(tmp_path / "out").objects()
    assert_each_once(found, truth, 0.7)
    order = found.boxes[:, 1].argsort()
    assert found.labels[order].tolist() == [0, 1, 0, 1, 0, 1]


def test_without_overlap_parts_stay_parts_and_nothing_is_lost(tmp_path: Path) -> None:
    path = write_places(tmp_path / "scene.tif", 128, 64)
    detect(path, detector([(64.0, 32.0, 40.0, 8.0, 0.0)], window=64, overlap=0), tmp_path / "out")
    found = open_analysis(tmp_path / "out").objects()
    assert len(found) == 2
    assert found.boxes[:, 2].sum() == pytest.approx(40)


def test_a_part_is_kept_where_no_window_sees_more() -> None:
    """The window to the right was not run: what it would have shown is outside the region of interest."""
    plan = WindowPlan(104, 64, 64, 24)
    part = FoundObjects(
        np.array([[58.0, 30.0, 12.0, 6.0, 0.0]]), np.array([0.6], np.float32), np.zeros(1, np.int32), np.zeros(1, int)
    )
    assert len(settle(part, plan, np.array([[True, False]]), 0.1)) == 1
    assert len(settle(part, plan, np.array([[True, True]]), 0.1)) == 0


def test_classes_do_not_suppress_each_other() -> None:
    plan = WindowPlan(64, 64, 64, 0)
    boxes = np.repeat([[30.0, 30.0, 20.0, 8.0, 0.4]], 3, axis=0)
    found = FoundObjects(boxes, np.array([0.5, 0.9, 0.7], np.float32), np.array([0, 1, 0], np.int32), np.zeros(3, int))
    kept = settle(found, plan, np.ones((1, 1), bool), 0.1)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7])
    assert kept.labels.tolist() == [1, 0]


def test_settling_nothing_gives_nothing() -> None:
    plan = WindowPlan(200, 100, 64, 24)
    assert len(settle(FoundObjects.none(), plan, np.zeros((plan.rows, plan.cols), bool), 0.1)) == 0


def test_outlines_in_numpy_are_those_in_torch() -> None:
    boxes = scatter(3, 300, 300, 40, 60)
    np.testing.assert_allclose(corners(boxes.numpy()), corners_of(boxes).numpy(), atol=1e-9)
    np.testing.assert_allclose(hulls(boxes.numpy()), hulls_of(boxes).numpy(), atol=1e-9)
    assert float(matched_iou(boxes, boxes).min()) == pytest.approx(1)
