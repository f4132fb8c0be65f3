from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from scene_pictures import KINDS, RECIPE, write_scenes
from typer.testing import CliRunner

from engine.cli.main import build_app
from engine.errors import DataWarning, OptionError, TrainingError
from engine.models.loaded import load_model
from engine.models.scenes import classify
from engine.training.classification.pictures import load_split
from engine.training.classification.recipe import ClassificationRecipe
from engine.training.classification.samples import MeasuredScenes, SceneSamples
from engine.training.evaluate import evaluate
from engine.training.recipe import load_recipe
from engine.training.train import train


@pytest.fixture(scope="session")
def scene_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def scene_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-scenes.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def _recipe(path: Path, *overrides: str) -> ClassificationRecipe:
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, ClassificationRecipe)
    return recipe


def _labels(recipe: ClassificationRecipe, root: Path, split: str) -> dict[str, int]:
    return {file.path.name: file.label for group in load_split(recipe, root, split) for file in group.files}


def test_folders_give_the_labels_and_the_rule_the_split(scene_recipe: Path, scene_root: Path) -> None:
    recipe = _recipe(scene_recipe)
    train_labels, validation = (_labels(recipe, scene_root, split) for split in ("train", "validation"))
    assert not set(train_labels) & set(validation)
    both = train_labels | validation
    assert len(both) == 14 * len(KINDS)
    assert all(KINDS[label] == name.rstrip("0123456789.png") for name, label in both.items())


def test_lists_are_read_by_position(scene_recipe: Path, scene_root: Path, tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "listed", each=2)
    folder = root / "scenes"
    (folder / "train.csv").write_text(",path,label\n0,dark/dark00.png,1\n1,striped/striped01.png,3\n")
    (folder / "test.csv").write_text("0,bright/bright00.png,2\n")
    source = "data=[{kind: lists, folder: scenes, train: train.csv, validation: test.csv, first_label: 1}]"
    recipe = _recipe(scene_recipe, source)
    assert _labels(recipe, root, "train") == {"dark00.png": 0, "striped01.png": 2}
    assert _labels(recipe, root, "validation") == {"bright00.png": 1}
    (folder / "train.csv").write_text("0,dark/dark00.png,1\n1,dark/dark77.png,1\n")
    with pytest.raises(TrainingError, match=r"1 of 2 listed pictures are not there: dark/dark77\.png"):
        load_split(recipe, root, "train")
    (folder / "train.csv").write_text("0,dark/dark00.png,4\n")
    with pytest.raises(TrainingError, match="label 4 of row 1"):
        load_split(recipe, root, "train")


def test_a_class_without_a_folder_is_named_and_a_folder_without_a_class_left_out(
    scene_recipe: Path, scene_root: Path
) -> None:
    with pytest.raises(TrainingError, match="1 of 4 classes have no folder: dotted"):
        load_split(_recipe(scene_recipe, "classes=[dark, bright, striped, dotted]"), scene_root, "train")
    with pytest.warns(DataWarning, match="striped"):
        load_split(_recipe(scene_recipe, "classes=[dark, bright]"), scene_root, "train")
    renamed = _recipe(scene_recipe, "classes=[night, bright, striped]", "data.0.folders={night: dark}")
    labels = _labels(renamed, scene_root, "train")
    assert {label for name, label in labels.items() if name.startswith("dark")} == {0}


def test_an_epoch_shows_every_picture_once(scene_recipe: Path, scene_root: Path) -> None:
    recipe = _recipe(scene_recipe)
    sets = load_split(recipe, scene_root, "train")
    samples = SceneSamples(recipe, sets)
    expected = sorted(file.label for group in sets for file in group.files)
    orders = []
    for epoch in range(2):
        samples.set_epoch(epoch)
        drawn = [int(samples[i][1]) for i in range(len(samples))]
        assert sorted(drawn) == expected
        orders.append(drawn)
    assert orders[0] != orders[1]


def test_measured_pictures_keep_their_proportion(scene_recipe: Path, scene_root: Path) -> None:
    recipe = _recipe(scene_recipe)
    measured = MeasuredScenes(recipe, load_split(recipe, scene_root, "train"))
    shapes = {tuple(image.shape) for image, _ in (measured[i] for i in range(len(measured)))}
    assert shapes == {(3, 32, 32), (3, 32, 38)}
    batches = list(measured.batches(16))
    assert sum(len(labels) for groups in batches for _, labels in groups) == len(measured)


@pytest.mark.parametrize(
    "augmentation",
    [[], ["augmentation.mixup=0.8", "augmentation.cutmix=1.0", "augmentation.erase=0.5", "loss.label_smoothing=0.1"]],
    ids=["plain", "mixed"],
)
def test_a_classifier_learns_and_scores_as_its_card_says(
    scene_recipe: Path, scene_root: Path, tmp_path: Path, augmentation: list[str]
) -> None:
    recipe = _recipe(scene_recipe, "optimisation.epochs=20", "optimisation.evaluate_every=5", *augmentation)
    trained = train(recipe, scene_root, tmp_path / "out")
    assert trained is not None
    card = trained.card
    assert (card.task, card.token_count, [c.name for c in card.classes]) == ("classification", 4, list(KINDS))
    model = load_model(trained.checkpoint)
    report = evaluate(model, recipe, scene_root)
    assert report.as_card_table() == card.metrics["validation"]
    assert report.headline["top1"] > 0.6  # three kinds: chance is a third
    assert report.headline["top5"] == 1.0
    assert report.confusion is not None
    assert report.confusion.sum() == report.counts["images"]
    scores = classify(model, torch.full((3, 50, 70), 45, dtype=torch.uint8))
    assert [s.score for s in scores] == sorted((s.score for s in scores), reverse=True)
    assert sum(s.score for s in scores) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(OptionError, match="4 bands"):
        classify(model, torch.zeros(4, 32, 32))


def test_the_command_line_trains_and_evaluates_scenes(scene_recipe: Path, scene_root: Path, tmp_path: Path) -> None:
    app, out = build_app(), tmp_path / "cli"
    common = ["--data", str(scene_root)]
    result = CliRunner().invoke(app, ["train", str(scene_recipe), *common, "--out", str(out)])
    assert result.exit_code == 0, result.output
    model = str(out / "tiny-scenes.safetensors")
    result = CliRunner().invoke(
        app, ["evaluate", model, *common, "--recipe", str(scene_recipe), "--out", str(tmp_path / "report")]
    )
    assert result.exit_code == 0, result.output
    assert "top-1" in result.output
    assert (tmp_path / "report" / "confusion.png").exists()
    result = CliRunner().invoke(app, ["evaluate", model, *common, "--recipe", str(scene_recipe), "--split", "test"])
    assert isinstance(result.exception, TrainingError)
    assert "train, validation" in str(result.exception)


@pytest.mark.parametrize("memory", ["true", "false"])
def test_broken_pictures_stop_or_are_left_out_by_name(scene_recipe: Path, tmp_path: Path, memory: str) -> None:
    root = write_scenes(tmp_path / "data", each=8)
    whole = tmp_path / "whole.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    with rasterio.open(whole, "w", driver="JPEG", width=64, height=64, count=3, dtype="uint8") as file:
        file.write(noise)
    broken = root / "scenes" / "dark" / "cut.jpg"
    broken.write_bytes(whole.read_bytes()[:1500])  # a header and the first rows
    overrides = [f"data.0.memory={memory}", "data.0.split={rule: none}"]

    def draw_all(*more: str) -> list[int]:
        recipe = _recipe(scene_recipe, *overrides, *more)
        samples = SceneSamples(recipe, load_split(recipe, root, "train"))
        return [int(samples[i][1]) for i in range(len(samples))]

    with pytest.raises(TrainingError, match=r"broken.*cut\.jpg.*on_broken=skip"):
        draw_all()
    with pytest.warns(DataWarning, match=r"cut\.jpg"):
        drawn = draw_all("on_broken=skip")
    assert len(drawn) in (24, 25)
    assert set(drawn) == {0, 1, 2}
