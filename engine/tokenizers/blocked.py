"""Attention and linear layers over many rows, in blocks that stay in a core's cache.

For inference in float32 on processors, where torch's own kernels reach little more than half of the arithmetic rate
of a matrix product on long sequences. The mathematics is the written-out one: softmax attention over all keys, exact
GELU. Guarantees: the same numbers to float32 rounding; no map of queries by keys is ever whole in memory; where
scores could leave the range of float32 the plain kernel is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.tokenizers.cores import each

FEWEST_ROWS = 2048
"""Rows from which blocks are worth their overhead."""

LINEAR_ROWS = 512
QUERY_ROWS = 1024
KEY_ROWS = 128
"""Edges of the blocks: 1024 x 128 scores and what makes them lie in a second-level cache of 2 MiB."""

LARGEST_EXPONENT = 86.0
"""2 to it, summed over any number of keys and multiplied by values, is far from the end of float32."""


def plain(x: Tensor) -> bool:
    """Whether a tensor is float32 on a processor, without gradients, another precision or a counter of operations."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._is_torch_function_mode_enabled()
    )


class Weighted(Protocol):
    """A linear layer, or a 1 x 1 convolution."""

    @property
    def weight(self) -> Tensor:
        """``[K, C]``, or ``[K, C, 1, 1]``."""

    @property
    def bias(self) -> Tensor | None:
        """``[K]``."""


def linear(x: Tensor, layer: Weighted, *, gelu: bool = False) -> Tensor:
    """A linear layer over the last axis, with GELU in the same pass over memory where oneDNN offers it."""
    weight, bias = layer.weight.flatten(1), layer.bias
    if _FUSED and plain(x):
        attr, algorithm = ("gelu", "none") if gelu else ("none", "")
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, attr, [], algorithm)
        return fused
    out = F.linear(x, weight, bias)
    return F.gelu(out) if gelu else out


class OpenConv(nn.Conv2d):
    """A convolution whose weight is multiplied out with its neighbours' for inference, so it stays as it is."""


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of single rows, keeping their width, to ``[..., D]``; in blocks where that is faster.

    ``x`` is given away: the result may lie in its memory, for the system charges dearly for new pages.
    """
    if not plain(x) or x.numel() < FEWEST_ROWS * x.shape[-1]:
        return function(x)
    rows = x.reshape(-1, x.shape[-1])

    def work(start: int) -> None:
        block = slice(start, start + LINEAR_ROWS)
        rows[block] = function(rows[block])

    each(work, range(0, len(rows), LINEAR_ROWS))
    return rows.view(x.shape)


def add(x: Tensor, change: Tensor) -> Tensor:
    """``x + change``; ``change`` is given away as in :func:`by_rows`."""
    return change.add_(x) if plain(change) else x + change


def attends_in_blocks(x: Tensor) -> bool:
    """Whether :func:`attention_in_blocks` is the faster way to attend over ``[B, N, D]``."""
    return x.shape[1] >= FEWEST_ROWS and plain(x)


def attention_in_blocks(x: Tensor, qkv: nn.Linear, proj: nn.Linear, heads: int) -> Tensor:
    """Multi-head self-attention over ``[B, N, D]``: projections, softmax over all N, output projection."""
    b, n, d = x.shape
    queries, keys, values = (x.new_empty((b, heads, n, d // heads)) for _ in range(3))
    scale = (d // heads) ** -0.5 / math.log(2)  # 2 ** (x / ln 2) is exp(x)
    starts = [(image, start) for image in range(b) for start in range(0, n, LINEAR_ROWS)]

    def project(piece: tuple[int, int]) -> None:
        image, start = piece
        block = slice(start, start + LINEAR_ROWS)
        split = linear(x[image, block], qkv).view(-1, 3, heads, d // heads).permute(1, 2, 0, 3)
        torch.mul(split[0], scale, out=queries[image, :, block])
        keys[image, :, block], values[image, :, block] = split[1], split[2]

    each(project, starts)
    mix(queries, keys, values)
    out = keys.view(x.shape)  # nobody needs the keys any more

    def join(piece: tuple[int, int]) -> None:
        image, start = piece
        block = slice(start, start + LINEAR_ROWS)
        out[image, block] = linear(queries[image, :, block].transpose(0, 1).flatten(1), proj)

    each(join, starts)
    return out


def mix(queries: Tensor, keys: Tensor, values: Tensor) -> None:
    """Put what ``2 ** (queries @ keys^T)``, rows divided by their sums, mixes of ``values`` in place of ``queries``.

    All are ``[B, heads, N, d]``, queries already scaled; ``keys`` are changed too: their mean is taken off, which moves
    all exponents of a query alike. There is no running maximum where exponents cannot leave the range of float32, which
    is told from the longest query and key.
    """
    keys -= keys.mean(dim=2, keepdim=True)
    largest = (_longest(queries) * _longest(keys)).max()
    if not bool(largest <= LARGEST_EXPONENT):
        queries.copy_(F.scaled_dot_product_attention(queries, keys, values, scale=math.log(2)))
        return
    b, heads, n, _ = queries.shape
    blocks = [[_in_blocks(keys[i, h], values[i, h]) for h in range(heads)] for i in range(b)]

    def work(piece: tuple[int, int, int]) -> None:
        image, head, start = piece
        place = image, head, slice(start, start + QUERY_ROWS)
        _mix_rows(queries[place], blocks[image][head])

    each(work, [(i, h, start) for i in range(b) for h in range(heads) for start in range(0, n, QUERY_ROWS)])


def _in_blocks(keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Blocks of keys ``[K, d]`` and their values as columns ``[d, K]``."""
    return list(zip(torch.split(keys, KEY_ROWS), torch.split(values.T, KEY_ROWS, dim=1), strict=True))


def _mix_rows(queries: Tensor, blocks: Sequence[tuple[Tensor, Tensor]]) -> None:
    from engine.tokenizers.exponential import powers_and_sums  # compiled only where attention is long

    n, d = queries.shape
    columns = queries.T.contiguous()
    scores, sums, mixed = queries.new_empty((KEY_ROWS, n)), queries.new_zeros(n), queries.new_zeros((d, n))
    in_scores, in_sums = scores.numpy(), sums.numpy()
    for keys, values in blocks:
        if len(keys) < len(scores):
            scores, in_scores = scores[: len(keys)], in_scores[: len(keys)]
        torch.mm(keys, columns, out=scores)
        powers_and_sums(in_scores, in_sums)
        mixed.addmm_(values, scores)
    torch.div(mixed.T, sums[:, None], out=queries)


def _longest(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return lengths.amax(dim=-1)


_FUSED: bool = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
