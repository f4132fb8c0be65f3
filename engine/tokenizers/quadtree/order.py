"""The one order in which patches are cut, as integers that no two patches share.

The lowest score goes first; among equal scores the larger patch, then the upper, then the left one. Scores count as
they are given (float32 and below, or float64), plus and minus infinity included; minus zero equals zero.

Guarantees: a key is ``int64``, its order is the rule, and its lower 32 bits are the patch's number (coarse to fine,
row by row); patches outside the image have :data:`NEVER`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import OptionError
from engine.tokenizers.quadtree.layout import Layout, outside

NEVER = (1 << 63) - 1
"""Key of what is never cut."""

NUMBER = (1 << 32) - 1
"""Mask of a patch's number in its key."""

_MAGNITUDE = (1 << 31) - 1


def order_keys(layout: Layout, scores: Mapping[int, Tensor], batch: int) -> Tensor:
    """Keys of all patches that can be cut, coarse to fine, ``[batch, count]``.

    Raises:
        OptionError: Scores are missing, have another shape or hold NaN.
    """
    levels = layout.checked_scores(scores, batch)
    count = layout.offsets[len(levels)]
    if not levels:
        device = next(iter(scores.values())).device if scores else "cpu"
        return torch.empty((batch, 0), dtype=torch.int64, device=device)
    levels = _on_one_device(levels)
    if not layout.whole:
        levels = [
            F.pad(values, (0, cols - values.shape[2], 0, rows - values.shape[1]))
            for values, (rows, cols) in zip(levels, layout.grids, strict=False)
        ]
    flat = torch.cat([values.reshape(batch, -1) for values in levels], dim=1)
    if not math.isfinite(float(flat.sum())):  # NaN anywhere makes the sum NaN; so may infinities, hence the closer look
        check_numbers(layout, levels)
    if flat.is_floating_point() and flat.dtype != torch.float64:
        ranks = _float_order(flat if flat.dtype == torch.float32 else flat.float())
    else:
        ranks = _dense_order(flat.double())
    keys = torch.add(counted(count, flat.device), ranks, alpha=1 << 32)
    if not layout.whole:
        start = layout.offsets
        for level in range(len(levels)):
            part = keys[:, start[level] : start[level + 1]]
            part.masked_fill_(outside(layout, level, flat.device).view(1, -1), NEVER)
    return keys


@lru_cache(maxsize=16)
def counted(count: int, device: torch.device, step: int = 1) -> Tensor:
    """0, step, 2 step, … as many as ``count``; not to be written to."""
    return torch.arange(0, count * step, step, device=device)


def _float_order(values: Tensor) -> Tensor:
    """Integers in the order of float32 values (which are used up): their bits, those of negative ones inverted."""
    bits = values.add_(0.0).view(torch.int32)  # adding zero makes -0 the same as 0
    return (bits >> 31).bitwise_and_(_MAGNITUDE).bitwise_xor_(bits)


def _dense_order(values: Tensor) -> Tensor:
    """Ranks of values that do not fit 32 bits; equal values share theirs."""
    ordered, places = values.sort(dim=1)
    steps = F.pad((ordered[:, 1:] != ordered[:, :-1]).long(), (1, 0)).cumsum(dim=1)
    return torch.empty_like(places).scatter_(1, places, steps)


def _on_one_device(levels: Sequence[Tensor]) -> list[Tensor]:
    devices = {values.device for values in levels}
    if len(devices) > 1:
        raise OptionError(
            f"scores lie on several devices: {', '.join(sorted(map(str, devices)))}", remedy="Bring them to one."
        )
    return list(levels)


def check_numbers(layout: Layout, levels: Sequence[Tensor]) -> None:
    """Refuse scores, coarse to fine, that hold NaN.

    Raises:
        OptionError: They do.
    """
    sizes = [size for size, values in zip(layout.sizes, levels, strict=False) if bool((values != values).any())]
    if sizes:
        raise OptionError(
            f"scores hold NaN, which has no order (patches of {', '.join(map(str, sizes))} pixels)",
            where="scores",
            remedy="Give patches without information a score of plus infinity: they are cut last.",
        )
