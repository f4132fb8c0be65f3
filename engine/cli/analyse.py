"""``rs-engine analyse``: one scene or many through a model, each into its own analysis folder.

Guarantees: a scene that fails does not stop those after it, but the exit code tells; Ctrl-C keeps what is done and
says how to go on; options are checked before any model is loaded.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli import run_flags
from engine.cli.console import plain, print_json, say, say_error, say_warning, seconds_text
from engine.cli.interrupt import interruptible
from engine.errors import CancelledError, EngineError, OptionError

if TYPE_CHECKING:
    from engine.inference.events import Event, Finished
    from engine.inference.options import AnalysisOptions
    from engine.models.loaded import LoadedModel
    from engine.scene import Scene, ScenePair


@dataclass(frozen=True, slots=True)
class _Task:
    """A scene to analyse: where it comes from, where the analysis goes."""

    sources: tuple[str, ...]
    title: str
    out: Path

    @property
    def source(self) -> str | tuple[str, ...]:
        return self.sources[0] if len(self.sources) == 1 else self.sources


class Regions(StrEnum):
    """What becomes a region."""

    TOKENS = "tokens"
    QUADTREE = "quadtree"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("analyse")(analyse_command)


def analyse_command(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE…", help="Files, folders of tiles, VRTs, addresses.")],
    out: Annotated[Path, typer.Option("--out", help="Analysis folder; with several scenes a folder of folders.")],
    model: Annotated[
        str | None, typer.Option(help="A name that `rs-engine models` lists, or a checkpoint; by default land cover.")
    ] = None,
    device: run_flags.Device = "auto",
    window: run_flags.Window = None,
    overlap: run_flags.Overlap = None,
    batch: run_flags.Batch = None,
    bands: Annotated[
        str | None, typer.Option(help="Scene bands for the model's bands, as 3,2,1; by default found by colour.")
    ] = None,
    gsd: run_flags.Gsd = "auto",
    roi: run_flags.Roi = None,
    crs: Annotated[str | None, typer.Option(help="CRS to assume, as EPSG:32632.")] = None,
    precision: run_flags.Precision = "float32",
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="How sure a detector must be, 0 to 1; by default the model's.")
    ] = None,
    min_region_m2: Annotated[
        float | None, typer.Option("--min-region-m2", help="Smaller regions join a neighbour; 0 keeps all.")
    ] = None,
    regions: Annotated[
        Regions, typer.Option(help="What becomes a region: what the model's tokens claim, or patches of a quadtree.")
    ] = Regions.TOKENS,
    tokens: Annotated[
        int | None,
        typer.Option(help="Patches of the quadtree in the region of interest; by default the scene decides."),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="What cuts the quadtree: blur, bands, features, gradcam (both of this model) or random."),
    ] = None,
    min_size: Annotated[
        int | None, typer.Option("--min-size", help="Edge of the quadtree's smallest patch in pixels; 16 by default.")
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size", help="Edge of its largest patch, the smallest times a power of two; 512 by default."
        ),
    ] = None,
    mosaic: Annotated[bool, typer.Option(help="Take all paths as one scene.")] = False,
    overwrite: run_flags.Overwrite = False,
    as_json: run_flags.AsJson = False,
) -> None:
    """Run a model over scenes: class map with regions, objects, or cells of scene classes, into an analysis folder.

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
        min_region_m2=min_region_m2,
        min_score=min_score,
        roi=read_region(roi),
        quadtree=_quadtree(regions, tokens=tokens, scorer=scorer, min_size=min_size, max_size=max_size),
    )
    tasks = _tasks(scenes, out, mosaic)
    from engine.models.catalog import DEFAULT_MODEL
    from engine.models.loaded import load_model

    worst = 0
    with interruptible() as interrupted:
        loaded = load_model(model or DEFAULT_MODEL)
        for number, task in enumerate(tasks, 1):
            if len(tasks) > 1 and not as_json:
                say(f"[{number}/{len(tasks)}] {task.title} -> {task.out}")
            try:
                _run(task, loaded, options, crs, overwrite, as_json, interrupted)
            except CancelledError as error:
                say_cancelled(task.title, task.out, as_json)
                raise typer.Exit(error.exit_code) from None
            except EngineError as error:
                say_error(error)
                if as_json:
                    print_json({"event": "error", "scene": task.title, "message": error.message})
                worst = max(worst, error.exit_code)
    if worst:
        raise typer.Exit(worst)


def _run(
    task: _Task,
    model: LoadedModel,
    options: AnalysisOptions,
    crs: str | None,
    overwrite: bool,
    as_json: bool,
    interrupted: Callable[[], bool],
) -> None:
    from engine.scene import Scene

    with Scene.open(task.source, crs=crs) as scene:
        follow(scene, task.title, task.out, model, options, overwrite, as_json, interrupted)


def follow(
    scene: Scene | ScenePair,
    title: str,
    out: Path,
    model: LoadedModel,
    options: AnalysisOptions,
    overwrite: bool,
    as_json: bool,
    interrupted: Callable[[], bool],
) -> None:
    """Run a model over a scene or a pair of scenes, show how far it is, and say what came out.

    Raises:
        CancelledError: ``interrupted`` said so.
        EngineError: The run cannot be done.
    """
    from engine.cli.progress import RunProgress
    from engine.inference.events import Finished, WarningRaised
    from engine.inference.pipeline import analyse

    finished: Finished | None = None
    with RunProgress(title, hidden=as_json) as bars:
        for event in analyse(scene, model, out, options, overwrite=overwrite, cancel=interrupted):
            if as_json:
                print_json(event_facts(event, title))
            elif isinstance(event, WarningRaised):
                say_warning(event.warning)
            else:
                bars.show(event)
            if isinstance(event, Finished):
                finished = event
    if finished is None:
        raise CancelledError("the run was cancelled")
    if not as_json:
        _report(finished)


def event_facts(event: Event, scene: str) -> dict[str, Any]:
    """An event as a JSON object: its kind in ``event``, its fields beside it."""
    from engine.inference.events import WarningRaised

    if isinstance(event, WarningRaised):
        return {"event": "warning", "scene": scene, **plain(event.warning)}
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__).lstrip("_")
    return {"event": name, "scene": scene, **plain(event)}


def _report(finished: Finished) -> None:
    from engine.inference.analysis import open_analysis

    analysis = open_analysis(finished.out_dir)
    found = analysis.info.detections
    if found is not None:
        what = f"{found.count} objects"
        parts = [f"{part.name} {part.count}" for part in found.by_class if part.count]
    else:
        thing = "changes" if analysis.kind == "change" else "regions"
        what = f"{finished.regions} {thing}" if finished.cells is None else f"{finished.cells} cells"
        shares = analysis.class_shares()
        if finished.cells is not None:  # classifiers know many classes: the largest first
            shares = sorted(shares, key=lambda share: -share.share)
        parts = [f"{share.name} {share.share:.1%}" for share in shares if share.share]
    typer.echo(f"{finished.out_dir}: {what} in {seconds_text(finished.seconds)}")
    if parts:
        typer.echo(f"  {', '.join(parts)}")


def say_cancelled(title: str, out: Path, as_json: bool) -> None:
    """Say that a run was stopped, and how to go on."""
    again = shlex.join(["rs-engine", *(word for word in sys.argv[1:] if word != "--overwrite")])
    if as_json:
        print_json({"event": "cancelled", "scene": title, "out_dir": out})
    say(f"Cancelled. What is done is kept in {out}; to go on: {again}")


def _tasks(scenes: Sequence[str], out: Path, mosaic: bool) -> list[_Task]:
    if mosaic or len(scenes) == 1:
        title = Path(scenes[0]).name if len(scenes) == 1 else f"{len(scenes)} files"
        return [_Task(tuple(scenes), title, out)]
    tasks: list[_Task] = []
    taken: set[str] = set()
    for scene in scenes:
        name = Path(scene.rstrip("/")).stem or "scene"
        folder, number = name, 1
        while folder in taken:
            number += 1
            folder = f"{name}-{number}"
        taken.add(folder)
        tasks.append(_Task((scene,), Path(scene).name, out / folder))
    return tasks


def run_options(**values: Any) -> AnalysisOptions:
    """Options of a run.

    Raises:
        OptionError: One has a value that cannot be used.
    """
    from pydantic import ValidationError

    from engine.inference.options import AnalysisOptions

    names = {"window_px": "--window", "overlap_px": "--overlap"}
    try:
        return AnalysisOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        option = names.get(field, "--" + field.replace("_", "-"))
        raise OptionError(
            f"{option} {first['input']} cannot be used: {first['msg'].lower()}",
            remedy="`rs-engine analyse --help` says what it takes.",
        ) from error


def _quadtree(regions: Regions, **values: Any) -> dict[str, Any] | None:
    """What was said about the quadtree; None where regions are the model's own."""
    said = {name: value for name, value in values.items() if value is not None}
    if regions is Regions.TOKENS and said:
        option = "--" + next(iter(said)).replace("_", "-")
        raise OptionError(f"{option} is about a quadtree", remedy="Add --regions quadtree, or leave it out.")
    return None if regions is Regions.TOKENS else said


def band_numbers(text: str | None) -> tuple[int, ...] | None:
    """Band numbers of a text like ``3,2,1``; None where there is none.

    Raises:
        OptionError: It is no such list.
    """
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise OptionError(f"--bands {text!r} is no list of band numbers", remedy="Count from 1, as in --bands 3,2,1.")
    return numbers


def resolution(text: str) -> str | float:
    """A resolution as options hold it.

    Raises:
        OptionError: It is none.
    """
    if text in ("auto", "native", "model"):
        return text
    try:
        metres = float(text)
    except ValueError:
        metres = 0.0
    if not 0 < metres < float("inf"):
        raise OptionError(f"--gsd {text!r} cannot be used", remedy="Use auto, native, model, or metres as in --gsd 4.")
    return metres


def read_region(path: Path | None) -> dict[str, Any] | None:
    """A region of interest as options hold it, from a vector file.

    Raises:
        RoiError: It cannot be read or holds no areas.
    """
    if path is None:
        return None
    from engine.scene.roi import read_roi

    return read_roi(path).to_json()
