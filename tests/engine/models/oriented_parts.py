"""A small backbone and drawn images of rotated bars, for the tests of detectors."""

from __future__ import annotations

import numpy as np
import torch
from skimage.draw import polygon
from torch import Tensor, nn

from engine.models.detection import Objects
from engine.models.oriented.detector import OrientedRCNN
from engine.models.rotated.boxes import canonical, corners_of


class SmallBackbone(nn.Module):
    """Four maps at strides 4, 8, 16 and 32."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.channels = (width, width, 2 * width, 2 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()
        )
        pairs = zip(self.channels, self.channels[1:], strict=False)
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in pairs)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


def small_detector(num_classes: int = 2, **changes: object) -> OrientedRCNN:
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "pyramid_channels": 16, "hidden": 64, "grid": 5, "anchor_scale": 4.0, "proposals": 200, "freeze_norms": False,
    }  # fmt: skip
    return OrientedRCNN(SmallBackbone(), num_classes, **{**settings, **changes})


def bars(seed: int, size: int = 96, count: int = 4) -> tuple[Tensor, Objects]:
    """An image ``[3, size, size]`` of bars: long red ones (class 0) and stout green ones (class 1), apart."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.1, (3, size, size)).astype(np.float32)
    taken = np.zeros((size, size), bool)
    boxes, labels = [], []
    for _ in range(100):
        label = int(rng.integers(2))
        w, h = (rng.uniform(26, 34), rng.uniform(7, 9)) if label == 0 else (rng.uniform(16, 20), rng.uniform(12, 14))
        box = torch.tensor([[*rng.uniform(20, size - 20, 2), w, h, rng.uniform(-1.5, 1.5)]], dtype=torch.float32)
        corners = corners_of(box)[0].numpy()
        rows, cols = polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, (size, size))
        if taken[rows, cols].any():
            continue
        taken[rows, cols] = True
        image[label, rows, cols] += 1.5
        boxes.append(box)
        labels.append(label)
        if len(boxes) == count:
            break
    return torch.from_numpy(image), Objects(canonical(torch.cat(boxes)), torch.tensor(labels))
