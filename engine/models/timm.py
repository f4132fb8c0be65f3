"""LeMeViT for timm: importing this module registers every variant, as ``timm.create_model("lemevit_tiny")``.

Guarantees: weights have the authors' names, as everywhere here; ``features_only=True`` gives the four maps of the dense
form, strides 4 to 32. timm comes with the extra ``timm``; nothing else here needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from engine.errors import OptionError
from engine.models.published import IMAGENET_MEAN, IMAGENET_STD
from engine.tokenizers.meta.backbone import MetaBody
from engine.tokenizers.meta.block import Kind
from engine.tokenizers.meta.variants import VARIANTS

MAPS = 4


class TimmLemevit(MetaBody):
    """A scene classifier with timm's interface: logits as a plain tensor.

    Args:
        num_classes: Classes ``K``; 0 leaves the head out.
        in_chans: Bands of the image.
        global_pool: Only ``avg``: the mean of the map and the mean of the meta tokens are added.
        drop_rate: Dropout before the head.
        drop_path_rate: Stochastic depth of the last block; it grows from 0 at the first.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks.
        mlp_ratio: Hidden width of the MLPs over their width.
        head_dim: Channels of an attention head.
        token_count: Meta tokens ``M``.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        depths: Sequence[int] = VARIANTS["lemevit_tiny"]["depths"],
        widths: Sequence[int] = VARIANTS["lemevit_tiny"]["widths"],
        kinds: Sequence[Kind] = VARIANTS["lemevit_tiny"]["kinds"],
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
    ) -> None:
        super().__init__(in_chans, depths, widths, kinds, mlp_ratio, head_dim, token_count, drop_path_rate)
        self.num_features = self.head_hidden_size = widths[-1]
        self.drop_rate = drop_rate
        self.first_map = len(widths) - MAPS
        self.feature_info = [
            {"num_chs": width, "reduction": stride, "module": f"stages.{self.first_map + index}"}
            for index, (width, stride) in enumerate(zip(widths[-MAPS:], self.stage_strides[-MAPS:], strict=True))
        ]
        self.reset_classifier(num_classes, global_pool)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of images ``[B, C, H, W]``."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised cells of the last map, then the meta tokens: ``[B, h*w + M, D]``."""
        seen = self.perceive(x, look=False)
        cells = self.norm(seen.maps[-1].permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        return torch.cat((cells, self.norm_c(seen.states)), dim=1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of :meth:`forward_features`, or what the head would read."""
        count = len(self.meta_tokens)
        pooled = x[:, :-count].mean(dim=1) + x[:, -count:].mean(dim=1)
        pooled = F.dropout(pooled, self.drop_rate, self.training)
        if pre_logits:
            return pooled
        logits: Tensor = self.head(pooled)
        return logits

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of the last four stages, as the dense form makes them.

        Args:
            x: Images.
            indices: Which of the four; None takes all, a number that many from the end.
            norm: Not to be had: no norm belongs to these maps.
            stop_early: The stages behind the last map wanted are left out in any case.
            output_fmt: ``NCHW`` or ``NHWC``.
            intermediates_only: Return the maps alone, and not the features of the whole pass before them.

        Raises:
            OptionError: ``norm`` or ``output_fmt`` cannot work.
        """
        if norm or output_fmt not in {"NCHW", "NHWC"}:
            raise OptionError(
                f"maps of LeMeViT with norm={norm} as {output_fmt!r} are not to be had",
                remedy="Use norm=False and the format NCHW or NHWC.",
            )
        taken, last = feature_take_indices(MAPS, indices)
        count = self.first_map + last + 1
        maps = self.perceive(x, dense=True, look=False, stage_count=count).maps[self.first_map :]
        chosen = [maps[index] if output_fmt == "NHWC" else maps[index].permute(0, 3, 1, 2) for index in taken]
        return chosen if intermediates_only else (self.forward_features(x), chosen)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the maps at ``indices`` do not need; returns them counted from the first."""
        taken, last = feature_take_indices(MAPS, indices)
        count = self.first_map + last + 1
        for name in ("stages", "downsample_layers", "meta_token_downsample"):
            setattr(self, name, getattr(self, name)[:count])
        self.look_stage = max((i for i, stage in enumerate(self.stages) if stage[0].looks), default=None)  # type: ignore[index]
        if prune_norm:
            self.norm, self.norm_c = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        if prune_head:
            self.reset_classifier(0)
        return list(taken)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh head in place, for ``num_classes`` classes.

        Raises:
            OptionError: Another way of pooling is asked for.
        """
        if global_pool not in {None, "avg"}:
            raise OptionError(f"LeMeViT does not pool by {global_pool!r}", remedy="Use 'avg'.")
        self.num_classes = num_classes
        self.head: nn.Module = nn.Identity()
        if num_classes > 0:
            self.head = nn.Linear(self.num_features, num_classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def no_weight_decay(self) -> set[str]:
        """Nothing beyond timm's own rule, as published: meta tokens are decayed."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns by which timm sorts weights into layers."""
        stem = r"^meta_tokens|^downsample_layers\.0|^meta_token_downsample\.0"
        if coarse:
            return {"stem": stem, "blocks": r"^(?:stages|downsample_layers|meta_token_downsample)\.(\d+)"}
        return {"stem": stem, "blocks": [(r"^(?:downsample_layers|meta_token_downsample)\.(\d+)", (0,)),
                                         (r"^stages\.(\d+)\.(\d+)", None), (r"^norm", (99999,))]}  # fmt: skip


default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 224, 224), "num_classes": 1000, "pool_size": None, "fixed_input_size": False,
            "crop_pct": 0.875, "interpolation": "bicubic", "mean": IMAGENET_MEAN, "std": IMAGENET_STD,
            "first_conv": "downsample_layers.0.0", "classifier": "head", "paper_ids": "arXiv:2405.09789",
        }
        for name in VARIANTS
    }
)  # fmt: skip


def _register(name: str) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> Any:
        features = {"out_indices": tuple(range(MAPS)), "feature_cls": "getter"}
        return build_model_with_cfg(TimmLemevit, name, pretrained, feature_cfg=features, **(VARIANTS[name] | kwargs))

    build.__name__ = name
    build.__doc__ = f"LeMeViT, variant ``{name}``."
    register_model(build)


for _name in VARIANTS:
    _register(_name)
