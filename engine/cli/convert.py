"""``rs-engine convert``: weights that a method's authors published, as a checkpoint with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.console import path_size, size_text


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("convert")(convert_command)


def convert_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights as torch.save wrote them.")],
    model: Annotated[str, typer.Option(help="Their architecture, such as hook_segmenter.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes in the order of the model's answers, as water,forest.")
    ] = None,
) -> None:
    """Make a checkpoint of pickled weights. Code inside the file is never run."""
    from engine.models.convert import convert

    names = None if classes is None else [name.strip() for name in classes.split(",")]
    card = convert(file, model, out, classes=names)
    typer.echo(f"{out}: {card.title}, {len(card.classes)} classes ({size_text(path_size(out))})")
