"""Score a model on a split of a recipe's data, and what else a task can measure about it.

Guarantees: no augmentation, the model's own normalisation; a score comes from the split it names; a model is never
scored on data whose classes are not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from engine.errors import TrainingError
from engine.models.card import ModelCard
from engine.models.loaded import LoadedModel
from engine.training.recipe import Recipe, shipped_recipes
from engine.training.report import Report
from engine.training.task import find_task

Progress = Callable[[str, float], None]


def recipe_of(card: ModelCard) -> str:
    """Name of the shipped recipe a model was trained with.

    Raises:
        TrainingError: There is none of this name.
    """
    if card.name not in shipped_recipes():
        raise TrainingError(
            f"no shipped recipe is called {card.name!r}",
            remedy="Name the recipe that describes the data with --recipe.",
        )
    return card.name


def evaluate(
    model: LoadedModel,
    recipe: Recipe,
    data_root: Path,
    split: str = "validation",
    *,
    extras: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score a model.

    Args:
        model: The model.
        recipe: Describes the data.
        data_root: The folder that the recipe's data folders lie in.
        split: ``train``, ``validation``, or ``test`` where the data know it.
        extras: Further measures by name (``regions``, ``tokens``); None takes those that the task adds by itself.
        progress: Called with what is being measured and the share done.

    Raises:
        TrainingError: The data are missing, are not for this model, or the task has no such measure.
    """
    task = find_task(recipe.task)
    card = model.card
    names = tuple(entry.name for entry in card.classes)
    if (card.task, names, len(card.bands)) != (recipe.task, tuple(recipe.class_names), len(recipe.bands)):
        raise TrainingError(
            f"the data of {recipe.name!r} are not for {card.name!r}: task, classes or bands differ",
            remedy="Name the recipe that describes data of the model's classes with --recipe.",
        )
    wanted = task.default_extras if extras is None else extras
    unknown = sorted(set(wanted) - set(task.extras))
    if unknown:
        raise TrainingError(
            f"{recipe.task} has no measure {unknown[0]!r}", remedy=f"There are {', '.join(task.extras) or 'none'}."
        )
    samples = task.measured(recipe, data_root, split)

    def tell(what: str) -> Callable[[float], None] | None:
        return None if progress is None else lambda share: progress(what, share)

    report = task.score(model, samples, tell(samples.unit))
    found = {name: task.extras[name](model, samples, tell(name)) for name in task.extras if name in wanted}
    return replace(report, extra=found)
