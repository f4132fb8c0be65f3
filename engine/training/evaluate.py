"""Score a model on a split: the table the paper prints, and how good the regions are.

Guarantees: whole tiles, no augmentation, the model's own normalisation; a score comes from the split it names. Regions
are measured on the tiles laid out as georeferenced scenes and analysed through the same pipeline a user runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import TrainingError
from engine.models.card import ModelCard
from engine.models.loaded import LoadedModel
from engine.resources import resources_dir
from engine.training.recipe import Recipe, load_recipe
from engine.training.scores import scores_from_confusion
from engine.training.tiles import IGNORE, Tile, load_split


def recipe_of(card: ModelCard) -> Recipe:
    """The shipped recipe a model was trained with.

    Raises:
        TrainingError: There is none of this name.
    """
    path = resources_dir() / "recipes" / f"{card.name}.yaml"
    if not path.exists():
        raise TrainingError(
            f"no shipped recipe is called {card.name!r}",
            remedy="Name the recipe that describes the data with --recipe.",
        )
    return load_recipe(path)


def split_tiles(recipe: Recipe, data_root: Path, split: str) -> list[Tile]:
    """All tiles of a split of a recipe's data.

    Raises:
        TrainingError: The split holds no tile.
    """
    tiles = [tile for group in load_split(recipe, data_root, split) for tile in group.tiles]
    if not tiles:
        raise TrainingError(f"the split {split!r} holds no tile", where=data_root, remedy="Splits: train, validation.")
    return tiles


def confusion_of(
    model: LoadedModel, tiles: list[Tile], *, batch: int = 8, progress: Callable[[float], None] | None = None
) -> np.ndarray:
    """Count ``[K, K]`` pixels of truth (rows) against prediction over tiles."""
    count = len(model.card.classes)
    total = np.zeros((count, count), np.int64)
    done = 0
    for group in _same_size(tiles, batch):
        raw = torch.from_numpy(np.stack([tile.image for tile in group]))
        labels = np.stack([tile.labels for tile in group])
        with torch.inference_mode():
            maps = model(model.normalise(raw)).at_pixels(*labels.shape[-2:])
        predicted = maps.logits.argmax(dim=1).numpy()
        known = labels != IGNORE
        pairs = labels[known].astype(np.int64) * count + predicted[known]
        total += np.bincount(pairs, minlength=count * count).reshape(count, count)
        done += len(group)
        if progress is not None:
            progress(done / len(tiles))
    return total


def evaluate_pixels(
    model: LoadedModel, tiles: list[Tile], progress: Callable[[float], None] | None = None
) -> dict[str, Any]:
    """The paper's table and the confusion matrix as plain values."""
    confusion = confusion_of(model, tiles, progress=progress)
    names = [entry.name for entry in model.card.classes]
    table = scores_from_confusion(confusion).as_card_table(names)
    return {**table, "tiles": len(tiles), "confusion": confusion.tolist()}


def _same_size(tiles: list[Tile], batch: int) -> Iterator[list[Tile]]:
    by_size: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles:
        by_size.setdefault(tile.labels.shape, []).append(tile)
    for group in by_size.values():
        for start in range(0, len(group), batch):
            yield group[start : start + batch]
