"""Pictures of a quadtree: what the tokens have kept of an image, and where patches end.

Guarantees: resampling is that of Pillow (bilinear with antialiasing, in 8 bits), which the published pictures use; any
image size; drawn on the processor.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import OptionError
from engine.tokenizers.quadtree.reverse import patch_index

Style = Literal["blur", "thumbnails", "plain"]

_LINE_OPACITY = 85
_WHITE = 255


@torch.no_grad()
def render(image: Tensor, boxes: Tensor, min_size: int, *, style: Style = "blur", lines: bool = True) -> Tensor:
    """Draw the patches of an image.

    Args:
        image: ``[3, H, W]``, or ``[1, H, W]`` in grey: uint8; or floats, from 0 to 1, or brought there from their
            smallest and largest value where some are negative or above 1.
        boxes: Left, top, size in pixels, ``[P, 3]``.
        min_size: Edge of the smallest patch.
        style: ``blur`` shows each patch shrunk to ``min_size`` and grown again; ``thumbnails`` pastes it, shrunk, into
            its middle on white; ``plain`` leaves the image as it is.
        lines: Whether patches are outlined.

    Returns:
        ``[H, W, 3]`` uint8.

    Raises:
        OptionError: The image has neither one band nor three, or there is no such style.
    """
    if style not in get_args(Style):
        raise OptionError(f"there is no style {style!r}", remedy=f"Styles are {', '.join(get_args(Style))}.")
    picture = _in_bytes(image.cpu())
    boxes = boxes.cpu()
    height, width = picture.shape[1:]
    index = patch_index(boxes[None], height, width, min_size)[0]
    drawn = picture if style == "plain" else _redrawn(picture, boxes, min_size, style)
    if lines:
        shade = _outlines(index, min_size)[:height, :width]
        darker = (drawn.int() * (255 - _LINE_OPACITY) + 127) // 255
        drawn = torch.where(shade, darker.to(torch.uint8), drawn)
    return drawn.permute(1, 2, 0).contiguous()


def _in_bytes(image: Tensor) -> Tensor:
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise OptionError(f"an image of shape {list(image.shape)} cannot be shown", remedy="Choose one band or three.")
    if image.dtype != torch.uint8:
        low, high = (float(edge) for edge in image.aminmax())
        if low < 0 or high > 1:
            image = (image - low) / max(high - low, 1e-12)
        image = (image * 255).to(torch.uint8)
    return image.expand(3, -1, -1)


def _redrawn(picture: Tensor, boxes: Tensor, min_size: int, style: Style) -> Tensor:
    height, width = picture.shape[1:]
    edge = int(boxes[:, 2].max())
    rows = torch.arange(height + -height % edge).clamp_max(height - 1)
    cols = torch.arange(width + -width % edge).clamp_max(width - 1)
    source = picture[:, rows][:, :, cols]
    target = source.clone() if style == "blur" else torch.full_like(source, _WHITE)
    inside = (boxes[:, 0] < width) & (boxes[:, 1] < height)
    for size in torch.unique(boxes[:, 2]).tolist():
        left, top = boxes[inside & (boxes[:, 2] == size), :2].unbind(1)
        place = (top // size, left // size)
        patches = _tiles(source, size)[place]
        small = _resize(patches, min_size)
        if style == "blur":
            drawn = _resize(small, size)
        else:
            drawn = torch.full_like(patches, _WHITE)
            start = (size - min_size) // 2
            drawn[:, :, start : start + min_size, start : start + min_size] = small
        _tiles(target, size)[place] = drawn
    return target[:, :height, :width]


def _tiles(picture: Tensor, size: int) -> Tensor:
    """A view of a picture ``[3, H, W]`` as tiles ``[rows, cols, 3, size, size]``."""
    bands, height, width = picture.shape
    return picture.view(bands, height // size, size, width // size, size).permute(1, 3, 0, 2, 4)


def _resize(patches: Tensor, size: int) -> Tensor:
    if patches.shape[-1] == size or not len(patches):
        return patches
    return F.interpolate(patches.contiguous(), size, mode="bilinear", align_corners=False, antialias=True)


def _outlines(index: Tensor, min_size: int) -> Tensor:
    """Which pixels are the last row or column of a patch, or the first of the image."""
    right, below = torch.ones_like(index, dtype=torch.bool), torch.ones_like(index, dtype=torch.bool)
    right[:, :-1] = index[:, 1:] != index[:, :-1]
    below[:-1] = index[1:] != index[:-1]
    rows, cols = index.shape
    shade = torch.zeros(rows, min_size, cols, min_size, dtype=torch.bool)
    shade[:, :, :, -1] = right[:, None]
    shade[:, -1] |= below[:, :, None]
    shade = shade.view(rows * min_size, cols * min_size)
    shade[0], shade[:, 0] = True, True
    return shade
