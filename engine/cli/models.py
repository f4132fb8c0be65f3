"""``rs-engine models``: which models can be named, and what their cards say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.console import path_size, print_json, say, size_text

if TYPE_CHECKING:
    from engine.models.catalog import ModelInfo


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("models")(models_command)


def models_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: name, path and card.")] = False,
) -> None:
    """List the models that --model can name, the shipped ones first."""
    from engine.models.catalog import list_models, user_models_dir

    found = list_models()
    for info in found:
        if as_json:
            print_json({"name": info.name, "path": info.path, "size_bytes": path_size(info.path), "card": info.card})
        else:
            _show(info)
    if not found:
        say(f"No model is installed. Put a checkpoint (.safetensors with a card) into {user_models_dir()}.")


def _show(info: ModelInfo) -> None:
    card = info.card
    low, high = card.gsd_range_m or (card.gsd_m, card.gsd_m)
    resolution = "any resolution" if low is None else (f"{low:g} m" if low == high else f"{low:g} to {high:g} m")
    typer.secho(info.name, bold=True, nl=False)
    typer.echo(f"  {card.title}")
    typer.echo(f"  {card.task}: {', '.join(cls.name for cls in card.classes)}")
    typer.echo(f"  bands {', '.join(card.bands)}; {resolution}; windows of {card.window_px} pixels")
    if card.description:
        typer.echo(f"  {card.description}")
    for split, scores in card.metrics.items():
        where = f"the validation split of {card.data}" if split == "validation" else split.replace("_", " ")
        for key, title in (("miou", "mIoU"), ("map_area", "mAP"), ("top1", "top-1"), ("f1", "F1")):
            if scores.get(key) is not None:
                typer.echo(f"  {title} {scores[key]:.3f} on {where}")
    typer.echo(f"  licence {card.licence}; {size_text(path_size(info.path))}; {info.path}")
