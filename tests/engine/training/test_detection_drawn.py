"""Drawn scenes: objects fill their boxes, never overlap, and hang on the seed alone."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from test_detection_training import RECIPE

from engine.errors import TrainingError
from engine.models.rotated.boxes import boxes_of
from engine.models.rotated.overlap import pairwise_iou
from engine.training.detection.drawn.canvas import FINER, Canvas, Pose
from engine.training.detection.drawn.objects import KINDS, Kind
from engine.training.detection.drawn.scenes import DRAWABLE, draw_scene
from engine.training.detection.pictures import _photograph, load_split
from engine.training.recipe import load_recipe

EVERY_KIND = [kind for kinds in KINDS.values() for kind in kinds]


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: f"{kind.name}-{kind.lengths_m[1]}")
def test_an_object_fills_the_rectangle_it_says(kind: Kind) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        length = kind.length(rng)
        pose = Pose(100, 100, float(rng.uniform(-3, 3)), length / 120)
        canvas = Canvas(np.full((200, 200, 3), 0.437, np.float32), (0.0, 0.0))
        says = kind.draw(rng, canvas, pose, length)
        assert says[1] <= kind.room(length) * 1.001
        rows, cols = np.nonzero((canvas._pixels != np.float32(0.437)).any(axis=2))
        x, y = (cols + 0.5) / FINER - 100, (rows + 0.5) / FINER - 100
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        along, across = x * cos + y * sin, y * cos - x * sin
        for measured, metres in ((along, says[0]), (across, says[1])):
            half = metres / pose.gsd_m / 2
            assert measured.max() == pytest.approx(half, abs=1.5)
            assert measured.min() == pytest.approx(-half, abs=1.5)


def test_a_scene_hangs_on_its_seed() -> None:
    one, two, other = (draw_scene(seed, 128, (0.3, 0.6), DRAWABLE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1].corners, two[1].corners)
    assert not np.array_equal(one[0], other[0])


def test_objects_keep_apart_and_inside() -> None:
    seen: set[int] = set()
    for seed in range(10):
        image, objects = draw_scene(seed, 200, (0.3, 0.7), DRAWABLE)
        assert image.shape == (3, 200, 200)
        assert image.dtype == np.uint8
        seen |= set(objects.labels.tolist())
        if not len(objects):
            continue
        boxes = boxes_of(torch.from_numpy(objects.corners))
        assert float(pairwise_iou(boxes, boxes).fill_diagonal_(0).max()) < 0.06
        assert bool(((boxes[:, :2] > 0) & (boxes[:, :2] < 200)).all())
        assert float(boxes[:, 2:4].min()) > 2
    assert len(seen) >= 5


def write_recipe(folder: Path, **source: object) -> Path:
    drawn = {"kind": "drawn", "scenes": 2, "validation": 1, "size_px": 96, "first_seed": 5, **source}
    path = folder / "drawn.yaml"
    classes = ["harbour", "ship", "plane"]
    path.write_text(yaml.safe_dump({**RECIPE, "classes": classes, "data": [drawn]}), encoding="utf-8")
    return path


def test_a_recipe_draws_its_scenes(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    (train,), (validation,) = (load_split(recipe, tmp_path, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (2, 1)
    images = [train.read(0), train.read(1), validation.read(0)]
    assert len({item.image.tobytes() for item in images}) == 3
    labels = {label for item in images for label in item.objects.labels.tolist()}
    assert labels <= {1, 2}
    assert load_split(recipe, tmp_path, "test") == []


def test_scenes_can_lie_on_photographs(tmp_path: Path) -> None:
    ground = np.zeros((3, 64, 64), np.uint8)
    ground[1] = 200
    (tmp_path / "fields").mkdir()
    profile = {"driver": "PNG", "width": 64, "height": 64, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "fields" / "one.png", "w", **profile) as file:
        file.write(ground)
    recipe = load_recipe(write_recipe(tmp_path, backgrounds=["fields"], background_share=1.0))
    image = load_split(recipe, tmp_path, "train")[0].read(0).image
    red, green, blue = (float(np.median(band)) for band in image)
    assert green > 2 * max(red, blue)
    missing = load_recipe(write_recipe(tmp_path, backgrounds=["nowhere"]))
    with pytest.raises(TrainingError, match="photographs"):
        load_split(missing, tmp_path, "train")


def test_a_small_photograph_is_seen_whole_and_a_large_one_in_pieces(tmp_path: Path) -> None:
    """Left black, right white: all of a small one shows both; pieces of one eight times as wide mostly show one."""
    shown = {}
    for width in (64, 1024):
        image = np.zeros((3, width, width), np.uint8)
        image[:, :, width // 2 :] = 255
        path = tmp_path / f"{width}.png"
        profile = {"driver": "PNG", "width": width, "height": width, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", **profile) as file:
            file.write(image)
        grounds = [_photograph(np.random.default_rng(seed), path, 128) for seed in range(12)]
        assert all(ground.shape == (3, 128, 128) for ground in grounds)
        shown[width] = [float(np.ptp(ground)) > 200 for ground in grounds]
    assert all(shown[64])
    assert sum(shown[1024]) < 8


def test_classes_that_cannot_be_drawn_are_said(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    wrong = recipe.model_copy(update={"classes": recipe.classes[:1]})
    with pytest.raises(TrainingError, match="can be drawn"):
        load_split(wrong, tmp_path, "train")
