"""The task ``change``: pairs as distributed, samples, scores, a run from recipe to card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

from engine.errors import DataWarning, TrainingError
from engine.models import load_model
from engine.models.output import TokenOutput
from engine.tokenizers.base import Tokens
from engine.training.change.module import change_loss
from engine.training.change.pairs import Pair, load_split
from engine.training.change.recipe import ChangeLoss, ChangeRecipe, PairAugmentation
from engine.training.change.samples import IGNORE, ChangeSamples, MeasuredPairs, make_sample
from engine.training.change.scores import ChangeScorer
from engine.training.compare import compare
from engine.training.evaluate import evaluate
from engine.training.recipe import load_recipe, shipped_recipes
from engine.training.schedule import learning_rate
from engine.training.train import train

RECIPE = {
    "name": "tiny-change",
    "task": "change",
    "architecture": "bit_lemevit_tiny",
    "config": {"decoder_depth": 1},
    "classes": ["unchanged", "changed"],
    "bands": ["red", "green", "blue"],
    "data": [{"kind": "pairs", "folder": "pairs", "split": {"rule": "prefix", "validation": ["v"]}}],
    "augmentation": {"crop_px": 64, "scale": [0.8, 1.2], "swap": 0.5, "brightness": 0.2},
    "loss": {"dice": 0.5},
    "optimisation": {
        "steps": 4, "steps_per_epoch": 2, "batch": 2, "warmup_steps": 1, "ema_decay": 0.5, "precision": "32-true",
        "loader_workers": 0,
    },
    "card": {
        "title": "Blocks", "description": "Blocks that come and go.", "window_px": 64, "overlap_px": 16,
        "data": "Drawn.", "licence": "Apache-2.0", "source": "Test.",
    },
}  # fmt: skip


def recipe(**changes) -> ChangeRecipe:
    return ChangeRecipe.model_validate({**RECIPE, **changes})


def block(seed: int, size: int = 96) -> Pair:
    """Grey noise on which a bright block appears."""
    rng = np.random.default_rng(seed)
    before = rng.integers(60, 90, (3, size, size)).astype(np.uint8)
    changed = np.zeros((size, size), bool)
    row, col = rng.integers(5, size - 35, 2)
    changed[row : row + 30, col : col + 24] = True
    return Pair(before, np.where(changed, 220, before).astype(np.uint8), changed)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "PNG", "count": len(image), "height": image.shape[1], "width": image.shape[2]}
    with rasterio.open(path, "w", dtype="uint8", **profile) as file:
        file.write(image)


def save_pair(folder: Path, name: str, pair: Pair) -> None:
    for part, image in (("A", pair.before), ("B", pair.after), ("label", 255 * pair.changed[None].astype(np.uint8))):
        save(folder / part / f"{name}.png", image)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("t1", "t2", "t3", "v1", "v2")):
        save_pair(folder / "pairs", name, block(number))
    return folder


# -- data -----------------------------------------------------------------------------------------------------------


def test_pairs_are_read_by_split(root):
    sets = load_split(recipe(), root, "train"), load_split(recipe(), root, "validation")
    assert [len(part[0]) for part in sets] == [3, 2]
    pair, expected = sets[1][0].read(0), block(3)
    assert np.array_equal(pair.before, expected.before)
    assert np.array_equal(pair.after, expected.after)
    assert np.array_equal(pair.changed, expected.changed)


def test_pairs_that_do_not_fit_stop_or_are_left_out(tmp_path):
    for name in ("a", "b", "c"):
        save_pair(tmp_path / "pairs", name, block(1))
    save(tmp_path / "pairs" / "B" / "b.png", block(1).after[:, :-1])
    (tmp_path / "pairs" / "label" / "c.png").unlink()
    everything = {"data": [{"kind": "pairs", "folder": "pairs"}]}
    with pytest.raises(TrainingError, match="differ in size: A 96 x 96, B 96 x 95, label 96 x 96"):
        load_split(recipe(**everything), tmp_path, "train")
    with pytest.warns(DataWarning) as said:
        sets = load_split(recipe(**everything, on_broken="skip"), tmp_path, "train")
    assert len(sets[0]) == 1
    assert any("lacks its image in label" in str(item.message) for item in said)
    with pytest.raises(TrainingError, match="not there"):
        load_split(recipe(data=[{"kind": "pairs", "folder": "none"}]), tmp_path, "train")


def test_large_pairs_are_cut_into_tiles_that_cover_them(tmp_path):
    whole = block(5, size=150)
    save_pair(tmp_path / "pairs", "large", whole)
    sets = load_split(recipe(data=[{"kind": "pairs", "folder": "pairs", "cut_px": 64}]), tmp_path, "train")
    assert len(sets[0]) == 9
    tiles = [sets[0].read(index) for index in range(9)]
    assert all(tile.before.shape == (3, 64, 64) for tile in tiles)
    assert np.array_equal(tiles[0].after, whole.after[:, :64, :64])
    assert np.array_equal(tiles[-1].after, whole.after[:, -64:, -64:])


# -- samples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_both_dates_and_the_mask_move_together(seed):
    """The dates carry the mask in their pixels: after any flip, turn and zoom they still do."""
    changed = block(seed).changed
    coded = np.repeat(changed[None] * np.uint8(200), 3, axis=0)
    augmentation = PairAugmentation(crop_px=64, scale=(0.7, 1.4), centred=0.5, turn=1.0)
    images, target = make_sample(np.random.default_rng(seed), Pair(coded, coded, changed), augmentation, 255.0)
    assert images.shape == (2, 3, 64, 64)
    assert torch.equal(images[0], images[1])
    known = target != IGNORE
    seen = images[0, 0] > 0.4
    assert ((seen == (target == 1)) | ~known).float().mean() > 0.97


def test_small_pairs_are_padded_with_what_does_not_count():
    whole = block(1)
    small = Pair(whole.before[:, :40, :40], whole.after[:, :40, :40], whole.changed[:40, :40])
    images, target = make_sample(np.random.default_rng(0), small, PairAugmentation(crop_px=64, turn=0, flip=0), 255.0)
    assert images.shape[-1] == 64
    assert (target == IGNORE).sum() == 64 * 64 - 40 * 40


def test_samples_depend_on_seed_epoch_and_number_alone(root):
    one, two = (ChangeSamples(recipe(), load_split(recipe(), root, "train")) for _ in range(2))
    assert torch.equal(one[1][0], two[1][0])
    two.set_epoch(1)
    assert not torch.equal(one[1][0], two[1][0])
    assert one.stored_image(0).shape == (3, 96, 192)


# -- loss and scores ------------------------------------------------------------------------------------------------


def test_scores_are_those_of_torchmetrics():
    rng = torch.Generator().manual_seed(0)
    drawn, truth = torch.rand(20, 32, 32, generator=rng), (torch.rand(20, 32, 32, generator=rng) > 0.8).long()
    drawn = (0.6 * drawn + 0.4 * truth).clamp(0, 1)
    scorer = ChangeScorer()
    for part in range(0, 20, 5):
        scorer.add(drawn[part : part + 5], truth[part : part + 5])
    scores = scorer.scores()
    assert scores.f1 == pytest.approx(float(binary_f1_score(drawn, truth)), abs=1e-6)
    assert scores.iou == pytest.approx(float(binary_jaccard_index(drawn, truth)), abs=1e-6)
    batches = [float(binary_f1_score(drawn[part], truth[part])) for part in (slice(0, 16), slice(16, 20))]
    assert scores.batch_f1 == pytest.approx(np.mean(batches), abs=1e-6)
    tried = [float(binary_f1_score(drawn, truth, threshold=least - 1e-6)) for least in np.arange(1, 200) / 200]
    assert scores.best_f1 == pytest.approx(max(tried), abs=2e-3)
    assert scores.accuracy == pytest.approx(float(((drawn >= 0.5) == truth.bool()).float().mean()), abs=1e-6)
    assert scores.confusion.sum() == truth.numel()


def test_ignored_pixels_count_nowhere():
    truth = torch.full((1, 8, 8), IGNORE)
    truth[0, 0] = 1
    scorer = ChangeScorer()
    scorer.add(torch.ones(1, 8, 8), truth)
    assert (scorer.scores().precision, scorer.scores().confusion.sum()) == (1.0, 8)
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    none = Tokens(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1))
    loss, parts = change_loss(TokenOutput(logits, none), truth, ChangeLoss(dice=1))
    loss.backward()
    assert (logits.grad[0, :, 1:] == 0).all()
    assert (logits.grad[0, 1, 0] < 0).all()
    assert set(parts) == {"map", "dice"}


# -- a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    path = out / "tiny-change.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    result = train(load_recipe(path), root, out)
    assert result is not None
    return result


def test_a_run_leaves_a_model_with_its_scores_and_threshold(trained, root):
    assert trained.card.task == "change"
    assert trained.card.token_count == 8
    assert trained.card.min_score == trained.report.headline["best_threshold"]
    assert {"f1", "precision", "recall", "iou", "accuracy", "batch_f1"} <= set(trained.card.metrics["validation"])
    model = load_model(trained.checkpoint)
    report = evaluate(model, recipe(), root)
    assert report.as_card_table() == trained.card.metrics["validation"]
    assert report.counts == {"pairs": 2, "pixels": 2 * 96 * 96}
    with pytest.raises(TrainingError, match="holds no pair"):
        evaluate(model, recipe(), root, "test")


def test_models_of_change_are_compared_on_equal_terms(trained, root, monkeypatch):
    monkeypatch.setattr("engine.training.compare._TIMED_S", 0.0)
    (row,) = compare([load_model(trained.checkpoint)], recipe(), root)
    assert row.figures["f1"] == trained.card.metrics["validation"]["f1"]
    assert row.figures["gmac"] > 0.1
    assert row.figures["images_per_s"] > 0


def test_an_interrupted_run_ends_as_if_it_had_not_been(root, tmp_path):
    level = {**RECIPE["optimisation"], "drops": [100]}  # a rate that does not depend on where the run ends
    whole = train(recipe(optimisation=level), root, tmp_path / "whole")
    assert train(recipe(optimisation={**level, "steps": 2}), root, tmp_path / "cut") is not None
    resumed = train(recipe(optimisation=level), root, tmp_path / "cut")
    ours, theirs = (load_model(result.checkpoint).module.state_dict() for result in (resumed, whole))
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)
    assert resumed.card.metrics == whole.card.metrics


def test_published_recipes_say_what_was_published():
    names = ("lemevit-levir", "lemevit-levir-base", "lemevit-cdd", "lemevit-cdd-base")
    for name in names:
        found = load_recipe(shipped_recipes()[name])
        assert isinstance(found, ChangeRecipe)
        o = found.optimisation
        assert (o.epochs, o.batch, o.learning_rate, o.weight_decay, o.decay) == (200, 16, 2.4e-4, 0.01, "all")
        assert (found.normalisation, found.full_range) == ("none", 1.0)
        assert found.architecture == ("bit_lemevit_base" if name.endswith("base") else "bit_lemevit_small")
        assert (found.augmentation.flip, found.augmentation.turn) == (0.5, 0.75)
        budget = o.budget(1600)
        rates = [learning_rate(o, budget, step) for step in (1, budget.steps // 2, budget.steps)]
        assert rates == pytest.approx([2.4e-4 * (1 - 1 / budget.steps), 1.2e-4, 0.0], abs=1e-12)
    assert load_recipe(shipped_recipes()["lemevit-cdd"]).data[0].masks == "OUT"
    small = load_recipe(shipped_recipes()["lemevit-changes"])
    assert small.data[0].kind == "simulated"
    assert "no real pair" in small.card.data


def test_recipes_that_cannot_work_are_refused():
    for changes, text in (
        ({"classes": ["a", "b", "c"]}, "two classes"),
        ({"normalisation": "none"}, "colours are changed between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=text):
            recipe(**changes)


def test_stored_values_go_in_as_they_are_where_asked(root):
    raw = recipe(normalisation="none", full_range=1.0, augmentation={"crop_px": 64})
    images, _ = ChangeSamples(raw, load_split(raw, root, "train"))[0]
    assert images.max() > 200
    assert len(MeasuredPairs(load_split(raw, root, "validation"))) == 2
