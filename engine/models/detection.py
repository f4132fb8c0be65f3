"""What a detector returns and what it is taught with: rotated boxes with classes, image by image.

Boxes follow the convention of :mod:`engine.models.rotated.boxes`, in pixels of the image that went in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in one image, the surest first.

    Attributes:
        boxes: ``[n, 5]`` float32, canonical.
        scores: ``[n]`` 0 to 1.
        labels: ``[n]`` int64 class codes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects known to be in one image.

    Attributes:
        boxes: ``[n, 5]`` float32.
        labels: ``[n]`` int64 class codes.
    """

    boxes: Tensor
    labels: Tensor

    def to(self, device: object) -> Objects:
        """The same on a device."""
        return Objects(self.boxes.to(device), self.labels.to(device))  # type: ignore[call-overload]


@runtime_checkable
class Detector(Protocol):
    """What a module must answer to be run as a detector.

    Attributes:
        max_overlap: Overlap from which the less sure of two objects of a class is dropped.
        token_count: Tokens that its body summarises an image by.
    """

    max_overlap: float
    token_count: int

    def detect(self, images: Tensor) -> list[Detections]:
        """Find objects in normalised floats ``[B, C, H, W]``: one ``Detections`` an image, without gradients."""

    def probe_answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """Numbers that stay the same but for rounding when the module is rewritten for speed."""
