"""What trains a segmenter: one optimiser step, and the count of right and wrong pixels.

Guarantees: validation is on whole tiles, without augmentation, with the averaged weights where the recipe keeps some.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from engine.errors import OptionError
from engine.models.card import Scaling
from engine.models.output import ClassBiased, TokenOutput
from engine.training.data import Sample
from engine.training.module import TrainingModule
from engine.training.segmentation.losses import segmentation_loss
from engine.training.segmentation.recipe import SegmentationRecipe
from engine.training.segmentation.scores import Scores, scores_from_confusion
from engine.training.segmentation.teacher import Teacher
from engine.training.segmentation.tiles import IGNORE
from engine.training.settings import Budget


class SegmentationModule(TrainingModule[SegmentationRecipe]):
    """Trains a segmenter of the registry.

    Args:
        model: The module; its output is a :class:`~engine.models.output.TokenOutput`.
        recipe: The recipe.
        scaling: How inputs are normalised.
        budget: The run in steps.
        class_shares: ``[K]`` share of each class among labelled training pixels; None weighs all classes alike.
        teacher: What the model learns from beside the labels.

    Raises:
        OptionError: The recipe adjusts logits, and this model has no biases that do.
    """

    class_weights: Tensor

    def __init__(
        self,
        model: nn.Module,
        recipe: SegmentationRecipe,
        scaling: Scaling,
        budget: Budget,
        class_shares: np.ndarray | None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__(model, recipe, scaling, budget)
        weights = torch.ones(len(recipe.classes))
        if class_shares is not None:
            weights = torch.tensor(class_shares, dtype=torch.float32) ** -recipe.loss.class_power
        self.register_buffer("class_weights", weights / weights.mean())
        self._teacher = teacher
        self._offsets: Tensor | None = None
        if recipe.loss.logit_adjustment and class_shares is not None:
            if not isinstance(model, ClassBiased):
                raise OptionError(
                    f"{recipe.architecture} has no biases of classes to adjust",
                    remedy="Leave loss.logit_adjustment at 0.",
                )
            model.class_biases()  # refuses before the training, not after it
            logarithms = torch.tensor(np.log(class_shares), dtype=torch.float32)
            self._offsets = recipe.loss.logit_adjustment * (logarithms - logarithms.mean())
        self.confusion = MulticlassConfusionMatrix(len(recipe.classes), ignore_index=IGNORE)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """One optimiser step."""
        images, labels = batch
        taught = None if self._teacher is None else self._teacher.about(images)
        output = self.model(self.normalise(images))
        loss, parts = segmentation_loss(output, images, labels, self.class_weights, self.recipe.loss, taught)
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in parts.items()})
        return loss

    def finish(self) -> None:
        """Adjust the logits of the finished model, where the recipe asks for it."""
        if self._offsets is not None:
            assert isinstance(self.model, ClassBiased)
            with torch.no_grad():
                for bias in self.model.class_biases():
                    bias.add_(self._offsets.to(bias))

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        """Count predictions on whole tiles."""
        for stored, labels in batch:
            images = self.normalise_stored(stored)
            self.confusion.update(classes_at(self.model(images), images, labels), labels)

    def on_validation_epoch_end(self) -> None:
        """Log mIoU, pixel accuracy and the IoU of each class."""
        scores = self.scores()
        self.log("miou", scores.miou, prog_bar=True)
        self.log("accuracy", scores.accuracy, prog_bar=True)
        for entry, iou in zip(self.recipe.classes, scores.iou, strict=True):
            self.log(f"iou/{entry.name}", iou)
        self.confusion.reset()

    def scores(self) -> Scores:
        """Scores of what validation has counted so far."""
        return scores_from_confusion(self.confusion.compute().cpu().numpy())


def classes_at(output: TokenOutput, images: Tensor, labels: Tensor) -> Tensor:
    """Predicted classes ``[B, H, W]`` at the labels' own size, which need not be that of the images."""
    shown, wanted = images.shape[-2:], labels.shape[-2:]
    if shown == wanted or output.upsample is None:
        return output.logits_at(*wanted).argmax(dim=1)
    drawn = output.logits_at(*shown)
    return F.interpolate(drawn, wanted, mode="bilinear", align_corners=False).argmax(dim=1)
