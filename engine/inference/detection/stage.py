"""Device work of a detection run: integers in, objects on the analysis grid out, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.inference.detection.objects import FoundObjects
from engine.inference.info import BandScaling
from engine.inference.plan import PlanWindow
from engine.inference.stage import BatchStage
from engine.models.detection import Detections
from engine.models.loaded import LoadedModel


class DetectionStage(BatchStage[FoundObjects]):
    """Runs a detector.

    Args:
        model: The model, on its device.
        scaling: How the scene's values come into the card's range, None where they are as stored.
        window_px: Edge of a window.
        min_score: Less sure objects are left out.
    """

    def __init__(self, model: LoadedModel, scaling: BandScaling | None, window_px: int, min_score: float) -> None:
        super().__init__(model, scaling, window_px)
        self._min_score = min_score

    @torch.inference_mode()
    def answer(self, windows: tuple[PlanWindow, ...], pixels: npt.NDArray[Any]) -> FoundObjects:
        """Objects of some windows, those of the padding beyond the grid left out."""
        found = self._model.detect(self.images(pixels))
        return FoundObjects.joined([self._on_grid(w, f) for w, f in zip(windows, found, strict=True)])

    def _on_grid(self, window: PlanWindow, found: Detections) -> FoundObjects:
        boxes = found.boxes.double().cpu().numpy()
        scores = found.scores.float().cpu().numpy()
        labels = found.labels.cpu().numpy().astype(np.int32)
        x, y = boxes[:, 0], boxes[:, 1]
        kept = (scores >= self._min_score) & np.isfinite(boxes).all(axis=1)
        kept &= (x >= 0) & (x < window.width) & (y >= 0) & (y < window.height)
        boxes = boxes[kept]
        boxes[:, 0] += window.col
        boxes[:, 1] += window.row
        return FoundObjects(boxes, scores[kept], labels[kept], np.full(len(boxes), window.index, np.int64))
