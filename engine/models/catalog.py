"""Which models there are: those shipped, then those in the user's data folder.

Guarantees: no torch and no weights are touched; a shipped model cannot be shadowed by a file of the same name; a
damaged file in a model folder is reported (as a warning), and raised once it is asked for by name.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from engine.errors import CardError, CheckpointError, EngineError, EngineWarning, ModelNotFoundError
from engine.models.card import ModelCard
from engine.models.checkpoint import PICKLE_SUFFIXES, SUFFIX, read_card
from engine.resources import resources_dir

DEFAULT_MODEL = "hook-landcover"
DEFAULT_CHANGE_MODEL = "lemevit-changes"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be loaded.

    Attributes:
        name: The name to load it by.
        path: Its checkpoint.
        card: Its card.
    """

    name: str
    path: Path
    card: ModelCard


def user_models_dir() -> Path:
    """Folder in which a user's own checkpoints are found by name."""
    return platformdirs.user_data_path("rs-viewer", appauthor=False) / "models"


def list_models(extra_dirs: Iterable[str | Path] = ()) -> list[ModelInfo]:
    """Shipped models, those in the user's data folder, those in ``extra_dirs``; the first of a name counts.

    The model that is taken where none is named comes first.
    """
    models, faults = _scan(tuple(extra_dirs))
    for fault in faults:
        warnings.warn(EngineWarning(f"A model was left out: {fault}"), stacklevel=2)
    return models


def find_model(name_or_path: str | Path, extra_dirs: Iterable[str | Path] = ()) -> ModelInfo:
    """Find a model by name or by the path of its checkpoint.

    Raises:
        ModelNotFoundError: There is no such name or file; the message lists the names there are.
        CheckpointError: The file is not a whole checkpoint with a card.
    """
    folders = tuple(extra_dirs)
    path = Path(name_or_path)
    if path.is_file() or _looks_like_path(name_or_path):
        if not path.exists():
            raise ModelNotFoundError("there is no such checkpoint", where=path, remedy=_names(_scan(folders)[0]))
        card = read_card(path)
        return ModelInfo(card.name, path, card)
    name = str(name_or_path)
    models, _ = _scan(folders)
    for info in models:
        if info.name == name:
            return info
    for path in _files(folders):
        if path.stem == name:
            card = read_card(path)
            return ModelInfo(card.name, path, card)
    close = difflib.get_close_matches(name, [info.name for info in models], n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    raise ModelNotFoundError(f"there is no model named {name!r}", remedy=f"{meant}{_names(models)}")


def _looks_like_path(name_or_path: str | Path) -> bool:
    text = str(name_or_path)
    separators = {os.sep, os.altsep, "/"} - {None}
    return (
        isinstance(name_or_path, Path)
        or any(s in text for s in separators if s)
        or Path(text).suffix.lower() in {SUFFIX, *PICKLE_SUFFIXES}
    )


def _files(extra_dirs: tuple[str | Path, ...]) -> Iterator[Path]:
    for folder in (resources_dir() / "models", user_models_dir(), *map(Path, extra_dirs)):
        if folder.is_dir():
            yield from sorted(p for p in folder.glob(f"*{SUFFIX}") if not p.name.startswith("."))


def _scan(extra_dirs: tuple[str | Path, ...]) -> tuple[list[ModelInfo], list[EngineError]]:
    found: dict[str, ModelInfo] = {}
    faults: list[EngineError] = []
    for path in _files(extra_dirs):
        try:
            card = read_card(path)
        except (CheckpointError, CardError) as error:
            faults.append(error)
            continue
        found.setdefault(card.name, ModelInfo(card.name, path, card))
    return sorted(found.values(), key=lambda info: info.name != DEFAULT_MODEL), faults


def _names(models: list[ModelInfo]) -> str:
    if not models:
        return f"No model is installed; give the path of a checkpoint, or put one into {user_models_dir()}."
    return f"Models are {', '.join(info.name for info in models)}; a path to a checkpoint works too."
