from pathlib import Path
from types import SimpleNamespace

import lightning as L
import torch
from typer.testing import CliRunner

from engine.models.loaded import load_model
from engine.training.evaluate import evaluate_pixels, split_tiles
from engine.training.recipe import load_recipe
from engine.training.train import Averaging, train


def test_a_trained_checkpoint_loads_and_scores_as_its_card_says(
    recipe_file: Path, tile_root: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file, ["optimisation.steps=40", "optimisation.steps_per_epoch=20"])
    trained = train(recipe, tile_root, tmp_path / "out")
    model = load_model(trained.checkpoint)
    table = evaluate_pixels(model, split_tiles(recipe, tile_root, "validation"))
    assert abs(table["miou"] - trained.card.metrics["validation"]["miou"]) < 2e-3
    assert table["miou"] > 0.3
    assert table["tiles"] == trained.card.metrics["validation"]["tiles"]


def test_a_run_continues_from_its_last_epoch(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    whole = train(load_recipe(recipe_file), tile_root, tmp_path / "whole")
    # The same run, stopped after its first epoch: the schedule still aims at four steps.
    import engine.training.train as module

    class StopError(Exception):
        pass

    class Stopper(module.L.Callback):
        def on_train_epoch_start(self, trainer: object, task: object) -> None:
            if trainer.current_epoch == 1:  # type: ignore[attr-defined]
                raise StopError

    progress = module.RichProgressBar
    try:
        module.RichProgressBar = Stopper  # type: ignore[misc,assignment]
        try:
            train(load_recipe(recipe_file), tile_root, tmp_path / "parts")
        except StopError:
            assert (tmp_path / "parts" / "states" / "last.ckpt").exists()
        else:
            raise AssertionError("the run was not stopped")
    finally:
        module.RichProgressBar = progress  # type: ignore[misc]
    parts = train(load_recipe(recipe_file), tile_root, tmp_path / "parts")
    one, two = load_model(whole.checkpoint).module.state_dict(), load_model(parts.checkpoint).module.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_restart_goes_on_from_the_average_with_a_fresh_optimiser(recipe_file: Path) -> None:
    restart = "optimisation.restarts=[{step: 2, peak: 0.5, from_average: true}]"
    averaging = Averaging(load_recipe(recipe_file, [restart]).optimisation)
    module = L.LightningModule()
    module.weight = torch.nn.Parameter(torch.zeros(2))
    trainer = SimpleNamespace(global_step=0, optimizers=[torch.optim.AdamW(module.parameters(), lr=1.0)])
    averaging.setup(trainer, module, "fit")  # the average is zero
    module.weight.grad = torch.ones(2)
    trainer.optimizers[0].step()
    stepped = module.weight.detach().clone()
    averaging.on_train_epoch_start(trainer, module)
    assert torch.equal(module.weight, stepped)
    assert trainer.optimizers[0].state
    trainer.global_step = 2
    averaging.on_train_epoch_start(trainer, module)
    assert torch.equal(module.weight, torch.zeros(2))
    assert not trainer.optimizers[0].state


def test_the_command_line_trains_and_evaluates(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    from engine.cli.main import build_app

    app = build_app()
    out = tmp_path / "cli"
    result = CliRunner().invoke(app, ["train", str(recipe_file), "--data", str(tile_root), "--out", str(out)])
    assert result.exit_code == 0, result.output
    report = tmp_path / "report.json"
    result = CliRunner().invoke(
        app,
        [
            "evaluate",
            str(out / "tiny.safetensors"),
            "--data",
            str(tile_root),
            "--recipe",
            str(recipe_file),
            "--no-regions",
            "--out",
            str(report),
        ],
    )
    assert result.exit_code == 0, result.output
    assert report.exists()
