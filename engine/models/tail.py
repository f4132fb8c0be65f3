"""HOOK's decoder behind its last activation, as the one linear map that it is.

After the GELUs of the dense transform come transposed convolutions with norms, projections, a fusion and the class
layer, and nothing between them that is not linear. Multiplied out once, they lead from wide features straight to
class logits; resizing, which is linear too and acts on each channel alone, comes last and moves classes instead of
hundreds of channels. A quarter of the decoder's products are left out.

Guarantees: the numbers of the written-out decoder to float32 rounding, in evaluation mode (dropout does nothing there).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.dense import DenseTransform, SegFormerHead, Up2
from engine.tokenizers.blocked import plain


def decode(transform: DenseTransform, head: SegFormerHead, maps: Sequence[Tensor]) -> Tensor:
    """Class logits ``[B, K, 4s, 4t]`` from four maps ``[B, D, s, t]``, the shorter way where that is possible."""
    if plain(maps[0]) and not head.training and not transform.training:
        return decode_multiplied_out(transform, head, maps)
    logits: Tensor = head(transform(maps))
    return logits


def decode_multiplied_out(transform: DenseTransform, head: SegFormerHead, maps: Sequence[Tensor]) -> Tensor:
    """What ``head(transform(maps))`` gives in evaluation mode, in fewer products."""
    fuse, pred = _matrix(head.linear_fuse), _matrix(head.linear_pred)
    projections = (head.linear_c4, head.linear_c3, head.linear_c2, head.linear_c1)
    to_classes = (pred @ fuse).chunk(4, dim=1)
    m4, m3, m2, m1 = (part @ step.proj.weight for part, step in zip(to_classes, projections, strict=True))
    bias = _bias(head.linear_pred) + pred @ _bias(head.linear_fuse)
    for part, step in zip(to_classes, projections, strict=True):
        bias = bias + part @ step.proj.bias

    first, second = transform.upsampleX4
    finest = _up_to_classes(second, first(maps[0]), m1)
    coarser = (
        _up_to_classes(transform.upsampleX2, maps[1], m2),
        _conv_to_classes(transform.upsampleX1, maps[2], m3),
        _conv_to_classes(transform.downsample2, maps[3], m4),
    )
    logits = finest + bias[:, None, None]
    for level in coarser:
        logits += F.interpolate(level, finest.shape[-2:], mode="bilinear", align_corners=False)
    return logits


def _conv_to_classes(conv: nn.Conv2d, x: Tensor, classes: Tensor) -> Tensor:
    weight = torch.einsum("oikl,co->cikl", conv.weight, classes)
    return F.conv2d(x, weight, classes @ _bias(conv), conv.stride, conv.padding)


def _up_to_classes(up: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    if not isinstance(up, Up2):
        raise TypeError(f"{type(up).__name__} does not double a map")
    conv, norm = up.module2[0], up.module2[1]
    bias = _bias(conv)
    if isinstance(norm, nn.BatchNorm2d):
        gain, offset = _affine(norm)
        classes_after, bias = classes * gain, bias * gain + offset
    else:
        classes_after = classes
    weight = torch.einsum("iokl,co->ickl", _weight(conv), classes_after)
    return F.conv_transpose2d(up.module1(x), weight, classes @ bias, stride=2, padding=1)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a norm without statistics is not linear")
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return gain, norm.bias - norm.running_mean * gain


def _matrix(layer: nn.Module) -> Tensor:
    """``[K, C]``, of a 1 x 1 convolution or what stands in for it."""
    return _weight(layer).flatten(1)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(layer).__name__} has no weight")
    return weight


def _bias(layer: nn.Module) -> Tensor:
    bias = layer.bias
    if not isinstance(bias, Tensor):
        raise TypeError(f"{type(layer).__name__} has no bias")
    return bias
