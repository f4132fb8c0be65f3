"""``rs-engine info``: what a scene or an analysis folder is, without reading its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.console import print_json, say_error
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from engine.scene import Scene


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("info")(info_command)


def info_command(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Scenes or analysis folders.")],
    mosaic: Annotated[bool, typer.Option(help="Take all paths as one scene.")] = False,
    crs: Annotated[str | None, typer.Option(help="CRS to assume, as EPSG:32632.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what scenes are: size, bands, resolution, place, and what is odd about them."""
    from engine.inference.store import INFO_NAME
    from engine.scene import Scene

    worst = 0
    sources: list[Any] = [list(paths)] if mosaic else list(paths)
    for source in sources:
        try:
            if isinstance(source, str) and (Path(source) / INFO_NAME).is_file():
                from engine.inference.analysis import open_analysis

                _show_analysis(open_analysis(source), as_json)
                continue
            with Scene.open(source, crs=crs) as scene:
                if as_json:
                    print_json({"kind": "scene", **scene.describe()})
                else:
                    _show_scene(scene)
        except EngineError as error:
            say_error(error)
            if as_json:
                print_json({"kind": "error", "source": source, "message": error.message})
            worst = max(worst, error.exit_code)
    if worst:
        raise typer.Exit(worst)


def _show_scene(scene: Scene) -> None:
    grid = scene.grid
    rows = [
        ("size", f"{scene.width} x {scene.height} pixels, {len(scene.bands)} bands of {scene.dtype}"),
        ("bands", ", ".join(f"{b.index} {b.name}" + (f" ({b.role})" if b.role else "") for b in scene.bands)),
        ("no data", "none" if scene.nodata is None else f"{scene.nodata:g}"),
        ("CRS", _crs_name(scene.crs)),
        ("pixel", "unknown" if scene.gsd_m is None else f"{scene.gsd_m:.4g} m on the ground"),
        ("bounds", ", ".join(f"{side:.10g}" for side in grid.bounds)),
    ]
    lonlat = grid.lonlat_bounds
    if lonlat is not None:
        rows.append(("lon/lat", f"{lonlat[0]:.5f} to {lonlat[2]:.5f}, {lonlat[1]:.5f} to {lonlat[3]:.5f}"))
    rows.append(("overviews", ", ".join(f"1:{factor}" for factor in scene.overviews) or "none"))
    if len(scene.sources) > 1:
        rows.append(("files", str(len(scene.sources))))
    rows += [("note", warning.message) for warning in scene.warnings]
    _print_rows(scene.name, rows)


def _show_analysis(analysis: Analysis, as_json: bool) -> None:
    info = analysis.info
    if as_json:
        facts = info.model_dump(mode="json")
        print_json({"kind": "analysis", "path": analysis.path, "complete": analysis.complete, **facts})
        return
    grid = analysis.grid
    rows = [
        ("analysis of", info.scene.name),
        *([] if info.after is None else [("and later", info.after.name)]),
        ("model", f"{info.model.name} (sha256 {info.model.sha256[:12]}…)"),
        ("size", f"{grid.width} x {grid.height} pixels"),
        ("CRS", _crs_name(grid.crs)),
        ("state", "complete" if analysis.complete else "not complete: run the same analysis again to go on"),
    ]
    if info.detections is not None:
        rows.append(("objects", str(info.detections.count)))
        rows += [("", f"{part.name}: {part.count}") for part in info.detections.by_class if part.count]
    elif analysis.complete:
        things = "changes" if analysis.kind == "change" else "regions"
        rows.append((things, str(info.regions)) if info.cells is None else ("cells", str(info.cells)))
        shown = list(info.class_shares)
        if info.cells is not None:  # classifiers know many classes: those that are there, the largest first
            shown = sorted((share for share in shown if share.share), key=lambda share: -share.share)
        rows += [("", f"{share.name}: {share.share:.1%}") for share in shown]
    _print_rows(str(analysis.path), rows)


def _print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    typer.secho(title, bold=True)
    for name, text in rows:
        typer.echo(f"  {name:<12}{text}")


def _crs_name(crs: Any) -> str:
    if crs is None:
        return "none"
    import pyproj

    code = crs.to_epsg()
    name = pyproj.CRS.from_wkt(crs.to_wkt()).name
    return f"EPSG:{code} {name}" if code else str(name)
