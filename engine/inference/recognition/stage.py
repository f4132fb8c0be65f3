"""Device work of a recognition run: integers in, the likeliest classes of each window out, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import CheckpointError
from engine.inference.info import BandScaling
from engine.inference.plan import PlanWindow
from engine.inference.recognition.cells import MOST_CLASSES
from engine.inference.stage import BatchStage
from engine.models.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class Ranking:
    """What some windows are taken for.

    Attributes:
        windows: ``[n]`` int64 numbers of the windows.
        codes: ``[n, T]`` int32 class codes, the likeliest first.
        scores: ``[n, T]`` float32 probabilities.
    """

    windows: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


class RecognitionStage(BatchStage[Ranking]):
    """Runs a scene classifier.

    Args:
        model: The model, on its device.
        scaling: How the scene's values come into the card's range, None where they are as stored.
        window_px: Edge of a window.
    """

    def __init__(self, model: LoadedModel, scaling: BandScaling | None, window_px: int) -> None:
        super().__init__(model, scaling, window_px)
        self.ranks = min(MOST_CLASSES, len(model.card.classes))

    @torch.inference_mode()
    def answer(self, windows: tuple[PlanWindow, ...], pixels: npt.NDArray[Any]) -> Ranking:
        """The likeliest classes of some windows.

        Raises:
            CheckpointError: A probability is not a number.
        """
        logits = self._model(self.images(pixels)).logits
        if logits.ndim != 2:
            raise TypeError(f"{self._model.card.architecture} answers {logits.ndim - 1} dimensions, not one class list")
        best = logits.float().softmax(dim=1).topk(self.ranks, dim=1)
        if not bool(torch.isfinite(best.values).all()):
            raise CheckpointError(
                "the model answered with values that are not numbers",
                remedy="Use float32 precision; if that does not help, the checkpoint is damaged.",
            )
        return Ranking(
            np.array([window.index for window in windows], np.int64),
            best.indices.cpu().numpy().astype(np.int32),
            best.values.cpu().numpy(),
        )
