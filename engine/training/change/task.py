"""The task ``change`` behind the protocol of :mod:`engine.training.task`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import TrainingError
from engine.models.card import Scaling
from engine.models.loaded import LoadedModel
from engine.training.change.module import ChangeModule, changed_at
from engine.training.change.pairs import load_split
from engine.training.change.recipe import ChangeRecipe
from engine.training.change.samples import ChangeSamples, MeasuredPairs
from engine.training.change.scores import ChangeScorer
from engine.training.data import Measured, TrainingData
from engine.training.report import Report
from engine.training.splits import TRAIN, VALIDATION
from engine.training.task import Task

BATCH = 8
"""Pairs scored together."""


class ChangeTask(Task[ChangeRecipe]):
    """What changed between two dates."""

    monitor = "best_f1"

    def data(self, recipe: ChangeRecipe, root: Path) -> TrainingData:
        """Pairs of both splits."""
        training = ChangeSamples(recipe, load_split(recipe, root, TRAIN))
        validation = MeasuredPairs(load_split(recipe, root, VALIDATION))
        return TrainingData(recipe, training, validation, measure_batch=BATCH)

    def measured(self, recipe: ChangeRecipe, root: Path, split: str) -> MeasuredPairs:
        """Whole pairs of a split."""
        pairs = MeasuredPairs(load_split(recipe, root, split))
        if not len(pairs):
            known = sorted({name for source in recipe.data for name in source.split.splits})
            raise TrainingError(f"the split {split!r} holds no pair", where=root, remedy=f"Splits: {', '.join(known)}.")
        return pairs

    def module(self, model: nn.Module, recipe: ChangeRecipe, data: TrainingData, scaling: Scaling) -> ChangeModule:
        """What trains a model of change."""
        return ChangeModule(model, recipe, scaling, data.budget)

    def score(self, model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Report:
        """Precision, recall, F1 and IoU of the changed class, and the overall accuracy."""
        names = tuple(entry.name for entry in model.card.classes)
        scorer = ChangeScorer()
        for done, groups in enumerate(samples.batches(BATCH), 1):
            for stored, target in groups:
                with torch.inference_mode():
                    before, after = (model.normalise(date.to(model.device)) for date in stored.unbind(1))
                    scorer.add(changed_at(model(before, after), target), target)
            if progress is not None:
                progress(min(1.0, done * BATCH / len(samples)))
        scores = scorer.scores()
        (kept, wrong), (missed, _) = scores.confusion.tolist()
        return Report(
            headline={
                "f1": scores.f1,
                "precision": scores.precision,
                "recall": scores.recall,
                "iou": scores.iou,
                "accuracy": scores.accuracy,
                "batch_f1": scores.batch_f1,
                "best_f1": scores.best_f1,
                "best_threshold": scores.best_threshold,
            },
            titles={
                "f1": "F1",
                "precision": "precision",
                "recall": "recall",
                "iou": "IoU",
                "accuracy": "overall accuracy",
                "batch_f1": "F1, mean of batches of 16",
                "best_f1": "best F1",
                "best_threshold": "at probability",
                "class_iou": "IoU",
                "class_accuracy": "acc",
            },
            per_class={
                "class_iou": dict(zip(names, (kept / max(1, kept + wrong + missed), scores.iou), strict=True)),
                "class_accuracy": dict(zip(names, (kept / max(1, kept + wrong), scores.recall), strict=True)),
            },
            counts={"pairs": len(samples), "pixels": int(scores.confusion.sum())},
            names=names,
            confusion=scores.confusion,
        )

    def card_fields(self, report: Report) -> dict[str, Any]:
        """A run calls changed what is at least as probable as where F1 is best on the validation split."""
        return {"min_score": round(report.headline["best_threshold"], 3)} if report.headline["best_f1"] else {}
