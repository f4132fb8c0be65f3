"""Fold batch norms into the convolutions before them: the same function with one pass over memory less.

Guarantees: the module that comes in is not touched; only a batch norm that directly follows a convolution is folded;
the folded module's answer on a probe lies within a stated relative tolerance, or the module comes back as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

PAIRS = (("place", "norm"), ("conv", "bn"))
"""Attributes of a module that hold a convolution and the batch norm its ``forward`` applies right after it."""

TOLERANCE = 1e-5


def fold_batch_norms(module: nn.Module) -> tuple[nn.Module, int]:
    """A copy of ``module`` (in evaluation mode) with its batch norms folded, and how many that were."""
    folded = copy.deepcopy(module)
    count = 0
    for part in list(folded.modules()):
        if isinstance(part, nn.Sequential):
            for index in range(len(part) - 1):
                count += _fold(part, str(index), str(index + 1))
        for conv, norm in PAIRS:
            count += _fold(part, conv, norm)
    return folded, count


def fold_checked(
    module: nn.Module, probe: Tensor, answers: Callable[[nn.Module, Tensor], tuple[Tensor, ...]]
) -> tuple[nn.Module, int]:
    """Fold, then hold the answers to ``probe`` against those of the module as it was.

    Args:
        module: A module in evaluation mode, float32.
        probe: Input to compare on.
        answers: Runs a module on the probe and returns what must agree within :data:`TOLERANCE` of its largest value.

    Returns:
        The folded copy and the number of folded norms, or ``module`` itself and 0 where an answer strays.
    """
    folded, count = fold_batch_norms(module)
    if count == 0:
        return module, 0
    with torch.inference_mode():
        for before, after in zip(answers(module, probe), answers(folded, probe), strict=True):
            if float((before - after).abs().max()) > TOLERANCE * float(before.abs().max()):
                return module, 0
    return folded, count


def _fold(parent: nn.Module, conv_name: str, norm_name: str) -> int:
    conv, norm = getattr(parent, conv_name, None), getattr(parent, norm_name, None)
    if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or not isinstance(norm, nn.BatchNorm2d):
        return 0
    mean, var = norm.running_mean, norm.running_var
    if norm.training or mean is None or var is None or norm.num_features != conv.out_channels:
        return 0
    with torch.no_grad():
        gain = (var.double() + norm.eps).rsqrt()
        offset = -mean.double() * gain
        if norm.affine:
            offset = offset * norm.weight.double() + norm.bias.double()
            gain = gain * norm.weight.double()
        transposed = isinstance(conv, nn.ConvTranspose2d)
        weight = conv.weight.double()
        if transposed:  # [in, out / groups, kh, kw]
            scale = gain.view(conv.groups, 1, -1).expand(-1, weight.shape[0] // conv.groups, -1)
            weight = weight * scale.reshape(weight.shape[0], weight.shape[1], 1, 1)
        else:
            weight = weight * gain[:, None, None, None]
        bias = offset if conv.bias is None else conv.bias.double() * gain + offset
        conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
        conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    setattr(parent, norm_name, nn.Identity())
    return 1
