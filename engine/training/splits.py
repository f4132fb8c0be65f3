"""Split rules: which images train and which measure, decided by what an image is called or where it lies.

Guarantees: a rule sends every image to exactly one split, whatever else is in the folder (footprints excepted: there
the groups decide); nothing random decides, so a split is the same on every machine.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import rasterio
from pydantic import Field
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from engine.errors import TrainingError
from engine.training.settings import Part

TRAIN = "train"
VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class Item:
    """An image that a rule decides about.

    Attributes:
        name: Its name without extension.
        path: Where it lies.
    """

    name: str
    path: Path


class Rule(Part):
    """Base of the rules."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits there are."""
        return TRAIN, VALIDATION

    def subfolder(self, split: str) -> str:
        """The folder below the data set's that holds the images of a split; empty where all lie together."""
        return ""

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """Those of the items that belong to a split.

        Args:
            items: All images of the subfolder.
            split: One of :attr:`splits`.
            folder: The data set's folder.
        """
        raise TypeError(f"{type(self).__name__} does not say how it splits")


class TrainOnly(Rule):
    """Everything trains."""

    rule: Literal["none"] = "none"

    @property
    def splits(self) -> tuple[str, ...]:
        """Only ``train``."""
        return (TRAIN,)

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """All of them."""
        return list(items)


class Md5Rule(Rule):
    """An image validates where the md5 of its name, read as a hexadecimal integer, leaves a listed remainder.

    Attributes:
        rule: ``md5``.
        modulus: What the md5 is divided by.
        validation: The remainders.
    """

    rule: Literal["md5"]
    modulus: int = Field(default=10, ge=2)
    validation: tuple[int, ...]

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """By each name alone."""
        return [item for item in items if self.validates(item.name) == (split == VALIDATION)]

    def validates(self, name: str) -> bool:
        """Whether the image of this name (without extension) belongs to validation."""
        return int(hashlib.md5(name.encode("utf-8")).hexdigest(), 16) % self.modulus in self.validation


class PrefixRule(Rule):
    """An image validates where its name begins with a listed prefix (one scene, one region)."""

    rule: Literal["prefix"]
    validation: tuple[str, ...] = Field(min_length=1)

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """By the beginning of each name."""
        return [item for item in items if item.name.startswith(self.validation) == (split == VALIDATION)]


class FolderRule(Rule):
    """Each split has a folder of its own below the data set's."""

    rule: Literal["folders"]
    train: str = "train"
    validation: str = "val"
    test: str | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """With ``test`` where it has a folder."""
        return (TRAIN, VALIDATION) if self.test is None else (TRAIN, VALIDATION, "test")

    def subfolder(self, split: str) -> str:
        """The split's own."""
        return str(getattr(self, split))

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """All in the folder."""
        return list(items)


class ListRule(Rule):
    """Each split is a text file that names its images.

    Attributes:
        rule: ``lists``.
        train: File below the data set's folder: comma-separated, one image a row.
        validation: The same.
        test: The same.
        column: Where in a row the name or path stands, counted from 0. Of a path, the last folder and the name count.
    """

    rule: Literal["lists"]
    train: str
    validation: str
    test: str | None = None
    column: int = Field(default=0, ge=0)

    @property
    def splits(self) -> tuple[str, ...]:
        """With ``test`` where it has a list."""
        return (TRAIN, VALIDATION) if self.test is None else (TRAIN, VALIDATION, "test")

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """Those the list names.

        Raises:
            TrainingError: The list is missing, or names an image that is not there.
        """
        path = folder / str(getattr(self, split))
        listed = [Path(row[self.column].strip()) for row in read_rows(path) if len(row) > self.column]
        wanted = {_key(entry, bool(entry.parent.name)) for entry in listed}
        keys = {item.path: {_key(item.path, True), item.name} for item in items}
        found = [item for item in items if keys[item.path] & wanted]
        absent = sorted(wanted.difference(*(keys[item.path] for item in found)))
        if absent:
            raise TrainingError(
                f"the list names {named(absent)}, which {'is' if len(absent) == 1 else 'are'} not there",
                where=path,
                remedy="Complete the images, or shorten the list.",
            )
        return found


class GroupRule(Rule):
    """Connected groups of overlapping footprints stay together: no ground is both trained on and measured.

    Groups are taken from the largest (ties: by first name), each to the split that lacks most images then.

    Attributes:
        rule: ``groups``.
        validation: Share of the images wanted for validation.
    """

    rule: Literal["groups"]
    validation: float = Field(gt=0, lt=1)

    def choose(self, items: Sequence[Item], split: str, folder: Path) -> list[Item]:
        """By the groups that footprints form.

        Raises:
            TrainingError: An image has no place on Earth.
        """
        lacks = {VALIDATION: self.validation * len(items), TRAIN: (1 - self.validation) * len(items)}
        chosen: set[Path] = set()
        for group in overlapping_groups(items):
            side = max(lacks, key=lambda name: lacks[name])
            lacks[side] -= len(group)
            if side == split:
                chosen.update(item.path for item in group)
        return [item for item in items if item.path in chosen]


SplitRule = Annotated[TrainOnly | Md5Rule | PrefixRule | FolderRule | ListRule | GroupRule, Field(discriminator="rule")]


def overlapping_groups(items: Sequence[Item]) -> list[list[Item]]:
    """Connected groups of images whose footprints overlap, the largest first."""
    boxes = [_footprint(item) for item in items]
    group = list(range(len(items)))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for one, (left, bottom, right, top) in enumerate(boxes):
        for other in range(one):
            left2, bottom2, right2, top2 = boxes[other]
            if left < right2 and left2 < right and bottom < top2 and bottom2 < top:
                group[root(one)] = root(other)
    found: dict[int, list[Item]] = {}
    for index, item in enumerate(items):
        found.setdefault(root(index), []).append(item)
    return sorted(found.values(), key=lambda members: (-len(members), min(item.name for item in members)))


def read_rows(path: Path) -> list[list[str]]:
    """Rows of a comma-separated file.

    Raises:
        TrainingError: It cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"the list cannot be read: {error}", where=path, remedy="Name an existing file of text in the recipe."
        ) from error


def named(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names: ``a, b, c and 12 more``."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _key(path: Path, with_folder: bool) -> str:
    return f"{path.parent.name}/{path.stem}" if with_folder else path.stem


def _footprint(item: Item) -> tuple[float, float, float, float]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(item.path) as file:
                if file.crs is not None:
                    left, bottom, right, top = file.bounds
                    return left, min(bottom, top), right, max(bottom, top)
    except RasterioIOError as error:
        raise TrainingError(f"the image cannot be opened: {error}", where=item.path, remedy="Replace it.") from error
    raise TrainingError(
        "the image has no place on Earth, so it belongs to no group of footprints",
        where=item.path,
        remedy="Choose another split rule.",
    )
