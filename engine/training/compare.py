"""Models on equal terms: score, tokens, arithmetic and speed of each, as a table that cards carry.

Guarantees: all are scored on the same split by the same code and timed one after the other on the same device, at
their own windows; a model is never compared on data whose classes are not its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from engine.errors import TrainingError
from engine.models.card import ModelCard, Rival
from engine.models.checkpoint import is_half, load_checkpoint, save_checkpoint
from engine.models.cost import count_image
from engine.models.loaded import LoadedModel
from engine.models.registry import create
from engine.training.data import Measured
from engine.training.evaluate import evaluate
from engine.training.recipe import Recipe
from engine.training.task import find_task

TIMED_BATCH = 8
_WARM_BATCHES = 2
_TIMED_S = 4.0


def compare(
    models: Sequence[LoadedModel],
    recipe: Recipe,
    data_root: Path,
    split: str = "validation",
    *,
    more: Collection[str] = (),
    join_runs: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Rival, ...]:
    """Score and time models.

    Args:
        models: The models, on the device to time them on.
        recipe: Describes the data.
        data_root: The folder that the recipe's data folders lie in.
        split: The split to score them on.
        more: Figures beyond scores, tokens and cost, by name (``regions``: purity, boundary recall, number).
        join_runs: Models of one name and architecture are runs with several seeds, and share a row: means,
            how many ``runs`` there are, and each score's standard deviation over them (``…_sd``, None of a single run).
        progress: Called with a model's name and the share of its scoring done.

    Raises:
        TrainingError: The data are missing, or are not for one of the models, or the task knows no such figures.
    """
    task = find_task(recipe.task)
    unknown = sorted(set(more) - set(task.compared))
    if unknown:
        raise TrainingError(
            f"models of {recipe.task} cannot be compared by {unknown[0]!r}",
            remedy=f"There are {', '.join(task.compared) or 'none'}.",
        )
    samples = task.measured(recipe, data_root, split) if more else None
    rows: dict[object, list[_Run]] = {}
    for number, model in enumerate(models):
        card = model.card
        row = f"{card.name} {card.architecture} {card.config}" if join_runs else number
        rows.setdefault(row, []).append(_measure(model, recipe, data_root, split, more, samples, progress))
    return tuple(_row(runs, join_runs) for runs in rows.values())


def write_comparison(path: Path, rows: Sequence[Rival]) -> ModelCard:
    """Put a table of rivals on a checkpoint's card; its weights stay, with as many bits as they had.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        OutputError: It cannot be written.
    """
    module, card = load_checkpoint(path)
    card = card.model_copy(update={"comparison": tuple(rows)})
    save_checkpoint(path, module, card, half=is_half(path))
    return card


def images_per_s(model: LoadedModel, edge_px: int, batch: int = TIMED_BATCH) -> float:
    """Images (pairs of a model of change) a model answers a second, normalisation included: median over batches."""
    images = torch.randint(0, 255, (batch, len(model.card.bands), edge_px, edge_px), dtype=torch.uint8)
    images = images.to(model.device)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < _WARM_BATCHES + 3 or time.perf_counter() - started < _TIMED_S:
        begun = time.perf_counter()
        model(*(model.normalise(images) for _ in range(_inputs(model.card))))
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        times.append(time.perf_counter() - begun)
    steady = sorted(times[_WARM_BATCHES:])
    return batch / steady[len(steady) // 2]


def _inputs(card: ModelCard) -> int:
    """Images that one call of a model takes."""
    return 2 if card.task == "change" else 1


@dataclass(frozen=True)
class _Run:
    card: ModelCard
    split: str
    scores: dict[str, float]
    """Figures of training; the rest follow from the architecture, or are the machine's."""
    costs: dict[str, float | None]
    images_per_s: float
    device: str


def _row(runs: Sequence[_Run], joined: bool) -> Rival:
    figures: dict[str, Any] = {"split": runs[0].split, **({"runs": len(runs)} if joined else {})}
    for name in runs[0].scores:
        values = [run.scores[name] for run in runs]
        figures[name] = round(mean(values), 4)
        if joined:
            figures[f"{name}_sd"] = round(stdev(values), 4) if len(values) > 1 else None
    speed = mean(run.images_per_s for run in runs)
    figures |= {**runs[0].costs, "images_per_s": round(speed, 2), "device": runs[0].device}
    return Rival(name=runs[0].card.name, note=runs[0].card.title, figures=figures)


def _measure(
    model: LoadedModel,
    recipe: Recipe,
    root: Path,
    split: str,
    more: Collection[str],
    samples: Measured | None,
    progress: Callable[[str, float], None] | None,
) -> _Run:
    card = model.card

    def tell(what: str, share: float) -> None:
        if progress is not None:
            progress(f"{card.name}, {what}", share)

    report = evaluate(model, recipe, root, split, extras=(), progress=tell)
    task = find_task(recipe.task)
    further: dict[str, float] = {}
    for name in task.compared:
        if name in more and samples is not None:
            further |= task.compared[name](model, samples, partial(tell, name))
    edge = card.window_px
    with torch.random.fork_rng(devices=[]):  # counted as built, before norms are folded
        plain = create(card.architecture, **card.config).eval()
    return _Run(
        card=card,
        split=split,
        scores={**report.headline, **further},
        costs={
            "tokens": card.token_count,
            "parameters_m": round(sum(p.numel() for p in plain.parameters()) / 1e6, 3),
            "gmac": round(count_image(plain, len(card.bands), edge, _inputs(card)).total / 1e9, 3),
            "window_px": edge,
        },
        images_per_s=images_per_s(model, edge),
        device=str(model.device),
    )
