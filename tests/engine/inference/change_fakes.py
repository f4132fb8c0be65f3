"""A model of change without opinions: a pixel changed where its two dates differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_fakes import loaded, make_card, tokens_of
from torch import nn

from engine.models.card import CardClass, ModelCard
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput

CLASSES = (CardClass(name="unchanged", color="#d9d9d9"), CardClass(name="changed", color="#e31a1c"))


class DifferenceModel(nn.Module):
    """Logit of change from this pixel alone: its difference of brightness, less a quarter of the range."""

    def forward(self, before: torch.Tensor, after: torch.Tensor) -> TokenOutput:
        apart = (before - after).abs().mean(dim=1, keepdim=True)
        logit = 8 * (apart - 0.25)
        return TokenOutput(torch.cat((-logit, logit), dim=1) / 2, tokens_of(before), upsample=lambda maps: maps)

    def probe_answers(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self(images, images.flip(3)).logits,)


def change_card(**changes: Any) -> ModelCard:
    plain = {"dtype": "uint8", "divisor": 255.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    scaling = {**plain, "low": (10.0,) * 3, "high": (240.0,) * 3}
    return make_card(
        **{"task": "change", "classes": 2, "scaling": scaling, "gsd_m": None, "gsd_range_m": None} | changes
    )


def change_model(**changes: Any) -> LoadedModel:
    card = change_card(**changes)
    return loaded(DifferenceModel(), card.model_copy(update={"classes": CLASSES}))


def patches(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Blobs of many sizes."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    return np.asarray(noise > 0.09)


def two_dates(changed: np.ndarray, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two dates ``[3, H, W]`` that differ where something changed."""
    before = np.random.default_rng(seed).integers(40, 110, (3, *changed.shape)).astype(np.uint8)
    return before, np.where(changed, before + 100, before).astype(np.uint8)


def run_all(events: Any) -> list[Any]:
    return list(events)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
