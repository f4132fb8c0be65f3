"""``rs-engine quadtree``: where the information in a scene is, as patches for a GIS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from engine.cli.console import path_size, print_json, say, size_text
from engine.cli.interrupt import interruptible
from engine.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.inference.quadtree import QuadtreeOptions, SceneQuadtree
    from engine.scene import Scene


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("quadtree")(quadtree_command)


def quadtree_command(
    source: Annotated[str, typer.Argument(metavar="SCENE", help="File, folder of tiles, VRT or address.")],
    tokens: Annotated[int, typer.Option(help="Patches in the whole scene.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .gpkg, .geojson, .fgb or .parquet.")],
    scorer: Annotated[
        str, typer.Option(help="blur (red, green, blue), bands (all of them), features, gradcam or random.")
    ] = "blur",
    min_size: Annotated[int, typer.Option("--min-size", help="Edge of the smallest patch in pixels.")] = 16,
    max_size: Annotated[
        int, typer.Option("--max-size", help="Edge of the largest patch, the smallest times a power of two.")
    ] = 512,
    model: Annotated[
        str | None, typer.Option(help="Model for gradcam or features: a name that `rs-engine models` lists, or a path.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="torchvision's weights of shufflenet_v2_x0_5 for features (.pth, .safetensors).")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the model that is looked at.")] = None,
    class_index: Annotated[
        int | None, typer.Option("--class-index", help="Class for gradcam, from 0; by default the most likely.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for random.")] = 0,
    scores: Annotated[
        Path | None, typer.Option(help="Keep the scores in this file, and use them again for another budget.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    crs: Annotated[str | None, typer.Option(help="CRS to assume, as EPSG:32632.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Cut a scene into a budget of patches, small where there is something to see, and write them as polygons.

    One budget holds for the whole scene, whatever its size; attributes are score, size and level.
    """
    from engine.export.quadtree import export_patches, vector_format
    from engine.scene import Scene

    options = _options(
        scorer=scorer,
        min_size=min_size,
        max_size=max_size,
        model=model,
        weights=None if weights is None else str(weights),
        layer=layer,
        class_index=class_index,
        seed=seed,
        device=device,
    )
    vector_format(out)  # before a scene is opened, which may take its time
    console = Console(stderr=True)
    shown = Progress(console=console, transient=True, disable=as_json or not console.is_terminal)
    with interruptible() as interrupted, shown as bars, Scene.open(source, crs=crs) as scene:
        vector_format(out, scene.grid)
        tree = _tree(scene, options, scores, bars, interrupted)
        selection = tree.select(tokens)
        bar = bars.add_task(f"patches to {out.name}", total=1.0)
        path = export_patches(
            tree, selection, out, progress=lambda share: bars.update(bar, completed=share), cancel=interrupted
        )
    counts = {size: int((selection.boxes[:, 2] == size).sum()) for size in reversed(tree.sizes)}
    if as_json:
        facts = {"path": path, "patches": len(selection), "by_size_px": counts, "scorer": tree.scorer}
        print_json(facts | {"min_tokens": tree.min_tokens, "max_tokens": tree.max_tokens})
        return
    typer.echo(f"{path}: {len(selection)} patches by {tree.scorer} ({size_text(path_size(path))})")
    typer.echo("  " + ", ".join(f"{count} of {size} px" for size, count in counts.items() if count))


def _tree(
    scene: Scene,
    options: QuadtreeOptions,
    kept: Path | None,
    bars: Progress,
    cancel: Callable[[], bool],
) -> SceneQuadtree:
    """Scores of a scene: from the file where it holds those of this scene and options, else made and kept there."""
    from engine.inference.quadtree import open_quadtree, save_quadtree, score_facts, score_scene
    from engine.inference.quadtree.file import same_scores

    if kept is not None and kept.exists():
        found = open_quadtree(kept)
        if same_scores(found, score_facts(scene, options)):
            return found
        say(f"{kept} holds scores of another scene or other options; they are made anew.")
    bar = bars.add_task(f"scores of {scene.name}", total=1.0)
    tree = score_scene(scene, options, progress=lambda share: bars.update(bar, completed=share), cancel=cancel)
    if kept is not None:
        save_quadtree(tree, kept)
    return tree


def _options(**values: Any) -> QuadtreeOptions:
    from pydantic import ValidationError

    from engine.inference.quadtree import SCORERS, QuadtreeOptions

    try:
        return QuadtreeOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        option = "--" + field.replace("_", "-")
        if field == "scorer":
            raise OptionError(f"there is no scorer {values[field]!r}", remedy=f"Use {', '.join(SCORERS)}.") from error
        raise OptionError(
            f"{option} {values[field]} cannot be used: {first['msg'].lower()}",
            remedy="`rs-engine quadtree --help` says what it takes.",
        ) from error
