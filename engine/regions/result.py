"""Finished regions: their sums, their rows, and their way into files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.strips import StripStore
from engine.regions.windows import NONE, WindowTable
from engine.scene import Grid

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class RegionSums:
    """Sums by region; row ``i`` is region ``i + 1``.

    Attributes:
        pixels: ``[n]`` pixels.
        area_m2: ``[n]`` geodesic area, NaN without CRS.
        position: ``[n, 2]`` sums of columns and rows of pixel centres.
        classes: ``[n, K]`` pixels by class.
        runner_up: ``[n, K]`` pixels by runner-up.
        confidence: ``[n]`` sum of percents.
        sums: ``[n, B]`` sum of values by band.
        squares: ``[n, B]`` sum of squares.
        bbox: ``[n, 4]`` first row, one past the last, first column, one past the last.
        window: ``[n]`` window whose token owns most of the region, -1 where none does.
        token: ``[n]`` that token.
        vector: ``[n]`` number of its vector.
        windows: ``[n]`` windows whose tokens own pixels of the region.
    """

    pixels: Array
    area_m2: Array
    position: Array
    classes: Array
    runner_up: Array
    confidence: Array
    sums: Array
    squares: Array
    bbox: Array
    window: Array
    token: Array
    vector: Array
    windows: Array

    @staticmethod
    def zeros(count: int, classes: int, bands: int) -> RegionSums:
        """Nothing added up yet."""
        far = np.iinfo(np.int64).max
        return RegionSums(
            pixels=np.zeros(count, np.int64),
            area_m2=np.zeros(count),
            position=np.zeros((count, 2)),
            classes=np.zeros((count, classes), np.int32),
            runner_up=np.zeros((count, classes), np.int32),
            confidence=np.zeros(count),
            sums=np.zeros((count, bands)),
            squares=np.zeros((count, bands)),
            bbox=np.tile(np.array([far, 0, far, 0], np.int64), (count, 1)),
            window=np.full(count, NONE, np.int32),
            token=np.full(count, NONE, np.int32),
            vector=np.full(count, NONE, np.int64),
            windows=np.zeros(count, np.int32),
        )

    @property
    def additive(self) -> tuple[Array, ...]:
        """The tables that are sums over atoms."""
        return (
            self.pixels,
            self.area_m2,
            self.position,
            self.classes,
            self.runner_up,
            self.confidence,
            self.sums,
            self.squares,
        )


class RegionResult:
    """Regions of a scene, numbered from 1 in scan order.

    Args:
        grid: The analysis grid.
        store: Settled strips.
        table: Where area labels come from.
        lookup: Region of each atom (0 is none).
        sums: Sums by region.
        class_names: Names of the classes by code.
        band_names: Names of the bands in order.
        certainty: What the mean of the confidence map is called: ``confidence``, or ``score`` of a change.
    """

    def __init__(
        self,
        grid: Grid,
        store: StripStore,
        table: WindowTable,
        lookup: Array,
        sums: RegionSums,
        class_names: Sequence[str],
        band_names: Sequence[str],
        certainty: str = "confidence",
    ) -> None:
        self.grid = grid
        self.certainty = certainty
        self.sums = sums
        self.class_names = tuple(class_names)
        self.band_names = tuple(band_names)
        self._store = store
        self._table = table
        self._lookup = lookup

    @property
    def count(self) -> int:
        """Number of regions."""
        return int(self.sums.pixels.size)

    def only(self, kept: npt.NDArray[np.bool_], certainty: str) -> RegionResult:
        """The regions of a mask, numbered anew in the same order; pixels of the others belong to none."""
        number = np.concatenate(([0], np.where(kept, np.cumsum(kept), 0))).astype(np.uint32)
        sums = RegionSums(*(getattr(self.sums, part.name)[kept] for part in fields(RegionSums)))
        names = self.class_names, self.band_names
        return RegionResult(self.grid, self._store, self._table, number[self._lookup], sums, *names, certainty)

    def rows(self) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
        """Draw the region raster strip by strip from the top: first row and ``[h, W]`` region ids, 0 is none."""
        return self._store.rows(self._lookup)

    def features(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Token vectors of regions ``start + 1`` to ``stop``, ``[stop - start, D]``."""
        return self._table.vectors(self.sums.vector[start:stop])

    def write_parquet(
        self,
        path: str | Path,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:
        """Draw the polygons and write everything as GeoParquet, under a temporary name first.

        Args:
            path: The file.
            progress: Told the share that is done.
            cancel: Asked whether to stop.

        Raises:
            CancelledError: ``cancel`` said so; no file is left.
            OutputError: The file cannot be written.
        """
        from engine.regions.parquet import write_regions

        write_regions(self, Path(path), self._store.folder, progress, cancel)
