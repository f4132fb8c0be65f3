"""Losses that teach a class map and the assignment it is read through.

Beside cross-entropy on the map, the tokens' own reading of the classes is supervised, and three label-free terms make
regions worth looking at: *spectral* (a token's pixels look alike), *outline* (borders of tokens lie where the image
has edges, elsewhere they are short) and *sharpness* (a pixel belongs to one token).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.output import TokenOutput
from engine.training.segmentation.recipe import LossWeights
from engine.training.segmentation.teacher import Taught
from engine.training.segmentation.tiles import IGNORE

EDGE_SOFTNESS = 0.06
"""Summed band difference between neighbouring pixels (of 0 to 1) at which the outline term fades to 1/e."""


def segmentation_loss(
    output: TokenOutput,
    images: Tensor,
    labels: Tensor,
    class_weights: Tensor,
    weights: LossWeights,
    taught: Taught | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a segmenter.

    Args:
        output: What the model returned for the images.
        images: ``[B, C, H, W]`` in 0 to 1, before normalisation.
        labels: ``[B, H, W]`` class codes, 255 ignored.
        class_weights: ``[K]`` weights of the classes.
        weights: Weights of the parts.
        taught: What a teacher says of the images.

    Returns:
        The weighted sum and its parts, detached.
    """
    height, width = labels.shape[-2:]
    through = output.extras.get("through_tokens")
    maps = None if through is None else output.at_pixels(height, width)
    logits = output.logits_at(height, width) if maps is None else maps.logits
    parts = {"map": F.cross_entropy(logits.float(), labels, class_weights, ignore_index=IGNORE)}
    scale = {"map": 1.0}
    if taught is not None:
        parts["teacher"] = taught.loss(logits.float())
        scale = {"map": 1.0 - taught.share, "teacher": taught.share}
    if through is not None and maps is not None:
        drawn = _at_pixels(through, output.upsample, (height, width))
        parts["tokens"] = F.cross_entropy(drawn.float(), labels, class_weights, ignore_index=IGNORE)
        scale["tokens"] = weights.tokens
        claims, colours = maps.assignment.float()[:, :, ::2, ::2], F.avg_pool2d(images, 2)
        parts["spectral"] = spectral_loss(claims, colours)
        parts["outline"] = outline_loss(claims, colours)
        parts["sharpness"] = -(claims * claims.clamp_min(1e-6).log()).sum(1).mean()
        scale |= {"spectral": weights.spectral, "outline": weights.outline, "sharpness": weights.sharpness}
    if "auxiliary" in output.extras:
        drawn = _at_pixels(output.extras["auxiliary"], None, (height, width))
        parts["auxiliary"] = F.cross_entropy(drawn.float(), labels, class_weights, ignore_index=IGNORE)
        scale["auxiliary"] = weights.auxiliary
    total = torch.stack([scale[name] * value for name, value in parts.items()]).sum()
    return total, {name: value.detach() for name, value in parts.items()}


def spectral_loss(claims: Tensor, colours: Tensor) -> Tensor:
    """Share of each image's spectral variance that its tokens leave unexplained, mean over the batch.

    Args:
        claims: ``[B, N, h, w]`` assignment, one over tokens.
        colours: ``[B, C, h, w]``.
    """
    flat = claims.flatten(2)
    means = (flat @ colours.flatten(2).transpose(1, 2)) / flat.sum(dim=2, keepdim=True).clamp_min(1e-3)
    drawn = torch.einsum("bnc,bnhw->bchw", means, claims)
    variance = (colours - colours.mean((2, 3), keepdim=True)).square().mean((1, 2, 3)) + 1e-3
    return ((drawn - colours).square().mean((1, 2, 3)) / variance).mean()


def outline_loss(claims: Tensor, colours: Tensor) -> Tensor:
    """Length of token borders, discounted where the image has an edge. Shapes as for :func:`spectral_loss`."""
    total = claims.new_zeros(())
    for dim in (2, 3):
        border = claims.diff(dim=dim).abs().sum(1)
        edge = colours.diff(dim=dim).abs().sum(1)
        total = total + (border * torch.exp(-edge / EDGE_SOFTNESS)).mean()
    return total


def _at_pixels(maps: Tensor, upsample: Callable[[Tensor], Tensor] | None, size: tuple[int, int]) -> Tensor:
    if upsample is not None:
        return upsample(maps)[:, :, : size[0], : size[1]]
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
