"""Reverse quadtree: from tokens of patches back to a grid of cells of ``min_size``.

Patches of a quadtree are runs of one z-ordered line of cells, so the patch of a cell is found by one search in a sorted
list, whatever the sizes of the patches are. Guarantees: any set of sizes, on the device, differentiable with respect to
the tokens; cells without a patch are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import OptionError

_SPREAD = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def patch_index(boxes: Tensor, height: int, width: int, min_size: int) -> Tensor:
    """Which patch covers each cell.

    Args:
        boxes: Left, top, size in pixels ``[B, P, 3]``; sizes are ``min_size`` times powers of two, places multiples of
            the size, and no box lies in another.
        height: Rows of the image in pixels.
        width: Columns of the image in pixels.
        min_size: Edge of a cell in pixels.

    Returns:
        ``[B, ceil(height / min_size), ceil(width / min_size)]`` int64, -1 where no box is.
    """
    rows, cols = -(-height // min_size), -(-width // min_size)
    left, top, size = (boxes // min_size).unbind(2)
    first, order = z_code(left, top).sort(dim=1)
    beyond = first + (size * size).gather(1, order)
    row, col = torch.meshgrid(
        torch.arange(rows, device=boxes.device), torch.arange(cols, device=boxes.device), indexing="ij"
    )
    code = z_code(col, row).reshape(1, -1).expand(len(boxes), -1).contiguous()
    place = torch.searchsorted(first, code, right=True) - 1
    known = place.clamp_min(0)
    covered = (place >= 0) & (code < beyond.gather(1, known))
    return torch.where(covered, order.gather(1, known), -1).view(-1, rows, cols)


def reverse(features: Tensor, boxes: Tensor, height: int, width: int, min_size: int) -> Tensor:
    """Copy the token of each patch to all cells it covers.

    Args:
        features: Tokens of the patches ``[B, P, D]``, without a class token.
        boxes: Their boxes ``[B, P, 3]``.
        height: Rows of the image in pixels.
        width: Columns of the image in pixels.
        min_size: Edge of a cell in pixels.

    Returns:
        ``[B, D, ceil(height / min_size), ceil(width / min_size)]``.

    Raises:
        OptionError: There are not as many tokens as boxes.
    """
    if features.ndim != 3 or features.shape[:2] != boxes.shape[:2]:
        raise OptionError(
            f"tokens {list(features.shape)} do not belong to boxes {list(boxes.shape)}",
            remedy="Give one token for each box; leave the class token out.",
        )
    index = patch_index(boxes.to(features.device), height, width, min_size)
    flat = index.flatten(1).unsqueeze(2)
    cells = features.gather(1, flat.clamp_min(0).expand(-1, -1, features.shape[2]))
    cells = torch.where(flat >= 0, cells, torch.zeros((), dtype=features.dtype, device=features.device))
    return cells.transpose(1, 2).reshape(len(features), features.shape[2], *index.shape[1:])


def z_code(col: Tensor, row: Tensor) -> Tensor:
    """Place on the z-ordered line: bits of column and row in turn, the column's first."""
    return _spread(col) | (_spread(row) << 1)


def _spread(values: Tensor) -> Tensor:
    """Integers below 2**31 with a zero bit after each of their bits."""
    for shift, mask in _SPREAD:
        values = (values | (values << shift)) & mask
    return values
