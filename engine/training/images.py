"""Decoding of training images, and what happens to broken ones.

Guarantees: every format GDAL knows, any number of bands; a file that is cut short is an error and never a half-grey
image; what is left out is said, by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from engine.errors import DataWarning, TrainingError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")

F = TypeVar("F")
T = TypeVar("T")

OnBroken = Literal["stop", "skip"]
"""What to do about an image that cannot be decoded: stop the training, or leave the image out and say so."""


class BrokenImageError(TrainingError):
    """An image of a data set cannot be decoded."""


def read_image(path: Path, bands: Sequence[int] | None = None, window: Window | None = None) -> np.ndarray:
    """Read ``[C, H, W]`` stored values.

    Args:
        path: The file.
        bands: 1-based bands; None reads all.
        window: The part to read; None is the whole image.

    Raises:
        BrokenImageError: The file cannot be decoded, or lacks a band.
    """
    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                wanted = list(range(1, file.count + 1)) if bands is None else list(bands)
                if max(wanted) > file.count:
                    raise BrokenImageError(
                        f"the image has {file.count} bands, the recipe asks for number {max(wanted)}",
                        where=path,
                        remedy="Correct `bands` of the data source, or replace the image.",
                    )
                pixels: np.ndarray = file.read(wanted, window=window)
                return pixels
    except (RasterioError, RasterioIOError) as error:
        raise BrokenImageError(
            f"the image is broken: {_first_line(error)}",
            where=path,
            remedy="Replace it, or leave broken images out with --set on_broken=skip.",
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width, from the file's header.

    Raises:
        BrokenImageError: The file cannot be opened.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                return file.height, file.width
    except RasterioError as error:
        raise BrokenImageError(
            f"the image is broken: {_first_line(error)}",
            where=path,
            remedy="Replace it, or leave broken images out with --set on_broken=skip.",
        ) from error


def skip_or_stop(error: BrokenImageError, on_broken: OnBroken) -> None:
    """Say that an image is left out, or raise the error, as the recipe asks."""
    if on_broken == "stop":
        raise error
    warnings.warn(DataWarning(f"left out: {error.what} ({error.where})"), stacklevel=2)


class Store(Generic[F, T]):
    """Decoded images, kept in memory or decoded whenever they are asked for.

    Args:
        files: Where they are read from.
        on_broken: What to do about images that cannot be decoded.
        memory: Whether all are decoded now and kept, each once.
        times: How often each comes up, one round after the other.
    """

    def __init__(self, files: Iterable[F], on_broken: OnBroken, *, memory: bool, times: int = 1) -> None:
        self.files = list(files)
        self._on_broken: OnBroken = on_broken
        self._kept: list[T] | None = None
        if memory:
            decoded = [self._decoded(file) for file in self.files]
            self.files = [file for file, item in zip(self.files, decoded, strict=True) if item is not None]
            self._kept = times * [item for item in decoded if item is not None]
        self.files = times * self.files

    def decode(self, file: F) -> T:
        """Decode one.

        Raises:
            BrokenImageError: It cannot be.
        """
        raise TypeError(f"{type(self).__name__} does not say how it decodes")

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> T | None:
        """What is at a place; None where it is broken and the recipe leaves broken images out."""
        return self._decoded(self.files[index]) if self._kept is None else self._kept[index]

    def __iter__(self) -> Iterator[T]:
        """What can be read, one after the other."""
        return (item for item in (self.read(index) for index in range(len(self))) if item is not None)

    def _decoded(self, file: F) -> T | None:
        try:
            return self.decode(file)
        except BrokenImageError as error:
            skip_or_stop(error, self._on_broken)
            return None


def list_images(folder: Path) -> list[Path]:
    """Images right in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).partition("\n")[0].rstrip(".")
