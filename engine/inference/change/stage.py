"""Device work of a comparison: stored values of both dates in, probabilities out; and what rows of the map come to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.inference.blend import FinalRows
from engine.inference.plan import PlanWindow
from engine.inference.stage import BatchStage, WindowMaps

DEFAULT_THRESHOLD = 0.5
"""Where neither the user nor the card says from which probability on a pixel counts as changed."""


class ChangeStage(BatchStage[WindowMaps]):
    """Runs a model that compares two dates; the bands of both come stacked, the earlier first."""

    @torch.inference_mode()
    def dates(self, pixels: npt.NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Normalised images of both dates."""
        before, after = self.stored(pixels).chunk(2, dim=1)
        return self._model.normalise(before), self._model.normalise(after)

    @torch.inference_mode()
    def answer(self, windows: tuple[PlanWindow, ...], pixels: npt.NDArray[Any]) -> WindowMaps:
        """Class probabilities of some windows; tokens of single windows make no regions here, so none are kept."""
        edge = self._window_px
        logits = self._model(*self.dates(pixels)).logits_at(edge, edge)
        none = torch.zeros(len(windows), edge, edge, dtype=torch.uint8)
        return WindowMaps(windows, logits.float().softmax(dim=1), none, torch.zeros(len(windows), 0, 0))


def judge(rows: FinalRows, least_percent: int) -> FinalRows:
    """Rows of a model of change: the confidence becomes the probability of change, the class follows the threshold.

    Args:
        rows: Rows by the likelier class, 0 is unchanged.
        least_percent: Probability in percent from which on a pixel counts as changed.
    """
    likely = rows.classes == 1
    percent = np.where(likely, np.maximum(rows.confidence, 50), np.minimum(100 - rows.confidence.astype(np.int16), 49))
    score = np.clip(percent, 1, 100).astype(np.uint8)  # 0 is no data
    changed = score >= least_percent
    classes = changed.astype(np.uint8)
    return replace(rows, classes=classes, confidence=score, runner_up=np.uint8(1) - classes)
