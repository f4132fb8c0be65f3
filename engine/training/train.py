"""Run a recipe: train, log, keep the best and the last state, and write the checkpoint with its card.

Guarantees: an interrupted run goes on from its last epoch when started again with the same output folder; the
checkpoint that comes out holds the averaged weights of the epoch the recipe keeps, with the scores of the validation
split measured on exactly these weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from engine.errors import TrainingError
from engine.models.card import ModelCard, Scaling
from engine.models.checkpoint import save_checkpoint
from engine.models.registry import create
from engine.training.recipe import Optimisation, Recipe
from engine.training.task import SegmentationTask, TileData


class Averaging(EMAWeightAveraging):
    """The moving average of the weights; restarts that ask for it go on from there, with a fresh optimiser."""

    def __init__(self, optimisation: Optimisation) -> None:
        super().__init__(decay=optimisation.ema_decay, update_starting_at_step=optimisation.warmup_steps)
        self._steps = {restart.step for restart in optimisation.restarts if restart.from_average}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Where a restart asks for it, take over the average."""
        if trainer.global_step in self._steps:
            self._copy_average_to_current(pl_module)
            for optimizer in trainer.optimizers:
                optimizer.state.clear()


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run leaves.

    Attributes:
        checkpoint: The ``.safetensors`` file.
        card: Its card.
    """

    checkpoint: Path
    card: ModelCard


def train(recipe: Recipe, data_root: Path, out_dir: Path, *, fresh: bool = False) -> Trained:
    """Train a recipe.

    Args:
        recipe: What to train.
        data_root: The folder that the recipe's data folders lie in.
        out_dir: Logs, states and the checkpoint go here.
        fresh: Start anew even where an earlier run can be continued.

    Raises:
        TrainingError: The data is not there, or does not fit the recipe.
    """
    L.seed_everything(recipe.optimisation.seed, workers=True)
    data = TileData(recipe, data_root)
    if not data.validation.tiles:
        raise TrainingError("no tile validates", where=data_root, remedy="Give a source validation_remainders.")
    scaling = data.measure_scaling()
    model = _build(recipe)
    task = SegmentationTask(model, recipe, scaling, data.training.class_shares)
    out_dir.mkdir(parents=True, exist_ok=True)
    o = recipe.optimisation
    states = out_dir / "states"
    best = ModelCheckpoint(states, filename="best", monitor="miou", mode="max", enable_version_counter=False)
    # A keeper of its own: `save_last` writes only when the best changes, and a run must go on from its last epoch.
    latest = ModelCheckpoint(states, filename="last", enable_version_counter=False)
    trainer = L.Trainer(
        max_steps=o.steps,
        precision=o.precision,
        gradient_clip_val=o.clip_norm,
        callbacks=[
            best,
            latest,
            Averaging(o),
            RichProgressBar(),
        ],
        logger=[
            CSVLogger(out_dir / "logs", name="csv"),
            TensorBoardLogger(out_dir / "logs", name="tensorboard"),
        ],
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=20,
        enable_model_summary=False,
    )
    last = states / "last.ckpt"
    # The state is our own, written by this very run: Lightning's format is a pickle.
    trainer.fit(task, data, ckpt_path=str(last) if last.exists() and not fresh else None, weights_only=False)
    kept = best.best_model_path if o.keep == "best" else str(last)
    state = torch.load(kept, map_location="cpu", weights_only=False)
    task.load_state_dict(state["state_dict"])
    evaluator = L.Trainer(logger=False, enable_checkpointing=False, enable_model_summary=False)
    table = evaluator.validate(task, data, verbose=False)[0]
    card = make_card(recipe, task.scaling(), len(data.validation), table)
    checkpoint = out_dir / f"{recipe.name}.safetensors"
    save_checkpoint(checkpoint, model, card)
    return Trained(checkpoint, card)


def make_card(recipe: Recipe, scaling: Scaling, tiles: int, table: Any) -> ModelCard:
    """Write the card of a trained model.

    Args:
        recipe: Its recipe.
        scaling: The scaling its weights were trained and scored with.
        tiles: Validation tiles.
        table: The scores just measured on them.
    """
    names = [entry.name for entry in recipe.classes]
    scores = {
        "miou": round(float(table["miou"]), 4),
        "pixel_accuracy": round(float(table["accuracy"]), 4),
        "iou": {name: round(float(table[f"iou/{name}"]), 4) for name in names},
        "tiles": tiles,
    }
    text = recipe.card
    return ModelCard(
        name=recipe.name,
        title=text.title,
        description=text.description,
        architecture=recipe.architecture,
        config={"num_classes": len(names), "in_channels": len(recipe.bands), **recipe.config},
        task="segmentation",
        classes=recipe.classes,
        bands=recipe.bands,
        scaling=scaling,
        window_px=text.window_px,
        overlap_px=text.overlap_px,
        gsd_m=text.gsd_m,
        gsd_range_m=text.gsd_range_m,
        token_count=int(recipe.config.get("token_count", 16)),
        data=text.data,
        metrics={"validation": scores},
        licence=text.licence,
        source=text.source,
    )


def _build(recipe: Recipe) -> torch.nn.Module:
    config = {"num_classes": len(recipe.classes), "in_channels": len(recipe.bands), **recipe.config}
    try:
        model = create(recipe.architecture, **config)
    except TypeError as error:
        raise TrainingError(
            f"the configuration does not fit {recipe.architecture!r}: {error}", remedy="Correct `config` in the recipe."
        ) from error
    channels_last: torch.nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return channels_last
