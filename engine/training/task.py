"""Tasks: what a kind of training has to answer, and a registry of them by name.

A task is a module of its own: it describes its data in a recipe, reads it, says what one optimiser step is, and scores
a model. Everything else (schedule, states, logs, cards, commands) is written once against this protocol.

Guarantees: a task's code is imported when it is first asked for, and its recipe without Lightning; an unknown task is
an error that says which there are.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from engine.errors import TrainingError
from engine.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from engine.models.card import Scaling
    from engine.models.loaded import LoadedModel
    from engine.training.data import Measured, TrainingData
    from engine.training.module import TrainingModule
    from engine.training.report import Extra, Report

R = TypeVar("R", bound=Recipe)

ExtraMeasure = Callable[["LoadedModel", "Measured", "Callable[[float], None] | None"], "Extra"]
Figures = Callable[["LoadedModel", "Measured", "Callable[[float], None] | None"], dict[str, float]]


class Task(ABC, Generic[R]):
    """One kind of training.

    Attributes:
        monitor: The score that says which state is best; more is better.
        extras: Further measures of a model, by name.
        default_extras: Those that are taken where nothing else is asked for.
        compared: Figures that models can be compared by beyond their scores, by name.
    """

    monitor: ClassVar[str]
    extras: ClassVar[Mapping[str, ExtraMeasure]] = {}
    default_extras: ClassVar[tuple[str, ...]] = ()
    compared: ClassVar[Mapping[str, Figures]] = {}

    def check(self, recipe: R) -> None:
        """See that what the recipe names beside its data is there and fits, before the data are read.

        Raises:
            ModelNotFoundError: A model it names is not there.
            TrainingError: It is there and does not fit.
        """

    @abstractmethod
    def data(self, recipe: R, root: Path) -> TrainingData:
        """Training and validation data, read and checked.

        Raises:
            TrainingError: Something is missing; the message names it.
        """

    @abstractmethod
    def measured(self, recipe: R, root: Path, split: str) -> Measured:
        """The samples of a split that a model is scored on.

        Raises:
            TrainingError: The split holds nothing.
        """

    @abstractmethod
    def module(self, model: nn.Module, recipe: R, data: TrainingData, scaling: Scaling) -> TrainingModule[R]:
        """What trains a model."""

    @abstractmethod
    def score(self, model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Report:
        """Score a model on samples."""

    def card_fields(self, report: Report) -> dict[str, Any]:
        """Fields of a model's card that its scores on the validation split decide."""
        return {}


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """Where a task lives, as ``module:attribute``.

    Attributes:
        recipe: The class of its recipes.
        task: Its :class:`Task`.
    """

    recipe: str
    task: str


_TASKS = {
    "segmentation": TaskEntry(
        "engine.training.segmentation.recipe:SegmentationRecipe", "engine.training.segmentation.task:SegmentationTask"
    ),
    "classification": TaskEntry(
        "engine.training.classification.recipe:ClassificationRecipe",
        "engine.training.classification.task:ClassificationTask",
    ),
    "detection": TaskEntry(
        "engine.training.detection.recipe:DetectionRecipe", "engine.training.detection.task:DetectionTask"
    ),
    "change": TaskEntry("engine.training.change.recipe:ChangeRecipe", "engine.training.change.task:ChangeTask"),
}


def register(name: str, entry: TaskEntry) -> None:
    """Make a task known to recipes.

    Raises:
        ValueError: The name is taken.
    """
    if _TASKS.get(name, entry) != entry:
        raise ValueError(f"the task name {name!r} is taken")
    _TASKS[name] = entry


def tasks() -> tuple[str, ...]:
    """Names of all tasks, sorted."""
    return tuple(sorted(_TASKS))


def recipe_type(name: str) -> type[Recipe]:
    """The class of a task's recipes.

    Raises:
        TrainingError: There is no such task.
    """
    kind: type[Recipe] = _fetch(_entry(name).recipe)
    return kind


def find_task(name: str) -> Task[Any]:
    """A task by name.

    Raises:
        TrainingError: There is no such task.
    """
    task: Task[Any] = _fetch(_entry(name).task)()
    return task


def _entry(name: str) -> TaskEntry:
    if name in _TASKS:
        return _TASKS[name]
    close = difflib.get_close_matches(name, _TASKS, n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    raise TrainingError(f"there is no task named {name!r}", remedy=f"{meant}Tasks are {', '.join(tasks())}.")


def _fetch(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
