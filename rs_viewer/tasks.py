"""What background jobs do: each function calls the engine and nothing of Qt.

Guarantees: the engine's heavy parts (torch, GDAL, tables) are imported here on the worker threads, when first needed;
:class:`DeviceRoom` is only ever touched by the device thread, so a model has one owner.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import (
    AnalysisError,
    CancelledError,
    CheckpointError,
    EngineError,
    EngineWarning,
    PairWarning,
)
from engine.inference.events import Finished
from engine.inference.options import AnalysisOptions
from rs_viewer import folders
from rs_viewer.jobs import Context

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from engine.inference.attention import WindowTokens
    from engine.inference.device import DeviceInfo
    from engine.models.catalog import ModelInfo
    from engine.models.loaded import LoadedModel
    from engine.scene import Scene, ScenePair

WANTED_SOON = ("engine.inference.pipeline", "engine.inference.attention", "engine.regions.similarity", "engine.export")


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that was opened: a scene, and the analysis if the source was one; ``after`` is a comparison's second."""

    source: tuple[str, ...]
    scene: Scene | None
    analysis: Analysis | None
    warnings: tuple[str, ...] = ()
    after: Scene | None = None


@dataclass(frozen=True, slots=True)
class Models:
    """The models there are, and what was wrong with others."""

    models: tuple[ModelInfo, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class DeviceRoom:
    """Models that are loaded, newest last; owned by the device thread."""

    keep: int = 2
    _models: dict[tuple[str, int], LoadedModel] = field(default_factory=dict)

    def load(self, path: str | Path) -> LoadedModel:
        """The model of a checkpoint, from memory if the file has not changed."""
        from engine.models.loaded import load_model

        place = Path(path)
        key = (str(place), place.stat().st_mtime_ns if place.exists() else 0)
        model = self._models.pop(key, None)
        if model is None:
            model = load_model(place)
            while len(self._models) >= self.keep:
                self._models.pop(next(iter(self._models)))
        self._models[key] = model
        return model


def find_devices(context: Context) -> tuple[DeviceInfo, ...]:
    """Import torch and try the devices, the best first."""
    from engine.inference.device import list_devices
    from engine.inference.threads import leave_a_core_free

    leave_a_core_free()
    return tuple(list_devices())


def warm_engine(context: Context) -> None:
    """Import what a run, a look at its result and an export need, before somebody waits for them."""
    for name in WANTED_SOON:
        context.raise_if_cancelled()
        import_module(name)


def find_models(context: Context, extra: Sequence[str | Path] = ()) -> Models:
    """List the shipped models, the user's, and the checkpoints in ``extra``."""
    from engine.models.catalog import find_model, list_models

    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EngineWarning)
        models = list(list_models())
    said.extend(str(item.message) for item in caught if issubclass(item.category, EngineWarning))
    for path in extra:
        info = find_model(path)
        models = [info, *(other for other in models if Path(other.path) != Path(info.path))]
    return Models(tuple(models), tuple(said))


def is_analysis(path: str | Path) -> bool:
    """Whether a path is an analysis folder, finished or interrupted, or its ``analysis.json``."""
    place = Path(path)
    if place.name == "analysis.json":
        return place.is_file()
    return place.is_dir() and ((place / "analysis.json").is_file() or (place / ".partial" / "run.json").is_file())


def open_source(context: Context, paths: Sequence[str]) -> Opened:
    """Open a scene (file, files of one mosaic, folder, address) or an analysis folder with its scene."""
    if len(paths) == 1 and is_analysis(paths[0]):
        return open_results(context, paths[0])
    from engine.scene import Scene

    scene = Scene.open(paths[0] if len(paths) == 1 else list(paths))
    warm_up(scene.grid)
    return Opened(tuple(paths), scene, None, tuple(item.message for item in scene.warnings))


def open_results(context: Context, path: str | Path) -> Opened:
    """Open an analysis folder and, if it is still where it was, its scene."""
    from engine.inference.analysis import open_analysis
    from engine.scene import Scene

    folder = Path(path)
    analysis = open_analysis(folder.parent if folder.name == "analysis.json" else folder)
    said: tuple[str, ...] = ()
    scene = None
    sources = scene_sources(analysis)
    try:
        if not sources:
            raise AnalysisError("the analysis does not say which scene it was made from", where=analysis.path)
        scene = Scene.open(sources[0] if len(sources) == 1 else sources)
        said = tuple(item.message for item in scene.warnings)
    except (OSError, ValueError) as error:
        said = (f"The analysis is shown without its scene. {error}",)
    after = None
    if analysis.info.after is not None:
        try:
            after = open_scene(analysis.info.after.sources)
        except (OSError, ValueError) as error:
            said = (*said, f"The comparison is shown without its later scene. {error}")
    return Opened((str(folder),), scene, analysis, said, after)


def open_scene(source: Sequence[str]) -> Scene:
    """Open a scene from the sources it was made of."""
    from engine.scene import Scene

    scene = Scene.open(source[0] if len(source) == 1 else list(source))
    warm_up(scene.grid)
    return scene


@contextmanager
def scene_or_pair(source: Sequence[str], after: Sequence[str]) -> Iterator[Scene | ScenePair]:
    """A scene or, where there is a later one to compare it with, both on one grid; closed in the end."""
    from engine.scene import pair_scenes

    with open_scene(source) as scene:
        if not after:
            yield scene
            return
        with open_scene(after) as later:
            yield pair_scenes(scene, later)


def open_pair(context: Context, before: Sequence[str], after: Sequence[str]) -> tuple[Scene, Scene]:
    """Open two scenes for the map, once it is sure that they can be compared.

    Raises:
        EngineError: They cannot be opened or compared.
    """
    with scene_or_pair(before, after):
        context.raise_if_cancelled()
    return open_scene(before), open_scene(after)


def find_change_model(context: Context, path: str) -> ModelInfo:
    """A model of change from its checkpoint.

    Raises:
        CheckpointError: It is none.
    """
    from engine.models.catalog import find_model

    info = find_model(Path(path))
    if info.card.task != "change":
        raise CheckpointError(
            f"{info.card.title} does not compare scenes: its task is {info.card.task}",
            where=path,
            remedy="Choose the checkpoint of a model of change; the recipe lemevit-changes trains one.",
        )
    return info


def warm_up(grid: Any) -> None:
    """Build a grid's way to longitude and latitude here, so that the GUI thread finds it ready."""
    if grid.crs is not None:
        grid.lonlat(grid.width / 2, grid.height / 2)


def look_on(context: Context, out_dir: str) -> Analysis:
    """Open an analysis, finished or still growing."""
    from engine.inference.analysis import open_analysis

    analysis = open_analysis(out_dir)
    warm_up(analysis.grid)
    return analysis


def scene_sources(analysis: Analysis) -> list[str]:
    """Where the scene of an analysis was when it ran."""
    return [str(source) for source in analysis.info.scene.sources]


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known before a run.

    Attributes:
        warnings: What the user should know, one sentence each.
        refusal: Why the run cannot be done at all, or empty.
        size_px: Width and height of the analysis grid, None where it cannot be done.
        gsd_m: Resolution the scene is resampled to, None at its own.
        waiting: The interrupted analysis in the folder, None where there is none.
    """

    warnings: tuple[str, ...]
    refusal: str
    size_px: tuple[int, int] | None
    gsd_m: float | None
    waiting: Analysis | None


def check(
    context: Context,
    source: Sequence[str],
    model: ModelInfo,
    options: AnalysisOptions,
    out_dir: str,
    *,
    after: Sequence[str] = (),
) -> Checked:
    """Find out what should be said before a run, and whether an interrupted analysis waits in the folder."""
    from engine.inference.analysis import open_analysis
    from engine.inference.check import check_run
    from engine.scene.roi import Roi

    waiting = open_analysis(out_dir) if out_dir and folders.interrupted(out_dir) else None
    context.raise_if_cancelled()
    try:
        with scene_or_pair(source, after) as scene:
            found = check_run(scene, model.card, options)
            if options.roi is not None:
                Roi.from_json(options.roi).on_grid(found.scene.grid)
            known = [item for item in scene.warnings if not isinstance(item, PairWarning)]  # said when it was opened
            said = tuple(item.message for item in found.warnings if item not in known)
            size_px = (found.scene.width, found.scene.height)
        if out_dir:
            folders.ensure_writable(out_dir)
    except EngineError as error:
        return Checked((), error.message, None, None, waiting)
    return Checked(said, "", size_px, found.gsd_m, waiting)


def run_analysis(
    context: Context,
    room: DeviceRoom,
    source: Sequence[str],
    model_path: str,
    out_dir: str,
    options: AnalysisOptions,
    *,
    after: Sequence[str] = (),
    overwrite: bool = False,
) -> Finished:
    """Run a model over a scene, or over it and a later one; every event is reported.

    Scenes are opened anew, so that closing them on the map does no harm.

    Raises:
        CancelledError: The user stopped it; what is done stays in the folder.
    """
    from engine.inference.pipeline import analyse
    from engine.inference.threads import leave_a_core_free

    leave_a_core_free()
    folders.ensure_writable(out_dir)
    loaded = room.load(model_path)
    context.raise_if_cancelled()
    last: object = None
    with scene_or_pair(source, after) as scene:
        for event in analyse(scene, loaded, out_dir, options, cancel=context.cancelled, overwrite=overwrite):
            context.report(event)
            last = event
    if not isinstance(last, Finished):
        raise CancelledError("the analysis was stopped", where=out_dir)
    return last


def window_tokens(
    context: Context, room: DeviceRoom, scene: Scene, model_path: str, analysis: Analysis, window: int
) -> WindowTokens:
    """What the model perceives in a window of an analysis."""
    from engine.inference.attention import window_tokens

    loaded = room.load(model_path)
    context.raise_if_cancelled()
    return window_tokens(scene, loaded, analysis, window)


def model_of(analysis: Analysis, known: Sequence[ModelInfo]) -> str:
    """Path of the checkpoint an analysis was made with, if it is among the known ones.

    Raises:
        AnalysisError: No known model has the same card.
    """
    for info in known:
        if info.card == analysis.card:
            return str(info.path)
    raise AnalysisError(
        f"the model {analysis.card.name} that made this analysis is not installed",
        where=analysis.path,
        remedy="Put its checkpoint into the model folder (Analysis > Open Model Folder) and start again.",
    )


def write_export(
    context: Context,
    analysis: Analysis,
    path: str,
    layer: str | None,
    simplify_px: float,
    classes: tuple[str, ...] | None,
    report: Callable[[float], None],
) -> Path:
    """Export an analysis to a file."""
    from engine.export import export

    return Path(
        export(
            analysis,
            path,
            layer=layer,  # type: ignore[arg-type]
            simplify_px=simplify_px,
            classes=classes,
            progress=report,
            cancel=context.cancelled,
        )
    )


def switch_interval() -> None:
    """Let the GUI thread take the interpreter back sooner than Python does by itself."""
    sys.setswitchinterval(0.001)
