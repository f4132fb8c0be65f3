"""Learning from a finished model beside the labels, and in what arithmetic a run computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import ModelNotFoundError, TrainingError
from engine.models.checkpoint import load_checkpoint, read_card, save_checkpoint
from engine.training.recipe import load_recipe
from engine.training.segmentation.teacher import Taught, find_teacher
from engine.training.train import train


@pytest.fixture
def trained(recipe_file: Path, tile_root: Path, tmp_path: Path) -> Path:
    result = train(load_recipe(recipe_file), tile_root, tmp_path / "first")
    assert result is not None
    return result.checkpoint


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_agreeing_with_the_teacher_costs_nothing_and_pulls_nowhere(temperature: float) -> None:
    logits = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    taught = Taught(logits, share=0.5, temperature=temperature)
    same = (logits + 7).requires_grad_()  # the same probabilities
    loss = taught.loss(same)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert same.grad is not None
    assert float(same.grad.abs().max()) < 1e-6
    assert float(taught.loss(-logits)) > 0.1


def test_the_divergence_is_that_of_the_definition() -> None:
    teacher, learner = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])
    taught = Taught(teacher[None, :, None, None], share=1.0, temperature=2.0)
    p = torch.softmax(teacher / 2, 0)
    expected = 4 * float((p * (p / 0.5).log()).sum())
    assert float(taught.loss(learner[None, :, None, None])) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_sees_pixels_as_its_own_card_scales_them(trained: Path, recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, [f"teacher={{model: {trained}, share: 0.25}}"])
    teacher = find_teacher(recipe)
    assert teacher is not None
    images = torch.rand(2, 3, 32, 32)
    module, card = load_checkpoint(trained)
    mean, std = (torch.tensor(part)[:, None, None] for part in (card.scaling.mean, card.scaling.std))
    with torch.inference_mode():
        expected = module.eval()((images - mean) / std).logits_at(32, 32)
    taught = teacher.about(images)
    assert taught.share == 0.25
    torch.testing.assert_close(taught.logits, expected, rtol=1e-3, atol=1e-4)


def test_a_run_learns_from_its_teacher_and_its_card_says_so(
    trained: Path, recipe_file: Path, tile_root: Path, tmp_path: Path
) -> None:
    """Labels swapped on purpose: with the teacher alone the loss says nothing of them."""
    settings = [
        f"start={trained}",
        f"teacher={{model: {trained}, share: 1.0}}",
        "data=[{kind: tiles, folder: tiny, labels: {1: 1, 2: 0}, split: {rule: md5, validation: [0, 1]}}]",
        "loss={tokens: 0, spectral: 0, outline: 0, sharpness: 0}",
        "optimisation={steps: 20, steps_per_epoch: 20, batch: 4, learning_rate: 0.01, loader_workers: 0,"
        " precision: 32-true, keep: last, ema_decay: null, weight_decay: 0}",
    ]
    result = train(load_recipe(recipe_file, settings), tile_root, tmp_path / "second")
    alone = train(
        load_recipe(recipe_file, [setting for setting in settings if not setting.startswith("teacher")]),
        tile_root,
        tmp_path / "third",
    )
    assert result is not None
    assert alone is not None
    assert result.card.taught_by == "tiny"
    assert read_card(alone.checkpoint).taught_by is None
    right = [run.report.headline["pixel_accuracy"] for run in (result, alone)]
    assert right[1] > right[0] + 0.2, "without the teacher the swapped labels are learned"
    with pytest.raises(TrainingError, match="differs from the recipe in teacher"):
        train(load_recipe(recipe_file, [*settings, "teacher=null"]), tile_root, tmp_path / "second")


def test_teachers_that_do_not_fit_are_refused(trained: Path, recipe_file: Path, tmp_path: Path) -> None:
    module, card = load_checkpoint(trained)
    swapped = tmp_path / "swapped.safetensors"
    save_checkpoint(swapped, module, card.model_copy(update={"classes": card.classes[::-1]}))
    with pytest.raises(TrainingError, match="other classes than the recipe: bright, dark, not dark, bright"):
        find_teacher(load_recipe(recipe_file, [f"teacher={{model: {swapped}}}"]))
    with pytest.raises(TrainingError, match="is a model for classification and cannot teach segmentation"):
        find_teacher(load_recipe(recipe_file, ["teacher={model: hook-ucmerced}"]))
    with pytest.raises(ModelNotFoundError):
        find_teacher(load_recipe(recipe_file, ["teacher={model: nobody}"]))


def test_a_teacher_that_is_not_there_is_refused_before_the_data_are_read(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        train(load_recipe(recipe_file, ["teacher={model: nobody}"]), tmp_path / "no data", tmp_path / "run")


@pytest.mark.parametrize("fast", [True, False])
def test_a_processor_without_bfloat16_trains_in_float32_and_says_so(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    import lightning as L

    given: list[str] = []

    class StopError(Exception):
        pass

    def trainer(**options: object) -> None:
        given.append(str(options["precision"]))
        raise StopError

    monkeypatch.setattr("engine.training.train.has_fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(L, "Trainer", trainer)
    told: list[str] = []
    recipe = load_recipe(recipe_file, ["optimisation.precision=bf16-mixed", "hardware.accelerator=cpu"])
    with pytest.raises(StopError):
        train(recipe, tile_root, tmp_path / "run", tell=told.append)
    assert given == ["bf16-mixed" if fast else "32-true"]
    assert [text.startswith("Trains in float32") for text in told] == ([] if fast else [True])
