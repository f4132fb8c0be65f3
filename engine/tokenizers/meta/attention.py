"""The attentions of LeMeViT: cross (C), dual cross (D and D2), standard (S).

Meta tokens are few, so what could be projected for every pixel is projected for the tokens instead: the score
``(W_q x + b) k`` is ``x (W_q' k) + b k``, and ``W_p sum(w v)`` is ``sum(w W_p v)``. Plain matrix products then read the
image at its own width, it is never copied head by head, and a dual attention costs half the written-out form.

Guarantees: the published functions to float32 rounding; a map of one pixel works.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.attend import attend


class HeadAttention(nn.Module):
    """What all kinds share: a width that heads of ``head_dim`` channels divide among them."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        if head_dim < 1 or dim % head_dim:
            raise OptionError(
                f"a width of {dim} cannot be shared by heads of {head_dim} channels",
                remedy="Choose widths that are multiples of head_dim.",
            )
        self.dim = dim
        self.heads = dim // head_dim

    def split(self, tokens: Tensor) -> Tensor:
        """``[B, M, C]`` -> ``[B, heads, M, head_dim]``."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)

    def rows(self, weight: Tensor) -> Tensor:
        """Rows of a projection (or its bias) by head: ``[C, ...]`` -> ``[heads, head_dim, ...]``."""
        return weight.reshape(self.heads, -1, *weight.shape[1:])

    def carry_back(self, vectors: Tensor, weight: Tensor) -> Tensor:
        """Vectors ``[B, heads, M, head_dim]`` through a transposed projection ``[C, C]``: ``[B, heads, M, C]``."""
        return vectors @ self.rows(weight)

    def look(self, queries: Tensor, image: Tensor, scale: float) -> Tensor:
        """How queries ``[B, heads, M, C]`` spread over pixels ``[B, N, C]``: float32 ``[B, heads, M, N]``."""
        scores = (queries.flatten(1, 2) * scale) @ image.transpose(1, 2)
        return scores.softmax(dim=2, dtype=torch.float32).view(*queries.shape[:3], -1)

    def gather(
        self, queries: Tensor, image: Tensor, value_weight: Tensor, value_bias: Tensor, scale: float, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Let queries gather values from the image.

        Args:
            queries: ``[B, heads, M, C]``, carried back through the image's key projection. Its bias moves all scores of
                a query alike, which the softmax does not see.
            image: ``[B, N, C]``.
            value_weight: ``[C, C]`` rows of the image's value projection.
            value_bias: ``[C]`` their bias.
            scale: Factor of the scores.
            keep: Whether the weights are wanted.

        Returns:
            ``[B, M, C]``, before the output projection, and the weights of :meth:`look` if wanted.
        """
        weights = self.look(queries, image, scale) if keep else None
        if weights is not None:
            seen = weights.flatten(1, 2).to(image.dtype) @ image
        else:
            pixels = image[:, None]
            seen = attend(queries.flatten(1, 2)[:, None], pixels, pixels, scale)[:, 0]
        gathered = (seen.view_as(queries) @ self.rows(value_weight).transpose(1, 2)).transpose(1, 2).flatten(2)
        return gathered + value_bias, weights


class CrossAttention(HeadAttention):
    """C: meta tokens attend to the image, which stays as it is; scale ``head_dim ** -0.5``."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__(dim, head_dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, image: Tensor, tokens: Tensor, keep: bool = False) -> tuple[Tensor, Tensor | None]:
        """Changes of the tokens ``[B, M, C]`` from pixels ``[B, N, C]``, and the weights if ``keep``."""
        (key, value), (_, bias) = self.kv.weight.chunk(2), self.kv.bias.chunk(2)
        queries = self.carry_back(self.split(self.q(tokens)), key)
        gathered, weights = self.gather(queries, image, value, bias, (self.dim // self.heads) ** -0.5, keep)
        return self.proj(gathered), weights

    def written_out_macs(self, image: Tensor, tokens: Tensor, keep: bool = False) -> tuple[int, int]:
        """Multiply-accumulates with every projection written out: of the layers, and of the attention."""
        n, m = image.shape[:2].numel(), tokens.shape[:2].numel()
        return (2 * n + 2 * m) * self.dim**2, 2 * n * tokens.shape[1] * self.dim


class DualAttention(HeadAttention, ABC):
    """D and D2: the image attends to the meta tokens, and the meta tokens to the image.

    The scales are those of the full width, ``dim ** -0.5``; the image's is multiplied by ``ln M / ln N``.
    """

    proj_x: nn.Linear
    proj_c: nn.Linear
    parts: int
    """What each side projects: query, key and value, or two of them."""

    @abstractmethod
    def image_projections(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Weight and bias of the image's query, key and value."""

    @abstractmethod
    def project_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of the tokens, each ``[B, heads, M, head_dim]``."""

    def forward(
        self, image: Tensor, tokens: Tensor, tell: bool = True, keep: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Let image ``[B, N, C]`` and tokens ``[B, M, C]`` exchange what they know.

        Args:
            image: Normalised pixels.
            tokens: Normalised tokens.
            tell: Whether the tokens' change is wanted.
            keep: Whether the weights with which tokens attend to pixels are wanted.

        Returns:
            Changes of the image and of the tokens, and the weights ``[B, heads, M, N]``.
        """
        (w_q, b_q), (w_k, _), (w_v, b_v) = self.image_projections()
        query, key, value = self.project_tokens(tokens)
        scale = self.dim**-0.5
        ratio = length_ratio(tokens.shape[1], image.shape[1])
        values = value @ self.rows(self.proj_x.weight.t())
        change = attend_to_few(image, self.rows(w_q), self.rows(b_q), key * (scale * ratio), values) + self.proj_x.bias
        if not tell:
            return change, None, None
        queries = self.carry_back(query, w_k)
        gathered, weights = self.gather(queries, image, w_v, b_v, scale, keep)
        return change, self.proj_c(gathered), weights

    def written_out_macs(self, image: Tensor, tokens: Tensor, tell: bool = True, keep: bool = False) -> tuple[int, int]:
        """Multiply-accumulates with every projection written out: of the layers, and of the attention."""
        n, m = image.shape[:2].numel(), tokens.shape[:2].numel()
        one_way = 2 * n * tokens.shape[1] * self.dim
        if not tell:
            return (2 * n + 2 * m) * self.dim**2, one_way
        return (n + m) * (self.parts + 1) * self.dim**2, 2 * one_way


class DualCrossAttention(DualAttention):
    """D: query, key and value of both sides."""

    parts = 3

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__(dim, head_dim)
        self.qkv1 = nn.Linear(dim, 3 * dim)
        self.qkv2 = nn.Linear(dim, 3 * dim)
        self.proj_x = nn.Linear(dim, dim)
        self.proj_c = nn.Linear(dim, dim)

    def image_projections(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Rows of ``qkv1``."""
        query, key, value = zip(self.qkv1.weight.chunk(3), self.qkv1.bias.chunk(3), strict=True)
        return query, key, value

    def project_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``qkv2`` of the tokens."""
        query, key, value = self.qkv2(tokens).chunk(3, dim=2)
        return self.split(query), self.split(key), self.split(value)


class SharedDualCrossAttention(DualAttention):
    """D2: the image's query serves as its key as well, and the tokens' key as their query."""

    parts = 2

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__(dim, head_dim)
        self.qv1 = nn.Linear(dim, 2 * dim)
        self.kv2 = nn.Linear(dim, 2 * dim)
        self.proj_x = nn.Linear(dim, dim)
        self.proj_c = nn.Linear(dim, dim)

    def image_projections(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Rows of ``qv1``, its first half twice."""
        query, value = zip(self.qv1.weight.chunk(2), self.qv1.bias.chunk(2), strict=True)
        return query, query, value

    def project_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``kv2`` of the tokens, its first half twice."""
        key, value = self.kv2(tokens).chunk(2, dim=2)
        return self.split(key), self.split(key), self.split(value)


class StandardAttention(HeadAttention):
    """S: image and meta tokens attend to themselves, each set alone, with one set of weights."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__(dim, head_dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, rows: Tensor, sets: tuple[tuple[int, int], ...]) -> Tensor:
        """Change of vectors ``[R, C]`` that lie set behind set, each set ``(batch, count)`` images' vectors."""
        parts = torch.split(self.qkv(rows), [batch * count for batch, count in sets])
        mixed = [self._attend(part.view(*size, 3, self.heads, -1)) for part, size in zip(parts, sets, strict=True)]
        changed: Tensor = self.proj(torch.cat(mixed) if len(mixed) > 1 else mixed[0])
        return changed

    def _attend(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return attend(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1)


def attend_to_few(
    vectors: Tensor, query_weight: Tensor, query_bias: Tensor | None, keys: Tensor, values: Tensor
) -> Tensor:
    """Let many vectors attend to few, head by head, and sum what the heads answer.

    Args:
        vectors: ``[B, N, C]``.
        query_weight: ``[heads, head_dim, C]`` projection that would make queries of them.
        query_bias: ``[heads, head_dim]``, if it has one.
        keys: ``[B, heads, M, head_dim]``, scaled.
        values: ``[B, heads, M, C_out]``, already through the output projection.

    Returns:
        ``[B, N, C_out]``, without the output projection's bias.
    """
    b, heads, few, _ = keys.shape
    carried = (keys @ query_weight).flatten(1, 2).transpose(1, 2)
    if query_bias is None:
        scores = vectors @ carried
    else:
        shift = (keys @ query_bias[:, :, None]).view(b, 1, heads * few)
        scores = torch.baddbmm(shift, vectors, carried)
    share = scores.view(b, -1, heads, few).softmax(dim=3).view(b, -1, heads * few)
    return share.to(values.dtype) @ values.flatten(1, 2)


def length_ratio(tokens: int, pixels: int) -> float:
    """``ln M / ln N``, by which attention over few tokens is flattened; 1 where there is a single pixel."""
    return math.log(tokens) / math.log(pixels) if pixels > 1 else 1.0
