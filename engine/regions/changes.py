"""Changed pixels become polygons: one for each connected piece of the class map.

Takes rows as :class:`~engine.regions.builder.RegionBuilder` does and gives the same result, so tables, outlines and
files are written once. Guarantees: a change is 4-connected, its pixels are those of the map, whatever strips it came
in; changes smaller than asked for stay on the map and become no polygon; memory follows the scene's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from engine.regions.components import find_areas
from engine.regions.intake import DEFAULT_MIN_PIXELS, Strip, WindowTokens
from engine.regions.result import RegionResult
from engine.regions.runs import sum_pairs
from engine.regions.settled import Labels, SettledRows

CHANGED = 1
"""Code of what changed."""
_NONE = 255


class ChangeBuilder:
    """Builds the polygons of changes while rows of the map come in.

    Args:
        settled: Where rows go; changes smaller than its ``min_m2``, or than 32 pixels without one, become no polygon.
    """

    def __init__(self, settled: SettledRows) -> None:
        self._settled, self._forest = settled, settled.forest
        self._above: Labels | None = None

    def add_row(self, windows: Sequence[WindowTokens]) -> None:
        """Take in a row of windows, of which nothing is needed: the map says where changes are."""

    def add_strip(self, strip: Strip) -> npt.NDArray[np.uint32]:
        """Take in the next rows.

        Returns:
            Provisional labels ``[h, W]`` of these rows, 0 is none.
        """
        maps = self._settled.take(strip)
        mask = np.where(strip.classes == CHANGED, np.uint8(CHANGED), np.uint8(_NONE))
        areas = find_areas(mask[None], _NONE, 0)
        base = self._forest.add(areas.count)
        self._settled.table.add_bare(areas.count)
        owners = areas.labels[0]
        owners[owners > 0] += np.int32(base)
        if self._above is not None:
            both = (self._above > 0) & (owners[0] > 0)
            upper, lower, _ = sum_pairs(self._above[both], owners[0][both])
            for one, other in zip(upper.tolist(), lower.tolist(), strict=True):
                self._forest.union(one, other)
        self._forest.flatten(base + 1)
        lookup = self._forest.lookup
        self._settled.measure(owners, lookup, maps)
        self._above = owners[-1].copy()
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
            AnalysisError: Rows are missing.
            CancelledError: ``cancel`` said so.
        """
        found = self._settled.finish(min_m2=None, min_pixels=0, progress=progress, cancel=cancel)
        least = self._settled.min_m2
        sizes = found.sums.pixels if least is None else found.sums.area_m2
        return found.only(sizes >= (DEFAULT_MIN_PIXELS if least is None else least), "score")
