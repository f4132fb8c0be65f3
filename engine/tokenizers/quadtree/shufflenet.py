"""ShuffleNetV2 x0.5 as a feature network (Ma et al. 2018, section 3), with torchvision's parameter names.

It is the network of the published feature scorer. torchvision itself is not needed: its weights load as they are.
Guarantees: ``load_shufflenet`` refuses weights that are not those of this network; nothing in a file is ever run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from engine.errors import CheckpointError, OptionError

Stride = Literal[16, 32]

_REPEATS = (4, 8, 4)
_WIDTHS = (24, 48, 96, 192, 1024)
_REMEDY = "Use torchvision's weights of shufflenet_v2_x0_5, as .pth or .safetensors."


class ShuffleUnit(nn.Module):
    """Half the channels pass, half are worked on; where the stride is 2 both halves are worked on."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = out_channels // 2
        self.branch1 = nn.Sequential(
            *((*_depthwise(in_channels, stride), *_pointwise(in_channels, half)) if stride > 1 else ())
        )
        inner = in_channels if stride > 1 else half
        self.branch2 = nn.Sequential(*_pointwise(inner, half), *_depthwise(half, stride), *_pointwise(half, half))

    def forward(self, x: Tensor) -> Tensor:
        """Mix ``[B, C, h, w]``."""
        if self.stride == 1:
            passed, worked = x.chunk(2, dim=1)
            both = torch.cat((passed, self.branch2(worked)), dim=1)
        else:
            both = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        b, channels, h, w = both.shape
        return both.view(b, 2, channels // 2, h, w).transpose(1, 2).reshape(b, channels, h, w)


class ShuffleNetFeatures(nn.Module):
    """Images ``[B, 3, H, W]`` to features at stride 16 (96 channels) or 32 (1024 channels).

    Args:
        stride: Pixels along the edge of a feature.
    """

    def __init__(self, stride: Stride = 32) -> None:
        super().__init__()
        if stride not in (16, 32):
            raise OptionError(f"ShuffleNetV2 has no features at stride {stride}", remedy="Use 16 or 32.")
        self.stride = stride
        first, *stages, last = _WIDTHS
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = first
        for number, (width, repeats) in enumerate(zip(stages, _REPEATS, strict=True), 2):
            units = [ShuffleUnit(before, width, 2), *(ShuffleUnit(width, width, 1) for _ in range(repeats - 1))]
            setattr(self, f"stage{number}", nn.Sequential(*units))
            before = width
        self.conv5 = nn.Sequential(*_pointwise(before, last))

    def forward(self, images: Tensor) -> Tensor:
        """Compute features ``[B, channels, ceil(H / stride), ceil(W / stride)]``."""
        x = self.get_submodule("stage3")(self.get_submodule("stage2")(self.maxpool(self.conv1(images))))
        features: Tensor = x if self.stride == 16 else self.conv5(self.get_submodule("stage4")(x))
        return features


def load_shufflenet(weights: str | Path | Mapping[str, Tensor], stride: Stride = 32) -> ShuffleNetFeatures:
    """The feature network with torchvision's weights, in evaluation mode.

    Args:
        weights: A file, or a state dict. The classifier's ``fc`` is left out.
        stride: Pixels along the edge of a feature.

    Raises:
        CheckpointError: The file cannot be read, or holds other weights.
    """
    where = "shufflenet weights" if isinstance(weights, Mapping) else str(weights)
    state = weights if isinstance(weights, Mapping) else _read(Path(weights))
    module = ShuffleNetFeatures(stride)
    own = module.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith("fc.")}
    wrong = [key for key in own if key not in given or given[key].shape != own[key].shape]
    wrong += [key for key in given if key not in own]
    wrong += [key for key, value in given.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if wrong:
        raise CheckpointError(f"these are not its weights (see {wrong[0]})", where=where, remedy=_REMEDY)
    module.load_state_dict(given)
    return module.requires_grad_(False).eval()


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"the weights cannot be read: {reason}", where=path, remedy=_REMEDY) from error
    if not isinstance(found, Mapping):
        raise CheckpointError("the file holds no state dict", where=path, remedy=_REMEDY)
    return found


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


def _depthwise(channels: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)
