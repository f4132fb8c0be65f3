"""Learned position tables that fit any grid.

Guarantees: at the size a table was made for its values are used untouched.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Interpolation = Literal["bicubic", "bilinear"]


def position_grid(table: Tensor, edge: int, rows: int, cols: int, mode: Interpolation) -> Tensor:
    """Read a table ``[1, edge * edge, C]`` as a grid ``[1, rows, cols, C]``, interpolated where the size differs."""
    grid = table.view(1, edge, edge, -1)
    if (rows, cols) == (edge, edge):
        return grid
    planes = F.interpolate(grid.permute(0, 3, 1, 2), (rows, cols), mode=mode, align_corners=False)
    fitted: Tensor = planes.permute(0, 2, 3, 1)
    return fitted
