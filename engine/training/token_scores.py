"""Homogeneity of a model's tokens as numbers, beside patches, SLIC and the quadtree at the same token count.

Guarantees: every partition sees the same pixels, those the model saw; the count asked of the others is the model's
number of tokens, and what they made of it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from engine.models.loaded import LoadedModel
from engine.regions.homogeneity import RIVALS, Homogeneity, measure_homogeneity
from engine.training.data import Measured
from engine.training.perception import token_maps
from engine.training.report import Extra
from engine.training.segmentation.tiles import IGNORE

_BATCH = 8


def evaluate_tokens(model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Extra:
    """Measure tokens on the samples of a split.

    Args:
        model: The model.
        samples: Pictures; entropies are measured where their targets are masks.
        progress: Called with the share done.
    """
    classes = len(model.card.classes)
    found = {name: Homogeneity() for name in ("model", *RIVALS)}
    count, done = 0, 0
    for groups in samples.batches(_BATCH):
        for stored, targets in groups:
            with torch.inference_mode():
                output = model(model.normalise(stored.to(model.device)))
            count = int(output.tokens.assignment.shape[1])
            maps = token_maps(output, stored.shape[-2], stored.shape[-1]).cpu().numpy()
            for image, target, tokens in zip(stored.numpy(), targets.numpy(), maps, strict=True):
                truth = target if target.ndim == 2 else None
                areas = {"model": tokens} | {name: divide(image, count) for name, divide in RIVALS.items()}
                for name, partition in areas.items():
                    found[name] += measure_homogeneity(partition, image, truth, classes, IGNORE)
        done += _BATCH
        if progress is not None:
            progress(min(1.0, done / len(samples)))
    figures: dict[str, Any] = {name: _figures(value) for name, value in found.items()}
    plain = {"token_count": count, "images": found["model"].images, **figures}
    return Extra(plain, f"Homogeneity of {count} tokens an image", ("figure", *(("model", *RIVALS))), _rows(figures))


def _figures(value: Homogeneity) -> dict[str, float | None]:
    figures = {
        "areas_an_image": value.areas_an_image,
        "class_entropy_bits": value.entropy_bits,
        "class_entropy_bits_of_whole": value.whole_entropy_bits,
        "classes_explained": value.classes_explained,
        "variance_explained": value.variance_explained,
    }
    return {key: round(number, 4) if np.isfinite(number) else None for key, number in figures.items()}


def _rows(figures: dict[str, dict[str, float | None]]) -> tuple[tuple[str, ...], ...]:
    titles = (
        ("areas_an_image", "tokens that hold pixels"),
        ("class_entropy_bits", "entropy of classes under a token, bits"),
        ("class_entropy_bits_of_whole", "entropy of classes in the image, bits"),
        ("classes_explained", "share of that entropy explained"),
        ("variance_explained", "spectral variance explained"),
    )
    rows = ((title, *(_shown(column[key]) for column in figures.values())) for key, title in titles)
    return tuple(rows)


def _shown(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"
