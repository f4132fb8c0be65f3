"""Settings that recipes of every task share: optimiser and schedule, hardware, the text of the card.

Guarantees: all settings are frozen and know their keys, so a typing mistake never passes for a setting; a budget in
epochs and one in steps come to the same numbers for the trainer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Part(BaseModel):
    """A part of a recipe: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Restart(Part):
    """A warm restart of the schedule (Loshchilov and Hutter 2017): after ``step``, anew from ``peak`` x the rate.

    ``from_average`` goes on from the averaged weights, with a fresh optimiser; ``step`` must then begin an epoch.
    """

    step: int = Field(ge=1)
    peak: float = Field(gt=0)
    from_average: bool = False


class Optimisation(Part):
    """AdamW with linear warm-up and cosines down to ``min_rate``.

    Attributes:
        steps: Optimiser steps of the whole run. Either this or ``epochs``.
        epochs: Passes over the training data.
        steps_per_epoch: With ``steps``, how many make an epoch: scores and states are written after each.
        batch: Samples of an optimiser step, over all devices together.
        learning_rate: The highest.
        min_rate: The rate the cosine ends at.
        warmup_rate: The rate the warm-up starts from.
        warmup_steps: Steps of linear warm-up.
        warmup_epochs: The same in epochs; where given, it counts and not the steps.
        cooldown_epochs: Further epochs at the lowest rate, behind those or the steps given.
        weight_decay: Decoupled decay.
        decay: ``all`` parameters, or ``matrices`` alone (norms, biases and other vectors are left out).
        betas: Of AdamW.
        eps: Of AdamW.
        decline: How the rate falls after the warm-up: along a ``cosine``, or ``linear``.
        drops: Epochs after which the rate falls to a tenth; where given, it stays level between them.
        restarts: Warm restarts.
        clip_norm: Largest norm of the gradient; None does not clip.
        ema_decay: Decay of the moving average of the weights that is validated and kept; None keeps none.
        precision: Arithmetic; ``16-mixed`` scales the loss, so that small gradients do not vanish. A processor without
            fast ``bf16-mixed`` trains in float32, and that is said.
        evaluate_every: Epochs between validations; the last epoch is always validated.
        keep: Which state the checkpoint of the recipe's name holds: the best on the validation split, or the last,
            where later epochs teach what that split does not ask for. The other is written beside it.
        checkpoint_every: Epochs between checkpoints kept to look at the training later; 0 keeps none.
        seed: Seed of everything random.
        loader_workers: Processes that make samples, on each device.
    """

    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    steps_per_epoch: int = Field(default=250, ge=1)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1.5e-3, gt=0)
    min_rate: float = Field(default=0.0, ge=0)
    warmup_rate: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    warmup_epochs: int | None = Field(default=None, ge=0)
    cooldown_epochs: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    decay: Literal["matrices", "all"] = "matrices"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    decline: Literal["cosine", "linear"] = "cosine"
    drops: tuple[int, ...] = ()
    restarts: tuple[Restart, ...] = ()
    clip_norm: float | None = Field(default=1.0, gt=0)
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1)
    precision: Precision = "bf16-mixed"
    evaluate_every: int = Field(default=1, ge=1)
    keep: Literal["best", "last"] = "best"
    checkpoint_every: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    loader_workers: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        if self.drops and self.restarts:
            raise ValueError("give either drops or restarts")
        for restart in self.restarts:
            if self.steps is not None and restart.from_average and restart.step % self.steps_per_epoch:
                raise ValueError(f"the restart at step {restart.step} begins no epoch of {self.steps_per_epoch} steps")
        return self

    def budget(self, samples: int) -> Budget:
        """The run in steps.

        Args:
            samples: Training samples there are; they count where the recipe gives epochs.
        """
        per_epoch = self.steps_per_epoch if self.epochs is None else max(1, math.ceil(samples / self.batch))
        steps = self.steps if self.epochs is None else self.epochs * per_epoch
        warmup = self.warmup_steps if self.warmup_epochs is None else self.warmup_epochs * per_epoch
        assert steps is not None  # one of the two is given
        cooldown = self.cooldown_epochs * per_epoch
        shown = per_epoch * self.batch if self.epochs is None else samples
        return Budget(steps + cooldown, per_epoch, warmup, shown, cooldown)


@dataclass(frozen=True, slots=True)
class Budget:
    """A run in steps.

    Attributes:
        steps: All of them.
        steps_per_epoch: Those of an epoch.
        warmup_steps: Those of the warm-up.
        samples_per_epoch: Samples of an epoch; the last batch of a pass over the data may be smaller than the others.
        cooldown_steps: The last steps, at the lowest rate.
    """

    steps: int
    steps_per_epoch: int
    warmup_steps: int
    samples_per_epoch: int
    cooldown_steps: int = 0

    @property
    def epochs(self) -> int:
        """Epochs of the run; the last may be a short one."""
        return -(-self.steps // self.steps_per_epoch)


class Hardware(Part):
    """What to train on; the values are Lightning's.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``gpu``, ``mps``.
        devices: How many on each node, or ``auto`` for all there are.
        nodes: Machines; each starts the same command, with the environment its scheduler sets.
        strategy: ``auto``, ``ddp`` and the like.
        sync_batchnorm: Whether batch norms count over all devices.
        threads: Threads of each process on the CPU; 0 leaves it to torch.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"
    sync_batchnorm: bool = False
    threads: int = Field(default=0, ge=0)


class CardText(Part):
    """What the card of the trained model says beyond what training measures."""

    title: str
    description: str
    window_px: int = Field(ge=16)
    overlap_px: int = Field(ge=0)
    gsd_m: float | None = None
    gsd_range_m: tuple[float, float] | None = None
    data: str
    licence: str
    source: str
