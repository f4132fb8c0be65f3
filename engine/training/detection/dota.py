"""DOTA's annotations (Xia et al. 2018): four corners, a class and whether the object is difficult, one a line.

Guarantees: lines that name the image's source or resolution are passed over, everything else that is no object is an
error that names file and line; corners keep the order in which they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import TrainingError

DOTA_CLASSES = (
    "plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle", "large-vehicle", "ship",
    "tennis-court", "basketball-court", "storage-tank", "soccer-ball-field", "roundabout", "harbor", "swimming-pool",
    "helicopter",
)  # fmt: skip
"""The classes of DOTA-1.0 in their published order."""

_HEADERS = ("imagesource", "gsd", "acquisition dates")


@dataclass(frozen=True, slots=True)
class Annotations:
    """Objects of an image as they are written down.

    Attributes:
        corners: ``[n, 4, 2]`` float64 columns and rows in pixels.
        labels: ``[n]`` int64 class codes.
        difficult: ``[n]`` whether a detector is neither praised for finding an object nor blamed for missing it.
    """

    corners: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, keep: npt.NDArray[np.bool_]) -> Annotations:
        """Those where ``keep`` holds."""
        return Annotations(self.corners[keep], self.labels[keep], self.difficult[keep])

    def moved(self, right_px: int, down_px: int) -> Annotations:
        """The same further right and down."""
        return Annotations(self.corners + np.array([right_px, down_px]), self.labels, self.difficult)


NO_OBJECTS = Annotations(np.zeros((0, 4, 2)), np.zeros(0, np.int64), np.zeros(0, np.bool_))
"""What is in an image that holds nothing of the classes."""


def read_annotations(path: Path, codes: Mapping[str, int], *, others: bool = False) -> Annotations:
    """Read one file of annotations.

    Args:
        path: The file.
        codes: Class names with their codes.
        others: Whether objects of other classes are passed over; otherwise they are errors.

    Raises:
        TrainingError: The file is missing, or a line is no object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"the annotations cannot be read: {error}", where=path, remedy="Every image needs a file of its name."
        ) from error
    corners: list[list[float]] = []
    labels: list[int] = []
    difficult: list[bool] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.lower().startswith(_HEADERS):
            continue
        try:
            if len(words) not in (9, 10):
                raise ValueError(f"{len(words)} entries where 9 or 10 belong")
            place = [float(word) for word in words[:8]]
            if not np.isfinite(place).all():
                raise ValueError("a coordinate is not finite")
            hard = len(words) == 10 and int(words[9]) != 0
        except ValueError as error:
            raise TrainingError(
                f"line {number} is no object: {error}",
                where=path,
                remedy="A line is x1 y1 x2 y2 x3 y3 x4 y4 class, and 1 where the object is difficult.",
            ) from error
        if words[8] not in codes:
            if others:
                continue
            raise TrainingError(
                f"line {number} names the class {words[8]!r}, which is not in the recipe",
                where=path,
                remedy="Add it to `classes`, or set `other_classes: skip` of the data source.",
            )
        corners.append(place)
        labels.append(codes[words[8]])
        difficult.append(hard)
    return Annotations(
        np.array(corners, np.float64).reshape(-1, 4, 2), np.array(labels, np.int64), np.array(difficult, np.bool_)
    )


def write_annotations(path: Path, objects: Annotations, names: tuple[str, ...]) -> None:
    """Write annotations as DOTA does; corners with a tenth of a pixel."""
    lines = []
    for corners, label, hard in zip(objects.corners, objects.labels, objects.difficult, strict=True):
        place = " ".join(f"{value:.1f}" for value in corners.reshape(-1))
        lines.append(f"{place} {names[label]} {int(hard)}\n")
    path.write_text("".join(lines), encoding="utf-8")
