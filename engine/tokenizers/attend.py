"""Softmax attention: torch's fused kernel, or written out where its gradient is slow.

On processors the gradient of the fused kernel in bfloat16 costs seven to twelve times that of the written-out products
for the short sequences of tokens and windows (80 by 80 vectors: 64 ms against 9 ms for 32 images of 8 heads, one core),
and becomes the faster one beyond about a thousand vectors, whose map it never stores. Guarantees: the same mathematics
either way, to the rounding of the type; inference always takes the fused kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WRITTEN_OUT_PAIRS = 512 * 512
"""Pairs of query and key up to which the gradient is faster with the map written out, for bfloat16 on processors."""


def attend(queries: Tensor, keys: Tensor, values: Tensor, scale: float | None = None) -> Tensor:
    """Attention of ``[..., Q, D]`` over ``[..., K, D]``; returns ``[..., Q, D of the values]``.

    Args:
        queries: What asks.
        keys: What is asked.
        values: What answers.
        scale: Factor of the scores; None takes ``1/sqrt(D)``.
    """
    if not _written_out(queries, keys):
        return F.scaled_dot_product_attention(queries, keys, values, scale=scale)
    factor = queries.shape[-1] ** -0.5 if scale is None else scale
    weights = ((queries * factor) @ keys.transpose(-1, -2)).softmax(dim=-1)
    return weights.to(values.dtype) @ values


def _written_out(queries: Tensor, keys: Tensor) -> bool:
    return (
        queries.device.type == "cpu"
        and queries.dtype == torch.bfloat16
        and torch.is_grad_enabled()
        and queries.shape[-2] * keys.shape[-2] <= WRITTEN_OUT_PAIRS
    )
