"""Run a recipe: train, log, keep the best and the last state, and write checkpoints with their cards.

Guarantees: an interrupted run goes on from its last epoch when started again with the same output folder, and ends as
if it had not been interrupted; the scores on a card are those that ``rs-engine evaluate`` gives for that checkpoint.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from engine.errors import CancelledError, OptionError, TrainingError
from engine.inference.device import has_fast_bfloat16
from engine.models.card import ModelCard, Scaling
from engine.models.checkpoint import SUFFIX, round_to_half, save_checkpoint
from engine.models.detection import Detector
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput
from engine.models.registry import create
from engine.training.callbacks import Averaging, EpochCheckpoints, EpochSeeds, LastIsValidated, ProgressBar
from engine.training.module import TrainingModule
from engine.training.recipe import Recipe
from engine.training.report import Report
from engine.training.settings import Precision
from engine.training.start import start_from
from engine.training.task import find_task

_IDENTITY = ("task", "architecture", "config", "classes", "bands", "start", "teacher")
"""What may not change between the start of a run and its resumption."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run leaves.

    Attributes:
        checkpoint: The ``.safetensors`` file of the state the recipe keeps.
        card: Its card.
        report: Its scores on the validation split.
        other: The checkpoint of the other state, best or last.
    """

    checkpoint: Path
    card: ModelCard
    report: Report
    other: Path


def train(
    recipe: Recipe,
    data_root: Path,
    out_dir: Path,
    *,
    fresh: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Trained | None:
    """Train a recipe.

    Args:
        recipe: What to train.
        data_root: The folder that the recipe's data folders lie in.
        out_dir: Logs, states and checkpoints go here.
        fresh: Start anew even where an earlier run can be continued.
        tell: Is told which weights the training starts from, and where it computes otherwise than the recipe says.

    Returns:
        What is left; None on every process but the first of a run on several devices.

    Raises:
        TrainingError: The data is not there or does not fit the recipe, or the folder holds a run of another model.
        OptionError: The architecture has no such configuration.
        ModelNotFoundError: The model to start from or to learn from is not there.
        CancelledError: The user interrupted the run.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # one bar is enough to read
    L.seed_everything(recipe.optimisation.seed, workers=True, verbose=False)
    if recipe.hardware.threads:
        torch.set_num_threads(recipe.hardware.threads)
    precision = _precision(recipe, tell)
    task = find_task(recipe.task)
    model = build_model(recipe)
    states = out_dir / "states"
    last = states / "last.ckpt"
    resumed = last.exists() and not fresh
    # Before the data are read, which takes longer than seeing that a name is wrong.
    task.check(recipe)
    started = None if recipe.start is None or resumed else start_from(model, recipe.start)
    data = task.data(recipe, data_root)
    module = task.module(model, recipe, data, data.measure_scaling())
    o = recipe.optimisation
    best_state = ModelCheckpoint(
        states,
        filename="best",
        monitor=task.monitor,
        mode="max",
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    # A keeper of its own: `save_last` writes only when the best changes, and a run must go on from its last epoch.
    last_state = ModelCheckpoint(states, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    averaging = None if o.ema_decay is None else Averaging(o, data.budget)
    callbacks: list[L.Callback] = [best_state, last_state, EpochSeeds(o.seed), LastIsValidated(data.budget.epochs)]
    callbacks += [averaging] if averaging is not None else []
    if o.checkpoint_every:

        def describe(state: nn.Module, epoch: int) -> ModelCard:
            card = make_card(recipe, module.scaling(), state, {})
            return card.model_copy(
                update={"name": f"{recipe.name}-epoch-{epoch:04d}", "title": f"{card.title}, after epoch {epoch}"}
            )

        callbacks.append(EpochCheckpoints(o.checkpoint_every, out_dir / "epochs", describe, averaging))
    trainer = L.Trainer(
        accelerator=recipe.hardware.accelerator,
        devices=recipe.hardware.devices,
        num_nodes=recipe.hardware.nodes,
        strategy=recipe.hardware.strategy,
        sync_batchnorm=recipe.hardware.sync_batchnorm,
        # In epochs, the last of which the data cut short: with a limit in steps, Lightning takes an epoch that was not
        # validated for an unfinished one when it resumes, and does one step too many in it.
        max_epochs=data.budget.epochs,
        precision=precision,
        gradient_clip_val=o.clip_norm,
        check_val_every_n_epoch=o.evaluate_every,
        callbacks=[*callbacks, LearningRateMonitor("step"), ProgressBar(data.budget)],
        logger=[
            CSVLogger(out_dir / "logs", name="csv"),
            TensorBoardLogger(out_dir / "logs", name="tensorboard"),
        ],
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=min(20, data.budget.steps_per_epoch),
        enable_model_summary=False,
    )
    if trainer.is_global_zero:
        if started is not None and tell is not None:
            tell(str(started))
        _remember(recipe, out_dir, resumed=resumed)
    with _interruptible(trainer, out_dir):
        # The state is our own, written by this very run: Lightning's format is a pickle.
        trainer.fit(module, data, ckpt_path=str(last) if resumed else None, weights_only=False)
    if not trainer.is_global_zero:
        return None
    found = {"last": last, "best": Path(best_state.best_model_path or last)}
    rest = "last" if o.keep == "best" else "best"
    other = out_dir / f"{recipe.name}-{rest}.safetensors"
    samples = data.validation
    scored: dict[int, tuple[ModelCard, Report]] = {}  # by step: the best state is often the last
    step = 0
    for state, path in ((found[rest], other), (found[o.keep], out_dir / f"{recipe.name}.safetensors")):
        step = _load_state(module, state)
        module.finish()
        half = recipe.stored_as == "float16"
        if half:
            round_to_half(module.model)
        if step not in scored:
            card = make_card(recipe, module.scaling(), module.model, {})
            loaded = LoadedModel(module.model, card, "").to(trainer.strategy.root_device)
            report = task.score(loaded, samples)
            found_out = {"metrics": {"validation": report.as_card_table()}, **task.card_fields(report)}
            scored[step] = card.model_copy(update=found_out), report
        save_checkpoint(path, module.model, scored[step][0], half=half)
    return Trained(out_dir / f"{recipe.name}.safetensors", *scored[step], other)


def _precision(recipe: Recipe, tell: Callable[[str], None] | None) -> Precision:
    """The recipe's arithmetic, or float32 where the processor would take many times as long for bfloat16."""
    wanted = recipe.optimisation.precision
    given = recipe.hardware.accelerator
    on_cpu = given == "cpu" or (
        given == "auto" and not (torch.cuda.is_available() or torch.backends.mps.is_available())
    )
    if wanted != "bf16-mixed" or not on_cpu or has_fast_bfloat16(torch.device("cpu")):
        return wanted
    if tell is not None:
        tell("Trains in float32: this processor computes bfloat16 many times slower.")
    return "32-true"


def build_model(recipe: Recipe) -> nn.Module:
    """The recipe's model with fresh weights.

    Raises:
        TrainingError: The configuration does not fit the architecture.
        OptionError: A key of it is not known.
    """
    config = {"num_classes": len(recipe.classes), "in_channels": len(recipe.bands), **recipe.config}
    try:
        model = create(recipe.architecture, **config)
    except OptionError:
        raise
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"the configuration does not fit {recipe.architecture!r}: {error}", remedy="Correct `config` in the recipe."
        ) from error
    channels_last: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return channels_last


def make_card(recipe: Recipe, scaling: Scaling, model: nn.Module, metrics: dict[str, dict[str, Any]]) -> ModelCard:
    """Write the card of a trained model.

    Args:
        recipe: Its recipe.
        scaling: The scaling its weights were trained with.
        model: The model; it tells how many tokens it makes of a window.
        metrics: A table of scores for each split.
    """
    text = recipe.card
    return ModelCard.model_validate(
        {
            **text.model_dump(),
            "name": recipe.name,
            "architecture": recipe.architecture,
            "config": {"num_classes": len(recipe.classes), "in_channels": len(recipe.bands), **recipe.config},
            "task": recipe.task,
            "classes": recipe.classes,
            "bands": recipe.bands,
            "scaling": scaling,
            "token_count": _token_count(model, len(recipe.bands), text.window_px, 2 if recipe.task == "change" else 1),
            "metrics": metrics,
            "started_from": _model_name(recipe.start),
            "taught_by": _model_name(recipe.taught_by),
        }
    )


def _model_name(name_or_path: str | None) -> str | None:
    return None if name_or_path is None else Path(name_or_path).name.removesuffix(SUFFIX)


def _token_count(model: nn.Module, bands: int, window_px: int, dates: int) -> int:
    if isinstance(model, Detector):
        return model.token_count
    parameter = next(model.parameters())
    training = model.training
    with torch.inference_mode():
        images = torch.zeros(1, bands, window_px, window_px, device=parameter.device)
        output = model.eval()(*dates * (images,))
    model.train(training)
    assert isinstance(output, TokenOutput)
    return int(output.tokens.assignment.shape[1])


def _load_state(module: TrainingModule[Any], path: Path) -> int:
    """Load the weights of a state; returns the step it was written after."""
    state = torch.load(path, map_location="cpu", weights_only=False)
    module.load_state_dict(state["state_dict"])
    return int(state["global_step"])


def _remember(recipe: Recipe, out_dir: Path, *, resumed: bool) -> None:
    """Write down what runs here; refuse to continue a run of another model.

    Raises:
        TrainingError: The folder holds a run of another model.
    """
    path = out_dir / "recipe.json"
    now = recipe.model_dump(mode="json")
    if resumed and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in _IDENTITY if before.get(key) != now.get(key)]
        if changed:
            raise TrainingError(
                f"the run in this folder differs from the recipe in {' and '.join(changed)}",
                where=out_dir,
                remedy="Choose another --out, or start anew with --fresh.",
            )
    out_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1), encoding="utf-8")


@contextmanager
def _interruptible(trainer: L.Trainer, out_dir: Path) -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C into an error that says how to go on."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    except SystemExit as error:
        if not trainer.interrupted:
            raise
        raise CancelledError(
            f"the training was interrupted in epoch {trainer.current_epoch + 1}",
            where=out_dir,
            remedy="The same command goes on from the end of the epoch before.",
        ) from error
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
