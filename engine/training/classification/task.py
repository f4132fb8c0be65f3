"""The task ``classification`` behind the protocol of :mod:`engine.training.task`."""

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
from engine.training.classification.module import ClassificationModule
from engine.training.classification.pictures import load_split, splits_of
from engine.training.classification.recipe import ClassificationRecipe
from engine.training.classification.samples import MeasuredScenes, SceneSamples
from engine.training.data import Measured, TrainingData
from engine.training.report import Report
from engine.training.splits import TRAIN, VALIDATION
from engine.training.task import ExtraMeasure, Task
from engine.training.token_scores import evaluate_tokens

BATCH = 16
"""Pictures scored together."""


class ClassificationTask(Task[ClassificationRecipe]):
    """A class for every scene."""

    monitor = "top1"
    extras: ClassVar[Mapping[str, ExtraMeasure]] = {"tokens": evaluate_tokens}

    def data(self, recipe: ClassificationRecipe, root: Path) -> TrainingData:
        """Pictures of both splits."""
        training = SceneSamples(recipe, load_split(recipe, root, TRAIN))
        return TrainingData(recipe, training, MeasuredScenes(recipe, load_split(recipe, root, VALIDATION)), BATCH)

    def measured(self, recipe: ClassificationRecipe, root: Path, split: str) -> MeasuredScenes:
        """Pictures of a split."""
        pictures = MeasuredScenes(recipe, load_split(recipe, root, split))
        if not len(pictures):
            raise TrainingError(
                f"the split {split!r} holds no picture", where=root, remedy=f"Splits: {', '.join(splits_of(recipe))}."
            )
        return pictures

    def module(
        self, model: nn.Module, recipe: ClassificationRecipe, data: TrainingData, scaling: Scaling
    ) -> ClassificationModule:
        """What trains a classifier."""
        return ClassificationModule(model, recipe, scaling, data.budget)

    def score(self, model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Report:
        """Top-1, top-5 and the share right of each class."""
        names = tuple(entry.name for entry in model.card.classes)
        count = len(names)
        confusion = np.zeros((count, count), np.int64)
        in_five, done = 0, 0
        for groups in samples.batches(BATCH):
            for stored, labels in groups:
                with torch.inference_mode():
                    logits = model(model.normalise(stored.to(model.device))).logits.cpu()
                likely = logits.topk(min(5, count), dim=1).indices
                np.add.at(confusion, (labels.numpy(), likely[:, 0].numpy()), 1)
                in_five += int((likely == labels[:, None]).any(dim=1).sum())
            done += BATCH
            if progress is not None:
                progress(min(1.0, done / len(samples)))
        total, of_class = int(confusion.sum()), confusion.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            right = np.diag(confusion) / of_class
        return Report(
            headline={
                "top1": float(np.trace(confusion)) / max(1, total),
                "top5": in_five / max(1, total),
                "mean_accuracy": float(right[of_class > 0].mean()) if total else float("nan"),
            },
            titles={"top1": "top-1", "top5": "top-5", "mean_accuracy": "mean of classes", "accuracy": "right"},
            per_class={"accuracy": dict(zip(names, right.tolist(), strict=True))},
            counts={"images": total},
            names=names,
            confusion=confusion,
        )
