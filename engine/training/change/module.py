"""What trains a model of change: one optimiser step, and the scores on whole pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.card import Scaling
from engine.models.output import TokenOutput
from engine.training.change.recipe import ChangeLoss, ChangeRecipe
from engine.training.change.samples import IGNORE
from engine.training.change.scores import ChangeScorer
from engine.training.data import Sample
from engine.training.module import TrainingModule
from engine.training.settings import Budget


class ChangeModule(TrainingModule[ChangeRecipe]):
    """Trains a model that takes two dates.

    Args:
        model: The module; called with both dates it returns a :class:`~engine.models.output.TokenOutput`.
        recipe: The recipe.
        scaling: How inputs are normalised.
        budget: The run in steps.
    """

    def __init__(self, model: nn.Module, recipe: ChangeRecipe, scaling: Scaling, budget: Budget) -> None:
        super().__init__(model, recipe, scaling, budget)
        self._scorer = ChangeScorer()

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """One optimiser step."""
        images, target = batch
        before, after = (self.normalise(date) for date in images.unbind(1))
        loss, parts = change_loss(self.model(before, after), target, self.recipe.loss)
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in parts.items()})
        return loss

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        """Count pixels of whole pairs."""
        for stored, target in batch:
            before, after = (self.normalise_stored(date) for date in stored.unbind(1))
            self._scorer.add(changed_at(self.model(before, after), target), target)

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        scores = self._scorer.scores()
        self.log("best_f1", scores.best_f1, prog_bar=True)
        for name in ("f1", "precision", "recall", "iou", "accuracy"):
            self.log(name, getattr(scores, name))
        self._scorer = ChangeScorer()


def change_loss(output: TokenOutput, target: Tensor, weights: ChangeLoss) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of every pixel and, where it has a weight, the Dice loss of the changed class.

    Args:
        output: What the model returned for the pairs.
        target: ``[B, H, W]`` 0, 1, 255 is ignored.
        weights: Weights of the parts.

    Returns:
        The weighted sum and its parts, detached.
    """
    logits = output.logits_at(*target.shape[-2:]).float()
    classes = logits.new_tensor([1.0, weights.changed_weight])
    parts = {"map": F.cross_entropy(logits, target, classes, ignore_index=IGNORE)}
    total = parts["map"]
    if weights.dice:
        known = (target != IGNORE).float()
        wanted, drawn = (target == 1).float(), logits.softmax(dim=1)[:, 1] * known
        both = (wanted * drawn).sum()
        parts["dice"] = 1 - (2 * both + 1) / (wanted.sum() + drawn.sum() + 1)
        total = total + weights.dice * parts["dice"]
    return total, {name: value.detach() for name, value in parts.items()}


def changed_at(output: TokenOutput, target: Tensor) -> Tensor:
    """Probability ``[B, H, W]`` that a pixel changed, at the size of the target."""
    with torch.no_grad():
        return output.logits_at(*target.shape[-2:]).float().softmax(dim=1)[:, 1]
