"""``rs-engine export``: an analysis folder to a GIS file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from engine.cli.console import path_size, size_text
from engine.cli.interrupt import interruptible


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("export")(export_command)


def export_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An analysis folder.")],
    to: Annotated[
        Path, typer.Option("--to", help="File to write: .gpkg, .geojson, .fgb, .parquet or .tif. It is replaced.")
    ],
    layer: Annotated[
        str | None,
        typer.Option(
            help="regions, detections, cells, classes or confidence; by default what the format and the analysis hold."
        ),
    ] = None,
    simplify_px: Annotated[
        float, typer.Option("--simplify-px", help="Simplify outlines by up to so many pixels; 0 keeps pixel edges.")
    ] = 0.0,
    classes: Annotated[str | None, typer.Option(help="Only these classes, as water,forest.")] = None,
) -> None:
    """Write an analysis as a GIS file, with a QGIS style of the same name beside it."""
    from engine.export import export, format_for
    from engine.inference.analysis import open_analysis

    analysis = open_analysis(folder)
    _, what = format_for(to, layer, analysis.kind)
    names = None if classes is None else [name.strip() for name in classes.split(",") if name.strip()]
    console = Console(stderr=True)
    shown = Progress(console=console, transient=True, disable=not console.is_terminal)
    with interruptible() as interrupted, shown as bars:
        bar = bars.add_task(f"{what} to {to.name}", total=1.0)
        path = export(
            analysis,
            to,
            layer=what,
            simplify_px=simplify_px,
            classes=names,
            progress=lambda share: bars.update(bar, completed=share),
            cancel=interrupted,
        )
    typer.echo(f"{path} ({size_text(path_size(path))})")
