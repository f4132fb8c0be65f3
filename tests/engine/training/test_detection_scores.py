"""DOTA's annotations and average precision, on cases worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TrainingError
from engine.models.detection import Detections
from engine.models.rotated.boxes import corners_of
from engine.models.rotated.overlap import pairwise_quad_iou
from engine.training.detection.dota import DOTA_CLASSES, Annotations, read_annotations, write_annotations
from engine.training.detection.scores import DetectionScorer, area_precision, curve, eleven_point_precision

CODES = {name: code for code, name in enumerate(DOTA_CLASSES)}
SHARED = Path(__file__).parents[4] / "shared" / "data" / "oriented_dota"


def objects(*boxes: tuple[float, float, float, float, float], label: int = 0, difficult: tuple[int, ...] = ()):
    corners = corners_of(torch.tensor(boxes, dtype=torch.float64)).numpy().reshape(-1, 4, 2)
    hard = np.isin(np.arange(len(boxes)), difficult)
    return Annotations(corners, np.full(len(boxes), label, np.int64), hard)


def found(*boxes: tuple[float, float, float, float, float], scores: tuple[float, ...], label: int = 0) -> Detections:
    return Detections(
        torch.tensor(boxes).reshape(-1, 5), torch.tensor(scores), torch.full((len(boxes),), label, dtype=torch.long)
    )


A, B, C = (20.0, 20.0, 20.0, 8.0, 0.4), (60.0, 20.0, 16.0, 9.0, -1.0), (60.0, 60.0, 18.0, 6.0, 0.0)
NOWHERE = (200.0, 200.0, 10.0, 5.0, 0.0)


def test_everything_found_is_one() -> None:
    scorer = DetectionScorer(2)
    scorer.add(found(A, B, C, scores=(0.9, 0.8, 0.7)), objects(A, B, C))
    scores = scorer.scores()
    assert (scores.ap_area[0], scores.ap_11[0], scores.recall[0]) == pytest.approx((1, 1, 1))
    assert np.isnan(scores.ap_area[1])
    assert scores.map_area == pytest.approx(1)
    assert (scores.best_f1, scores.best_score) == pytest.approx((1, 0.7))


def test_a_false_alarm_between_two_hits() -> None:
    """Right, wrong, right of three objects: recall 1/3, 1/3, 2/3, precision 1, 1/2, 2/3."""
    scorer = DetectionScorer(1)
    scorer.add(found(A, NOWHERE, B, scores=(0.9, 0.8, 0.7)), objects(A, B, C))
    scores = scorer.scores()
    assert scores.ap_area[0] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert scores.ap_11[0] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # recalls 0 to 0.3, then 0.4 to 0.6
    assert scores.recall[0] == pytest.approx(2 / 3)


def test_a_second_detection_of_an_object_is_wrong() -> None:
    scorer = DetectionScorer(1)
    scorer.add(found(A, A, scores=(0.6, 0.9)), objects(A))
    scores = scorer.scores()
    assert scores.ap_area[0] == pytest.approx(1)
    assert scores.best_f1 == pytest.approx(1)
    scorer.add(found(scores=()), objects(B))
    assert scorer.scores().ap_area[0] == pytest.approx(0.5)


def test_difficult_objects_count_neither_way() -> None:
    scorer = DetectionScorer(1)
    scorer.add(found(A, A, B, scores=(0.9, 0.8, 0.7)), objects(A, B, C, difficult=(0, 2)))
    scores = scorer.scores()
    assert scores.objects == (1,)
    assert scores.ap_area[0] == scores.ap_11[0] == pytest.approx(1)


def test_each_detection_is_held_against_the_object_it_overlaps_most() -> None:
    """A surer detection between two objects takes the nearer one; the next one of it is wrong, as in DOTA's kit."""
    near, far = (20.0, 20.0, 20.0, 10.0, 0.0), (26.0, 20.0, 20.0, 10.0, 0.0)
    scorer = DetectionScorer(1)
    scorer.add(found((21.0, 20.0, 20.0, 10.0, 0.0), near, scores=(0.9, 0.8)), objects(near, far))
    assert scorer.scores().recall[0] == pytest.approx(0.5)


def test_classes_and_images_do_not_mix() -> None:
    scorer = DetectionScorer(2)
    scorer.add(found(A, scores=(0.9,), label=1), objects(A, label=0))
    scorer.add(found(A, scores=(0.8,), label=0), objects(B, label=0))
    scores = scorer.scores()
    assert scores.ap_area[0] == 0
    assert np.isnan(scores.ap_area[1])


def test_half_an_overlap_is_not_enough() -> None:
    """IoU of exactly 1/2 is wrong, a little more is right."""
    whole, half = (50.0, 50.0, 20.0, 10.0, 0.0), (50.0, 47.5, 20.0, 5.0, 0.0)
    for height, expected in ((0.0, 0.0), (0.1, 1.0)):
        scorer = DetectionScorer(1)
        scorer.add(found((*half[:3], half[3] + height, 0.0), scores=(0.9,)), objects(whole))
        assert scorer.scores().ap_area[0] == expected


def test_overlap_is_with_the_quadrilateral_not_a_rectangle_round_it() -> None:
    rng = np.random.default_rng(0)
    quads = np.array([[0, 0], [30, 0], [30, 15], [0, 15]]) + rng.uniform(-6, 6, (50, 4, 2))
    boxes = torch.tensor([[15.0, 7.5, 30.0, 15.0, 0.2]], dtype=torch.float64)
    shape = shapely.polygons(corners_of(boxes).numpy())[0]
    shapes = shapely.polygons(quads)
    expected = shapely.area(shapely.intersection(shapes, shape)) / shapely.area(shapely.union(shapes, shape))
    np.testing.assert_allclose(pairwise_quad_iou(boxes, torch.from_numpy(quads))[0].numpy(), expected, atol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([1, 0, -1])), min_size=1, max_size=40), st.integers(0, 10))
def test_precision_lies_between_nothing_and_one(rows, missed) -> None:
    scores, outcomes = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], np.int8)
    count = int((outcomes == 1).sum()) + missed
    recall, precision, _ = curve(scores, outcomes, count)
    area, eleven = area_precision(recall, precision), eleven_point_precision(recall, precision)
    assert 0 <= area <= 1 + 1e-12
    assert 0 <= eleven <= 1 + 1e-12
    if missed == 0 and (outcomes != 0).all() and count:
        assert area == pytest.approx(1)
        assert eleven == pytest.approx(1)
    if count:  # plain sum over right detections, written another way
        best = [precision[i:].max() for i in range(len(precision))]
        order = np.argsort(-scores, kind="stable")
        kept = outcomes[order][outcomes[order] != -1]
        assert area == pytest.approx(sum(b for b, o in zip(best, kept, strict=True) if o == 1) / count)


def test_annotations_of_every_shape_are_read(tmp_path: Path) -> None:
    path = tmp_path / "P1.txt"
    path.write_text(
        "imagesource:GoogleEarth\ngsd:0.146\n"
        "2.0 3.0 12.0 3.0 12.0 8.0 2.0 8.0 plane 0\n\n"
        "20 20 30 20 30 40 20 40 ship 1\n1 1 2 1 2 2 1 2 harbor\n"
    )
    read = read_annotations(path, CODES)
    assert [DOTA_CLASSES[label] for label in read.labels] == ["plane", "ship", "harbor"]
    assert read.difficult.tolist() == [False, True, False]
    assert read.corners[0].tolist() == [[2, 3], [12, 3], [12, 8], [2, 8]]
    write_annotations(tmp_path / "again.txt", read, DOTA_CLASSES)
    again = read_annotations(tmp_path / "again.txt", CODES)
    np.testing.assert_array_equal(again.corners, read.corners)
    np.testing.assert_array_equal(again.difficult, read.difficult)


def test_an_empty_file_holds_no_objects(tmp_path: Path) -> None:
    (tmp_path / "P2.txt").write_text("")
    read = read_annotations(tmp_path / "P2.txt", CODES)
    assert len(read) == 0
    assert read.corners.shape == (0, 4, 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [("1 2 3 ship", "line 2"), ("1 2 3 4 5 6 7 x ship 0", "line 2"), ("1 2 3 4 5 6 7 nan ship", "finite")],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "P3.txt"
    path.write_text(f"gsd:0.1\n{line}\n")
    with pytest.raises(TrainingError, match=said):
        read_annotations(path, CODES)


def test_other_classes_are_errors_or_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "P4.txt"
    path.write_text("1 1 2 1 2 2 1 2 container-crane 0\n1 1 2 1 2 2 1 2 ship 0\n")
    with pytest.raises(TrainingError, match="container-crane"):
        read_annotations(path, CODES)
    assert len(read_annotations(path, CODES, others=True)) == 1
    with pytest.raises(TrainingError, match="cannot be read"):
        read_annotations(tmp_path / "none.txt", CODES)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not there")
def test_the_shared_patches_are_read_whole() -> None:
    files = sorted((SHARED / "labelTxt").glob("*.txt"))
    counts = [len(read_annotations(path, CODES)) for path in files]
    assert sum(counts) == sum(len(path.read_text().split("\n")) - path.read_text().endswith("\n") for path in files)
