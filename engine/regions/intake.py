"""What builders of regions take: tokens of windows, and rows whose maps are final."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from engine.scene import Raster

Array = npt.NDArray[Any]

NODATA_CLASS = 255
DEFAULT_MIN_PIXELS = 32
"""Smaller regions join their best neighbour where nobody says otherwise."""


@dataclass(frozen=True)
class WindowTokens:
    """What the model said about one window.

    Attributes:
        col: First column on the grid.
        row: First row on the grid.
        token_map: ``[h, w]`` uint8 or uint16 token of each pixel of the window that lies on the grid; the largest value
            of the type is nodata.
        features: ``[N, D]`` token vectors.
        window_index: Number of the window in the plan.
    """

    col: int
    row: int
    token_map: Array
    features: Array
    window_index: int


@dataclass(frozen=True)
class Strip:
    """Rows whose maps are final.

    Attributes:
        row_start: First row.
        classes: ``[h, W]`` uint8, 255 is nodata.
        confidence: ``[h, W]`` uint8 percent.
        runner_up: ``[h, W]`` uint8.
        image: All bands of these rows.
    """

    row_start: int
    classes: Array
    confidence: Array
    runner_up: Array
    image: Raster
