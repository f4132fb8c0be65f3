"""What every model of the engine returns: logits, the tokens behind them, and both at pixel level.

Guarantees: ``at_pixels`` answers for any model, so the window pipeline is written once: a model that knows how to
draw its own pixel-level maps is used as it is, any other is resized bilinearly (logits and assignment alike).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.tokenizers.base import Tokens


@dataclass(frozen=True, slots=True)
class PixelMaps:
    """Maps at the image's own resolution.

    Attributes:
        logits: Class logits ``[B, K, H, W]``.
        assignment: Token claims ``[B, N, H, W]``; argmax over N is the token of a pixel.
    """

    logits: Tensor
    assignment: Tensor


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """Output of a model.

    Attributes:
        logits: ``[B, K]`` for scenes; for dense prediction ``[B, K, h, w]`` before upsampling.
        tokens: The tokens the model perceived; ``features`` are those after the backbone, but for the published
            HOOK and Patch Embed models, where they are the tokenizer's own and ``extras["states"]`` those after it.
        upsample: Draws the pixel-level maps where a model has a way of its own; None resizes bilinearly.
        token_logits: ``[B, N, K]`` class logits of each token where the model has them, else None.
        extras: Intermediate tensors by name, for training losses and parity checks.
    """

    logits: Tensor
    tokens: Tokens
    upsample: Callable[[Tensor], Tensor] | None = None
    token_logits: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def features(self) -> Tensor | None:
        """What the head of a scene classifier read, ``[B, D]``, where the model tells it."""
        return self.extras.get("features")

    def at_pixels(self, height: int, width: int) -> PixelMaps:
        """Draw logits and assignment at ``height`` x ``width`` pixels, the size of the image that went in."""
        if self.upsample is not None and self.logits.shape[2:] != self.tokens.assignment.shape[2:]:
            logits, claims = self.upsample(self.logits), self.upsample(self.tokens.assignment)
            return PixelMaps(logits[:, :, :height, :width], claims[:, :, :height, :width])
        if self.upsample is not None:
            stacked = torch.cat((self.logits, self.tokens.assignment.to(self.logits.dtype)), dim=1)
            both = self.upsample(stacked)[:, :, :height, :width]
        else:
            size = (height, width)
            logits = F.interpolate(self.logits, size, mode="bilinear", align_corners=False)
            claims = F.interpolate(self.tokens.assignment, size, mode="bilinear", align_corners=False)
            return PixelMaps(logits, claims)
        classes = self.logits.shape[1]
        return PixelMaps(both[:, :classes], both[:, classes:])

    def logits_at(self, height: int, width: int) -> Tensor:
        """Draw the logits alone, as ``at_pixels`` does: claims of many tokens are large at pixels."""
        if self.upsample is not None:
            return self.upsample(self.logits)[:, :, :height, :width]
        return F.interpolate(self.logits, (height, width), mode="bilinear", align_corners=False)


@runtime_checkable
class ClassBiased(Protocol):
    """A segmenter whose logits can be raised and lowered class by class, everywhere alike."""

    def class_biases(self) -> tuple[Tensor, ...]:
        """Parameters ``[K]``; offsets added to all of them are added to the logits of pixels and of tokens.

        Raises:
            OptionError: In this configuration none does that.
        """


@runtime_checkable
class Probed(Protocol):
    """A model that tells by which numbers to compare it with itself, where one image in and its maps out do not do."""

    def probe_answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """Numbers that stay the same but for rounding when the model is rewritten for speed."""
