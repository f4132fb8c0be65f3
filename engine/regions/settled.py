"""Rows whose regions are decided: measured strip by strip, kept on disk, added up at the end.

What every builder of regions has in common, whatever decides whose a pixel is. Guarantees: strips come in order, top
to bottom and without gaps; memory follows the scene's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import AnalysisError
from engine.regions.assemble import assemble
from engine.regions.forest import LabelForest
from engine.regions.intake import Strip
from engine.regions.result import RegionResult
from engine.regions.strips import StripMaps, StripStore, measure_strip
from engine.regions.windows import WindowTable
from engine.scene import Grid, Raster

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]


class SettledRows:
    """Measures a scene's rows and ends as its regions.

    Args:
        grid: The analysis grid.
        class_names: Names of the model's classes, by code.
        band_names: Names of the image's bands, in order.
        min_region_m2: Smallest region, in square metres; None where the scene has no CRS, whatever was asked for.
        work_dir: Folder for what does not stay in memory; made where missing.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        class_names: Sequence[str],
        band_names: Sequence[str],
        min_region_m2: float | None,
        work_dir: Path,
    ) -> None:
        self.grid = grid
        self.class_names = tuple(class_names)
        self.band_names = tuple(band_names)
        self.min_m2 = min_region_m2 if grid.crs is not None else None
        self.forest = LabelForest()
        self.table = WindowTable(work_dir)
        self._store = StripStore(work_dir)
        self._next_row = 0
        self._above: Array | None = None
        self._above_count = 0

    def take(self, strip: Strip) -> StripMaps:
        """Maps of the rows that are due.

        Raises:
            AnalysisError: Other rows came.
        """
        if strip.row_start != self._next_row:
            raise AnalysisError(
                f"rows from {strip.row_start} on came where {self._next_row} was due",
                where="regions",
                remedy="Run the analysis again into an empty folder.",
            )
        self._next_row += int(strip.classes.shape[0])
        return StripMaps(
            strip.row_start,
            classes=np.ascontiguousarray(strip.classes),
            confidence=np.ascontiguousarray(strip.confidence),
            runner_up=np.ascontiguousarray(strip.runner_up),
            bands=_clean_bands(strip.image),
        )

    def measure(self, owners: Labels, lookup: Labels, maps: StripMaps) -> None:
        """Measure rows that nothing changes any more.

        Args:
            owners: Whose each pixel is, ``[h, W]``; 0 is nobody's.
            lookup: Label of each owner.
            maps: The maps of these rows.
        """
        record, self._above = measure_strip(owners, lookup, maps, len(self.class_names), self._above, self._above_count)
        self._store.append(record)
        self._above_count = record.label.size

    def finish(
        self,
        *,
        min_m2: float | None,
        min_pixels: int,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> RegionResult:
        """Add everything up once all rows are settled.

        Args:
            min_m2: Smaller regions join their best neighbour.
            min_pixels: The same in pixels, where ``min_m2`` is None.
            progress: Told the share that is done.
            cancel: Asked whether to stop.

        Raises:
            AnalysisError: Rows are missing.
            CancelledError: ``cancel`` said so.
        """
        if self._next_row != self.grid.height:
            raise AnalysisError(
                f"{self._next_row} of {self.grid.height} rows are settled",
                where="regions",
                remedy="Run the analysis again into an empty folder.",
            )
        return assemble(
            self.grid,
            self._store,
            self.table,
            self.forest,
            class_names=self.class_names,
            band_names=self.band_names,
            min_m2=min_m2,
            min_pixels=min_pixels,
            progress=progress,
            cancel=cancel,
        )


def _clean_bands(image: Raster) -> Array:
    """Values of a raster, 0 where it is not valid or not finite, one band after the other in memory."""
    data = np.ascontiguousarray(image.data)
    if data.dtype.kind == "f":
        data = np.where(np.isfinite(data), data, np.zeros((), data.dtype))
    return data if image.valid.all() else np.where(image.valid, data, np.zeros((), data.dtype))
