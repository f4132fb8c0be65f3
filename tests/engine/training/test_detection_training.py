"""The task ``detection``: data in DOTA's form, samples whose boxes follow the pixels, a run from recipe to card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from scipy import ndimage
from skimage.draw import polygon

from engine.errors import TrainingError
from engine.inference.detection.image import find_in_image
from engine.models import load_model
from engine.models.detection import Detections
from engine.models.rotated.boxes import boxes_of, canonical, corners_of
from engine.models.rotated.overlap import matched_iou
from engine.training.detection.boards import lay_out
from engine.training.detection.dota import DOTA_CLASSES, Annotations, write_annotations
from engine.training.detection.pictures import AnnotatedImage, load_split
from engine.training.detection.recipe import DetectionRecipe, ObjectAugmentation
from engine.training.detection.samples import MeasuredImages, ObjectSamples, annotations_of, make_sample, objects_of
from engine.training.evaluate import evaluate
from engine.training.recipe import load_recipe, shipped_recipes
from engine.training.schedule import learning_rate
from engine.training.train import build_model, train

NAMES = ("bar", "block")
RECIPE = {
    "name": "tiny-detector",
    "task": "detection",
    "architecture": "oriented_rcnn_lemevit_tiny",
    "config": {
        "pyramid_channels": 8, "hidden": 16, "grid": 3, "anchor_scale": 4.0, "proposals": 30, "freeze_norms": False,
        "drop_path_rate": 0.0, "max_objects": 20,
    },
    "classes": list(NAMES),
    "bands": ["red", "green", "blue"],
    "data": [{"kind": "dota", "folder": "bars", "split": {"rule": "prefix", "validation": ["v"]}}],
    "augmentation": {"crop_px": 64, "scale": [0.8, 1.25], "turn": True, "brightness": 0.2, "most_objects": 12},
    "teaching": {"anchor_samples": 32, "head_samples": 32, "proposals": 40},
    "optimisation": {
        "steps": 3, "steps_per_epoch": 2, "batch": 2, "warmup_steps": 1, "ema_decay": 0.5, "precision": "32-true",
        "loader_workers": 0,
    },
    "card": {
        "title": "Bars", "description": "Drawn bars.", "window_px": 64, "overlap_px": 24, "gsd_m": 0.5,
        "gsd_range_m": [0.3, 1.0], "data": "Drawn.", "licence": "Apache-2.0", "source": "Test.",
    },
}  # fmt: skip


def draw(seed: int, size: int = 96, count: int = 5) -> tuple[np.ndarray, Annotations]:
    """Bright bars on dark ground; ``[3, size, size]`` uint8."""
    rng = np.random.default_rng(seed)
    image = rng.integers(20, 60, (3, size, size), dtype=np.uint8)
    corners, labels = [], []
    for _ in range(count):
        label = int(rng.integers(2))
        sides = (24.0, 7.0) if label == 0 else (14.0, 12.0)
        box = torch.tensor([[*rng.uniform(15, size - 15, 2), *sides, rng.uniform(-1.5, 1.5)]])
        outline = corners_of(box)[0].numpy()
        rows, cols = polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, (size, size))
        image[label, rows, cols] = 230
        corners.append(outline)
        labels.append(label)
    return image, Annotations(np.array(corners, np.float64), np.array(labels), np.zeros(count, bool))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    images, texts = folder / "bars" / "images", folder / "bars" / "labelTxt"
    images.mkdir(parents=True)
    texts.mkdir()
    for number in range(6):
        name = f"{'v' if number > 3 else 't'}{number}"
        image, objects = draw(number, size=96 if number != 5 else 60)
        with rasterio.open(
            images / f"{name}.png", "w", driver="PNG", width=image.shape[2], height=image.shape[1], count=3,
            dtype="uint8",
        ) as file:  # fmt: skip
            file.write(image)
        write_annotations(texts / f"{name}.txt", objects, NAMES)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> DetectionRecipe:
    path = tmp_path / "tiny-detector.yaml"
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    loaded = load_recipe(path)
    assert isinstance(loaded, DetectionRecipe)
    return loaded


def test_boxes_follow_their_pixels_through_every_change() -> None:
    """Bright pixels of a sample lie in its boxes, and boxes are full of bright pixels."""
    how = ObjectAugmentation(crop_px=80, scale=(0.7, 1.5), turn=True, vertical_flip=0.5, most_objects=12, least_px=4)
    image, objects = draw(11, size=120, count=4)
    picture = AnnotatedImage(image, objects)
    seen = 0
    for seed in range(40):
        pixels, targets = make_sample(np.random.default_rng(seed), picture, how, 255.0)
        assert pixels.shape == (3, 80, 80)
        (known,) = objects_of(targets[None])
        for box, label in zip(known.boxes, known.labels, strict=True):
            inner = box * torch.tensor([1, 1, 0.7, 0.6, 1])
            outline = corners_of(inner[None])[0].numpy()
            rows, cols = polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, (80, 80))
            if len(rows):
                assert float(pixels[label, rows, cols].mean()) > 0.75
                seen += 1
        covered = np.zeros((80, 80), bool)
        for box in known.boxes * torch.tensor([1, 1, 1.15, 1.3, 1]):
            outline = corners_of(box[None])[0].numpy()
            covered[polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, (80, 80))] = True
        bright = (pixels[:2] > 0.8).any(dim=0).numpy()
        if len(known.boxes) == 4:
            assert (bright & ~covered).sum() < 0.02 * bright.sum() + 12
    assert seen > 60


def test_boards_keep_scale_and_boxes() -> None:
    """Every image of a board lies there as it is, and its objects with it; a large image stays alone."""
    first, large = (AnnotatedImage(*draw(seed, size=size)) for seed, size in ((1, 60), (2, 90)))
    rng = np.random.default_rng(0)
    assert lay_out(rng, large, lambda _: first, 90, 0.5) is large
    board = lay_out(rng, first, lambda _: large, 130, 0.5)
    assert board.image.shape == (3, 180, 180)
    cells = [board.image[:, top : top + 60, left : left + 60] for top in (0, 60, 120) for left in (0, 60, 120)]
    assert sum(np.array_equal(cell, first.image) for cell in cells) == 1
    assert len(board.objects) > len(first.objects)
    for outline, label in zip(board.objects.corners, board.objects.labels, strict=True):
        middle = outline.mean(axis=0)
        inner = middle + 0.5 * (outline - middle)
        rows, cols = polygon(inner[:, 1] - 0.5, inner[:, 0] - 0.5, (180, 180))
        whole = (outline // 60 == outline[0] // 60).all()  # what lies across two cells is cut
        assert board.image[label, rows, cols].mean() > (200 if whole else 115)


def test_what_no_image_fills_is_grey() -> None:
    first, small = AnnotatedImage(*draw(1, size=60)), AnnotatedImage(*draw(2, size=40))
    board = lay_out(np.random.default_rng(0), first, lambda _: small, 100, 0.5)
    assert len(board.objects) == len(first.objects)
    grey = first.image.mean(axis=(1, 2)).astype(np.uint8)
    assert (board.image == grey[:, None, None]).all(axis=0).mean() >= 0.75


def test_pieces_larger_than_their_image_go_on_with_others(recipe: DetectionRecipe, root: Path) -> None:
    how = recipe.augmentation.model_copy(update={"crop_px": 128, "scale": (0.5, 0.5), "turn": False, "brightness": 0.0})
    counts = {}
    for beyond in ("grey", "others"):
        chosen = recipe.model_copy(update={"augmentation": how.model_copy(update={"beyond": beyond})})
        samples = ObjectSamples(chosen, load_split(chosen, root, "train"))
        counts[beyond] = [int((samples[index][1][:, 5] >= 0).sum()) for index in range(4)]
    assert min(counts["others"]) > max(counts["grey"])


def test_objects_hardly_in_the_sample_do_not_count() -> None:
    corners = corners_of(torch.tensor([[0.0, 40, 20, 10, 0], [-6.0, 40, 20, 10, 0], [40.0, 40, 20, 1, 0]])).double()
    objects = Annotations(corners.numpy(), np.array([0, 1, 0]), np.zeros(3, bool))
    how = ObjectAugmentation(crop_px=80, flip=0, vertical_flip=0, centred=0, visible=0.5, least_px=2, most_objects=4)
    _, targets = make_sample(np.random.default_rng(0), AnnotatedImage(np.zeros((3, 80, 80), np.uint8), objects), how, 1)
    (known,) = objects_of(targets[None])
    assert known.labels.tolist() == [0]
    torch.testing.assert_close(known.boxes, torch.tensor([[0.0, 40, 20, 10, 0]]))
    assert targets.shape == (4, 6)


def test_of_too_many_objects_the_largest_stay() -> None:
    image, objects = draw(3, count=6)
    how = ObjectAugmentation(crop_px=96, flip=0, vertical_flip=0, most_objects=2)
    _, targets = make_sample(np.random.default_rng(0), AnnotatedImage(image, objects), how, 255)
    boxes = boxes_of(torch.from_numpy(objects.corners))
    largest = (boxes[:, 2] * boxes[:, 3]).topk(2).values
    assert (targets[:, 2] * targets[:, 3]).sum() == pytest.approx(float(largest.sum()), rel=1e-4)


def test_samples_hang_on_seed_epoch_and_place_alone(recipe: DetectionRecipe, root: Path) -> None:
    one, other = (ObjectSamples(recipe, load_split(recipe, root, "train")) for _ in range(2))
    other.set_epoch(0)
    for index in (0, 3):
        for a, b in zip(one[index], other[index], strict=True):
            torch.testing.assert_close(a, b)
    other.set_epoch(1)
    assert not torch.equal(one[0][0], other[0][0])


def test_measured_images_hold_what_is_written_down(recipe: DetectionRecipe, root: Path) -> None:
    images = MeasuredImages(load_split(recipe, root, "validation"))
    assert len(images) == 2
    stored, rows = images[0]
    known = annotations_of(rows)
    _, drawn = draw(4)
    np.testing.assert_allclose(known.corners, drawn.corners, atol=0.051)
    assert known.labels.tolist() == drawn.labels.tolist()
    assert stored.dtype == torch.uint8


def test_what_is_missing_is_named(recipe: DetectionRecipe, root: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not there"):
        load_split(recipe, tmp_path, "train")
    images = tmp_path / "bars" / "images"
    images.mkdir(parents=True)
    (tmp_path / "bars" / "labelTxt").mkdir()
    (images / "t0.png").write_bytes((root / "bars" / "images" / "t0.png").read_bytes())
    with pytest.raises(TrainingError, match=r"t0\.txt"):
        load_split(recipe, tmp_path, "train")


def test_a_recipe_becomes_a_detector_with_its_scores(recipe: DetectionRecipe, root: Path, tmp_path: Path) -> None:
    trained = train(recipe, root, tmp_path / "run")
    assert trained is not None
    assert trained.card.task == "detection"
    assert trained.card.token_count == 16
    table = trained.card.metrics["validation"]
    assert {"map_area", "map_11", "ap_area", "recall", "objects"} <= set(table)
    assert table["objects"] == 10
    loaded = load_model(trained.checkpoint)
    report = evaluate(loaded, recipe, root)
    assert report.as_card_table() == table
    if report.headline["best_f1"]:
        assert trained.card.min_score == pytest.approx(report.headline["best_score"], abs=1e-3)
    assert (tmp_path / "run" / "states" / "last.ckpt").exists()


def test_a_model_that_finds_nothing_is_no_detector(recipe: DetectionRecipe, root: Path, tmp_path: Path) -> None:
    wrong = recipe.model_copy(update={"architecture": "lemevit_tiny", "config": {}})
    with pytest.raises(TrainingError, match="no detector"):
        train(wrong, root, tmp_path / "run")


def test_large_images_are_looked_at_in_windows() -> None:
    """A detector that sees bright pixels finds a bar on a window border once."""
    truth = canonical(torch.tensor([[63.0, 40.0, 20.0, 8.0, 0.0], [110.0, 100.0, 18.0, 6.0, 0.0]]))
    image = torch.zeros(3, 140, 150)
    for x, y, w, h, _ in truth.tolist():
        image[:, int(y - h / 2) : int(y + h / 2), int(x - w / 2) : int(x + w / 2)] = 255

    def detect(images: torch.Tensor) -> list[Detections]:
        found = []
        for one in images:
            labels, count = ndimage.label(one[0].numpy() > 0)
            boxes = torch.zeros(count, 5)
            for number in range(count):
                rows, cols = np.nonzero(labels == number + 1)
                sides = (cols.max() + 1 - cols.min(), rows.max() + 1 - rows.min())
                boxes[number, :4] = torch.tensor([cols.mean() + 0.5, rows.mean() + 0.5, *sides])
            found.append(Detections(canonical(boxes), torch.full((count,), 0.9), torch.zeros(count, dtype=torch.long)))
        return found

    found = find_in_image(detect, image, 64, 30, 0.1)
    assert len(found) == 2
    order = found.boxes[:, 0].argsort()
    assert float(matched_iou(found.boxes[order], truth).min()) > 0.99


def test_large_training_images_are_cut_into_tiles_that_hold_objects(root: Path, tmp_path: Path) -> None:
    source = {**RECIPE["data"][0], "cut_px": 64, "cut_overlap_px": 16}
    path = tmp_path / "cut.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "data": [source]}), encoding="utf-8")
    whole = load_split(load_recipe(_plain(tmp_path)), root, "train")[0]
    tiles = load_split(load_recipe(path), root, "train")[0]
    assert len(tiles) > len(whole) == 4
    seen = set()
    for tile in tiles:
        assert tile.image.shape == (3, 64, 64)
        assert len(tile.objects) > 0
        for corners, label in zip(tile.objects.corners, tile.objects.labels, strict=True):
            x, y = corners.mean(axis=0)
            if 4 < x < 60 and 4 < y < 60:
                assert tile.image[label, int(y), int(x)] == 230
                seen.add(tuple(np.round(corners[1] - corners[0], 1)))
    assert len(seen) >= 15  # of 20 objects, less those that others hide
    assert len(load_split(load_recipe(path), root, "validation")[0]) == 2


def _plain(folder: Path) -> Path:
    path = folder / "plain.yaml"
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return path


def test_the_rate_falls_to_a_tenth_after_each_drop(recipe: DetectionRecipe) -> None:
    o = recipe.optimisation.model_copy(
        update={"steps": None, "epochs": 4, "batch": 2, "warmup_steps": 3, "learning_rate": 1.0, "drops": (2, 3)}
    )
    budget = o.budget(10)
    rates = [learning_rate(o, budget, step) for step in range(1, 21)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[3:10] == [1.0] * 7
    assert rates[10:15] == pytest.approx([0.1] * 5)
    assert rates[15:] == pytest.approx([0.01] * 5)


@pytest.mark.parametrize("name", ["lemevit-dota", "lemevit-dota-small", "lemevit-dota-base"])
def test_shipped_recipes_of_dota_are_valid(name: str) -> None:
    shipped = load_recipe(shipped_recipes()[name])
    assert isinstance(shipped, DetectionRecipe)
    assert tuple(shipped.class_names) == DOTA_CLASSES
    assert shipped.optimisation.drops == (8, 11)
    build_model(shipped)
