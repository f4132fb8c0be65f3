"""Batches mixed and erased on the device: mixup, cutmix, random erasing, soft targets.

Guarantees: everything random comes from the generator that is handed in; targets are distributions over the classes
and sum to one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engine.training.classification.recipe import SceneAugmentation

_ERASE_TRIES = 10
_ERASE_SHAPE = (math.log(0.3), math.log(1 / 0.3))


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Distributions ``[B, K]`` for class codes ``[B]``: ``smoothing`` is spread evenly over all classes."""
    spread = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    return spread.scatter_add(1, labels[:, None], torch.full_like(spread[:, :1], 1 - smoothing))


def mix(rng: np.random.Generator, images: Tensor, targets: Tensor, how: SceneAugmentation) -> tuple[Tensor, Tensor]:
    """Mix every sample of a batch with its mirror partner in the batch, all by the same share.

    Args:
        rng: Generator.
        images: ``[B, C, S, S]``.
        targets: ``[B, K]`` distributions.
        how: Alphas and chances.

    Returns:
        Images and targets of the same shapes.
    """
    if not (how.mixup or how.cutmix) or rng.random() >= how.mix:
        return images, targets
    cut = bool(how.cutmix) and (not how.mixup or rng.random() < how.cutmix_share)
    alpha = how.cutmix if cut else how.mixup
    keep = float(rng.beta(alpha, alpha))
    if cut:
        height, width = images.shape[-2:]
        share = math.sqrt(1 - keep)
        h, w = int(height * share), int(width * share)
        y, x = int(rng.integers(height)), int(rng.integers(width))
        top, bottom = max(0, y - h // 2), min(height, y + h // 2)
        left, right = max(0, x - w // 2), min(width, x + w // 2)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
        keep = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = torch.lerp(images.flip(0), images, keep)
    return mixed, torch.lerp(targets.flip(0), targets, keep)


def erase(rng: np.random.Generator, images: Tensor, chance: float, area: tuple[float, float]) -> Tensor:
    """Replace a box of some samples of a batch of normalised images by normal noise, a draw for each pixel."""
    height, width = images.shape[-2:]
    erased = images
    for index in range(len(images)):
        if rng.random() >= chance:
            continue
        for _ in range(_ERASE_TRIES):
            pixels = height * width * rng.uniform(*area)
            shape = math.exp(rng.uniform(*_ERASE_SHAPE))
            h, w = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
            if 0 < h < height and 0 < w < width:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                noise = rng.standard_normal((images.shape[1], h, w), dtype=np.float32)
                erased = erased.clone() if erased is images else erased
                erased[index, :, top : top + h, left : left + w] = torch.from_numpy(noise).to(images)
                break
    return erased
