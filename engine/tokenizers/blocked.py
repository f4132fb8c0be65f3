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
QUERY_ROWS = 2048
KEY_ROWS = 96
"""Edges of the blocks: 2048 x 96 scores and what makes them lie in a second-level cache of 2 MiB."""

SCRATCH_NUMBERS = 6 * 2**20
"""Queries, keys and values that are held at once. Their 24 MiB stay below the 32 MiB from which the C library on Linux
hands memory back at once, to ask for it anew at the next turn; the system charges dearly for new pages."""

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
    if gelu and _FUSED and plain(x):
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
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


def attends_in_blocks(x: Tensor, rows: int) -> bool:
    """Whether :func:`attend_in_blocks` is the faster way to attend over maps of so many rows of ``x``."""
    return rows >= FEWEST_ROWS and plain(x)


class Attends(Protocol):
    """Multi-head self-attention."""

    heads: int
    qkv: nn.Linear
    proj: nn.Linear


def attend_in_blocks(
    maps: Sequence[Tensor],
    outs: Sequence[Tensor],
    attention: Attends,
    before: Callable[[Tensor], Tensor],
    after: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Multi-head self-attention inside each of some maps, between functions of single rows.

    Args:
        maps: ``[lines, width, D]`` each, all of one shape; any strides.
        outs: Where results go, of that shape; may be the maps themselves.
        attention: Projections and heads; softmax is over all rows of a map.
        before: What is done to rows ``[n, D]`` that attention reads, their norm say.
        after: Takes rows of a map and what attention made of them, and returns the rows of the result.
    """
    lines, width, dim = maps[0].shape
    n, heads, d = lines * width, attention.heads, dim // attention.heads
    together = min(heads, max(1, SCRATCH_NUMBERS // (3 * n * d)))
    scratch = maps[0].new_empty((3, together, n, d))
    groups = [slice(first, min(heads, first + together)) for first in range(0, heads, together)]
    projections = [_projection(attention, group) for group in groups]
    mixed = [maps[0].new_empty((n, group.stop - group.start, d)) for group in groups]
    for x, out in zip(maps, outs, strict=True):
        for (weight, bias), part in zip(projections, mixed, strict=True):
            places = scratch[:, : part.shape[1]]
            _project(x, before, weight, bias, places)
            mix(places[0], places[1], places[2], part.transpose(0, 1))
        _finish(x, mixed, attention.proj, after, out)


def _project(
    x: Tensor, before: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None, places: Tensor
) -> None:
    """Put queries, keys and values ``[3, heads, N, d]`` of a map where they belong."""

    def work(block: tuple[slice, slice]) -> None:
        lines, rows = block
        projected = F.linear(before(x[lines].reshape(-1, x.shape[2])), weight, bias)
        places[:, :, rows] = projected.view(-1, places.shape[0], places.shape[1], places.shape[3]).permute(1, 2, 0, 3)

    each(work, _lines(x))


def _finish(
    x: Tensor, mixed: Sequence[Tensor], proj: nn.Linear, after: Callable[[Tensor, Tensor], Tensor], out: Tensor
) -> None:
    def work(block: tuple[slice, slice]) -> None:
        lines, rows = block
        joined = torch.cat([part[rows] for part in mixed], dim=1).flatten(1)
        out[lines] = after(x[lines].reshape(-1, x.shape[2]), linear(joined, proj)).view(-1, *x.shape[1:])

    each(work, _lines(x))


def _lines(x: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of a map ``[lines, width, D]``: their lines, and their rows when lines lie behind one another."""
    count, width, _ = x.shape
    step = max(1, LINEAR_ROWS // width)
    return [(slice(top, top + step), slice(top * width, (top + step) * width)) for top in range(0, count, step)]


def _projection(attention: Attends, group: slice) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the queries, keys and values of some heads; queries scaled for powers of two."""

    def chosen(of_all: Tensor) -> Tensor:
        parts = of_all.view(3, attention.heads, -1, *of_all.shape[1:])[:, group].clone()
        parts[0] *= parts.shape[2] ** -0.5 / math.log(2)  # 2 ** (x / ln 2) is exp(x)
        return parts.flatten(0, 2)

    bias: Tensor | None = attention.qkv.bias
    return chosen(attention.qkv.weight), None if bias is None else chosen(bias)


def mix(queries: Tensor, keys: Tensor, values: Tensor, out: Tensor) -> None:
    """Put what ``2 ** (queries @ keys^T)``, rows divided by their sums, mixes of ``values`` into ``out``.

    All are ``[heads, N, d]``, queries already scaled; ``keys`` are changed: their mean is taken off, which moves all
    exponents of a query alike. There is no running maximum where exponents cannot leave the range of float32, which is
    told from the longest query and key.
    """
    keys -= keys.mean(dim=1, keepdim=True)
    largest = (_longest(queries) * _longest(keys)).max()
    if not bool(largest <= LARGEST_EXPONENT):
        out.copy_(F.scaled_dot_product_attention(queries[None], keys[None], values[None], scale=math.log(2))[0])
        return
    blocks = [_in_blocks(*pair) for pair in zip(keys, values, strict=True)]

    def work(piece: tuple[int, int]) -> None:
        head, start = piece
        place = head, slice(start, start + QUERY_ROWS)
        _mix_rows(queries[place], blocks[head], out[place])

    each(work, [(head, start) for head in range(len(queries)) for start in range(0, queries.shape[1], QUERY_ROWS)])


def _in_blocks(keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Blocks of keys ``[K, d]`` and their values as columns ``[d, K]``."""
    return list(zip(torch.split(keys, KEY_ROWS), torch.split(values.T, KEY_ROWS, dim=1), strict=True))


def _mix_rows(queries: Tensor, blocks: Sequence[tuple[Tensor, Tensor]], out: Tensor) -> None:
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
    torch.div(mixed.T, sums[:, None], out=out)


def _longest(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return lengths.amax(dim=-1)


_FUSED: bool = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
