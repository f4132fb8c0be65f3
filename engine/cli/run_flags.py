"""The options that every command which runs a model over a scene has in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Window = Annotated[int | None, typer.Option(help="Edge of a window in pixels; by default the model's.")]
Overlap = Annotated[int | None, typer.Option(help="Overlap of windows in pixels; by default the model's.")]
Batch = Annotated[int | None, typer.Option(help="Windows a batch; by default the device decides.")]
Gsd = Annotated[str, typer.Option(help="Resolution: auto, native, model, or metres a pixel.", show_default=True)]
Roi = Annotated[Path | None, typer.Option(help="Vector file with the region of interest, in any CRS.")]
Precision = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Overwrite = Annotated[bool, typer.Option(help="Replace another analysis in the folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the run's events, one JSON object a line.")]
