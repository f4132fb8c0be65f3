import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

import engine.training.train as train_module
from engine.cli.main import build_app
from engine.errors import CancelledError, OptionError, TrainingError
from engine.models.checkpoint import is_half, load_checkpoint, read_card
from engine.models.loaded import load_model
from engine.training.callbacks import Averaging
from engine.training.compare import compare, write_comparison
from engine.training.evaluate import evaluate
from engine.training.recipe import load_recipe
from engine.training.schedule import learning_rate
from engine.training.train import train


class StopError(Exception):
    """What the tests stop a run with."""


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).module.state_dict()


def _stopping_at(epoch: int, act: Callable[[], None]) -> type[L.Callback]:
    class Stopper(L.Callback):
        def __init__(self, budget: object) -> None:
            super().__init__()

        def on_train_batch_start(self, trainer: L.Trainer, task: object, batch: object, index: int) -> None:
            if trainer.current_epoch == epoch and index == 1:
                act()

    return Stopper


def _stop() -> None:
    raise StopError


def _press_ctrl_c() -> None:
    raise KeyboardInterrupt


def test_a_trained_checkpoint_scores_as_its_card_says(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["optimisation.steps=50", "optimisation.steps_per_epoch=20"])
    trained = train(recipe, tile_root, tmp_path / "out")
    assert trained is not None
    report = evaluate(load_model(trained.checkpoint), recipe, tile_root, extras=())
    assert report.as_card_table() == trained.card.metrics["validation"]
    assert report.headline["miou"] > 0.3
    assert read_card(trained.other).name == "tiny"
    states = torch.load(tmp_path / "out" / "states" / "last.ckpt", weights_only=False)
    assert states["global_step"] == 50  # the short last epoch counts


@pytest.mark.parametrize(("decay", "decayed"), [("all", [0.05]), ("matrices", [0.05, 0.0])])
def test_the_trainer_takes_the_published_rates(
    recipe_file: Path,
    tile_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decay: str,
    decayed: list[float],
) -> None:
    seen: list[float] = []
    groups: list[float] = []

    class Watcher(L.Callback):
        def __init__(self, budget: object) -> None:
            super().__init__()

        def on_before_optimizer_step(self, trainer: L.Trainer, task: object, optimizer: torch.optim.Optimizer) -> None:
            seen.append(optimizer.param_groups[0]["lr"])
            groups[:] = [group["weight_decay"] for group in optimizer.param_groups]

    monkeypatch.setattr(train_module, "ProgressBar", Watcher)
    overrides = ["optimisation.steps=null", "optimisation.epochs=1", "optimisation.warmup_steps=3"]
    recipe = load_recipe(recipe_file, [*overrides, f"optimisation.decay={decay}"])
    train(recipe, tile_root, tmp_path / "out")
    budget = recipe.optimisation.budget(2 * len(seen))
    assert seen == pytest.approx([learning_rate(recipe.optimisation, budget, t) for t in range(1, len(seen) + 1)])
    assert seen[-1] == 0.0
    assert groups == decayed


def test_logs_are_kept_for_reading_and_for_tensorboard(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    train(load_recipe(recipe_file), tile_root, tmp_path / "out")
    table = next((tmp_path / "out" / "logs" / "csv").rglob("metrics.csv")).read_text().splitlines()
    assert {"loss", "miou", "iou/dark"} <= set(table[0].split(","))
    assert list((tmp_path / "out" / "logs" / "tensorboard").rglob("events.out.*"))


@pytest.mark.parametrize(
    "override",
    ["optimisation.ema_decay=0.5", "optimisation.ema_decay=null", "optimisation.evaluate_every=5"],
    ids=["averaged", "plain", "after an epoch that was not validated"],
)
def test_a_stopped_run_ends_as_an_uninterrupted_one(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    overrides = ["optimisation.keep=last", "optimisation.steps=6", override]
    recipe = load_recipe(recipe_file, overrides)
    whole = train(recipe, tile_root, tmp_path / "whole")
    monkeypatch.setattr(train_module, "ProgressBar", _stopping_at(1, _stop))
    with pytest.raises(StopError):
        train(recipe, tile_root, tmp_path / "parts")
    monkeypatch.undo()
    parts = train(recipe, tile_root, tmp_path / "parts")
    assert whole is not None
    assert parts is not None
    one, two = _weights(whole.checkpoint), _weights(parts.checkpoint)
    assert all(torch.equal(one[key], two[key]) for key in one)
    every = recipe.optimisation.evaluate_every
    assert _validated(tmp_path / "whole") == ([0, 1, 2] if every == 1 else [2]), "the last epoch is always validated"
    assert _validated(tmp_path / "parts") == _validated(tmp_path / "whole")


def _validated(out: Path) -> list[int]:
    """Epochs that were validated, over all the runs of a folder."""
    rows = [row for log in sorted(out.glob("logs/csv/*/metrics.csv")) for row in csv.DictReader(log.open())]
    return sorted({int(row["epoch"]) for row in rows if row.get("miou")})


def test_adjusted_logits_take_back_the_weights_of_classes_and_a_resumed_run_has_them_once(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = np.array((0.8, 0.2))  # the tiles are half dark, half bright
    monkeypatch.setattr("engine.training.segmentation.samples.total_shares", lambda tiles: shares)
    plain = train(load_recipe(recipe_file), tile_root, tmp_path / "plain")
    adjusted = load_recipe(recipe_file, ["loss.logit_adjustment=0.25"])
    first = train(adjusted, tile_root, tmp_path / "adjusted")
    again = train(adjusted, tile_root, tmp_path / "adjusted")  # nothing is left to train: scored and saved anew
    assert plain is not None
    assert first is not None
    assert again is not None
    one, two, three = (_weights(run.checkpoint) for run in (plain, first, again))
    assert all(torch.equal(two[name], three[name]) for name in two)
    assert [name for name in one if not torch.equal(one[name], two[name])] == ["token_head.bias"]
    raised = two["token_head.bias"] - one["token_head.bias"]
    assert float(raised[0] - raised[1]) == pytest.approx(0.25 * np.log(4), abs=1e-5)
    assert (
        evaluate(load_model(again.checkpoint), adjusted, tile_root, extras=()).as_card_table()
        == (again.card.metrics["validation"])
    )


def test_weights_of_16_bits_are_scored_as_they_are_stored(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    plain = train(load_recipe(recipe_file), tile_root, tmp_path / "plain")
    halved = load_recipe(recipe_file, ["stored_as=float16"])
    small = train(halved, tile_root, tmp_path / "halved")
    assert plain is not None
    assert small is not None
    with safe_open(str(small.checkpoint), framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a handle, not a dict
    full, loaded = (load_checkpoint(run.checkpoint)[0].state_dict() for run in (plain, small))
    for name, value in stored.items():
        assert value.dtype == (torch.float16 if full[name].is_floating_point() else full[name].dtype)
        assert loaded[name].dtype == full[name].dtype
        assert torch.equal(loaded[name], full[name].to(value.dtype).to(full[name].dtype))
    size = small.checkpoint.stat().st_size
    write_comparison(small.checkpoint, ())
    assert is_half(small.checkpoint)
    assert not is_half(plain.checkpoint)
    assert small.checkpoint.stat().st_size == size
    report = evaluate(load_model(small.checkpoint), halved, tile_root, extras=())
    assert report.as_card_table() == small.card.metrics["validation"]


def test_models_without_class_biases_are_refused_before_the_training(
    recipe_file: Path, tile_root: Path, tmp_path: Path
) -> None:
    wrong = load_recipe(recipe_file, ["loss.logit_adjustment=0.25", "config.assignment=published"])
    with pytest.raises(OptionError, match="logit_adjustment"):
        train(wrong, tile_root, tmp_path / "out")
    assert not (tmp_path / "out" / "states").exists()


def test_an_interrupted_run_says_how_to_go_on(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "ProgressBar", _stopping_at(0, _press_ctrl_c))
    with pytest.raises(CancelledError, match="goes on"):
        train(load_recipe(recipe_file), tile_root, tmp_path / "out")


def test_a_folder_with_a_run_of_another_model_is_not_continued(
    recipe_file: Path, tile_root: Path, tmp_path: Path
) -> None:
    train(load_recipe(recipe_file), tile_root, tmp_path / "out")
    other = load_recipe(recipe_file, ["config.token_count=3"])
    with pytest.raises(TrainingError, match=r"differs from the recipe in config.*--fresh"):
        train(other, tile_root, tmp_path / "out")
    again = train(other, tile_root, tmp_path / "out", fresh=True)
    assert again is not None
    assert again.card.token_count == 3


def test_epochs_are_kept_to_look_back_on(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["optimisation.checkpoint_every=1", "optimisation.keep=last"])
    trained = train(recipe, tile_root, tmp_path / "out")
    kept = sorted((tmp_path / "out" / "epochs").iterdir())
    assert [path.name for path in kept] == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    assert read_card(kept[0]).name == "tiny-epoch-0001"
    assert trained is not None
    last, final = _weights(kept[1]), _weights(trained.checkpoint)
    assert all(torch.equal(last[key], final[key]) for key in final)


def test_a_restart_goes_on_from_the_average_with_a_fresh_optimiser(recipe_file: Path) -> None:
    restart = "optimisation.restarts=[{step: 2, peak: 0.5, from_average: true}]"
    optimisation = load_recipe(recipe_file, [restart]).optimisation
    averaging = Averaging(optimisation, optimisation.budget(10))
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


def test_a_model_is_not_scored_on_data_of_other_classes(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    trained = train(load_recipe(recipe_file), tile_root, tmp_path / "out")
    assert trained is not None
    with pytest.raises(TrainingError, match="classes"):
        evaluate(load_model(trained.checkpoint), load_recipe(recipe_file, ["classes.0.name=night"]), tile_root)


def test_the_command_line_trains_and_evaluates(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    app, out, report = build_app(), tmp_path / "cli", tmp_path / "report"
    common = ["--data", str(tile_root)]
    result = CliRunner().invoke(app, ["train", str(recipe_file), *common, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "mIoU" in result.output
    model = str(out / "tiny.safetensors")
    arguments = ["evaluate", model, *common, "--recipe", str(recipe_file), "--no-regions", "--out", str(report)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    saved = json.loads((report / "report.json").read_text())
    assert set(saved["iou"]) == {"dark", "bright"}
    assert sum(map(sum, saved["confusion"])) == saved["pixels"]
    assert (report / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (report / "table.csv").read_text().splitlines()[0] == "class,iou,accuracy"
    result = CliRunner().invoke(app, [*arguments[:-2], "--json"])
    assert json.loads(result.stdout.splitlines()[-1])["miou"] == saved["miou"]


def test_twins_are_compared_on_equal_terms_and_the_table_goes_on_their_cards(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.training.compare as compare_module

    monkeypatch.setattr(compare_module, "_TIMED_S", 0.0)
    twin = tmp_path / "twin.yaml"
    config = "{image_size: 32, embed_dim: 16, depth: 1, num_heads: 2, dense_channels: [8, 8, 8, 8], head_dim: 8, "
    config += "out_layers: [0, 0, 0, 0]}"
    twin.write_text(f"extends: tiny\nname: twin\narchitecture: patch_segmenter\nconfig: {config}\n", encoding="utf-8")
    files = []
    for recipe in (recipe_file, twin):
        trained = train(load_recipe(recipe), tile_root, tmp_path / recipe.stem)
        assert trained is not None
        files.append(str(trained.checkpoint))
    arguments = ["compare", *files, "--data", str(tile_root), "--recipe", str(recipe_file), "--write", "--json"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["name"] for row in rows] == ["tiny", "twin"]
    assert [row["figures"]["tokens"] for row in rows] == [4, 4]
    for file, row in zip(files, rows, strict=True):
        card = read_card(Path(file))
        assert [rival.name for rival in card.comparison] == ["tiny", "twin"]
        assert row["figures"]["miou"] == card.metrics["validation"]["miou"]
        assert row["figures"]["gmac"] >= 0
        assert row["figures"]["images_per_s"] > 0
    assert all(load_model(file).card.comparison for file in files)


def test_runs_with_several_seeds_share_a_row(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.compare._TIMED_S", 0.0)
    recipe = load_recipe(recipe_file)
    trained = train(recipe, tile_root, tmp_path / "out")
    assert trained is not None
    scores = [0.5, 0.6, 0.25, 0.5, 0.6]
    monkeypatch.setattr(
        "engine.training.compare.evaluate",
        lambda *_, **__: dataclasses.replace(trained.report, headline={"miou": scores.pop(0)}),
    )
    first, second, twin = (load_model(trained.checkpoint) for _ in range(3))
    twin.card = twin.card.model_copy(update={"name": "twin"})
    joined, single = compare([first, second, twin], recipe, tile_root, join_runs=True)
    assert [joined.figures[name] for name in ("runs", "miou", "miou_sd")] == [2, 0.55, 0.0707]
    assert (single.name, single.figures["runs"], single.figures["miou_sd"]) == ("twin", 1, None)
    assert list(single.figures) == list(joined.figures)
    assert [row.figures["miou"] for row in compare([first, second], recipe, tile_root)] == [0.5, 0.6]


def test_segmenters_are_compared_by_their_regions_as_evaluation_measures_them(
    recipe_file: Path, tile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.segmentation.region_scores.SCENE_TILES", 1)
    monkeypatch.setattr("engine.training.compare._TIMED_S", 0.0)
    recipe = load_recipe(recipe_file)
    trained = train(recipe, tile_root, tmp_path / "out")
    assert trained is not None
    model = load_model(trained.checkpoint)
    report = evaluate(model, recipe, tile_root, extras=("regions",))
    measured = report.extra["regions"].plain["model"]
    told: list[str] = []
    (row,) = compare([model], recipe, tile_root, more=("regions",), progress=lambda what, _: told.append(what))
    for name in ("purity", "boundary_recall_2px", "regions_per_mpx"):
        assert row.figures[name] == pytest.approx(measured[name], abs=5e-5, nan_ok=True)  # no border is labelled
    assert 0.5 <= row.figures["purity"] <= 1  # two classes, half of the pixels each
    assert "tiny, regions" in told
    with pytest.raises(TrainingError, match="cannot be compared by 'colour'"):
        compare([model], recipe, tile_root, more=("colour",))


@pytest.mark.parametrize("columns", [60, 200])
def test_a_comparison_is_readable_on_screens_of_any_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.cli.training import print_rivals
    from engine.models.card import Rival

    monkeypatch.setenv("COLUMNS", str(columns))
    figures = {"split": "validation", "miou": 0.6321, "parameters_m": 2.795, "gmac": 0.933, "images_per_s": 57.26}
    print_rivals([Rival(name=name, figures=figures) for name in ("one-landcover", "other-landcover")], "Twins")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    for word in ("one-landcover", "other-landcover", "images per s", "0.6321", "57.26"):
        assert word in printed
