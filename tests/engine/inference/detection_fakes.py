"""A detector that knows every object of the scene and says what a window shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from inference_fakes import loaded, make_card, write_scene
from torch import nn

from engine.inference import AnalysisOptions, analyse
from engine.models.card import ModelCard, Scaling
from engine.models.detection import Detections
from engine.models.loaded import LoadedModel
from engine.models.rotated.boxes import boxes_of, canonical, corners_of
from engine.scene import Scene

Box = tuple[float, float, float, float, float]


class KnowingDetector(nn.Module):
    """Reads from the scene's first two bands where a window lies, and answers with the objects in it.

    An object that the window cuts is answered by the smallest box round what is left of it, a little less surely, as
    long as a ``visible`` share of it is left.
    """

    max_overlap = 0.1
    token_count = 1

    def __init__(self, boxes: Sequence[Box], labels: Sequence[int] | None = None, visible: float = 0.1) -> None:
        super().__init__()
        self.boxes = canonical(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 5))
        self.labels = list(labels) if labels is not None else [0] * len(boxes)
        self.visible = visible
        self.seen = 0

    def detect(self, images: torch.Tensor) -> list[Detections]:
        self.seen += len(images)
        return [self._window(image) for image in images]

    def _window(self, image: torch.Tensor) -> Detections:
        left, top = (round(float(v)) for v in image[:2, 0, 0])
        view = shapely.box(left, top, left + image.shape[2], top + image.shape[1])
        boxes, scores, labels = [], [], []
        for box, label in zip(self.boxes, self.labels, strict=True):
            shape = shapely.Polygon(corners_of(box).numpy())
            part = shape.intersection(view)
            share = part.area / shape.area
            if share < self.visible:
                continue
            whole = share > 1 - 1e-9
            rest = box if whole else round_part(part)
            boxes.append(rest - torch.tensor([left, top, 0, 0, 0]))
            scores.append(0.9 if whole else 0.5 + 0.45 * share)  # a large part is surer than the whole
            labels.append(label)
        stacked = torch.stack(boxes).float() if boxes else torch.zeros(0, 5)
        return Detections(stacked, torch.tensor(scores).reshape(-1), torch.tensor(labels, dtype=torch.long))

    def probe_answers(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (images,)


def round_part(part: shapely.Polygon) -> torch.Tensor:
    outline = shapely.minimum_rotated_rectangle(part)
    return boxes_of(torch.tensor(np.array(outline.exterior.coords)[:4]))


def detector_card(window: int = 64, overlap: int = 24, classes: int = 2, **changes: Any) -> ModelCard:
    plain = Scaling(dtype="uint16", divisor=1, mean=(0,) * 3, std=(1,) * 3, low=(0,) * 3, high=(1000,) * 3)
    return make_card(window, overlap, classes, scaling=plain, **{"task": "detection", "min_score": 0.4, **changes})


def detector(boxes: Sequence[Box], labels: Sequence[int] | None = None, **card: Any) -> LoadedModel:
    return loaded(KnowingDetector(boxes, labels), detector_card(**card))


def write_places(path: Path, width: int, height: int, **changes: Any) -> Path:
    """A scene whose first bands hold the column and row of each pixel; the third is 7."""
    rows, cols = np.mgrid[:height, :width]
    return write_scene(path, np.stack((cols, rows, np.full_like(rows, 7))).astype(np.uint16), **changes)


def detect(path: Path, model: LoadedModel, out: Path, **options: Any) -> list[Any]:
    with Scene.open(path) as scene:
        return list(analyse(scene, model, out, AnalysisOptions(device="cpu", **options)))
