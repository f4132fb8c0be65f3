"""Pairs of images with masks: found, checked, read.

Guarantees: what is missing is named at the start; the order of pairs is that of their names, the same on every
machine; two images of different sizes never pass for a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from engine.errors import TrainingError
from engine.inference.plan import window_starts
from engine.training.change.photographs import find_grounds
from engine.training.change.recipe import ChangeRecipe, PairSource
from engine.training.change.simulated import SimulatedPairs
from engine.training.images import (
    BrokenImageError,
    OnBroken,
    Store,
    image_size,
    list_images,
    read_image,
    skip_or_stop,
)
from engine.training.splits import TRAIN, Item, named


@dataclass(frozen=True, slots=True)
class PairFile:
    """Where a pair is read from; ``window`` is the part that is read, None is all."""

    before: Path
    after: Path
    mask: Path
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images of one place.

    Attributes:
        before: ``[C, H, W]`` stored values.
        after: ``[C, H, W]`` stored values.
        changed: ``[H, W]`` what changed.
    """

    before: np.ndarray
    after: np.ndarray
    changed: np.ndarray


class PairSet(Store[PairFile, Pair]):
    """The pairs of one source.

    Args:
        files: Where they are read from.
        source: How.
        on_broken: What to do about pairs that cannot be decoded or do not fit.
    """

    def __init__(self, files: Sequence[PairFile], source: PairSource, on_broken: OnBroken) -> None:
        self._source = source
        super().__init__(files, on_broken, memory=source.memory)

    def decode(self, file: PairFile) -> Pair:
        """Read a pair.

        Raises:
            BrokenImageError: An image cannot be decoded.
        """
        before = read_image(file.before, self._source.bands, file.window)
        after = read_image(file.after, self._source.bands, file.window)
        mask = read_image(file.mask, (1,), file.window)[0]
        return Pair(before, after, mask >= self._source.changed_from)

    def draw(self, place: int, rng: np.random.Generator) -> Pair | None:
        """The pair at a place; chance has no say in it."""
        return self.read(place)


Pairs = PairSet | SimulatedPairs


def load_split(recipe: ChangeRecipe, root: Path, split: str) -> list[Pairs]:
    """Read a split of all sources of a recipe; sources without pairs in it are left out.

    Raises:
        TrainingError: Folders, masks or all pairs of a source are missing.
    """
    sets: list[Pairs] = []
    for source in recipe.data:
        found: Pairs
        if source.kind == "simulated":
            count = source.pairs if split == TRAIN else source.validation
            if split not in source.split.splits or not count:
                continue
            found = SimulatedPairs(find_grounds(source, root, split, recipe.on_broken), source, count)
        else:
            files = _find(source, root, split, recipe.on_broken)
            if split == TRAIN and not files and split in source.split.splits:
                raise TrainingError("no pair trains", where=root / source.folder, remedy="Look at the split rule.")
            found = PairSet(files, source, recipe.on_broken)
        if len(found):
            sets.append(found)
    return sets


def _find(source: PairSource, root: Path, split: str, on_broken: OnBroken) -> list[PairFile]:
    if split not in source.split.splits:
        return []
    folder = root / source.folder
    place = folder / source.split.subfolder(split)
    places = [place / name for name in (source.before, source.after, source.masks)]
    for needed in places:
        if not needed.is_dir():
            raise TrainingError(
                "the data set is not there",
                where=needed,
                remedy="Give the folder that holds it with --data, or correct the recipe's folders.",
            )
    listed = [{path.stem: path for path in list_images(part)} for part in places]
    items = [Item(name, path) for name, path in listed[0].items()]
    files = []
    for item in source.split.choose(items, split, folder):
        absent = [part.name for part, images in zip(places, listed, strict=True) if item.name not in images]
        try:
            if absent:
                raise BrokenImageError(
                    f"the pair {item.name} lacks its image in {named(absent)}",
                    where=place,
                    remedy="Complete it, or leave broken pairs out with --set on_broken=skip.",
                )
            before, after, mask = (images[item.name] for images in listed)
            files += _fitting(before, after, mask, source.cut_px)
        except BrokenImageError as error:
            skip_or_stop(error, on_broken)
    return files


def _fitting(before: Path, after: Path, mask: Path, cut: int | None) -> list[PairFile]:
    """A pair whose images fit, in tiles where it is larger than those."""
    sizes = {path: image_size(path) for path in (before, after, mask)}
    if len(set(sizes.values())) > 1:
        text = ", ".join(f"{path.parent.name} {width} x {height}" for path, (height, width) in sizes.items())
        raise BrokenImageError(
            f"the images of the pair {before.stem} differ in size: {text}",
            where=before,
            remedy="Bring them onto one grid, or leave broken pairs out with --set on_broken=skip.",
        )
    height, width = sizes[before]
    if cut is None or max(height, width) <= cut:
        return [PairFile(before, after, mask)]
    return [
        PairFile(before, after, mask, Window(left, top, min(cut, width), min(cut, height)))
        for top in window_starts(height, cut, 0)
        for left in window_starts(width, cut, 0)
    ]
