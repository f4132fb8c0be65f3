"""A scene classifier that knows what it looks at: the class of a window is its mean value, in steps of ten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_fakes import loaded, make_card, tokens_of, write_scene
from torch import nn

from engine.inference import AnalysisOptions, analyse
from engine.models.card import ModelCard, Scaling
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput
from engine.scene import Scene

STEP = 10


class KnowingClassifier(nn.Module):
    """Logits of a window from its mean over all bands: class ``k`` where it is about ``10 k``."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.centres = STEP * torch.arange(classes, dtype=torch.float32)
        self.seen = 0

    def forward(self, images: torch.Tensor) -> TokenOutput:
        self.seen += len(images)
        level = images.mean(dim=(1, 2, 3))[:, None]
        return TokenOutput(-(level - self.centres).abs() / 4, tokens_of(images))


def classifier_card(window: int = 32, overlap: int = 0, classes: int = 7, **changes: Any) -> ModelCard:
    plain = Scaling(dtype="uint8", divisor=1, mean=(0,) * 3, std=(1,) * 3, low=(0,) * 3, high=(250,) * 3)
    return make_card(window, overlap, classes, scaling=plain, **{"task": "classification", **changes})


def classifier(classes: int = 7, **card: Any) -> LoadedModel:
    return loaded(KnowingClassifier(classes), classifier_card(classes=classes, **card))


def write_blocks(path: Path, codes: np.ndarray, edge: int = 32, **changes: Any) -> Path:
    """A scene of squares of ``edge`` pixels, each of its class's value."""
    values = (STEP * codes).astype(np.uint8).repeat(edge, axis=0).repeat(edge, axis=1)
    return write_scene(path, np.stack([values] * 3), **changes)


def recognise(path: Path, model: LoadedModel, out: Path, **options: Any) -> list[Any]:
    with Scene.open(path) as scene:
        return list(analyse(scene, model, out, AnalysisOptions(device="cpu", **options)))
