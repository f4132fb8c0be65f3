"""What trains a scene classifier: one optimiser step on a mixed batch, and the count of right and wrong pictures."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from engine.models.card import Scaling
from engine.training.classification.mixing import erase, mix, soft_targets
from engine.training.classification.recipe import ClassificationRecipe
from engine.training.data import Sample
from engine.training.module import TrainingModule
from engine.training.settings import Budget


class ClassificationModule(TrainingModule[ClassificationRecipe]):
    """Trains a scene classifier of the registry.

    Args:
        model: The module; its output is a :class:`~engine.models.output.TokenOutput`.
        recipe: The recipe.
        scaling: How inputs are normalised.
        budget: The run in steps.
    """

    def __init__(self, model: nn.Module, recipe: ClassificationRecipe, scaling: Scaling, budget: Budget) -> None:
        super().__init__(model, recipe, scaling, budget)
        classes = len(recipe.classes)
        self.top1 = MulticlassAccuracy(classes, top_k=1, average="micro")
        self.top5 = MulticlassAccuracy(classes, top_k=min(5, classes), average="micro")

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """One optimiser step."""
        images, labels = batch
        how = self.recipe.augmentation
        # A batch is mixed by its own generator, so that a resumed run mixes as an uninterrupted one.
        rng = np.random.default_rng((self.recipe.optimisation.seed, self.global_step, self.global_rank, 0x313))
        targets = soft_targets(labels, len(self.recipe.classes), self.recipe.loss.label_smoothing)
        inputs = erase(rng, self.normalise(images), how.erase, how.erase_area)
        inputs, targets = mix(rng, inputs, targets, how)
        logits = self.model(inputs).logits.float()
        loss = F.cross_entropy(logits, targets)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        """Count right answers."""
        for stored, labels in batch:
            logits = self.model(self.normalise_stored(stored)).logits.float()
            self.top1.update(logits, labels)
            self.top5.update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Log top-1 and top-5."""
        for name, metric in (("top1", self.top1), ("top5", self.top5)):
            self.log(name, torch.as_tensor(metric.compute()), prog_bar=True)
            metric.reset()
