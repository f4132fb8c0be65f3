"""What simulated pairs are made of: photographs without labels, and towns whose buildings are known.

Guarantees: a photograph belongs to one split; what is missing is named before the training begins; a piece is cut from
an image and from its masks alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.errors import TrainingError
from engine.training.change.recipe import SimulatedSource, TownSource
from engine.training.detection.drawn.canvas import Pixels
from engine.training.images import BrokenImageError, OnBroken, list_images, read_image, skip_or_stop
from engine.training.splits import Item

Mask = npt.NDArray[np.bool_]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Town:
    """A photograph whose buildings are known.

    Attributes:
        image: ``[3, H, W]`` values up to 255.
        buildings: ``[H, W]`` where buildings stand.
        known: ``[H, W]`` where it is known whether one does.
    """

    image: np.ndarray
    buildings: Mask
    known: Mask


@dataclass(frozen=True, slots=True)
class Grounds:
    """Images ``[3, H, W]`` that pairs are made of.

    Attributes:
        all: Any images.
        bare: Images known to hold no buildings.
        towns: Images whose buildings are known.
    """

    all: list[np.ndarray]
    bare: list[np.ndarray]
    towns: list[Town]


def find_grounds(source: SimulatedSource, root: Path, split: str, on_broken: OnBroken) -> Grounds:
    """Images of a split that pairs are made of.

    Raises:
        TrainingError: A folder is missing or holds no image of this split, or a town lacks its mask.
    """
    read = cache(_photograph)  # an image may be ground, bare ground and a town: it is decoded and held once

    def photographs(names: Sequence[str]) -> list[np.ndarray]:
        return [image for name in names for image in _read_all(root / name, source, split, on_broken, read)]

    towns: list[Town] = []
    for part in source.towns:
        folder = root / part.masks
        masks = {path.stem: path for path in list_images(folder)} if folder.is_dir() else {}
        town = partial(_town, read=read, masks=masks, source=part, folder=folder)
        towns += _read_all(root / part.images, source, split, on_broken, town)
    return Grounds(photographs(source.folders), photographs(source.bare), towns)


def _read_all(
    folder: Path, source: SimulatedSource, split: str, on_broken: OnBroken, read: Callable[[Path], T]
) -> list[T]:
    """What a folder holds of a split."""
    place = folder / source.split.subfolder(split)
    items = [Item(path.stem, path) for path in list_images(place)] if place.is_dir() else []
    chosen = source.split.choose(items, split, folder)
    if not chosen:
        raise TrainingError(
            f"there are no images to make pairs of for {split}",
            where=place,
            remedy="Correct `folders`, `bare`, `towns` or the split rule of the data source.",
        )
    found = []
    for item in chosen:
        try:
            found.append(read(item.path))
        except BrokenImageError as error:
            skip_or_stop(error, on_broken)
    return found


def _photograph(path: Path) -> np.ndarray:
    return read_image(path, (1, 2, 3))


def _town(
    path: Path, read: Callable[[Path], np.ndarray], masks: Mapping[str, Path], source: TownSource, folder: Path
) -> Town:
    mask = masks.get(path.stem)
    if mask is None:
        raise BrokenImageError(
            f"the image {path.stem} lacks its mask",
            where=folder,
            remedy="Complete it, correct `masks`, or leave broken images out with --set on_broken=skip.",
        )
    image = read(path)
    codes = read_image(mask, (1,))[0]
    if codes.shape != image.shape[1:]:
        (height, width), (rows, cols) = image.shape[1:], codes.shape
        raise BrokenImageError(
            f"the image {path.stem} is {width} x {height} pixels and its mask {cols} x {rows}",
            where=mask,
            remedy="Bring them onto one grid, or leave broken images out with --set on_broken=skip.",
        )
    return Town(image, np.isin(codes, source.buildings), ~np.isin(codes, source.unknown))


@dataclass(frozen=True, slots=True)
class Cut:
    """Which piece of an image, and how it is zoomed and turned."""

    top: int
    left: int
    edge: int
    turns: int
    flip: bool
    size_px: int

    def of_image(self, image: np.ndarray) -> Pixels:
        """The piece of an image ``[3, H, W]`` as ``[S, S, 3]`` in 0 to 1."""
        piece = self._of(np.moveaxis(image, 0, -1)).astype(np.uint8)
        if self.edge != self.size_px:
            piece = np.asarray(Image.fromarray(piece).resize((self.size_px, self.size_px), Image.Resampling.BICUBIC))
        return np.asarray(piece.astype(np.float32) / 255, np.float32)

    def of_mask(self, mask: Mask) -> Mask:
        """The piece of a mask ``[H, W]`` as ``[S, S]``."""
        piece = Image.fromarray(self._of(mask).astype(np.uint8))
        return np.asarray(piece.resize((self.size_px, self.size_px), Image.Resampling.NEAREST)) > 0

    def _of(self, image: np.ndarray) -> np.ndarray:
        piece = image[self.top : self.top + self.edge, self.left : self.left + self.edge]
        piece = np.rot90(piece, self.turns)
        return np.ascontiguousarray(piece[:, ::-1] if self.flip else piece)


def draw_cut(rng: np.random.Generator, shape: tuple[int, int], how: SimulatedSource) -> Cut:
    """A piece of an image of this height and width, turned and zoomed by chance."""
    zoom = math.exp(rng.uniform(math.log(how.zoom[0]), math.log(how.zoom[1])))
    edge = min(round(how.size_px / zoom), *shape)
    top, left = (int(rng.integers(0, length - edge + 1)) for length in shape)
    return Cut(top, left, edge, int(rng.integers(4)), bool(rng.random() < 0.5), how.size_px)
