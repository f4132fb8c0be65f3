"""``rs-engine train`` and ``rs-engine evaluate``: recipes from the shell.

Guarantees: Lightning and torch are imported only when a command runs; where the training extra is missing, one
sentence says how to install it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.errors import TrainingError


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)


def train_command(
    recipe: Annotated[str | None, typer.Argument(help="A recipe file, or the name of a shipped one.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder that the recipe's data folders lie in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Logs, states and the checkpoint; by default runs/NAME.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: optimisation.steps=100")] = None,
    fresh: Annotated[bool, typer.Option(help="Start anew even where a run can be continued.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the shipped recipes.")] = False,
) -> None:
    """Train a model by a recipe; started again with the same --out, it goes on where it stopped."""
    from engine.training.recipe import load_recipe

    if list_:
        for name in _shipped_recipes():
            typer.echo(name)
        return
    if recipe is None or data is None:
        raise TrainingError(
            "a recipe and --data are needed", remedy="`rs-engine train --list` names the shipped recipes."
        )
    loaded = load_recipe(_recipe_path(recipe), set_ or ())
    _need_training_extra()
    from engine.training.train import train

    trained = train(loaded, data, out or Path("runs") / loaded.name, fresh=fresh)
    scores = trained.card.metrics["validation"]
    typer.echo(
        f"{trained.checkpoint}: validation mIoU {scores['miou']:.4f}, pixel accuracy {scores['pixel_accuracy']:.4f}"
    )


def evaluate_command(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a checkpoint.")],
    data: Annotated[Path, typer.Option(help="The folder that the recipe's data folders lie in.")],
    split: Annotated[str, typer.Option(help="train or validation.")] = "validation",
    recipe: Annotated[
        str | None, typer.Option(help="The recipe that describes the data; by default the model's own.")
    ] = None,
    regions: Annotated[bool, typer.Option(help="Also measure the regions, against SLIC superpixels.")] = True,
    out: Annotated[Path | None, typer.Option(help="Save the figures as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Score a model: mIoU, accuracies, each class, and how good its regions are."""
    _need_training_extra()
    from engine.models.loaded import load_model
    from engine.training.evaluate import evaluate_pixels, recipe_of, split_tiles
    from engine.training.recipe import load_recipe
    from engine.training.region_scores import evaluate_regions

    loaded = load_model(model)
    described = load_recipe(_recipe_path(recipe)) if recipe else recipe_of(loaded.card)
    tiles = split_tiles(described, data, split)
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bars:
        bar = bars.add_task("tiles", total=1.0)
        report: dict[str, Any] = {
            "model": loaded.card.name,
            "split": split,
            **evaluate_pixels(loaded, tiles, lambda share: bars.update(bar, completed=share)),
        }
        if regions:
            bar2 = bars.add_task("regions", total=1.0)
            report["regions"] = evaluate_regions(loaded, tiles, lambda share: bars.update(bar2, completed=share))
    if out is not None:
        out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{report['model']}, {report['split']} split ({report['tiles']} tiles)")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in report["iou"].items():
        table.add_row(name, f"{value:.4f}")
    table.add_section()
    for title, key in (("mIoU", "miou"), ("mAcc", "mean_accuracy"), ("aAcc", "pixel_accuracy")):
        table.add_row(title, f"{report[key]:.4f}")
    console.print(table)
    if "regions" in report:
        console.print(_region_table(report["regions"]))


def _region_table(figures: dict[str, Any]) -> Table:
    table = Table(title="Regions on the tiles laid out as scenes")
    for title in ("figure", "model", "SLIC"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for key, title in (
        ("purity", "purity"),
        ("regions_per_mpx", "regions a megapixel"),
        ("boundary_recall_2px", "boundary recall (2 px)"),
    ):
        table.add_row(title, f"{figures['model'][key]:.3f}", f"{figures['slic'][key]:.3f}")
    table.add_row(
        "regions a megapixel at the model's purity", "", f"{figures['slic']['regions_per_mpx_for_model_purity']}"
    )
    table.add_row("boundary on window lines / chance", f"{figures['model']['window_line_ratio']:.3f}", "-")
    return table


def _shipped_recipes() -> list[str]:
    from engine.resources import resources_dir

    return sorted(path.stem for path in (resources_dir() / "recipes").glob("*.yaml"))


def _recipe_path(recipe: str) -> Path:
    if recipe in _shipped_recipes():
        from engine.resources import resources_dir

        return resources_dir() / "recipes" / f"{recipe}.yaml"
    return Path(recipe)


def _need_training_extra() -> None:
    import importlib.util

    missing = [name for name in ("lightning", "torchmetrics") if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"training needs {' and '.join(missing)}",
            remedy="Install the extra: pip install '.[train]' in the clone of RS Viewer.",
        )
