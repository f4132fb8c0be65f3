"""``rs-engine quadtree-examples``: the publication's worked examples on a scene of one's own, each as a figure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.console import path_size, size_text


class Example(StrEnum):
    """What is shown."""

    SCORERS = "scorers"
    TOKENS = "tokens"
    IMPLEMENTATIONS = "implementations"
    REVERSE = "reverse"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("quadtree-examples")(examples_command)


def examples_command(
    example: Annotated[Example, typer.Argument(help="What is shown.")],
    source: Annotated[str, typer.Argument(metavar="IMAGE", help="File, folder of tiles, VRT or address.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The figure to write, as .png.")],
    tokens: Annotated[
        int | None, typer.Option(help="Patches; by default a fifth of the number of the smallest.")
    ] = None,
    min_size: Annotated[int, typer.Option("--min-size", help="Edge of the smallest patch in pixels.")] = 8,
    max_size: Annotated[
        int, typer.Option("--max-size", help="Edge of the largest patch, the smallest times a power of two.")
    ] = 64,
    most_px: Annotated[
        int, typer.Option("--most-px", min=16, help="Of a larger image, its middle of this edge.")
    ] = 512,
    weights: Annotated[
        Path | None,
        typer.Option(help="torchvision's weights of shufflenet_v2_x0_5 for scorers; else the shipped model stands in."),
    ] = None,
) -> None:
    """Draw a worked example: scorers compared, what tokens keep, implementations compared, reverse quadtree."""
    from engine.inference.quadtree import examples

    image = examples.read_example(source, min_size=min_size, max_size=max_size, tokens=tokens, most_px=most_px)
    if example is Example.SCORERS:
        path = examples.scorers_example(image, out, weights=weights)
    elif example is Example.TOKENS:
        path = examples.tokens_example(image, out)
    elif example is Example.REVERSE:
        path = examples.reverse_example(image, out)
    else:
        path, times, equal = examples.implementations_example(image, out)
        typer.echo("all four give the same boxes" if equal else "the boxes differ")
        for runner, ms in times.items():
            ratio = "" if runner == "fast" else f", {ms / times['fast']:.1f} times as long as fast"
            typer.echo(f"  {runner:8} {ms:9.3f} ms{ratio}")
    typer.echo(f"{path} ({size_text(path_size(path))})")
