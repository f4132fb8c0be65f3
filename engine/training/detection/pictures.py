"""Annotated images: found, checked, read.

Guarantees: what is missing is named at the start; the order of images is that of their names, the same on every
machine; annotations are read whole before the first epoch, so that a broken line does not stop the training later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rasterio.windows import Window

from engine.errors import TrainingError
from engine.inference.plan import window_starts
from engine.training.detection.dota import NO_OBJECTS, Annotations, read_annotations
from engine.training.detection.drawn.scenes import DRAWABLE, draw_scene
from engine.training.detection.listed import find_table, read_table
from engine.training.detection.recipe import DetectionRecipe, DotaSource, DrawnSource, ListedSource
from engine.training.images import (
    BrokenImageError,
    OnBroken,
    Store,
    image_size,
    list_images,
    read_image,
    skip_or_stop,
)
from engine.training.splits import TRAIN, VALIDATION, Item, named
from engine.training.transforms import quarter_turn, resize


@dataclass(frozen=True, slots=True)
class AnnotatedFile:
    """Where an image is read from.

    Attributes:
        path: Its file.
        objects: What is in it, in pixels of the part that is read.
        window: That part; None is all.
    """

    path: Path
    objects: Annotations
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image and what is in it.

    Attributes:
        image: ``[C, H, W]`` stored values.
        objects: What is in it, in its pixels.
    """

    image: np.ndarray
    objects: Annotations


class ImageSet(Store[AnnotatedFile | AnnotatedImage, AnnotatedImage]):
    """The images of one source.

    Args:
        files: The images, or where they are read from.
        bands: 1-based bands to read.
        on_broken: What to do about images that cannot be decoded.
        memory: Whether all are read now and kept.
        times: How often each comes up.
    """

    def __init__(
        self,
        files: Sequence[AnnotatedFile | AnnotatedImage],
        bands: tuple[int, ...],
        on_broken: OnBroken,
        *,
        memory: bool,
        times: int = 1,
    ) -> None:
        self._bands = bands
        super().__init__(files, on_broken, memory=memory, times=times)

    def decode(self, file: AnnotatedFile | AnnotatedImage) -> AnnotatedImage:
        """Read an image.

        Raises:
            BrokenImageError: It cannot be decoded.
        """
        if isinstance(file, AnnotatedImage):
            return file
        return AnnotatedImage(read_image(file.path, self._bands, file.window), file.objects)


def load_split(recipe: DetectionRecipe, root: Path, split: str) -> list[ImageSet]:
    """Read a split of all sources of a recipe; sources without images in it are left out.

    Raises:
        TrainingError: Folders, annotations or all images of a source are missing.
    """
    codes = {name: code for code, name in enumerate(recipe.class_names)}
    sets = []
    for source in recipe.data:
        if isinstance(source, DrawnSource):
            drawn = _draw(source, recipe, root, split)
            if drawn:
                sets.append(ImageSet(drawn, (), recipe.on_broken, memory=True))
            continue
        if isinstance(source, ListedSource):
            listed = _listed(source, codes, root, split)
            if listed:
                times = source.times if split == TRAIN else 1
                sets.append(ImageSet(listed, source.bands, recipe.on_broken, memory=True, times=times))
            if source.backgrounds and split == TRAIN:
                bare = [AnnotatedFile(path, NO_OBJECTS) for path in _photographs(source.backgrounds, root)]
                sets.append(ImageSet(bare, source.bands, recipe.on_broken, memory=True))
            continue
        files = _find(source, codes, root, split)
        if source.cut_px is not None and split == TRAIN:
            files = [
                part for file in files for part in _cut(file, source.cut_px, source.cut_overlap_px, recipe.on_broken)
            ]
        if split == TRAIN and not files and split in source.split.splits:
            raise TrainingError("no image trains", where=root / source.folder, remedy="Look at the split rule.")
        if files:
            sets.append(ImageSet(files, source.bands, recipe.on_broken, memory=source.memory))
    return sets


def _find(source: DotaSource, codes: dict[str, int], root: Path, split: str) -> list[AnnotatedFile]:
    if split not in source.split.splits:
        return []
    folder = root / source.folder
    place = folder / source.split.subfolder(split)
    images, annotations = place / source.images, place / source.annotations
    for needed in (images, annotations):
        if not needed.is_dir():
            raise TrainingError(
                "the data set is not there",
                where=needed,
                remedy=f"Give the folder that holds {source.folder!r} with --data, or correct the recipe's folders.",
            )
    items = [Item(path.stem, path) for path in list_images(images)]
    chosen = source.split.choose(items, split, folder)
    without = [f"{item.name}.txt" for item in chosen if not (annotations / f"{item.name}.txt").exists()]
    if without:
        raise TrainingError(
            f"{len(without)} of {len(chosen)} images have no annotations: {named(without)}",
            where=annotations,
            remedy="Complete them (an empty file for an image without objects), or take the images out.",
        )
    skip = source.other_classes == "skip"
    return [
        AnnotatedFile(item.path, read_annotations(annotations / f"{item.name}.txt", codes, others=skip))
        for item in chosen
    ]


def _listed(source: ListedSource, codes: dict[str, int], root: Path, split: str) -> list[AnnotatedFile]:
    if split not in source.split.splits:
        return []
    folder, table = root / source.folder, find_table(source.table)
    boxes = read_table(table, codes)
    missing = [name for name in boxes if not (folder / name).is_file()]
    if missing:
        raise TrainingError(
            f"{len(missing)} of the {len(boxes)} images of {table.name} are not there: {named(missing)}",
            where=folder,
            remedy=f"Give the folder that holds {source.folder!r} with --data, or correct the recipe's folders.",
        )
    items = [Item((folder / name).stem, folder / name) for name in boxes]
    objects = dict(zip((item.path for item in items), boxes.values(), strict=True))
    return [AnnotatedFile(item.path, objects[item.path]) for item in source.split.choose(items, split, folder)]


def _cut(file: AnnotatedFile, edge: int, overlap: int, on_broken: OnBroken) -> list[AnnotatedFile]:
    """Tiles of an image that hold objects, or the image itself where it is no larger than a tile."""
    try:
        height, width = image_size(file.path)
    except BrokenImageError as error:
        skip_or_stop(error, on_broken)
        return []
    if max(height, width) <= edge:
        return [file]
    low, high = file.objects.corners.min(axis=1), file.objects.corners.max(axis=1)
    tiles = []
    for top in window_starts(height, edge, overlap):
        for left in window_starts(width, edge, overlap):
            bottom, right = min(top + edge, height), min(left + edge, width)
            inside = (low < (right, bottom)).all(axis=1) & (high > (left, top)).all(axis=1)
            if inside.any():
                part = file.objects.only(inside).moved(-left, -top)
                tiles.append(AnnotatedFile(file.path, part, Window(left, top, right - left, bottom - top)))
    return tiles


def _draw(source: DrawnSource, recipe: DetectionRecipe, root: Path, split: str) -> list[AnnotatedImage]:
    """Draw the scenes of a split."""
    able = [name for name in recipe.class_names if name in DRAWABLE]
    if not able:
        raise TrainingError(
            "none of the classes can be drawn", where="drawn", remedy=f"Classes to draw are {', '.join(DRAWABLE)}."
        )
    if len(recipe.bands) != 3:
        raise TrainingError("drawn scenes have three bands", where="drawn", remedy="Name red, green and blue as bands.")
    counts = {TRAIN: (0, source.scenes), VALIDATION: (source.scenes, source.validation)}
    first, count = counts.get(split, (0, 0))
    folders = [_photographs([folder], root) for folder in source.backgrounds] if count else []
    codes = np.array([recipe.class_names.index(name) for name in able], np.int64)
    scenes = []
    for seed in range(source.first_seed + first, source.first_seed + first + count):
        rng = np.random.default_rng((seed, 0xBAC))
        ground = None
        if folders and rng.random() < source.background_share:
            grounds = folders[int(rng.integers(len(folders)))]
            ground = _photograph(rng, grounds[int(rng.integers(len(grounds)))], source.size_px)
        image, objects = draw_scene(seed, source.size_px, source.gsd_range_m, able, ground)
        scenes.append(AnnotatedImage(image, Annotations(objects.corners, codes[objects.labels], objects.difficult)))
    return scenes


def _photographs(folders: Sequence[str], root: Path) -> list[Path]:
    found = []
    for folder in folders:
        here = list_images(root / folder) if (root / folder).is_dir() else []
        if not here:
            raise TrainingError(
                "there are no photographs",
                where=root / folder,
                remedy="Correct `backgrounds` of the data source.",
            )
        found += here
    return found


def _photograph(rng: np.random.Generator, path: Path, size: int) -> np.ndarray:
    """A photograph as ground: a piece of a large one, all of a small one, turned at random, brought to the size."""
    image = torch.from_numpy(read_image(path, (1, 2, 3))).float() / 255
    (image,) = quarter_turn(rng, image)
    shorter = min(image.shape[1:])
    edge = min(shorter, int(rng.integers(size, 3 * size // 2)))
    top, left = (int(rng.integers(0, length - edge + 1)) if shorter > size else 0 for length in image.shape[1:])
    resized = resize(image[:, top : top + edge, left : left + edge].contiguous(), size, size, bicubic=True)
    ground: np.ndarray = (255 * resized).round().to(torch.uint8).numpy()
    return ground
