"""What happens around the steps of a run: averaged weights, seeds of epochs, checkpoints to look back on.

Guarantees: an epoch begins with the same state of chance whether the run came to it or was resumed at it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, RichProgressBar
from torch import nn

from engine.models.card import ModelCard
from engine.models.checkpoint import save_checkpoint
from engine.training.module import TrainingModule
from engine.training.settings import Budget, Optimisation

_PREFIX = "model."


class Averaging(EMAWeightAveraging):
    """The moving average of the weights; restarts that ask for it go on from there, with a fresh optimiser."""

    def __init__(self, optimisation: Optimisation, budget: Budget) -> None:
        if optimisation.ema_decay is None:
            raise ValueError("the recipe keeps no average")
        super().__init__(decay=optimisation.ema_decay, update_starting_at_step=budget.warmup_steps)
        self._steps = {restart.step for restart in optimisation.restarts if restart.from_average}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Where a restart asks for it, take over the average."""
        if trainer.global_step in self._steps:
            self._copy_average_to_current(pl_module)
            for optimizer in trainer.optimizers:
                optimizer.state.clear()

    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """The average of the model's weights, under the model's own names."""
        assert self._average_model is not None  # made when training begins
        state = self._average_model.module.state_dict()
        return {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}


class LastIsValidated(L.Callback):
    """Validates the last epoch too where others are passed over, or the best state could never be the last."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """In the last epoch, ask for it."""
        if trainer.current_epoch + 1 == self._epochs:
            trainer.check_val_every_n_epoch = 1


class EpochSeeds(L.Callback):
    """Seeds what draws inside the model (dropout) for each epoch, so that a resumed run draws the same.

    It does so before the first step: loaders draw a number of their own, in a resumed run before the epoch begins.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed by the recipe's seed, the epoch and the process."""
        if batch_idx == 0:
            words = np.random.SeedSequence((self._seed, trainer.current_epoch, trainer.global_rank)).generate_state(2)
            torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


class ProgressBar(RichProgressBar):
    """One bar with the metrics, which counts epochs as people do."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._epochs = budget.epochs

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1} of {self._epochs}"


class EpochCheckpoints(L.Callback):
    """Keeps a checkpoint every few epochs, to look at how tokens form.

    Args:
        every: Epochs between them.
        folder: Where.
        describe: Makes the card of a model after so many epochs.
        averaging: Where averaged weights come from; None keeps the weights as they are.
    """

    def __init__(
        self,
        every: int,
        folder: Path,
        describe: Callable[[nn.Module, int], ModelCard],
        averaging: Averaging | None,
    ) -> None:
        self._every = every
        self._folder = folder
        self._describe = describe
        self._averaging = averaging

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint of this epoch, where it is one of those to keep."""
        epoch = trainer.current_epoch + 1
        if epoch % self._every or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TrainingModule)
        model = copy.deepcopy(pl_module.model).eval()
        if self._averaging is not None:
            model.load_state_dict(self._averaging.averaged_weights())
        self._folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self._folder / f"epoch-{epoch:04d}.safetensors", model, self._describe(model, epoch))
