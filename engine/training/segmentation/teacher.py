"""A finished model as the teacher of another: its class probabilities are learned beside the labels.

Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2. Guarantees: the
teacher sees the very pixels of each sample, in its own scaling, and never changes; it answers for pixels without a
label too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from engine.errors import TrainingError
from engine.models.catalog import find_model
from engine.models.loaded import LoadedModel, load_model
from engine.training.segmentation.recipe import SegmentationRecipe


@dataclass(frozen=True, slots=True)
class Taught:
    """What the teacher says of a batch.

    Attributes:
        logits: ``[B, K, h, w]`` class logits.
        share: Weight of the teacher beside the labels, 0 to 1.
        temperature: What logits of both are divided by.
    """

    logits: Tensor
    share: float
    temperature: float

    def loss(self, logits: Tensor) -> Tensor:
        """Divergence of the learner's probabilities from the teacher's, mean over pixels, times T squared.

        Args:
            logits: ``[B, K, h, w]`` of the learner.
        """
        learned = F.log_softmax(logits / self.temperature, dim=1)
        meant = F.log_softmax(self.logits / self.temperature, dim=1)
        divergence = F.kl_div(learned, meant, reduction="none", log_target=True).sum(dim=1).mean()
        return self.temperature**2 * divergence


class Teacher:
    """A model that teaches, on the device of whoever asks.

    Args:
        model: The model.
        recipe: The recipe that names it.
    """

    def __init__(self, model: LoadedModel, recipe: SegmentationRecipe) -> None:
        assert recipe.teacher is not None
        self._model = model
        self._how = recipe.teacher
        self._range = recipe.full_range

    def about(self, images: Tensor) -> Taught:
        """What it says of images ``[B, C, H, W]`` of 0 to 1."""
        if self._model.device != images.device:
            self._model = self._model.to(images.device)
        height, width = images.shape[-2:]
        logits = self._model(self._model.normalise(self._range * images)).logits_at(height, width)
        # A copy: what was made in inference mode cannot be kept for a gradient.
        return Taught(logits.float().clone(), self._how.share, self._how.temperature)


def find_teacher(recipe: SegmentationRecipe) -> Teacher | None:
    """The recipe's teacher, None where it names none.

    Raises:
        CheckpointError: Its checkpoint is damaged; and all that :func:`check_teacher` raises.
    """
    if recipe.teacher is None:
        return None
    check_teacher(recipe)
    return Teacher(load_model(recipe.teacher.model), recipe)


def check_teacher(recipe: SegmentationRecipe) -> None:
    """See by its card alone whether the recipe's teacher can teach it.

    Raises:
        ModelNotFoundError: There is no such model.
        CheckpointError: Its checkpoint is damaged.
        TrainingError: It is for another task, or tells other classes from other bands.
    """
    if recipe.teacher is None:
        return
    card = find_model(recipe.teacher.model).card
    if card.task != recipe.task:
        raise TrainingError(
            f"{card.name} is a model for {card.task} and cannot teach {recipe.task}",
            where="teacher",
            remedy="Name a model of the same task.",
        )
    for what, own, given in (
        ("classes", recipe.class_names, [entry.name for entry in card.classes]),
        ("bands", list(recipe.bands), list(card.bands)),
    ):
        if own != given:
            raise TrainingError(
                f"{card.name} has other {what} than the recipe: {', '.join(given)}, not {', '.join(own)}",
                where="teacher",
                remedy="Name a model of the same classes and bands in the same order.",
            )
