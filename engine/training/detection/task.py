"""The task ``detection`` behind the protocol of :mod:`engine.training.task`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from engine.errors import TrainingError
from engine.inference.detection.image import find_in_image
from engine.models.card import Scaling
from engine.models.detection import Detector
from engine.models.loaded import LoadedModel
from engine.training.data import Measured, TrainingData
from engine.training.detection.module import DetectionModule
from engine.training.detection.pictures import load_split
from engine.training.detection.recipe import DetectionRecipe
from engine.training.detection.samples import MeasuredImages, ObjectSamples, annotations_of
from engine.training.detection.scores import DetectionScorer
from engine.training.report import Report
from engine.training.splits import TRAIN, VALIDATION
from engine.training.task import Task


class DetectionTask(Task[DetectionRecipe]):
    """Rotated boxes with classes."""

    monitor = "map_area"

    def data(self, recipe: DetectionRecipe, root: Path) -> TrainingData:
        """Images of both splits."""
        training = ObjectSamples(recipe, load_split(recipe, root, TRAIN))
        return TrainingData(recipe, training, MeasuredImages(load_split(recipe, root, VALIDATION)), measure_batch=1)

    def measured(self, recipe: DetectionRecipe, root: Path, split: str) -> MeasuredImages:
        """Images of a split."""
        images = MeasuredImages(load_split(recipe, root, split))
        if not len(images):
            known = {name for source in recipe.data if source.kind != "drawn" for name in source.split.splits}
            named = ", ".join(sorted(known)) or f"{TRAIN}, {VALIDATION}"
            raise TrainingError(f"the split {split!r} holds no image", where=root, remedy=f"Splits: {named}.")
        return images

    def module(
        self, model: nn.Module, recipe: DetectionRecipe, data: TrainingData, scaling: Scaling
    ) -> DetectionModule:
        """What trains a detector.

        Raises:
            TrainingError: The architecture is no detector.
        """
        if not isinstance(model, Detector):
            raise TrainingError(
                f"{recipe.architecture!r} is no detector", remedy="Choose an architecture such as oriented_rcnn_…."
            )
        return DetectionModule(model, recipe, scaling, data.budget)

    def score(self, model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Report:
        """DOTA's mean average precision, in both forms, and of each class."""
        card, names = model.card, tuple(entry.name for entry in model.card.classes)
        scorer = DetectionScorer(len(names))
        for done, groups in enumerate(samples.batches(1), 1):
            for stored, rows in groups:
                found = find_in_image(
                    lambda images: model.detect(model.normalise(images.to(model.device))),
                    stored[0],
                    card.window_px,
                    card.overlap_px,
                    model.module.max_overlap,  # type: ignore[arg-type]
                )
                scorer.add(found, annotations_of(rows[0]))
            if progress is not None:
                progress(min(1.0, done / len(samples)))
        scores = scorer.scores()
        return Report(
            headline={
                "map_area": scores.map_area,
                "map_11": scores.map_11,
                "best_f1": scores.best_f1,
                "best_score": scores.best_score,
            },
            titles={
                "map_area": "mAP (area)",
                "map_11": "mAP (11 points)",
                "best_f1": "best F1",
                "best_score": "at score",
                "ap_area": "AP (area)",
                "ap_11": "AP (11 points)",
            },
            per_class={
                "ap_area": dict(zip(names, scores.ap_area, strict=True)),
                "ap_11": dict(zip(names, scores.ap_11, strict=True)),
                "recall": dict(zip(names, scores.recall, strict=True)),
            },
            counts={"images": len(samples), "objects": sum(scores.objects)},
            names=names,
        )

    def card_fields(self, report: Report) -> dict[str, Any]:
        """People are shown objects from the score on at which F1 is best."""
        return {"min_score": round(report.headline["best_score"], 3)} if report.headline["best_f1"] else {}
