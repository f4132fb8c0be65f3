"""Published augmentations as small tensor code: crops, blur, colour, turns.

Guarantees: everything random comes from the generator that is handed in; images are floats ``[C, H, W]`` in 0 to 1 and
stay in 0 to 1; any number of bands, but for hue, which is a thing of red, green and blue.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_CROP_TRIES = 10
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as everywhere in the field


def crop_box(
    rng: np.random.Generator, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """A box of random area and shape (Szegedy et al. 2015, the usual RandomResizedCrop).

    Args:
        rng: Generator.
        height: Of the image.
        width: Of the image.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width over height; drawn evenly in its logarithm.

    Returns:
        Top, left, height and width; where no drawn box fits, the largest in the middle of an allowed shape.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_CROP_TRIES):
        area = height * width * rng.uniform(*scale)
        shape = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
    shape = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * shape)), min(height, round(width / shape))
    return (height - h) // 2, (width - w) // 2, h, w


def resize(image: Tensor, height: int, width: int, *, bicubic: bool = False) -> Tensor:
    """Bring an image to a size, smoothed where it shrinks; bicubic or bilinear."""
    if image.shape[-2:] == (height, width):
        return image
    mode = "bicubic" if bicubic else "bilinear"
    resized = F.interpolate(image[None], (height, width), mode=mode, align_corners=False, antialias=True)[0]
    return resized.clamp(0, 1) if bicubic else resized


def gaussian_blur(image: Tensor, kernel: tuple[int, int], sigma: float) -> Tensor:
    """Blur with a Gaussian of ``sigma`` pixels, cut off at ``kernel`` (odd width and height); edges are mirrored."""
    bands = image.shape[0]
    out = image[None]
    for size, shape, pad in (
        (kernel[0], (1, kernel[0]), (kernel[0] // 2, kernel[0] // 2, 0, 0)),
        (kernel[1], (kernel[1], 1), (0, 0, kernel[1] // 2, kernel[1] // 2)),
    ):
        at = torch.arange(size, dtype=image.dtype) - (size - 1) / 2
        weights = torch.exp(-0.5 * (at / sigma) ** 2)
        weights = (weights / weights.sum()).view(1, 1, *shape).expand(bands, 1, *shape)
        out = F.conv2d(F.pad(out, pad, mode="reflect"), weights, groups=bands)
    return out[0]


def colour_jitter(
    rng: np.random.Generator, image: Tensor, brightness: float, contrast: float, saturation: float, hue: float
) -> Tensor:
    """Change brightness, contrast, saturation and hue, each by up to its share, in an order of chance."""
    for step in rng.permutation(4):
        if step == 0 and brightness:
            image = image * float(rng.uniform(1 - brightness, 1 + brightness))
        elif step == 1 and contrast:
            image = torch.lerp(
                grey(image).mean().expand_as(image), image, float(rng.uniform(1 - contrast, 1 + contrast))
            )
        elif step == 2 and saturation:
            image = torch.lerp(grey(image).expand_as(image), image, float(rng.uniform(1 - saturation, 1 + saturation)))
        elif step == 3 and hue and image.shape[0] == 3:
            image = shift_hue(image, float(rng.uniform(-hue, hue)))
        image = image.clamp(0, 1)
    return image


def grey(image: Tensor) -> Tensor:
    """Brightness ``[1, H, W]``: weighted for three bands, the mean of any other number."""
    if image.shape[0] != 3:
        return image.mean(0, keepdim=True)
    return (image * image.new_tensor(_GREY)[:, None, None]).sum(0, keepdim=True)


def shift_hue(image: Tensor, share: float) -> Tensor:
    """Turn the hue of red, green and blue by a share of the circle; value and saturation stay."""
    high, which = image.max(dim=0)
    low = image.min(dim=0).values
    span = (high - low).clamp_min(1e-8)
    red, green, blue = image
    hue = torch.where(
        which == 0, (green - blue) / span, torch.where(which == 1, 2 + (blue - red) / span, 4 + (red - green) / span)
    )
    turned = hue + 6 * share
    # Each band falls from the value by a trapezium of the hue (Smith 1978, in closed form).
    bands = []
    for offset in (5.0, 3.0, 1.0):
        k = (turned + offset) % 6
        bands.append(high - (high - low) * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(bands)


def quarter_turn(rng: np.random.Generator, *maps: Tensor) -> tuple[Tensor, ...]:
    """Turn maps ``[..., H, W]`` together by a random number of quarter turns."""
    turns = int(rng.integers(4))
    return tuple(torch.rot90(part, turns, (-2, -1)) for part in maps)
