"""Starting a training from a model's weights: what is taken, what is told, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from engine.cli.main import build_app
from engine.errors import ModelNotFoundError, TrainingError
from engine.models.checkpoint import load_checkpoint, read_card
from engine.models.registry import create
from engine.training.recipe import load_recipe
from engine.training.start import start_from
from engine.training.train import train

STILL = ["optimisation.learning_rate=1.0e-12", "optimisation.steps=2", "optimisation.ema_decay=null"]
"""A run that changes nothing but the batch norms' running statistics."""


@pytest.fixture
def trained(recipe_file: Path, tile_root: Path, tmp_path: Path) -> Path:
    result = train(load_recipe(recipe_file), tile_root, tmp_path / "first")
    assert result is not None
    return result.checkpoint


def test_a_run_begins_with_the_weights_it_was_given(
    trained: Path, recipe_file: Path, tile_root: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    recipe = load_recipe(recipe_file, [*STILL, f"start={trained}"])
    result = train(recipe, tile_root, tmp_path / "second", tell=told.append)
    assert result is not None
    given, found = (dict(load_checkpoint(path)[0].named_parameters()) for path in (trained, result.checkpoint))
    for name, value in given.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)
    count = sum(value.numel() for value in given.values())
    assert told == [f"Starts from tiny: {count:,} of {count:,} weights."]
    assert read_card(result.checkpoint).started_from == "tiny"
    assert read_card(trained).started_from is None


def test_a_head_for_other_classes_starts_from_chance_and_is_named(trained: Path, recipe_file: Path) -> None:
    config = load_recipe(recipe_file).config
    model = create("hook_competitive_segmenter", num_classes=5, in_channels=3, **config)
    chance = {name: value.clone() for name, value in model.named_parameters()}
    started = start_from(model, str(trained))
    given = load_checkpoint(trained)[0].state_dict()
    assert started.anew
    assert 0 < started.taken < started.all
    for name, value in model.named_parameters():
        anew = any(name == part or name.startswith(f"{part}.") for part in started.anew)
        assert torch.equal(value, chance[name] if anew else given[name]), name
    assert started.anew[0] in str(started)


def test_a_backbone_is_found_inside_another_model(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = create("lemevit_tiny", num_classes=3)
    card = read_card(trained)
    monkeypatch.setattr("engine.training.start.load_checkpoint", lambda _: (alone, card))
    whole = create("upernet_lemevit_tiny", num_classes=5, channels=16, auxiliary_channels=16)
    started = start_from(whole, str(trained))
    weights, inner = dict(alone.named_parameters()), dict(whole.named_parameters())
    assert torch.equal(inner["backbone.meta_tokens"], weights["meta_tokens"])
    assert {"auxiliary_head", "decode_head"} <= set(started.anew)
    assert not any(name.startswith("backbone.stages") for name in started.anew)
    back = create("lemevit_tiny", num_classes=3)
    monkeypatch.setattr("engine.training.start.load_checkpoint", lambda _: (whole, card))
    start_from(back, str(trained))
    assert torch.equal(dict(back.named_parameters())["meta_tokens"], weights["meta_tokens"])


def test_a_model_that_gives_nothing_is_refused(trained: Path) -> None:
    with pytest.raises(TrainingError, match="no weight of tiny"):
        start_from(create("bit_lemevit_tiny", num_classes=2), str(trained))


def test_a_run_goes_on_without_the_model_it_started_from(
    trained: Path, recipe_file: Path, tile_root: Path, tmp_path: Path
) -> None:
    settings = ["optimisation.ema_decay=null", f"start={trained}"]
    train(load_recipe(recipe_file, settings), tile_root, tmp_path / "second")
    trained.unlink()
    longer = load_recipe(recipe_file, [*settings, "optimisation.steps=6"])
    result = train(longer, tile_root, tmp_path / "second")
    assert result is not None
    with pytest.raises(TrainingError, match="differs from the recipe in start"):
        train(load_recipe(recipe_file, ["optimisation.steps=8"]), tile_root, tmp_path / "second")
    with pytest.raises(ModelNotFoundError):
        train(longer, tile_root, tmp_path / "third")


def test_the_command_says_where_a_run_starts(trained: Path, recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    line = ["train", str(recipe_file), "--data", str(tile_root), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(build_app(), [*line, "--set", f"start={trained}"])
    assert done.exit_code == 0, done.output
    assert "Starts from tiny:" in done.output
