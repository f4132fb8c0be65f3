"""Are regions worth clicking? Purity, boundary recall, seams, and SLIC superpixels as the yardstick.

Guarantees: pixels without truth count nowhere; figures are ratios of counts, and the counts of several scenes add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import slic

from engine.regions.runs import find_runs, sum_pairs

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SLIC_COMPACTNESS = 10.0
_SEARCH_STEPS = 12


@dataclass(frozen=True, slots=True)
class Quality:
    """How well areas fit a truth raster; add two of them with ``+``.

    Attributes:
        regions: Areas that hold pixels with truth.
        pixels: Pixels with truth.
        majority_pixels: Of those, the ones that have the true class most frequent in their area.
        border_pixels: Pixels on true borders.
        found_border_pixels: Of those, the ones with a border of the areas near by.
    """

    regions: int
    pixels: int
    majority_pixels: int
    border_pixels: int
    found_border_pixels: int

    @property
    def purity(self) -> float:
        """Share of pixels that have their area's majority class."""
        return self.majority_pixels / self.pixels if self.pixels else float("nan")

    @property
    def boundary_recall(self) -> float:
        """Share of true borders with a border of the areas near by."""
        return self.found_border_pixels / self.border_pixels if self.border_pixels else float("nan")

    def __add__(self, other: Quality) -> Quality:
        return Quality(
            self.regions + other.regions,
            self.pixels + other.pixels,
            self.majority_pixels + other.majority_pixels,
            self.border_pixels + other.border_pixels,
            self.found_border_pixels + other.found_border_pixels,
        )


@dataclass(frozen=True, slots=True)
class SeamShare:
    """How much border lies on given lines; add two of them with ``+``.

    Attributes:
        border_edges: Pixel edges between areas.
        border_on_lines: Of those, the ones on the lines.
        edges: Pixel edges between pixels of any areas.
        on_lines: Of those, the ones on the lines.
    """

    border_edges: int
    border_on_lines: int
    edges: int
    on_lines: int

    @property
    def ratio(self) -> float:
        """Share of border on the lines over what chance gives: 1 is no seam, NaN where there is no border or line."""
        if not self.border_edges or not self.on_lines:
            return float("nan")
        return (self.border_on_lines / self.border_edges) / (self.on_lines / self.edges)

    def __add__(self, other: SeamShare) -> SeamShare:
        return SeamShare(
            self.border_edges + other.border_edges,
            self.border_on_lines + other.border_on_lines,
            self.edges + other.edges,
            self.on_lines + other.on_lines,
        )


def measure(labels: Array, truth: Array, ignore: int, tolerance_px: float = 2.0) -> Quality:
    """Hold areas against the truth.

    Args:
        labels: ``[h, w]`` areas, 0 is none.
        truth: ``[h, w]`` true classes.
        ignore: Value of ``truth`` where it is unknown.
        tolerance_px: How far a true border may lie from one of the areas'.
    """
    known = (truth != ignore) & (labels > 0)
    masked = np.where(known, labels, 0)
    runs = find_runs(masked, truth)
    area, kind = runs.take(masked), runs.take(truth)
    inside = area > 0
    area, _, pixels = sum_pairs(area[inside], kind[inside], runs.lengths[inside])
    head = np.flatnonzero(np.diff(area, prepend=-1) != 0)
    majority = np.maximum.reduceat(pixels, head) if head.size else pixels
    found, total = _recall(labels, truth, known, tolerance_px)
    return Quality(int(head.size), int(pixels.sum()), int(majority.sum()), total, found)


def _recall(labels: Array, truth: Array, known: Mask, tolerance_px: float) -> tuple[int, int]:
    true_border = _border(truth, known)
    total = int(true_border.sum())
    mine = _border(labels, np.ones_like(known))
    if not mine.any():
        return 0, total
    distance = distance_transform_edt(~mine)
    return int((true_border & (distance <= tolerance_px)).sum()), total


def _border(raster: Array, known: Mask) -> Mask:
    """Pixels on either side of an edge between different known values."""
    border = np.zeros(raster.shape, bool)
    across = (raster[:, 1:] != raster[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (raster[1:] != raster[:-1]) & known[1:] & known[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return border


def seam_share(labels: Array, lines_x: Sequence[int], lines_y: Sequence[int]) -> SeamShare:
    """How much border lies on lattice lines (window borders, attention windows).

    Args:
        labels: ``[h, w]`` areas, 0 is none.
        lines_x: Lattice columns: line ``x`` runs between pixel columns ``x - 1`` and ``x``.
        lines_y: Lattice rows likewise.
    """
    real = labels > 0
    counts = np.zeros(4, np.int64)
    for one, other, both, lines, axis in (
        (labels[:, 1:], labels[:, :-1], real[:, 1:] & real[:, :-1], lines_x, 1),
        (labels[1:], labels[:-1], real[1:] & real[:-1], lines_y, 0),
    ):
        border = (one != other) & both
        on = np.unique([line - 1 for line in lines if 1 <= line <= border.shape[axis]]).astype(np.intp)
        counts += (
            border.sum(),
            np.take(border, on, axis).sum(),
            both.sum(),
            np.take(both, on, axis).sum(),
        )
    return SeamShare(*(int(v) for v in counts))


def window_lines(starts: Sequence[int], window_px: int, length_px: int) -> list[int]:
    """Lattice lines at which windows begin or end inside an axis of ``length_px`` pixels."""
    lines = {line for start in starts for line in (start, start + window_px)}
    return sorted(line for line in lines if 0 < line < length_px)


def slic_areas(image: Array, segments: int, valid: Mask | None = None) -> npt.NDArray[np.int32]:
    """SLIC superpixels (Achanta et al. 2012) of an image ``[B, h, w]``, numbered from 1.

    Args:
        image: The bands; the first three where there are more.
        segments: How many to aim for.
        valid: Where there is data; None is everywhere.
    """
    bands = image[:3].astype(np.float64)
    low, high = bands.min(), bands.max()
    scaled = np.moveaxis((bands - low) / max(high - low, 1e-12), 0, -1)
    cluster: Callable[..., Array] = slic
    found = cluster(
        scaled,
        n_segments=max(1, segments),
        compactness=SLIC_COMPACTNESS,
        start_label=1,
        convert2lab=bands.shape[0] == 3,
        enforce_connectivity=True,
        mask=valid,
    )
    return found.astype(np.int32)


def slic_segments_for(purity: float, measure_slic: Callable[[int], Quality], most: int) -> int:
    """Fewest SLIC segments that reach a purity, by bisection.

    Args:
        purity: What to reach.
        measure_slic: Quality of SLIC with so many segments.
        most: Largest number to try.

    Returns:
        The number of superpixels SLIC made when it reached the purity; ``most`` where it does not.
    """
    low, high, best = 1, most, most
    for _ in range(_SEARCH_STEPS):
        if low > high:
            break
        middle = round((low * high) ** 0.5)
        quality = measure_slic(middle)
        if quality.purity >= purity:
            best, high = min(best, quality.regions), middle - 1
        else:
            low = middle + 1
    return best
