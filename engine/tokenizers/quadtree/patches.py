"""Pixels of patches: every patch as ``min_size`` x ``min_size`` pixels, whatever its size.

Shrinking is the published one, bilinear without antialiasing: by 2 the mean of 2 x 2 pixels, by 4 and more the mean of
the middle 2 x 2 of each cell; with ``antialias`` the mean of the whole cell. Roots that hang over the edge see the edge
pixels repeated; patches wholly outside are zero.

Guarantees: :func:`chosen_pixels` reads the pixels of chosen patches only, and gives what cutting up the whole image at
every scale (:func:`all_pixels`) and choosing afterwards gives, of float32 bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.tokenizers.quadtree.layout import Layout, image_layout


@dataclass(frozen=True, slots=True)
class Patches:
    """The chosen patches of a batch of images.

    Attributes:
        boxes: Left, top and size in pixels ``[B, P, 3]``, sorted by (size, top, left).
        pixels: Their pixels ``[B, P, C, m, m]``.
    """

    boxes: Tensor
    pixels: Tensor

    @property
    def min_size(self) -> int:
        """Edge ``m`` of the smallest patch in pixels."""
        return self.pixels.shape[-1]

    @property
    def centres(self) -> Tensor:
        """Centres (x, y) in units of ``min_size``, ``[B, P, 2]``: halves for the smallest patches, else integers."""
        return patch_centres(self.boxes, self.min_size)

    @property
    def scale_ids(self) -> Tensor:
        """How often a patch could still be halved, ``[B, P]``: 0 for the smallest."""
        return scale_ids(self.boxes, self.min_size)

    @property
    def model_inputs(self) -> Tensor:
        """The published layout ``[B, P, C * m * m + 3]``: pixels by band, row, column; x, y; scale."""
        facts = (self.pixels.flatten(2), self.centres.to(self.pixels.dtype), self.scale_ids.unsqueeze(2))
        return torch.cat(facts, dim=2)


def patch_centres(boxes: Tensor, min_size: int) -> Tensor:
    """Centres (x, y) of boxes ``[..., 3]`` in units of ``min_size``, ``[..., 2]`` float32."""
    return (boxes[..., :2] + boxes[..., 2:] / 2) / min_size


def scale_ids(boxes: Tensor, min_size: int) -> Tensor:
    """Base-2 logarithm of size over ``min_size`` of boxes ``[..., 3]``, int64."""
    return (boxes[..., 2] // min_size).float().log2().round().long()


def chosen_pixels(images: Tensor, boxes: Tensor, min_size: int, max_size: int, *, antialias: bool = False) -> Tensor:
    """Pixels of boxes ``[B, P, 3]``, ``[B, P, C, m, m]``.

    Args:
        images: ``[B, C, H, W]`` floats.
        boxes: Left, top and size in pixels, as ``run`` gives them.
        min_size: Edge of the smallest patch.
        max_size: Edge of the largest patch.
        antialias: Whether larger patches average all their pixels.
    """
    layout = image_layout(images, min_size, max_size)
    padded = pad_to_roots(images, layout).contiguous()
    batch, bands = padded.shape[:2]
    left, top, size = boxes.to(images.device).reshape(-1, 3).unbind(1)
    planes = torch.arange(batch, device=images.device).repeat_interleave(boxes.shape[1]) * bands
    every = torch.arange(min_size, device=images.device)
    small = size == min_size  # most are; the others read one and the same corner here and are written over below
    place = _runs(padded, planes * small, left * small, top * small, every, min_size)
    out = padded.view(-1, min_size).index_select(0, place).view(-1, bands, min_size, min_size)
    for scale in range(1, len(layout.sizes)):
        factor = 1 << scale
        at = (size == factor * min_size).nonzero()[:, 0]
        middle = not antialias and factor > 2
        within = torch.arange(factor // 2 - 1, factor // 2 + 1) if middle else torch.arange(factor)
        lines = (factor * every[:, None] + within.to(images.device)).flatten()
        run = factor * min_size
        place = _runs(padded, planes[at], left[at], top[at], lines, run)
        pairs = F.embedding_bag(place.view(-1, 2), padded.view(-1, run), mode="sum")  # read and added in one go
        cells = pairs.view(len(at), bands, min_size, len(within) // 2, min_size, factor)
        if middle:
            cells = cells[..., within[0] : within[-1] + 1]
        out.index_copy_(0, at, mean_of_cells(cells).mul_(0.5))
    if not layout.whole:
        beyond = (left >= layout.width) | (top >= layout.height)
        out = out.masked_fill(beyond.view(-1, 1, 1, 1), 0)
    return out.view(batch, -1, bands, min_size, min_size)


def all_pixels(images: Tensor, boxes: Tensor, min_size: int, max_size: int, *, antialias: bool = False) -> Tensor:
    """The same as :func:`chosen_pixels` the published way: the image cut up at every scale, then the boxes chosen."""
    layout = image_layout(images, min_size, max_size)
    padded = pad_to_roots(images, layout)
    batch, bands = padded.shape[:2]
    everywhere = []
    for size, (rows, cols) in zip(layout.sizes, layout.grids, strict=True):
        small = shrink(padded, size // min_size, antialias=antialias)
        cells = small.view(batch, bands, rows, min_size, cols, min_size).permute(0, 2, 4, 1, 3, 5)
        everywhere.append(cells.reshape(batch, rows * cols, bands, min_size, min_size))
    left, top, sizes = boxes.unbind(2)
    numbers = torch.zeros_like(left)
    for edge, start, (_, cols) in zip(layout.sizes, layout.offsets, layout.grids, strict=False):
        place = start + top // edge * cols + left // edge
        numbers = torch.where(sizes == edge, place, numbers)
    images_of = torch.arange(batch, device=images.device)[:, None]
    out = torch.cat(everywhere, dim=1)[images_of, numbers.to(images.device)]
    beyond = (left >= layout.width) | (top >= layout.height)
    return out.masked_fill(beyond.to(images.device)[:, :, None, None, None], 0)


def shrink(images: Tensor, factor: int, *, antialias: bool = False) -> Tensor:
    """Images ``[..., H, W]`` at ``1 / factor`` of their edge, a power of two that divides both.

    Args:
        images: Floats.
        factor: 1 leaves them as they are.
        antialias: Whether all pixels of a cell count; otherwise the middle 2 x 2.
    """
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    cells = images.reshape(*images.shape[:-2], height // factor, factor, width // factor, factor)
    if not antialias:
        middle = slice(factor // 2 - 1, factor // 2 + 1)
        cells = cells[..., middle, :, middle]
    return mean_of_cells(cells)


def pad_to_roots(images: Tensor, layout: Layout) -> Tensor:
    """Images with their last row and column repeated until the roots are full."""
    if layout.whole:
        return images
    rows, cols = layout.grids[0]
    extra = (0, cols * layout.max_size - layout.width, 0, rows * layout.max_size - layout.height)
    return F.pad(images, extra, mode="replicate")


def _runs(padded: Tensor, planes: Tensor, left: Tensor, top: Tensor, lines: Tensor, run: int) -> Tensor:
    """Numbers of the runs of ``run`` pixels that patches are made of: for each those of its lines, band by band.

    ``left`` is a multiple of ``run``. Whole runs are memory in one piece, which is copied as fast as memory allows.
    """
    _, bands, height, width = padded.shape
    first = (planes * height + top) * (width // run) + left // run
    ahead = torch.arange(bands, device=padded.device)[:, None] * height + lines
    return (first[:, None] + ahead.view(-1) * (width // run)).view(-1)


def mean_of_cells(cells: Tensor) -> Tensor:
    """Mean of cells ``[..., h, i, w, j]`` over i and j, added in pairs so that the order never depends on the shape."""
    share = 1.0 / (cells.shape[-3] * cells.shape[-1])
    while cells.shape[-3] > 1:
        cells = cells[..., 0::2, :, :] + cells[..., 1::2, :, :]
    while cells.shape[-1] > 1:
        cells = cells[..., 0::2] + cells[..., 1::2]
    return cells[..., 0, :, 0].mul_(share)
