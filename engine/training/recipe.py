"""Recipes: everything that decides a training run, in one YAML file.

Guarantees: a recipe that validates names its task, an architecture with its configuration, the data with its split
rule, the optimiser and the card of the model that comes out; unknown keys are errors that say what was meant, so a
typing mistake never passes for a setting. Paths of data are relative to the folder given at the command line.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from engine.errors import TrainingError
from engine.models.card import CardClass, spread_colour
from engine.training.images import OnBroken
from engine.training.settings import CardText, Hardware, Optimisation, Part


class Recipe(Part):
    """What recipes of every task hold; each task adds its own parts.

    Attributes:
        name: Name of the recipe, its file and the model that comes out.
        task: Name of the task, see :mod:`engine.training.task`.
        architecture: Name in the registry of models.
        config: Its configuration, without classes and bands.
        classes: Names with colours, or names alone, which are given colours.
        bands: Names of the bands the model sees.
        full_range: Stored value that becomes 1.
        start: A model whose weights the training starts from, where they fit: a name or the path of a checkpoint; None
            starts from chance.
        normalisation: Whether mean and deviation are measured on the training data or those of ImageNet; ``none`` gives
            the model values as ``full_range`` leaves them.
        stored_as: How the finished model's weights are stored. ``float16`` halves the file; the model is rounded to it
            before it is scored.
        on_broken: What to do about images that cannot be decoded.
        optimisation: Optimiser and schedule.
        hardware: What to train on.
        card: What the card says beyond what training measures.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    task: str
    architecture: str
    config: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[CardClass, ...] = Field(min_length=1)
    bands: tuple[str, ...] = Field(min_length=1)
    full_range: float = Field(default=255.0, gt=0)
    start: str | None = None
    normalisation: Literal["measured", "imagenet", "none"] = "measured"
    stored_as: Literal["float32", "float16"] = "float32"
    on_broken: OnBroken = "stop"
    optimisation: Optimisation
    hardware: Hardware = Hardware()
    card: CardText

    @field_validator("classes", mode="before")
    @classmethod
    def _colour_names(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [
            {"name": entry, "color": spread_colour(index)} if isinstance(entry, str) else entry
            for index, entry in enumerate(value)
        ]

    @property
    def taught_by(self) -> str | None:
        """Name or path of a model that teaches beside the labels; tasks that have teachers say which."""
        return None

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of their codes."""
        return [entry.name for entry in self.classes]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    A recipe may say ``extends: NAME``, another recipe in its folder or a shipped one: what it does not say itself it
    takes from there, mappings key by key; ``config`` belongs to the architecture and is taken over only where it is not
    given at all.

    Args:
        path: A YAML file.
        overrides: ``key=value`` pairs with dotted keys (``optimisation.steps=100``); values are YAML.

    Returns:
        The :class:`Recipe` of its task.

    Raises:
        TrainingError: The file is missing, no recipe, or an override does not fit.
    """
    from engine.training.task import recipe_type

    path = Path(path)
    raw = _extended(path)
    for override in overrides:
        _apply(raw, override)
    kind = recipe_type(str(raw.get("task", "segmentation")))
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise _sentence(error, kind, path) from error


def shipped_recipes() -> dict[str, Path]:
    """Shipped recipes by name."""
    from engine.resources import resources_dir

    return {path.stem: path for path in sorted((resources_dir() / "recipes").glob("*.yaml"))}


def find_recipe(name_or_path: str) -> Path:
    """The file of a shipped recipe's name, or the path itself."""
    return shipped_recipes().get(name_or_path, Path(name_or_path))


def _extended(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    raw = _read(path)
    base = raw.pop("extends", None)
    if base is None:
        return raw
    parent = path.parent / f"{base}.yaml"
    if parent == path or not parent.exists():
        parent = shipped_recipes().get(str(base), parent)
    if parent in seen or parent == path:
        raise TrainingError(f"the recipe extends itself through {base!r}", where=path, remedy="Break the circle.")
    if not parent.exists():
        raise TrainingError(
            f"the recipe extends {base!r}, and there is no such recipe",
            where=path,
            remedy="Name a recipe beside it, or one that `rs-engine train --list` names.",
        )
    return _merged(_extended(parent, (*seen, path)), raw)


def _merged(base: dict[str, Any], own: dict[str, Any], *, top: bool = True) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict) and not (top and key == "config")
        merged[key] = _merged(typing.cast("dict[str, Any]", under), value, top=False) if both else value
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        close = difflib.get_close_matches(path.stem, shipped_recipes(), n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise TrainingError(
            "there is no such recipe", where=path, remedy=f"{meant}`rs-engine train --list` names the shipped recipes."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrainingError(f"the recipe cannot be read: {error}", where=path, remedy="Correct the YAML.") from error
    if not isinstance(raw, dict):
        raise TrainingError("the recipe is not a YAML mapping", where=path, remedy="Start from a shipped recipe.")
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise TrainingError(f"{override!r} sets nothing", remedy="Write --set key=value, e.g. optimisation.steps=100.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"the value of {override!r} is not YAML", remedy="Quote it for the shell.") from error
    *parents, last = key.split(".")
    here: Any = raw
    done: list[str] = []
    for part in parents:
        here = _step(here, part, done, key)
        done.append(part)
    if isinstance(here, list):
        here[_index(here, last, done, key)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise _no_place(key, done)


def _step(here: Any, part: str, done: list[str], key: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, part, done, key)]
    if isinstance(here, dict):
        return here.setdefault(part, {})
    raise _no_place(key, done)


def _index(here: list[Any], part: str, done: list[str], key: str) -> int:
    if part.isdigit() and int(part) < len(here):
        return int(part)
    place = ".".join(done)
    raise TrainingError(
        f"--set {key}: {place} is a list of {len(here)}, {part!r} is no place in it",
        remedy=f"Number its entries from 0, as {place}.0.",
    )


def _no_place(key: str, done: list[str]) -> TrainingError:
    return TrainingError(f"--set {key}: {'.'.join(done)} is a single value and holds no keys")


def _sentence(error: ValidationError, kind: type[BaseModel], path: Path) -> TrainingError:
    errors = error.errors()
    # A mistyped key comes with the complaint that the right one is missing: the typing mistake explains both.
    first = next((entry for entry in errors if entry["type"] == "extra_forbidden"), errors[0])
    loc = list(first["loc"])
    place = ".".join(str(part) for part in loc)
    if first["type"] != "extra_forbidden":
        return TrainingError(f"the recipe is not valid at {place}: {first['msg']}", where=path)
    known = sorted({name for part in _parts_at(kind, loc[:-1]) for name in part.model_fields})
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    meant = f"Did you mean {close[0]!r}? " if close else ""
    return TrainingError(
        f"the recipe has an unknown key {place!r}", where=path, remedy=f"{meant}Keys there are {', '.join(known)}."
    )


def _parts_at(kind: type[BaseModel], loc: Sequence[int | str]) -> list[type[BaseModel]]:
    """The kinds of parts that may stand at a place, given as pydantic gives it (with the tags of unions)."""
    here = [kind]
    for part in loc:
        if isinstance(part, int):
            continue
        tagged = [model for model in here if part in _tags(model)]
        if tagged:
            here = tagged
        else:
            fields = [model.model_fields[part] for model in here if part in model.model_fields]
            here = [model for field in fields for model in _models_in(field.annotation)]
    return here


def _tags(model: type[BaseModel]) -> Iterable[Any]:
    for name in ("kind", "rule"):
        if name in model.model_fields:
            yield from typing.get_args(model.model_fields[name].annotation)
    yield model.__name__


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.GenericAlias | types.UnionType) or typing.get_origin(annotation) is not None:
        return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]
    return []
