"""Labelled pictures: found in folders or lists, checked, and read.

Guarantees: what is missing is named at the start: folders of classes, pictures of a list, labels out of range; the
order of pictures is that of their names or lists, the same on every machine.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import DataWarning, TrainingError
from engine.training.classification.recipe import ClassificationRecipe, FolderSource, ListSource
from engine.training.images import OnBroken, Store, list_images, read_image
from engine.training.splits import TRAIN, Item, named, read_rows


@dataclass(frozen=True, slots=True)
class PictureFile:
    """Where a picture is read from.

    Attributes:
        path: Its file.
        label: Code of its class.
    """

    path: Path
    label: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A labelled picture.

    Attributes:
        image: ``[C, H, W]`` stored values.
        label: Code of its class.
    """

    image: np.ndarray
    label: int


class PictureSet(Store[PictureFile, Picture]):
    """The pictures of one source.

    Args:
        files: Where they are read from.
        bands: 1-based bands to read.
        on_broken: What to do about pictures that cannot be decoded.
        memory: Whether all are read now and kept.
    """

    def __init__(self, files: list[PictureFile], bands: tuple[int, ...], on_broken: OnBroken, *, memory: bool) -> None:
        self._bands = bands
        super().__init__(files, on_broken, memory=memory)

    def decode(self, file: PictureFile) -> Picture:
        """Read a picture.

        Raises:
            BrokenImageError: It cannot be decoded.
        """
        return Picture(read_image(file.path, self._bands), file.label)


def load_split(recipe: ClassificationRecipe, root: Path, split: str) -> list[PictureSet]:
    """Read a split of all sources of a recipe; sources without pictures in it are left out.

    Raises:
        TrainingError: Folders or pictures are missing; all that are missing in a source are named.
    """
    sets = []
    for source in recipe.data:
        files = (
            _in_folders(source, recipe.class_names, root, split)
            if isinstance(source, FolderSource)
            else _in_list(source, len(recipe.classes), root, split)
        )
        if split == TRAIN and not files:
            raise TrainingError("no picture trains", where=root / source.folder, remedy="Look at the split rule.")
        if files:
            sets.append(PictureSet(files, source.bands, recipe.on_broken, memory=source.memory))
    return sets


def splits_of(recipe: ClassificationRecipe) -> list[str]:
    """The splits that a recipe's sources know."""
    known: set[str] = set()
    for source in recipe.data:
        if isinstance(source, FolderSource):
            known.update(source.split.splits)
        else:
            known.update(name for name in ("train", "validation", "test") if getattr(source, name) is not None)
    return sorted(known)


def _in_folders(source: FolderSource, names: list[str], root: Path, split: str) -> list[PictureFile]:
    if split not in source.split.splits:
        return []
    folder = root / source.folder
    place = folder / source.split.subfolder(split)
    if not place.is_dir():
        raise TrainingError(
            "the data set is not there",
            where=place,
            remedy=f"Give the folder that holds {source.folder!r} with --data, or set data.0.folder.",
        )
    wanted = {source.folders.get(name, name): code for code, name in enumerate(names)}
    there = {path.name for path in place.iterdir() if path.is_dir()}
    absent = sorted(set(wanted) - there)
    if absent:
        raise TrainingError(
            f"{len(absent)} of {len(wanted)} classes have no folder: {named(absent)}",
            where=place,
            remedy="Complete the data, or say in `folders` which folder a class has.",
        )
    over = sorted(there - set(wanted))
    if over:
        warnings.warn(DataWarning(f"folders of no class are left out: {named(over)} ({place})"), stacklevel=2)
    codes: dict[Path, int] = {path: code for name, code in wanted.items() for path in list_images(place / name)}
    empty = sorted(set(wanted) - {path.parent.name for path in codes})
    if empty:
        raise TrainingError(f"folders hold no picture: {named(empty)}", where=place, remedy="Complete the data.")
    chosen = source.split.choose([Item(path.stem, path) for path in codes], split, folder)
    return [PictureFile(item.path, codes[item.path]) for item in chosen]


def _in_list(source: ListSource, classes: int, root: Path, split: str) -> list[PictureFile]:
    name = getattr(source, split, None) if split in ("train", "validation", "test") else None
    if name is None:
        return []
    folder = root / source.folder
    path = folder / str(name)
    rows = read_rows(path)
    if rows and not _is_number(rows[0], source.label_column):
        rows = rows[1:]
    files, absent = [], []
    for number, row in enumerate(rows):
        if len(row) <= source.path_column or not _is_number(row, source.label_column):
            raise TrainingError(
                f"row {number + 1} names no picture and label in columns {source.path_column}, {source.label_column}",
                where=path,
                remedy="Set path_column and label_column of the data source.",
            )
        label = int(row[source.label_column]) - source.first_label
        if not 0 <= label < classes:
            raise TrainingError(
                f"the label {row[source.label_column]} of row {number + 1} is none of {classes} classes",
                where=path,
                remedy="Correct the list, or set first_label of the data source.",
            )
        picture = folder / row[source.path_column].strip()
        if picture.exists():
            files.append(PictureFile(picture, label))
        else:
            absent.append(row[source.path_column].strip())
    if absent:
        raise TrainingError(
            f"{len(absent)} of {len(rows)} listed pictures are not there: {named(absent)}",
            where=folder,
            remedy="Complete the pictures, or shorten the list.",
        )
    return files


def _is_number(row: list[str], column: int) -> bool:
    return len(row) > column and row[column].strip().lstrip("-").isdigit()
