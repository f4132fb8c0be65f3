"""The task ``segmentation`` behind the protocol of :mod:`engine.training.task`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from engine.errors import TrainingError
from engine.models.card import Scaling
from engine.models.loaded import LoadedModel
from engine.training.data import Measured, TrainingData
from engine.training.report import Report
from engine.training.segmentation.module import SegmentationModule, classes_at
from engine.training.segmentation.recipe import SegmentationRecipe
from engine.training.segmentation.region_scores import evaluate_regions, region_figures
from engine.training.segmentation.samples import MeasuredTiles, TileSamples
from engine.training.segmentation.scores import scores_from_confusion
from engine.training.segmentation.teacher import check_teacher, find_teacher
from engine.training.segmentation.tiles import IGNORE, load_split
from engine.training.splits import TRAIN, VALIDATION
from engine.training.task import ExtraMeasure, Figures, Task
from engine.training.token_scores import evaluate_tokens

BATCH = 8
"""Tiles scored together."""


class SegmentationTask(Task[SegmentationRecipe]):
    """A class for every pixel."""

    monitor = "miou"
    extras: ClassVar[Mapping[str, ExtraMeasure]] = {"regions": evaluate_regions, "tokens": evaluate_tokens}
    default_extras = ("regions",)
    compared: ClassVar[Mapping[str, Figures]] = {"regions": region_figures}

    def check(self, recipe: SegmentationRecipe) -> None:
        """The teacher, if it names one."""
        check_teacher(recipe)

    def data(self, recipe: SegmentationRecipe, root: Path) -> TrainingData:
        """Tiles of both splits."""
        training = TileSamples(recipe, load_split(recipe, root, TRAIN))
        validation = MeasuredTiles(load_split(recipe, root, VALIDATION), recipe.measuring)
        return TrainingData(recipe, training, validation)

    def measured(self, recipe: SegmentationRecipe, root: Path, split: str) -> MeasuredTiles:
        """Whole tiles of a split."""
        tiles = MeasuredTiles(load_split(recipe, root, split), recipe.measuring)
        if not len(tiles):
            splits = sorted({name for source in recipe.data if source.kind == "tiles" for name in source.split.splits})
            raise TrainingError(
                f"the split {split!r} holds no tile", where=root, remedy=f"Splits: {', '.join(splits)}."
            )
        return tiles

    def module(
        self, model: nn.Module, recipe: SegmentationRecipe, data: TrainingData, scaling: Scaling
    ) -> SegmentationModule:
        """What trains a segmenter."""
        assert isinstance(data.training, TileSamples)
        shares = data.training.class_shares
        return SegmentationModule(model, recipe, scaling, data.budget, shares, find_teacher(recipe))

    def score(self, model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Report:
        """The table of the HOOK paper: mIoU, mAcc, aAcc and each class."""
        assert isinstance(samples, MeasuredTiles)
        confusion = confusion_of(model, samples, progress=progress)
        scores = scores_from_confusion(confusion)
        names = tuple(entry.name for entry in model.card.classes)
        return Report(
            headline={
                "miou": scores.miou,
                "mean_accuracy": scores.mean_accuracy,
                "pixel_accuracy": scores.accuracy,
            },
            titles={"miou": "mIoU", "mean_accuracy": "mAcc", "pixel_accuracy": "aAcc", "iou": "IoU", "accuracy": "acc"},
            per_class={
                "iou": dict(zip(names, scores.iou, strict=True)),
                "accuracy": dict(zip(names, scores.class_accuracy, strict=True)),
            },
            counts={"tiles": samples.tile_count, "pixels": scores.pixels},
            names=names,
            confusion=confusion,
        )


def confusion_of(
    model: LoadedModel, tiles: MeasuredTiles, *, batch: int = BATCH, progress: Callable[[float], None] | None = None
) -> np.ndarray:
    """Count ``[K, K]`` pixels of truth (rows) against prediction over tiles."""
    count = len(model.card.classes)
    total = np.zeros((count, count), np.int64)
    done = 0
    for groups in tiles.batches(batch):
        for stored, labels in groups:
            with torch.inference_mode():
                images = model.normalise(stored.to(model.device))
                predicted = classes_at(model(images), images, labels).cpu().numpy()
            truth = labels.numpy()
            known = truth != IGNORE
            pairs = truth[known].astype(np.int64) * count + predicted[known]
            total += np.bincount(pairs, minlength=count * count).reshape(count, count)
        done += batch
        if progress is not None:
            progress(min(1.0, done / len(tiles)))
    return total
