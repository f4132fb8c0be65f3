"""Sinusoidal positions of patch centres: half of the width says the column, half the row (as published).

Guarantees: any place is allowed, also between cells; positions are computed in float32 whatever the tokens are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.errors import OptionError


def sinusoidal(places: Tensor, width: int) -> Tensor:
    """Sines and cosines of places ``[...]``, ``[..., width]``.

    Frequencies fall geometrically from 1 to 1/10000; of an odd width the last column is zero.
    """
    half = width // 2
    steps = torch.arange(half, device=places.device, dtype=torch.float32)
    angles = places.float().unsqueeze(-1) * torch.exp(steps * (-math.log(10_000.0) / max(half - 1, 1)))
    parts = [angles.sin(), angles.cos()]
    if width % 2:
        parts.append(torch.zeros_like(places, dtype=torch.float32).unsqueeze(-1))
    return torch.cat(parts, dim=-1)


def centre_positions(centres: Tensor, embed_dim: int) -> Tensor:
    """Positions ``[..., embed_dim]`` of centres (x, y) ``[..., 2]`` in units of the smallest patch."""
    x, y = centres.unbind(-1)
    return torch.cat((sinusoidal(x, embed_dim // 2), sinusoidal(y, embed_dim // 2)), dim=-1)


def check_width(embed_dim: int) -> None:
    """Refuse widths that cannot be halved.

    Raises:
        OptionError: ``embed_dim`` is odd or less than 4.
    """
    if embed_dim < 4 or embed_dim % 2:
        raise OptionError(
            f"embed_dim is {embed_dim}", remedy="Column and row need half of it each: use an even number."
        )
