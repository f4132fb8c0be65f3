"""Token maps of overlapping windows, row by row, become regions of the scene.

Rows of windows come in from the top; as soon as rows of the maps are final, the regions of these rows are settled:
areas are matched across windows, disputes resolved (``seams``), and the settled rows are measured and go to disk
(``strips``). What is held in memory are the windows that rows to come still touch.

Guarantees: the outcome depends on the maps alone, not on how tokens are numbered in a window, nor on how many
windows come in at once; memory follows the scene's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.canvas import Canvas
from engine.regions.components import Looks, band_sample, find_areas, sampled_looks
from engine.regions.edges import Colours, EdgeFollower
from engine.regions.intake import DEFAULT_MIN_PIXELS, NODATA_CLASS, Strip, WindowTokens
from engine.regions.result import RegionResult
from engine.regions.rows import WindowAreas, WindowRow, compose_row
from engine.regions.seams import Ground, Overlap, count_overlap, join_overlaps, look_alike, match
from engine.regions.settled import Labels, SettledRows
from engine.regions.strips import StripMaps

Array = npt.NDArray[Any]

MAX_SPECK_PX = 64
"""Specks are absorbed inside their window up to this size; larger ones are judged by colour and class at the end."""
NOISE_SHARE = 0.05
"""Differences of mean values below this share of the scene's spread mean nothing."""
_GROUP = 4
"""Windows whose areas are found in one go: enough to spread the cost of a call, few enough to stay in the cache."""


class RegionBuilder:
    """Builds the regions of a scene while its windows come in.

    Args:
        settled: Where rows go; regions smaller than its ``min_m2``, or than 32 pixels without one, join their best
            neighbour.
    """

    def __init__(self, settled: SettledRows) -> None:
        self._settled, self._grid = settled, settled.grid
        self._forest, self._table = settled.forest, settled.table
        self._class_count = len(settled.class_names)
        gsd, min_m2 = settled.grid.gsd_m, settled.min_m2
        pixels = DEFAULT_MIN_PIXELS if min_m2 is None or gsd is None else round(min_m2 / gsd**2)
        self._speck_px = min(pixels, MAX_SPECK_PX)
        self._rows: list[WindowRow] = []
        self._looks: Looks | None = None
        self._base = 0
        self._sample = band_sample(len(settled.band_names))
        self._totals = np.zeros((3, len(self._sample)))
        self._follower = EdgeFollower()
        self._last_owners: Labels | None = None

    def add_row(self, windows: Sequence[WindowTokens]) -> None:
        """Take in a row of windows, left to right; rows come top to bottom.

        Windows that hold nothing but nodata may be left out.
        """
        if not windows:
            return
        row = WindowRow(windows[0].row, windows[0].row + int(windows[0].token_map.shape[0]), [])
        for first in range(0, len(windows), _GROUP):
            group = windows[first : first + _GROUP]
            maps = np.stack([window.token_map for window in group])
            areas = find_areas(maps, int(np.iinfo(maps.dtype).max), self._speck_px)
            base = self._forest.add(areas.count)
            areas.labels[areas.labels > 0] += np.int32(base)
            cuts = np.searchsorted(areas.window, np.arange(len(group) + 1))
            edge_cuts = np.searchsorted(areas.edges[0], cuts + 1)
            for index, window in enumerate(group):
                mine = slice(int(cuts[index]), int(cuts[index + 1]))
                between = slice(int(edge_cuts[index]), int(edge_cuts[index + 1]))
                tokens = areas.tokens[mine]
                self._table.add(window.window_index, tokens, window.features)
                row.windows.append(
                    WindowAreas(
                        window.col,
                        base + mine.start,
                        areas.labels[index],
                        (areas.edges[0][between] + base, areas.edges[1][between] + base),
                        np.asarray(window.features, np.float32)[tokens],
                    )
                )
        self._rows.append(row)

    def add_strip(self, strip: Strip) -> npt.NDArray[np.uint32]:
        """Settle the next rows; every row of windows that covers them must have come in.

        Returns:
            Provisional labels ``[h, W]`` of these rows, 0 is none. Regions that turn out to be one further down still
            have several.
        """
        maps = self._settled.take(strip)
        start, stop = strip.row_start, strip.row_start + int(strip.classes.shape[0])
        ground = self._ground(maps)
        active = [row for row in self._rows if row.start < stop and row.stop > start]
        for row in active:
            if not row.matched:
                self._match_row(row, start, stop, ground)
        owners = self._compose(active, start, stop, ground)
        owners[strip.classes == NODATA_CLASS] = 0
        self._fill(owners, strip.classes)
        self._forest.flatten(self._base + 1)
        lookup = self._forest.lookup
        last = stop == self._grid.height
        decided = self._follower.push(owners, maps, lookup, self._colours, last=last)
        if decided is not None:
            owned, of_rows = decided
            self._settled.measure(owned, lookup, of_rows)
        self._last_owners = owners[-1].copy()
        self._release(stop)
        return lookup[owners].view(np.uint32)

    def finish(
        self,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> RegionResult:
        """Decide what is one region once all rows are settled; small fragments join their neighbours.

        Args:
            progress: Told the share that is done.
            cancel: Asked whether to stop.

        Raises:
            AnalysisError: Rows are missing.
            CancelledError: ``cancel`` said so.
        """
        return self._settled.finish(
            min_m2=self._settled.min_m2, min_pixels=DEFAULT_MIN_PIXELS, progress=progress, cancel=cancel
        )

    def _ground(self, maps: StripMaps) -> Ground:
        """Looks of a strip; the spread of the bands is that of the rows so far."""
        bands = maps.bands if len(self._sample) == len(maps.bands) else maps.bands[self._sample]
        valid = maps.classes[::4, ::4] != NODATA_CLASS
        thin = bands[:, ::4, ::4][:, valid].astype(np.float64)
        self._totals += np.stack((np.full(len(bands), valid.sum()), thin.sum(axis=1), (thin * thin).sum(axis=1)))
        return Ground(bands, maps.classes, self._colours.spread)

    @property
    def _colours(self) -> Colours:
        """Mean and spread of the bands that judge looks, over the rows so far."""
        count = np.maximum(self._totals[0], 1)
        mean = self._totals[1] / count
        spread = np.sqrt(np.maximum(self._totals[2] / count - mean * mean, 0))
        return Colours(self._sample, mean, np.maximum(spread, 1e-9))

    def _match_row(self, row: WindowRow, start: int, stop: int, ground: Ground) -> None:
        """Measure the areas of a new row of windows, tell apart what they tell apart, match along the row."""
        row.matched = True
        noise = NOISE_SHARE * ground.scale
        for window in row.windows:
            top = max(row.start, start)
            part = ground.part(slice(top - start, min(row.stop, stop) - start), slice(window.col, window.stop))
            looks = sampled_looks(
                window.labels[top - row.start : stop - row.start],
                window.base,
                part.classes,
                part.bands,
                self._class_count,
                window.features,
            )
            first, second = window.edges
            differ = ~look_alike(looks.alike(first - window.base, second - window.base, noise))
            self._forest.keep_apart(first[differ], second[differ])
            self._all_looks(window.features.shape[1]).put(window.base - self._base, looks)
        overlaps = []
        for left, right in zip(row.windows[:-1], row.windows[1:], strict=True):
            shared = left.stop - right.col
            if shared > 0:
                a, b = left.labels[:, -shared:], right.labels[:, :shared]
            else:
                a, b = (left.labels[:, -1:], right.labels[:, :1]) if shared == 0 else (left.labels[:, :0],) * 2
            overlaps.append(count_overlap(a, b))
        self._match(overlaps, ground)

    def _match(self, overlaps: list[Overlap], ground: Ground) -> None:
        if overlaps and self._looks is not None:
            looks = self._all_looks(self._looks.features.shape[1])
            match(join_overlaps(overlaps), self._forest, looks, self._base, NOISE_SHARE * ground.scale)

    def _all_looks(self, width: int) -> Looks:
        """Looks with a row for each label so far."""
        rows = self._forest.count - self._base
        if self._looks is None:
            self._looks = Looks.none(rows, self._class_count, len(self._sample), width)
        elif self._looks.pixels.size <= rows:
            self._looks = self._looks.resized(0, rows)
        return self._looks

    def _compose(self, active: list[WindowRow], start: int, stop: int, ground: Ground) -> Labels:
        """Owners of the rows ``start`` to ``stop`` from all windows that cover them."""
        width = self._grid.width
        sheet = np.zeros((stop - start, width), np.int32)
        filled = start
        for row in active:
            top, bottom = max(row.start, start), min(row.stop, stop)
            at = top - start
            lower = compose_row(row, top, bottom, width, self._forest.lookup, self._last_owners, ground, start)
            both = max(0, min(filled, bottom) - top)
            edge = self._last_owners if at == 0 else sheet[at - 1]
            if row.start >= start and row.start > 0 and edge is not None:
                upper = sheet[at : at + both] if both else edge[None]
                self._match([count_overlap(self._rooted(upper), self._rooted(lower[: max(both, 1)]))], ground)
            if both:
                canvas = Canvas(((at, 0),), both, width)
                canvas.put(0, sheet[at : at + both], lower[:both])
                canvas.margin(0, above=edge, below=lower[both] if both < lower.shape[0] else None)
                lean = (both + 1) / 2 - np.arange(both + 2)[:, None]
                canvas.resolve(self._forest.lookup, lean, ground)
                lower[:both] = canvas.result(0)
            sheet[at : bottom - start] = lower
            filled = max(filled, bottom)
        return sheet

    def _rooted(self, labels: Labels) -> Labels:
        return self._forest.lookup[labels]

    def _fill(self, owners: Labels, classes: Array) -> None:
        """Give pixels with a class but without a token an area of their own, one for each class and connected piece."""
        bare = (owners == 0) & (classes != NODATA_CLASS)
        if not bare.any():
            return
        patches = find_areas(np.where(bare, classes, NODATA_CLASS).astype(np.uint8)[None], NODATA_CLASS, 0)
        base = self._forest.add(patches.count)
        self._table.add_bare(patches.count)
        owners[bare] = patches.labels[0][bare] + base

    def _release(self, stop: int) -> None:
        """Forget what no row to come can touch."""
        self._rows = [row for row in self._rows if row.stop > stop]
        held = [part for part in (self._last_owners, self._follower.held) if part is not None]
        for row in self._rows:
            held += [window.labels[max(0, stop - row.start) :] for window in row.windows]
        seen = np.zeros(self._forest.count - self._base + 1, bool)
        for part in held:
            seen[np.maximum(part - self._base, 0)] = True
        alive = np.flatnonzero(seen[1:]) + self._base + 1
        self._forest.forget_except(set(self._forest.lookup[alive].tolist()))
        base = int(alive[0]) - 1 if alive.size else self._forest.count
        if self._looks is not None:
            self._looks = self._looks.resized(base - self._base, self._forest.count - base)
        self._base = base
