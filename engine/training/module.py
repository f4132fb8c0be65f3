"""The Lightning module that every task's builds on: the model, its input's normalisation, the optimiser.

Guarantees: images travel as 0 to 1 (training) or as stored values (validation) and are normalised with the card's
scaling on the device; a resumed run goes on with the scaling it began with.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import lightning as L
import torch
from torch import Tensor, nn

from engine.models.card import Scaling
from engine.training.recipe import Recipe
from engine.training.schedule import learning_rate
from engine.training.settings import Budget

R = TypeVar("R", bound=Recipe)


class TrainingModule(L.LightningModule, Generic[R]):
    """Trains a model of the registry; tasks add ``training_step`` and ``validation_step``.

    Args:
        model: The module; its output is a :class:`~engine.models.output.TokenOutput`.
        recipe: The recipe.
        scaling: How inputs are normalised.
        budget: The run in steps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, recipe: R, scaling: Scaling, budget: Budget) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.budget = budget
        self._scaling = scaling
        self.register_buffer("mean", torch.tensor(scaling.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(scaling.std)[:, None, None])

    def scaling(self) -> Scaling:
        """The scaling in force: that of the run's first start, which its states carry."""
        mean, std = (tuple(round(float(v), 4) for v in part.flatten()) for part in (self.mean, self.std))
        return self._scaling.model_copy(update={"mean": mean, "std": std})

    def normalise(self, images: Tensor) -> Tensor:
        """Bring images of 0 to 1 to the model's input."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def normalise_stored(self, stored: Tensor) -> Tensor:
        """Bring images of stored values to the model's input."""
        return self.normalise(stored.float() / self.recipe.full_range)

    def finish(self) -> None:
        """Do to the finished model, before it is scored and saved, what a task's recipe asks for."""

    def configure_optimizers(self) -> Any:
        """AdamW with the recipe's schedule, whose rate is set for each step."""
        o = self.recipe.optimisation
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": trained, "weight_decay": o.weight_decay}]
        if o.decay == "matrices":
            groups = [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": o.weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ]
        optimizer = torch.optim.AdamW(groups, lr=o.learning_rate, betas=o.betas, eps=o.eps)

        def factor(steps_done: int) -> float:
            return learning_rate(o, self.budget, steps_done + 1) / o.learning_rate

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
