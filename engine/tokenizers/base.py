"""The one contract of all tokenizers: images in, :class:`Tokens` out.

Guarantees: ``assignment`` is defined on a regular grid that covers the whole image, holds no NaN, and its
argmax over tokens is *the* token map of the image; token order means nothing beyond the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a tokenizer perceived in a batch of images.

    Attributes:
        features: Token vectors, ``[B, N, D]``.
        assignment: How strongly each token claims each grid cell, ``[B, N, h, w]``, non-negative. Its argmax
            over ``N`` is the token map. Whether the values sum to one over tokens is up to the tokenizer.
        attention: The map as the method publishes it (for HOOK a distribution over cells for each token),
            ``[B, heads, N, h*w]``; None where nobody asked for it.
    """

    features: Tensor
    assignment: Tensor
    attention: Tensor | None = None

    @property
    def token_map(self) -> Tensor:
        """Index of the token that claims each grid cell most, ``[B, h, w]`` int64; the first wins a tie."""
        return self.assignment.argmax(dim=1)

    @property
    def looks(self) -> Tensor:
        """Where each token looks, ``[B, N, h, w]``: the published attention, mean over heads, or else the claims."""
        return self.assignment if self.attention is None else self.attention.mean(dim=1).view_as(self.assignment)


class Tokenizer(nn.Module):
    """A module that maps images ``[B, C, H, W]`` (normalised floats) to :class:`Tokens`."""

    embed_dim: int
    """Width ``D`` of a token vector."""

    def forward(self, images: Tensor) -> Tokens:
        """Tokenize a batch of images.

        Args:
            images: ``[B, C, H, W]`` normalised floats.
        """
        raise TypeError(f"{type(self).__name__} does not say how it tokenizes")
