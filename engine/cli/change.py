"""``rs-engine change``: what changed between two scenes of one place, into an analysis folder.

Guarantees: the scenes are brought onto one grid, and what that took is said before the run; Ctrl-C keeps what is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli import run_flags
from engine.cli.analyse import band_numbers, follow, read_region, resolution, run_options, say_cancelled
from engine.cli.interrupt import interruptible
from engine.errors import CancelledError


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("change")(change_command)


def change_command(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="The earlier scene: file, folder of tiles, address.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The later scene; its grid may be another one.")],
    out: Annotated[Path, typer.Option("--out", help="Analysis folder.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="A model of change: a name that `rs-engine models` lists, or a checkpoint. The shipped one by default."
        ),
    ] = None,
    device: run_flags.Device = "auto",
    window: run_flags.Window = None,
    overlap: run_flags.Overlap = None,
    batch: run_flags.Batch = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which on a pixel counts as changed; by default the model's.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Bands of both scenes for the model's, as 3,2,1; by default found by colour.")
    ] = None,
    gsd: run_flags.Gsd = "auto",
    roi: run_flags.Roi = None,
    crs: Annotated[str | None, typer.Option(help="CRS to assume for both, as EPSG:32632.")] = None,
    precision: run_flags.Precision = "float32",
    min_change_m2: Annotated[
        float | None, typer.Option("--min-change-m2", help="Smaller changes become no polygon; 0 keeps all.")
    ] = None,
    overwrite: run_flags.Overwrite = False,
    as_json: run_flags.AsJson = False,
) -> None:
    """Compare two scenes: a map of what changed, its probability, and the changes as polygons.

    The scenes may differ in CRS, resolution and extent: their overlap is compared, on the grid of the coarser one.
    Started again with the same options, an interrupted run goes on where it stopped.
    """
    options = run_options(
        device=device,
        window_px=window,
        overlap_px=overlap,
        batch=batch,
        bands=band_numbers(bands),
        gsd=resolution(gsd),
        precision=precision,
        min_region_m2=min_change_m2,
        min_score=threshold,
        roi=read_region(roi),
    )
    from engine.models.catalog import DEFAULT_CHANGE_MODEL
    from engine.models.loaded import load_model
    from engine.scene import Scene, pair_scenes

    title = f"{Path(before).name} and {Path(after).name}"
    with interruptible() as interrupted, Scene.open(before, crs=crs) as one, Scene.open(after, crs=crs) as two:
        pair = pair_scenes(one, two)
        loaded = load_model(model or DEFAULT_CHANGE_MODEL)
        try:
            follow(pair, title, out, loaded, options, overwrite, as_json, interrupted)
        except CancelledError as error:
            say_cancelled(title, out, as_json)
            raise typer.Exit(error.exit_code) from None
