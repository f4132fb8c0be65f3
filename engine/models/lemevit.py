"""LeMeViT for scenes and as a body for dense uses, in the published variants; exact for the authors' weights.

``lemevit_tiny`` and its kin classify scenes; ``lemevit_tiny_dense`` and its kin return the maps of the last four
stages. The authors' checkpoints load into either: with or without a head, as written by their classification,
segmentation and detection code.

Guarantees: state-dict keys are the authors'; ``out.tokens`` are the meta tokens behind the last stage with the
attention of the last block in which they look at the image as assignment; ``out.features`` is what the head reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.output import TokenOutput
from engine.tokenizers.meta.backbone import MetaBody
from engine.tokenizers.meta.block import Kind
from engine.tokenizers.meta.variants import VARIANTS

_TINY = VARIANTS["lemevit_tiny"]
_PREFIX = "backbone."
_UNUSED = re.compile(r"(head|extra_norms)\.")
"""Tensors of a bare body's checkpoint that a dense form has no use for; the authors never apply ``extra_norms``."""


class LemevitClassifier(MetaBody):
    """Scene classification from the mean of the last map and the mean of the meta tokens.

    Args:
        num_classes: Classes ``K``.
        in_channels: Bands of the image.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks: C, D, D2 or S.
        mlp_ratio: Hidden width of the MLPs over their width.
        head_dim: Channels of an attention head.
        token_count: Meta tokens ``M``.
        drop_path_rate: Stochastic depth of the last block; it grows from 0 at the first.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        depths: Sequence[int] = _TINY["depths"],
        widths: Sequence[int] = _TINY["widths"],
        kinds: Sequence[Kind] = _TINY["kinds"],
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(in_channels, depths, widths, kinds, mlp_ratio, head_dim, token_count, drop_path_rate)
        self.head = nn.Linear(widths[-1], num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, attention: bool = False) -> TokenOutput:
        """Classify ``[B, C, H, W]`` normalised floats of any size; logits ``[B, K]``.

        Args:
            images: The images.
            attention: Whether ``out.tokens.attention`` is wanted.
        """
        seen = self.perceive(images)
        features, states = self.pooled(seen)
        tokens = seen.tokens(states, attention=attention)
        return TokenOutput(self.head(features), tokens, extras={"features": features})

    @classmethod
    def read_reference(cls, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Our names of the authors' tensors, and the configuration that their shapes tell."""
        own = {key.removeprefix(_PREFIX): value for key, value in weights.items()}
        config = body_config(own)
        if "head.weight" in own:
            config["num_classes"] = len(own["head.weight"])
        return own, config


class LemevitDense(MetaBody):
    """The maps of the last four stages, for heads that predict a map or boxes.

    All of the authors' tensors are there, so that any of their checkpoints loads and fits again. Those that reach no
    map (:meth:`unread`) are frozen and may be missing in a checkpoint.

    Args:
        in_channels: Bands of the image.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks: C, D, D2 or S.
        mlp_ratio: Hidden width of the MLPs over their width.
        head_dim: Channels of an attention head.
        token_count: Meta tokens ``M``.
        drop_path_rate: Stochastic depth of the last block; it grows from 0 at the first.
        freeze_norms: Whether batch norms keep their statistics in training, as in the authors' detection code.

    Attributes:
        channels: Channels of the four maps.
        strides: Pixels along the edge of their cells.
        token_width: Width of the meta tokens behind the last block in which they look at the image.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {f"{name}_dense": VARIANTS[name] for name in VARIANTS}
    MAPS = 4

    def __init__(
        self,
        in_channels: int = 3,
        depths: Sequence[int] = _TINY["depths"],
        widths: Sequence[int] = _TINY["widths"],
        kinds: Sequence[Kind] = _TINY["kinds"],
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
        drop_path_rate: float = 0.0,
        freeze_norms: bool = False,
    ) -> None:
        super().__init__(in_channels, depths, widths, kinds, mlp_ratio, head_dim, token_count, drop_path_rate)
        if len(depths) < self.MAPS:
            raise OptionError(f"{len(depths)} stages make no {self.MAPS} maps", remedy="Give four stages or five.")
        self.channels = tuple(widths[-self.MAPS :])
        self.strides = self.stage_strides[-self.MAPS :]
        self.token_width = widths[-1 if self.look_stage is None else self.look_stage]
        self.freeze_norms = freeze_norms
        for key, parameter in self.named_parameters():
            if self.unread(key):
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps ``[B, C, h, w]`` of ``[B, C, H, W]`` normalised floats of any size, the finest first.

        They lie channels last in memory; edges are ``ceil(H / stride)``.
        """
        seen = self.perceive(images, dense=True, look=False)
        return [x.permute(0, 3, 1, 2) for x in seen.maps[-self.MAPS :]]

    def train(self, mode: bool = True) -> LemevitDense:
        """Training or evaluation mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self.freeze_norms:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    def unread(self, key: str) -> bool:
        """Whether the tensor of this name reaches no map."""
        if self.look_stage is None:
            return key.startswith(("norm.", "norm_c.", "meta_tokens", "meta_token_downsample."))
        update = re.match(r"meta_token_downsample\.(\d+)\.", key)
        if update:
            return int(update[1]) > self.look_stage
        return key.startswith(("norm.", "norm_c.")) or self.is_last_word(key)

    def is_last_word(self, key: str) -> bool:
        """Whether the tensor of this name makes what meta tokens learn last, which no later block hears."""
        final = len(self.stages[self.look_stage]) - 1 if self.look_stage is not None else -1  # type: ignore[arg-type]
        return key.startswith(f"stages.{self.look_stage}.{final}.attn.proj_c.")

    @classmethod
    def read_reference(cls, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Our names of the authors' tensors, and the configuration that their shapes tell.

        Of a whole segmenter or detector only the body is read.
        """
        whole = any(key.startswith(_PREFIX) for key in weights)
        chosen = {k.removeprefix(_PREFIX): v for k, v in weights.items() if not whole or k.startswith(_PREFIX)}
        own = {key: value for key, value in chosen.items() if not _UNUSED.match(key)}
        return own, body_config(own)


def body_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of a body that the shapes of its weights tell for sure (in our names)."""
    stem = weights.get("downsample_layers.0.0.weight")
    tokens = weights.get("meta_tokens")
    config: dict[str, Any] = {}
    if stem is not None and stem.ndim == 4:
        config["in_channels"] = stem.shape[1]
    if tokens is not None and tokens.ndim == 2:
        config["token_count"] = tokens.shape[0]
    return config
