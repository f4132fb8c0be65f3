"""Changed pixels become polygons: one for each connected piece of the class map.

Takes rows as :class:`~engine.regions.builder.RegionBuilder` does and gives the same result, so tables, outlines and
files are written once. Guarantees: a change is 4-connected, its pixels are those of the map, whatever strips it came
in; changes smaller than asked for stay on the map and become no polygon; memory follows the scene's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.regions.assemble import assemble
from engine.regions.builder import DEFAULT_MIN_PIXELS, Strip, WindowTokens, clean_bands
from engine.regions.components import find_areas
from engine.regions.forest import LabelForest
from engine.regions.result import RegionResult
from engine.regions.runs import sum_pairs
from engine.regions.strips import Array, StripMaps, StripStore, measure_strip
from engine.regions.windows import WindowTable
from engine.scene import Grid

CHANGED = 1
"""Code of what changed."""
_NONE = 255


class ChangeBuilder:
    """Builds the polygons of changes while rows of the map come in.

    Args:
        grid: The analysis grid.
        class_names: Names of the two classes.
        band_names: Names of the image's bands, in order.
        min_region_m2: Smaller changes become no polygon; None takes 32 pixels' worth, and so does any value on a
            scene without CRS.
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
        self._grid, self._min_m2 = grid, min_region_m2 if grid.crs is not None else None
        self._class_names, self._band_names = tuple(class_names), tuple(band_names)
        self._store = StripStore(work_dir)
        self._forest = LabelForest()
        self._table = WindowTable(work_dir)
        self._above: tuple[Array, Array, int] | None = None

    def add_row(self, windows: Sequence[WindowTokens]) -> None:
        """Take in a row of windows, of which nothing is needed: the map says where changes are."""

    def add_strip(self, strip: Strip) -> npt.NDArray[np.uint32]:
        """Take in the next rows.

        Returns:
            Provisional labels ``[h, W]`` of these rows, 0 is none.
        """
        mask = np.where(strip.classes == CHANGED, np.uint8(CHANGED), np.uint8(_NONE))
        areas = find_areas(mask[None], _NONE, 0)
        base = self._forest.add(areas.count)
        self._table.add_bare(areas.count)
        owners = areas.labels[0]
        owners[owners > 0] += np.int32(base)
        labels_above, atoms_above, count_above = self._above or (None, None, 0)
        if labels_above is not None:
            both = (labels_above > 0) & (owners[0] > 0)
            upper, lower, _ = sum_pairs(labels_above[both], owners[0][both])
            for one, other in zip(upper.tolist(), lower.tolist(), strict=True):
                self._forest.union(one, other)
        self._forest.flatten(base + 1)
        lookup = self._forest.lookup
        maps = StripMaps(
            strip.row_start,
            classes=np.ascontiguousarray(strip.classes),
            confidence=np.ascontiguousarray(strip.confidence),
            runner_up=np.ascontiguousarray(strip.runner_up),
            bands=clean_bands(strip.image),
        )
        record, atoms = measure_strip(owners, lookup, maps, len(self._class_names), atoms_above, count_above)
        self._store.append(record)
        self._above = owners[-1].copy(), atoms, int(record.label.size)
        return np.asarray(lookup[owners].view(np.uint32))

    def finish(
        self,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> RegionResult:
        """Join what goes on from strip to strip and leave out what is too small.

        Args:
            progress: Told the share that is done.
            cancel: Asked whether to stop.

        Raises:
            CancelledError: ``cancel`` said so.
        """
        found = assemble(
            self._grid,
            self._store,
            self._table,
            self._forest,
            class_names=self._class_names,
            band_names=self._band_names,
            min_m2=None,
            min_pixels=0,
            progress=progress,
            cancel=cancel,
        )
        sizes = found.sums.pixels if self._min_m2 is None else found.sums.area_m2
        return found.only(sizes >= (DEFAULT_MIN_PIXELS if self._min_m2 is None else self._min_m2), "score")
