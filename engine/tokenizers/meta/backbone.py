"""The body of LeMeViT: a map and meta tokens through four or five stages, for every use of it.

Scenes read all of it; dense uses read the maps of the last four stages, where standard blocks update the map alone
(what the tokens would become there reaches no map). One forward computes what its user reads and nothing else.

Guarantees: any image size from one pixel on; parameter names and shapes are the authors'; batch norms in evaluation
are part of their convolution (the same numbers to float32 rounding, one pass over memory less).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.base import Tokens
from engine.tokenizers.meta.block import BLOCKS, Kind, MetaBlock


class Downsample(nn.Sequential):
    """Convolutions of stride 2, each with a batch norm, GELU between them; maps are ``[B, H, W, C]``."""

    def __init__(self, *channels: int) -> None:
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            parts += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.GELU()]
        super().__init__(*parts[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Halve a map once for each convolution, edges rounded up."""
        for index in range(0, len(self), 3):
            x = _conv_norm(self[index], self[index + 1], x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = self[index + 2](x) if index + 2 < len(self) else x
        return x


@dataclass(frozen=True, slots=True)
class Perceived:
    """What one pass through the body leaves.

    Attributes:
        maps: ``[B, H, W, C]`` after each stage that ran.
        states: Meta tokens ``[B, M, C]`` after the last block that updated them.
        weights: ``[B, heads, M, h*w]`` with which they looked at the image for the last time; None where they never
            do, or nobody asked.
        looked_at: Height and width of the map they looked at.
    """

    maps: list[Tensor]
    states: Tensor
    weights: Tensor | None
    looked_at: tuple[int, int]

    def tokens(self, features: Tensor, *, attention: bool = False) -> Tokens:
        """Tokens with the given features and the assignment of this pass.

        Where meta tokens never look at the image, the tokens are the cells of the last map instead, each of which
        claims its own place.
        """
        if self.weights is None:
            last = self.maps[-1]
            b, h, w, _ = last.shape
            claims = torch.eye(h * w, device=last.device).view(1, h * w, h, w).expand(b, -1, -1, -1)
            return Tokens(last.flatten(1, 2), claims)
        claims = self.weights.mean(dim=1).view(*self.weights.shape[::2], *self.looked_at)
        return Tokens(features, claims, self.weights if attention else None)


class MetaBody(nn.Module):
    """Stages of map and meta tokens (see the module's first lines).

    Args:
        in_channels: Bands of the image.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks: C, D, D2 or S.
        mlp_ratio: Hidden width of the MLPs over their width.
        head_dim: Channels of an attention head.
        token_count: Meta tokens ``M``.
        drop_path_rate: Stochastic depth of the last block; it grows from 0 at the first.

    Attributes:
        widths: Channels of each stage.
        look_stage: The last stage in which meta tokens look at the image; None where they never do.
    """

    def __init__(
        self,
        in_channels: int,
        depths: Sequence[int],
        widths: Sequence[int],
        kinds: Sequence[Kind],
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        _check(depths, widths, kinds, token_count, drop_path_rate)
        self.widths = tuple(widths)
        before = (widths[0], *widths[:-1])
        last = max(1, sum(depths) - 1)
        rates = iter([drop_path_rate * index / last for index in range(last + 1)])
        self.meta_tokens = nn.Parameter(torch.randn(token_count, widths[0]))
        self.downsample_layers = nn.ModuleList([Downsample(in_channels, widths[0] // 2, widths[0])])
        for kind, narrow, wide in zip(kinds, widths, widths[1:], strict=False):
            self.downsample_layers.append(nn.Identity() if kind == "C" else Downsample(narrow, wide))
        self.meta_token_downsample = nn.ModuleList(_token_update(a, b) for a, b in zip(before, widths, strict=True))
        self.stages = nn.ModuleList(
            nn.ModuleList(BLOCKS[kind](width, head_dim, mlp_ratio, next(rates)) for _ in range(depth))
            for kind, width, depth in zip(kinds, widths, depths, strict=True)
        )
        self.look_stage = max((index for index, kind in enumerate(kinds) if BLOCKS[kind].looks), default=None)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.norm_c = nn.LayerNorm(widths[-1])
        self.apply(_initialise)

    @property
    def last_look(self) -> MetaBlock | None:
        """The last block in which meta tokens look at the image; it ends the stage ``look_stage``."""
        if self.look_stage is None:
            return None
        block: MetaBlock = self.stages[self.look_stage][-1]  # type: ignore[index]
        return block

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Pixels along the edge of a cell, stage by stage."""
        steps = [4] + [1 if isinstance(layer, nn.Identity) else 2 for layer in self.downsample_layers[1:]]
        return tuple(math.prod(steps[: index + 1]) for index in range(len(steps)))

    def perceive(
        self, images: Tensor, *, dense: bool = False, look: bool = True, stage_count: int | None = None
    ) -> Perceived:
        """Run images ``[B, C, H, W]`` through the stages.

        Args:
            images: Normalised floats.
            dense: Leave out all that reaches no map: standard blocks then update the map alone.
            look: Whether the weights with which meta tokens attend to the image for the last time are wanted.
            stage_count: Stages to run; None runs all.
        """
        last_look = self.last_look
        x = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        c = self.meta_tokens[None]
        maps: list[Tensor] = []
        weights, looked_at = None, (0, 0)
        telling = not dense or last_look is not None
        for index in range(len(self.stages) if stage_count is None else stage_count):
            x = self.downsample_layers[index](x)
            if telling:
                c = self.meta_token_downsample[index](c)
                c = c.expand(len(images), -1, -1) if index == 0 else c
            for block in self.stages[index]:  # type: ignore[attr-defined]
                final = block is last_look
                tell = telling and (not dense or (block.looks and (look or not final)))
                x, c, seen = block(x, c, tell, final and look)
                if final:
                    weights, looked_at = seen, (x.shape[1], x.shape[2])
                    telling = not dense
            maps.append(x)
        return Perceived(maps, c, weights, looked_at)

    def pooled(self, seen: Perceived) -> tuple[Tensor, Tensor]:
        """What a scene's head reads, ``[B, D]``, and the normalised meta tokens ``[B, M, D]``."""
        x, norm = seen.maps[-1], self.norm
        if norm.training:
            image = norm(x.permute(0, 3, 1, 2)).mean(dim=(2, 3))
        else:  # the norm is the same line for every pixel, so it may follow the mean
            image = F.batch_norm(
                x.mean(dim=(1, 2)), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        tokens = self.norm_c(seen.states)
        return image + tokens.mean(dim=1), tokens


def _token_update(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, 4 * before),
        nn.LayerNorm(4 * before),
        nn.GELU(),
        nn.Linear(4 * before, after),
        nn.LayerNorm(after),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """A convolution and its norm, as one convolution where the norm's statistics are fixed."""
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or norm.training:
        out: Tensor = norm(conv(x))
        return out
    mean, var, bias = norm.running_mean, norm.running_var, conv.bias
    if mean is None or var is None or bias is None:
        raise TypeError("a norm here has statistics, and its convolution a bias")
    gain = norm.weight * (var + norm.eps).rsqrt()
    weight = conv.weight * gain[:, None, None, None]
    return F.conv2d(x, weight, (bias - mean) * gain + norm.bias, conv.stride, conv.padding)


def _check(
    depths: Sequence[int], widths: Sequence[int], kinds: Sequence[str], token_count: int, drop_path_rate: float
) -> None:
    if not len(depths) == len(widths) == len(kinds) or not depths or min(*depths, token_count) < 1:
        raise OptionError(
            f"depths {list(depths)}, widths {list(widths)} and kinds {list(kinds)} with {token_count} meta tokens "
            "make no model",
            remedy="Give one depth, width and kind for each stage, each at least 1.",
        )
    if unknown := [kind for kind in kinds if kind not in BLOCKS]:
        raise OptionError(f"there is no block of kind {unknown[0]!r}", remedy=f"Kinds are {', '.join(BLOCKS)}.")
    for kind, before, after in zip(kinds, widths, widths[1:], strict=False):
        if kind == "C" and before != after:
            raise OptionError(
                f"a stage of kind C hands on its map of width {before} as it is, and the next has width {after}",
                remedy="Give both the same width.",
            )
    if not 0.0 <= drop_path_rate < 1.0:
        raise OptionError(f"drop_path_rate is {drop_path_rate}", remedy="It must be at least 0 and less than 1.")
