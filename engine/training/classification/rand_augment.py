"""RandAugment (Cubuk et al. 2020) as small tensor code: a few random operations of one strength in a row.

The operations and ranges are those of ``rand-m9-mstd0.5-inc1``, with which LeMeViT and most ViTs are trained: the
stronger, the further from the picture, for every operation. Works on any number of bands.

Guarantees: everything random comes from the generator that is handed in; images are floats ``[C, H, W]`` in 0 to 1 and
stay in 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.training.classification.recipe import RandAugment
from engine.training.transforms import grey

_LEVELS = 256
_FILL = 0.5
"""What shows where a picture was moved away."""


def rand_augmented(rng: np.random.Generator, image: Tensor, how: RandAugment) -> Tensor:
    """Carry out ``how.operations`` random operations, each by its chance."""
    for index in rng.choice(len(OPERATIONS), size=how.operations):
        if rng.random() >= how.chance:
            continue
        strength = min(10.0, max(0.0, float(rng.normal(how.magnitude, how.deviation)))) / 10
        sign = 1.0 if rng.random() < 0.5 else -1.0
        image = OPERATIONS[int(index)](image, strength, sign).clamp(0, 1)
    return image


def auto_contrast(image: Tensor, strength: float, sign: float) -> Tensor:
    """Stretch each band over the whole range."""
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low).clamp_min(1e-6), image)


def equalise(image: Tensor, strength: float, sign: float) -> Tensor:
    """Spread each band's values evenly (histogram equalisation)."""
    levels = (image * (_LEVELS - 1)).round().long()
    bands = []
    for band in levels:
        cumulative = torch.bincount(band.flatten(), minlength=_LEVELS).cumsum(0).to(image.dtype)
        first = cumulative[int(band.min())]
        bands.append(((cumulative - first) / (cumulative[-1] - first).clamp_min(1.0))[band])
    return torch.stack(bands)


def invert(image: Tensor, strength: float, sign: float) -> Tensor:
    """Turn dark into bright."""
    return 1 - image


def posterise(image: Tensor, strength: float, sign: float) -> Tensor:
    """Keep the highest 4 to 0 bits of 8."""
    step = 2.0 ** (8 - (4 - int(4 * strength)))
    return ((image * (_LEVELS - 1)) / step).floor() * step / (_LEVELS - 1)


def solarise(image: Tensor, strength: float, sign: float) -> Tensor:
    """Invert what is brighter than a level that falls with strength."""
    return torch.where(image >= 1 - strength, 1 - image, image)


def solarise_add(image: Tensor, strength: float, sign: float) -> Tensor:
    """Brighten what is dark."""
    return torch.where(image < 0.5, image + strength * 110 / (_LEVELS - 1), image)


def saturation(image: Tensor, strength: float, sign: float) -> Tensor:
    """Towards grey or away from it."""
    return torch.lerp(grey(image).expand_as(image), image, _factor(strength, sign))


def contrast(image: Tensor, strength: float, sign: float) -> Tensor:
    """Less or more contrast."""
    return torch.lerp(grey(image).mean().expand_as(image), image, _factor(strength, sign))


def brightness(image: Tensor, strength: float, sign: float) -> Tensor:
    """Darker or brighter."""
    return image * _factor(strength, sign)


def sharpness(image: Tensor, strength: float, sign: float) -> Tensor:
    """Smoother or sharper than the picture is."""
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=image.dtype) / 13
    padded = F.pad(image[None], (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, kernel.expand(image.shape[0], 1, 3, 3), groups=image.shape[0])[0]
    return torch.lerp(smooth, image, _factor(strength, sign))


def rotate(image: Tensor, strength: float, sign: float) -> Tensor:
    """Turn by up to 30 degrees."""
    angle = sign * strength * math.pi / 6
    return _moved(image, [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])


def shear_x(image: Tensor, strength: float, sign: float) -> Tensor:
    """Shear rows by up to 0.3 pixels a pixel."""
    return _moved(image, [[1.0, sign * 0.3 * strength, 0.0], [0.0, 1.0, 0.0]])


def shear_y(image: Tensor, strength: float, sign: float) -> Tensor:
    """Shear columns by up to 0.3 pixels a pixel."""
    return _moved(image, [[1.0, 0.0, 0.0], [sign * 0.3 * strength, 1.0, 0.0]])


def shift_x(image: Tensor, strength: float, sign: float) -> Tensor:
    """Shift sideways by up to 0.45 of the width."""
    return _moved(image, [[1.0, 0.0, sign * 0.9 * strength], [0.0, 1.0, 0.0]])


def shift_y(image: Tensor, strength: float, sign: float) -> Tensor:
    """Shift up or down by up to 0.45 of the height."""
    return _moved(image, [[1.0, 0.0, 0.0], [0.0, 1.0, sign * 0.9 * strength]])


OPERATIONS: tuple[Callable[[Tensor, float, float], Tensor], ...] = (
    auto_contrast,
    equalise,
    invert,
    rotate,
    posterise,
    solarise,
    solarise_add,
    saturation,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    shift_x,
    shift_y,
)
"""All operations: image, strength 0 to 1, and +1 or -1 where there are two directions."""


def _factor(strength: float, sign: float) -> float:
    return max(0.1, 1 + sign * 0.9 * strength)


def _moved(image: Tensor, matrix: list[list[float]]) -> Tensor:
    """Sample the picture at the places a 2 x 3 matrix sends the output's to (coordinates from -1 to 1)."""
    grid = F.affine_grid(torch.tensor([matrix], dtype=image.dtype), [1, *image.shape], align_corners=False)
    moved = F.grid_sample(image[None] - _FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[0] + _FILL
