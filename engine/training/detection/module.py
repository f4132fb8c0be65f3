"""What trains a detector: one optimiser step on its four losses, and the average precision on whole images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.inference.detection.image import find_in_image
from engine.models.card import Scaling
from engine.models.oriented.detector import DetectorRules, OrientedRCNN
from engine.training.data import Sample
from engine.training.detection.recipe import DetectionRecipe, Teaching
from engine.training.detection.samples import annotations_of, objects_of
from engine.training.detection.scores import DetectionScorer
from engine.training.module import TrainingModule
from engine.training.settings import Budget


class DetectionModule(TrainingModule[DetectionRecipe]):
    """Trains an Oriented R-CNN.

    Args:
        model: The module.
        recipe: The recipe.
        scaling: How inputs are normalised.
        budget: The run in steps.
    """

    def __init__(self, model: nn.Module, recipe: DetectionRecipe, scaling: Scaling, budget: Budget) -> None:
        super().__init__(model, recipe, scaling, budget)
        self._rules = rules_of(recipe.teaching)
        self._scorer = DetectionScorer(len(recipe.classes))

    @property
    def detector(self) -> OrientedRCNN:
        """The model, known to be a detector."""
        return cast("OrientedRCNN", self.model)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """One optimiser step."""
        images, targets = batch
        losses = self.detector.losses(self.normalise(images), objects_of(targets), self._rules)
        loss = torch.stack(list(losses.values())).sum()
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({f"loss/{name}": value.detach() for name, value in losses.items()})
        return loss

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        """Judge the objects found in some images."""
        card = self.recipe.card
        for stored, rows in batch:
            for image, known in zip(stored, rows, strict=True):
                found = find_in_image(self._detect, image, card.window_px, card.overlap_px, self.detector.max_overlap)
                self._scorer.add(found, annotations_of(known))

    def on_validation_epoch_end(self) -> None:
        """Log the mean average precision in both forms."""
        scores = self._scorer.scores()
        self.log("map_area", _number(scores.map_area), prog_bar=True)
        self.log("map_11", _number(scores.map_11))
        self._scorer = DetectionScorer(len(self.recipe.classes))

    def _detect(self, stored: Tensor) -> Any:
        return self.detector.detect(self.normalise_stored(stored.to(self.device)))


def rules_of(teaching: Teaching) -> DetectorRules:
    """The published rules with the recipe's numbers of samples."""
    rules = DetectorRules()
    return DetectorRules(
        replace(rules.anchors, samples=teaching.anchor_samples),
        replace(rules.heads, samples=teaching.head_samples),
        teaching.proposals,
    )


def _number(value: float) -> float:
    """A score that a state can be chosen by: without objects there is none, and any state is as good."""
    return value if value == value else 0.0
