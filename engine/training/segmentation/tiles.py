"""Labelled tiles: images with class codes, in memory or read when drawn, split into training and validation.

Guarantees: a tile's split follows the source's rule, and parts of one image never part; labels are class codes of the
recipe with 255 for "ignore"; what is missing is named at the start, not in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

from engine.errors import TrainingError
from engine.training.images import (
    BrokenImageError,
    OnBroken,
    Store,
    image_size,
    list_images,
    read_image,
    skip_or_stop,
)
from engine.training.segmentation.recipe import DemoSource, SegmentationRecipe, TileSource
from engine.training.splits import TRAIN, Item, named

IGNORE = 255
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".jpg")


@dataclass(frozen=True, slots=True)
class Tile:
    """One labelled tile.

    Attributes:
        name: Its name, unique in its source.
        image: ``[C, H, W]`` stored values.
        labels: ``[H, W]`` class codes, 255 where unlabelled.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class TileFile:
    """Where a tile is read from.

    Attributes:
        name: Its name.
        image: File of the image.
        mask: File of the mask.
        window: The part of both that is the tile; None is all.
    """

    name: str
    image: Path
    mask: Path
    window: Window | None = None


class TileSet(Store[Tile | TileFile, Tile]):
    """The tiles of one source, how often they are drawn and since which epoch.

    Args:
        tiles: Tiles, or where they are read from.
        source: How files are decoded; None where all tiles are given.
        on_broken: What to do about images that cannot be decoded.
        memory: Whether files are read now and kept.
        weight: How often a training piece comes from here, relative to other sets.
        from_epoch: First epoch in which it takes part.
    """

    def __init__(
        self,
        tiles: Iterable[Tile | TileFile],
        source: TileSource | None = None,
        *,
        on_broken: OnBroken = "stop",
        memory: bool = True,
        weight: float = 1.0,
        from_epoch: int = 0,
    ) -> None:
        self._source = source
        self.weight = weight
        self.from_epoch = from_epoch
        super().__init__(tiles, on_broken, memory=memory)

    def decode(self, file: Tile | TileFile) -> Tile:
        """Read image and mask.

        Raises:
            BrokenImageError: One of them cannot be decoded, or they do not fit.
        """
        if isinstance(file, Tile):
            return file
        assert self._source is not None  # files come with the source that describes them
        return _read_tile(file, self._source)

    def size_px(self, index: int) -> tuple[int, int]:
        """Height and width of a tile; where it is not in memory, from its header."""
        file = self.files[index]
        if isinstance(file, TileFile) and self._kept is None:
            return (int(file.window.height), int(file.window.width)) if file.window else image_size(file.image)
        tile = self.read(index)
        assert tile is not None  # what is in memory was decoded
        return int(tile.labels.shape[0]), int(tile.labels.shape[1])

    def class_shares(self, num_classes: int) -> np.ndarray:
        """Share of each class among all pixels of each tile, ``[tiles, K]``; broken tiles hold none."""
        shares = np.zeros((len(self), num_classes))
        for index in range(len(self)):
            tile = self.read(index)
            if tile is not None:
                known = tile.labels[tile.labels != IGNORE]
                shares[index] = np.bincount(known, minlength=num_classes)[:num_classes] / tile.labels.size
        return shares


def load_split(recipe: SegmentationRecipe, root: Path, split: str) -> list[TileSet]:
    """Read a split of all sources of a recipe; sources without tiles in it are left out.

    Raises:
        TrainingError: Folders, masks or all tiles of a source are missing; all of them are named.
    """
    sets, errors = [], []
    for source in recipe.data:
        try:
            sets.append(_load_source(source, root, split, recipe.on_broken))
        except TrainingError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        found = "; ".join(f"{error.what} ({error.where})" for error in errors)
        raise TrainingError(f"the data are not complete: {found}", remedy=errors[0].remedy)
    return [tiles for tiles in sets if len(tiles)]


def _load_source(source: TileSource | DemoSource, root: Path, split: str, on_broken: OnBroken) -> TileSet:
    if isinstance(source, DemoSource):
        return TileSet(
            _demo_tiles(source) if split == TRAIN else (), weight=source.weight, from_epoch=source.from_epoch
        )
    files: list[TileFile] = []
    if split in source.split.splits:
        files = _find_tiles(source, root, split)
        if split == TRAIN and not files:
            raise TrainingError(
                "no tile trains", where=root / source.folder, remedy="Look at the recipe's split rule and folders."
            )
    if source.cut_px is not None:
        files = [part for file in files for part in _cut(file, source.cut_px, on_broken)]
    return TileSet(
        files,
        source,
        on_broken=on_broken,
        memory=source.memory,
        weight=source.weight,
        from_epoch=source.from_epoch,
    )


def _find_tiles(source: TileSource, root: Path, split: str) -> list[TileFile]:
    folder = root / source.folder
    images, masks = (_place(folder, name, source.split.subfolder(split)) for name in (source.images, source.masks))
    for needed in (images, masks):
        if not needed.is_dir():
            raise TrainingError(
                "the data set is not there",
                where=needed,
                remedy=f"Give the folder that holds {source.folder!r} with --data, or correct the recipe's folders.",
            )
    items = [
        Item(path.stem.removesuffix(source.image_ending), path)
        for path in list_images(images)
        if path.stem.endswith(source.image_ending)
    ]
    files, without = [], []
    known = {path.name for path in masks.iterdir()}
    for item in source.split.choose(items, split, folder):
        stem = item.name + source.mask_ending
        mask = next((masks / (stem + end) for end in _MASK_SUFFIXES if stem + end in known), None)
        if mask is None:
            without.append(f"{stem}.png")
        else:
            files.append(TileFile(item.name, item.path, mask))
    if without:
        raise TrainingError(
            f"{len(without)} of {len(without) + len(files)} images have no mask: {named(without)}",
            where=masks,
            remedy="Complete the masks (.png or .tif), or take the images out.",
        )
    return files


def _place(folder: Path, name: str, split_folder: str) -> Path:
    if "{split}" in name:
        return folder / name.replace("{split}", split_folder)
    return folder / split_folder / name


def _cut(file: TileFile, edge: int, on_broken: OnBroken) -> list[TileFile]:
    try:
        height, width = image_size(file.image)
    except BrokenImageError as error:
        skip_or_stop(error, on_broken)
        return []
    return [
        TileFile(f"{file.name}_{row}_{col}", file.image, file.mask, Window(col, row, w, h))
        for row, h in cuts(height, edge)
        for col, w in cuts(width, edge)
    ]


def cuts(length: int, edge: int) -> list[tuple[int, int]]:
    """Starts and lengths of parts of at most ``edge``, of nearly one length, that make up ``length``."""
    count = -(-length // edge)
    bounds = [round(index * length / count) for index in range(count + 1)]
    return [(start, stop - start) for start, stop in pairwise(bounds)]


def _read_tile(file: TileFile, source: TileSource) -> Tile:
    image = read_image(file.image, source.bands, file.window)
    stored = read_image(file.mask, None if source.colours else (1,), file.window)
    if stored.shape[1:] != image.shape[1:]:
        raise BrokenImageError(
            f"image and mask differ in size, {image.shape[1:]} and {stored.shape[1:]}",
            where=file.image,
            remedy="Leave the pair out, or all such pairs with --set on_broken=skip.",
        )
    return Tile(file.name, image, _codes(stored, source, file.mask))


def _codes(stored: np.ndarray, source: TileSource, where: Path) -> np.ndarray:
    if source.colours:
        if stored.shape[0] < 3:
            raise BrokenImageError(
                "the mask has no colours, the recipe lists some", where=where, remedy="Use `labels` in the recipe."
            )
        codes = np.full(stored.shape[1:], IGNORE, np.uint8)
        for colour, code in source.colours.items():
            rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])[:, None, None]
            codes[(np.abs(stored[:3].astype(np.int16) - rgb) <= source.colour_tolerance).all(axis=0)] = code
        return codes
    codes = np.full(stored.shape[1:], IGNORE, np.uint8)
    for value, code in source.labels.items():
        codes[stored[0] == value] = code
    return codes


def _demo_tiles(source: DemoSource) -> Sequence[Tile]:
    from engine.scene.demo import demo_arrays

    tiles = []
    for seed in range(source.first_seed, source.first_seed + source.scenes):
        image, truth = demo_arrays(source.size_px, seed)
        tiles.append(Tile(f"demo{seed}", image[:3], truth))
    return tuple(tiles)


def total_shares(shares: Sequence[np.ndarray]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Share of each class over all sets, from the shares of each tile ``[tiles, K]``; none is zero."""
    total = sum(part.sum(axis=0) for part in shares)
    whole: np.ndarray[Any, np.dtype[np.float64]] = np.maximum(total / np.sum(total), 1e-4)
    return whole
