"""How homogeneous the areas of a partition are: classes mixed under an area, spectral variance it explains.

The claim of homogeneous tokens (HOOK, arXiv 2403.18593: the same token for the same object) as two numbers, and the
partitions it is held against at the same number of areas: a grid of patches, SLIC superpixels, the quadtree.

Guarantees: pixels without truth count nowhere in the entropy; the figures of several images are means over images, so
none counts for more because it is brighter or better labelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.quality import slic_areas

Array = npt.NDArray[Any]

Partition = Callable[[Array, int], Array]
"""``partition(image [C, h, w], areas) -> [h, w]``: which area each pixel belongs to, numbered from 0."""

_QUADTREE_MIN_PX = 4
_SLIC_TRIES = 6
_SLIC_SLACK = 0.1


@dataclass(frozen=True, slots=True)
class Homogeneity:
    """Sums over images; add two of them with ``+``.

    Attributes:
        images: Images.
        areas: Areas that hold pixels.
        entropies: Entropy of the true classes within an area in bits, mean over an image's labelled pixels.
        whole_entropies: The same with the whole image as one area.
        labelled: Images that hold labelled pixels.
        explained: Share of the spectral variance between the areas of an image.
        varied: Images that are not of one colour.
    """

    images: int = 0
    areas: int = 0
    entropies: float = 0.0
    whole_entropies: float = 0.0
    labelled: int = 0
    explained: float = 0.0
    varied: int = 0

    @property
    def entropy_bits(self) -> float:
        """Mean entropy of the classes within an area; 0 where every area is of one class."""
        return self.entropies / self.labelled if self.labelled else math.nan

    @property
    def whole_entropy_bits(self) -> float:
        """What :attr:`entropy_bits` is for one area an image."""
        return self.whole_entropies / self.labelled if self.labelled else math.nan

    @property
    def classes_explained(self) -> float:
        """Share of the classes' entropy that the areas take away; 1 where every area is of one class."""
        return 1 - self.entropies / self.whole_entropies if self.whole_entropies else math.nan

    @property
    def variance_explained(self) -> float:
        """Mean share of the spectral variance that the areas explain; 1 where every area is of one colour."""
        return self.explained / self.varied if self.varied else math.nan

    @property
    def areas_an_image(self) -> float:
        """Mean number of areas that hold pixels."""
        return self.areas / self.images if self.images else math.nan

    def __add__(self, other: Homogeneity) -> Homogeneity:
        return Homogeneity(
            self.images + other.images,
            self.areas + other.areas,
            self.entropies + other.entropies,
            self.whole_entropies + other.whole_entropies,
            self.labelled + other.labelled,
            self.explained + other.explained,
            self.varied + other.varied,
        )


def measure_homogeneity(areas: Array, image: Array, truth: Array | None, classes: int, ignore: int) -> Homogeneity:
    """Measure one image's partition.

    Args:
        areas: ``[h, w]`` area of each pixel, from 0.
        image: ``[C, h, w]`` values.
        truth: ``[H, W]`` true classes, of any size; None where there are none.
        classes: Classes ``K``.
        ignore: Value of ``truth`` where it is unknown.
    """
    explained = variance_explained(areas, image)
    entropy = whole = math.nan
    if truth is not None:
        at_truth = resampled(areas, *truth.shape)
        counts = class_counts(at_truth, truth, classes, ignore)
        if counts.sum():
            entropy = float((entropies(counts) * counts.sum(axis=1)).sum() / counts.sum())
            whole = float(entropies(counts.sum(axis=0, keepdims=True))[0])
    labelled, varied = math.isfinite(entropy), math.isfinite(explained)
    return Homogeneity(
        images=1,
        areas=int(np.unique(areas).size),
        entropies=entropy if labelled else 0.0,
        whole_entropies=whole if labelled else 0.0,
        labelled=int(labelled),
        explained=explained if varied else 0.0,
        varied=int(varied),
    )


def class_counts(areas: Array, truth: Array, classes: int, ignore: int) -> npt.NDArray[np.int64]:
    """Pixels of each class under each area, ``[areas, K]``."""
    known = truth != ignore
    pairs = areas[known].astype(np.int64) * classes + truth[known]
    count = int(areas.max()) + 1
    return np.bincount(pairs, minlength=count * classes).reshape(count, classes)


def entropies(counts: Array) -> npt.NDArray[np.float64]:
    """Entropy in bits of each row of counts; 0 for an empty row."""
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    bits: npt.NDArray[np.float64] = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1)
    return np.maximum(bits, 0.0)


def variance_explained(areas: Array, image: Array) -> float:
    """Share of the variance of all bands that lies between the means of areas; NaN for an image of one colour."""
    flat = areas.ravel().astype(np.int64)
    pixels = np.bincount(flat)
    total = between = 0.0
    for band in image.reshape(image.shape[0], -1).astype(np.float64):
        centred = band - band.mean()
        total += float((centred**2).sum())
        sums = np.bincount(flat, weights=centred)
        between += float((sums[pixels > 0] ** 2 / pixels[pixels > 0]).sum())
    return between / total if total > 0 else math.nan


def patch_areas(image: Array, count: int) -> npt.NDArray[np.int64]:
    """A grid of ``count`` patches or just fewer, as near to squares as the image allows."""
    height, width = image.shape[-2:]
    rows = min(range(1, count + 1), key=lambda r: abs(math.log((height / r) / (width / max(1, count // r)))))
    cols = max(1, count // rows)
    down, across = np.arange(height) * rows // height, np.arange(width) * cols // width
    areas: npt.NDArray[np.int64] = (down[:, None] * cols + across).astype(np.int64)
    return areas


def superpixel_areas(image: Array, count: int) -> npt.NDArray[np.int64]:
    """About ``count`` SLIC superpixels; SLIC joins what it finds too small, so it is asked again for more."""
    asked, best, missed = count, np.zeros(image.shape[-2:], np.int64), math.inf
    for _ in range(_SLIC_TRIES):
        areas = slic_areas(image, asked).astype(np.int64) - 1
        made = int(np.unique(areas).size)
        if abs(made - count) < missed:
            best, missed = areas, abs(made - count)
        if missed <= _SLIC_SLACK * count:
            break
        asked = min(4 * asked, max(asked // 4, round(asked * count / made)))
    return best


def quadtree_areas(image: Array, count: int) -> npt.NDArray[np.int64]:
    """About ``count`` patches of a quadtree that is fine where the image is busy (blur score)."""
    import torch

    from engine.tokenizers.quadtree import PixelBlur, run

    height, width = image.shape[-2:]
    largest = _QUADTREE_MIN_PX
    while largest * 2 < max(height, width) or -(-height // largest) * -(-width // largest) > count:
        largest *= 2
    roots = -(-height // largest) * -(-width // largest)
    pixels = torch.from_numpy(image.astype(np.float32))[None]
    scores = PixelBlur(antialias=True)(pixels / pixels.abs().max().clamp_min(1e-6), _QUADTREE_MIN_PX, largest)
    boxes = run(pixels, scores, roots + 3 * round((count - roots) / 3), _QUADTREE_MIN_PX, largest)[0].tolist()
    areas = np.zeros((height, width), np.int64)
    for number, (left, top, size) in enumerate(boxes):
        areas[top : top + size, left : left + size] = number
    return areas


RIVALS: dict[str, Partition] = {"patches": patch_areas, "SLIC": superpixel_areas, "quadtree": quadtree_areas}
"""Partitions that tokens are held against, by name."""


def resampled(areas: Array, height: int, width: int) -> Array:
    """A partition at another size, by nearest pixel."""
    if areas.shape == (height, width):
        return areas
    rows = np.arange(height) * areas.shape[0] // height
    cols = np.arange(width) * areas.shape[1] // width
    return areas[np.ix_(rows, cols)]
