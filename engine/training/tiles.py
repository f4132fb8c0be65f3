"""Labelled tiles in memory: images with class codes, split into training and validation.

Guarantees: the split depends on a tile's name alone, so no tile ever changes sides; labels are class codes of the
recipe with 255 for "ignore"; what is missing is named at the start, not in the middle of an epoch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from engine.errors import TrainingError
from engine.training.recipe import DemoSource, Recipe, TileSource

IGNORE = 255
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


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
class TileSet:
    """The tiles of one source, how often they are drawn and since which epoch."""

    tiles: tuple[Tile, ...]
    weight: float
    from_epoch: int = 0


def is_validation(name: str, remainders: tuple[int, ...]) -> bool:
    """Whether the tile of this name (without extension) belongs to validation."""
    return int(hashlib.md5(name.encode("utf-8")).hexdigest(), 16) % 10 in remainders


def load_source(source: TileSource | DemoSource, root: Path, split: str) -> TileSet:
    """Read one source into memory.

    Args:
        source: What to read.
        root: The data folder.
        split: ``train`` or ``validation``.

    Raises:
        TrainingError: A folder, a mask or every tile is missing.
    """
    if isinstance(source, DemoSource):
        return TileSet(_demo_tiles(source) if split == "train" else (), source.weight, source.from_epoch)
    folder = root / source.folder
    images = folder / source.images
    if not images.is_dir():
        raise TrainingError(
            "the data set is not there",
            where=images,
            remedy=f"Give the folder that holds {source.folder!r} with --data.",
        )
    tiles = []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES):
        if is_validation(path.stem, source.validation_remainders) != (split == "validation"):
            continue
        tiles.append(_read_tile(path, folder / source.masks, source))
    if split == "train" and not tiles:
        raise TrainingError("no tile trains", where=images, remedy="Look at the recipe's split rule and folders.")
    return TileSet(tuple(tiles), source.weight, source.from_epoch)


def load_split(recipe: Recipe, root: Path, split: str) -> list[TileSet]:
    """Read a split of all sources of a recipe; sources without tiles in it are left out."""
    sets = [load_source(source, root, split) for source in recipe.data]
    return [tiles for tiles in sets if tiles.tiles]


def _read_tile(path: Path, masks: Path, source: TileSource) -> Tile:
    mask = next(
        (masks / (path.stem + suffix) for suffix in (".png", ".tif") if (masks / (path.stem + suffix)).exists()), None
    )
    if mask is None:
        raise TrainingError(
            f"the image {path.name} has no mask",
            where=masks,
            remedy=f"Expected {path.stem}.png or {path.stem}.tif there.",
        )
    with rasterio.open(path) as file:
        image = file.read(list(source.bands))
    with rasterio.open(mask) as file:
        stored = file.read(1)
    if stored.shape != image.shape[1:]:
        raise TrainingError(
            f"image and mask differ in size, {image.shape[1:]} and {stored.shape}",
            where=path,
            remedy="Leave the pair out.",
        )
    table = np.full(256, IGNORE, np.uint8)
    for value, code in source.labels.items():
        table[value] = code
    return Tile(path.stem, image, table[stored.astype(np.uint8)])


def _demo_tiles(source: DemoSource) -> tuple[Tile, ...]:
    from engine.scene.demo import demo_arrays

    tiles = []
    for seed in range(source.first_seed, source.first_seed + source.scenes):
        image, truth = demo_arrays(source.size_px, seed)
        tiles.append(Tile(f"demo{seed}", image[:3], truth))
    return tuple(tiles)
