"""``rs-engine train`` and ``rs-engine evaluate``: recipes from the shell.

Guarantees: Lightning and torch are imported only when a command runs; where the training extra is missing, one
sentence says how to install it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress
from rich.table import Table

from engine.cli.console import print_json, say
from engine.errors import TrainingError

if TYPE_CHECKING:
    from engine.models.card import Rival
    from engine.training.report import Report


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)
    app.command("compare")(compare_command)


def train_command(
    recipe: Annotated[str | None, typer.Argument(help="A recipe file, or the name of a shipped one.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder that the recipe's data folders lie in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Logs, states and the checkpoint; by default runs/NAME.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: optimisation.steps=100")] = None,
    fresh: Annotated[bool, typer.Option(help="Start anew even where a run can be continued.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the shipped recipes.")] = False,
) -> None:
    """Train a model by a recipe; started again with the same --out, it goes on where it stopped."""
    need_training_extra()
    from engine.training.recipe import find_recipe, load_recipe, shipped_recipes

    if list_:
        for name in shipped_recipes():
            typer.echo(name)
        return
    if recipe is None or data is None:
        raise TrainingError(
            "a recipe and --data are needed", remedy="`rs-engine train --list` names the shipped recipes."
        )
    loaded = load_recipe(find_recipe(recipe), set_ or ())
    from engine.training.memory import keep_freed_memory
    from engine.training.train import train

    keep_freed_memory()
    trained = train(loaded, data, out or Path("runs") / loaded.name, fresh=fresh, tell=say)
    if trained is not None:
        typer.echo(f"{trained.checkpoint}: validation {_headline(trained.report)}")


def evaluate_command(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a checkpoint.")],
    data: Annotated[Path, typer.Option(help="The folder that the recipe's data folders lie in.")],
    split: Annotated[str, typer.Option(help="train, validation, or test where the data has one.")] = "validation",
    recipe: Annotated[
        str | None, typer.Option(help="The recipe that describes the data; by default the model's own.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting of the recipe.")] = None,
    regions: Annotated[
        bool | None,
        typer.Option(help="Also measure the regions of a segmenter, against SLIC superpixels (the default)."),
    ] = None,
    tokens: Annotated[
        bool, typer.Option(help="Also measure how homogeneous the tokens are, against patches, SLIC and the quadtree.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, table.csv and confusion.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Score a model on a split: the table the papers print, each class, regions and tokens."""
    need_training_extra()
    from engine.models.loaded import load_model
    from engine.training.evaluate import evaluate, recipe_of
    from engine.training.recipe import find_recipe, load_recipe
    from engine.training.report import save_report
    from engine.training.task import find_task

    loaded = load_model(model)
    path = find_recipe(recipe if recipe is not None else recipe_of(loaded.card))
    described = load_recipe(path, set_ or ())
    extras = set(find_task(described.task).default_extras)
    extras = {*extras, "regions"} if regions else extras - {"regions"} if regions is False else extras
    extras |= {"tokens"} if tokens else set()
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, share: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share)

        report = evaluate(loaded, described, data, split, extras=extras, progress=show)
    about = {"model": loaded.card.name, "split": split, "recipe": described.name}
    if out is not None:
        for written in save_report(report, out, about):
            say(f"wrote {written}")
    if as_json:
        print_json({**about, **report.as_plain()})
    else:
        _print(report, f"{loaded.card.name}, {split} split")


def compare_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL…", help="Models of the same classes: names or files.")],
    data: Annotated[Path, typer.Option(help="The folder that the recipe's data folders lie in.")],
    split: Annotated[str, typer.Option(help="train, validation, or test where the data has one.")] = "validation",
    recipe: Annotated[
        str | None, typer.Option(help="The recipe that describes the data; by default the first model's own.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting of the recipe.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    regions: Annotated[
        bool, typer.Option("--regions", help="Also by the regions of segmenters: purity, boundary recall, number.")
    ] = False,
    runs: Annotated[
        bool, typer.Option("--runs", help="Models of one name are runs with several seeds: a row of means, deviations.")
    ] = False,
    write: Annotated[bool, typer.Option(help="Put the table on the card of every checkpoint given.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a model.")] = False,
) -> None:
    """Compare models on equal terms: scores, tokens, arithmetic, images a second."""
    need_training_extra()
    from engine.inference.device import choose_device
    from engine.models.catalog import find_model
    from engine.models.loaded import load_model
    from engine.training.compare import compare, write_comparison
    from engine.training.evaluate import recipe_of
    from engine.training.recipe import find_recipe, load_recipe

    target = choose_device(device).torch_device
    loaded = [load_model(model, device=target) for model in models]
    described = load_recipe(find_recipe(recipe if recipe is not None else recipe_of(loaded[0].card)), set_ or ())
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, share: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share)

        more = ("regions",) if regions else ()
        rows = compare(loaded, described, data, split, more=more, join_runs=runs, progress=show)
    for model in models if write else ():
        path = find_model(model).path
        write_comparison(path, rows)
        say(f"wrote the table on the card of {path}")
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_rivals(rows, f"{described.name}, {split} split")


def print_rivals(rows: Sequence[Rival], title: str) -> None:
    """A row for each model; a column for each where rows would be wider than the screen."""
    console = Console()
    header = ["model", *(key.replace("_", " ") for key in rows[0].figures)]
    lines = [[row.name, *map(_figure, row.figures.values())] for row in rows]
    table = _figures_table(title, header, lines)
    if Measurement.get(console, console.options.update(width=10_000), table).maximum > console.width:
        turned = [list(line) for line in zip(header, *lines, strict=True)]
        table = _figures_table(title, turned[0], turned[1:])
    console.print(table)


def _figure(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _figures_table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def need_training_extra() -> None:
    """Say how to install what training needs, where it is missing.

    Raises:
        TrainingError: It is missing.
    """
    missing = [name for name in ("lightning", "torchmetrics") if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"training needs {' and '.join(missing)}",
            remedy="Install the extra: pip install '.[train]' in the clone of RS Viewer.",
        )


def _headline(report: Report) -> str:
    return ", ".join(f"{report.titles.get(key, key)} {value:.4f}" for key, value in report.headline.items())


def _print(report: Report, title: str) -> None:
    console = Console()
    counts = ", ".join(f"{count:,} {unit}" for unit, count in report.counts.items())
    table = Table(title=f"{title} ({counts})")
    table.add_column("class")
    for key in report.per_class:
        table.add_column(report.titles.get(key, key), justify="right")
    for name in report.names:
        table.add_row(name, *(f"{column[name]:.4f}" for column in report.per_class.values()))
    table.add_section()
    for key, value in report.headline.items():
        table.add_row(report.titles.get(key, key), f"{value:.4f}")
    console.print(table)
    for extra in report.extra.values():
        further = Table(title=extra.title)
        for number, column in enumerate(extra.columns):
            further.add_column(column, justify="right" if number else "left")
        for row in extra.rows:
            further.add_row(*row)
        console.print(further)
