"""Label rasters -> polygons along pixel edges, traced as arrays, streaming from top to bottom.

Borders are cut into *segments*: maximal straight pieces with the same two labels on either side. Ends of segments
are exactly the lattice points where a border turns or a third label joins, so every polygon has a vertex wherever any
neighbour has one and the polygons form a valid coverage without superfluous points. Each segment belongs to the
label on either side; following the segments of a label gives its rings. Where two pixels of a region meet only at a
corner the ring crosses over, so that a ring never touches itself and others at most in a point, as OGC asks.

Guarantees: polygons are valid and cover exactly their pixels (equal area, holes included); labels must be
4-connected; a polygon is complete, and handed over, once its last row was fed; what is held are the segments of
labels that are still open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from engine.jit import kernel

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

EAST, WEST, SOUTH, NORTH = 0, 1, 2, 3
_SOFT = 4
_STEP_X = np.array([1, -1, 0, 0], np.int32)
_STEP_Y = np.array([0, 0, 1, -1], np.int32)
_ARRIVING = np.array([0, 1, 0, 1], np.int8)
_LEAVING = np.array([1, 0, 0, 1], np.int8)
"""By heading: a segment that leaves a crossing with the same mark is the right turn of one that arrives."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Directed straight pieces of borders, their region to the left as seen on the screen.

    Attributes:
        label: The region.
        col: Column of the first lattice point.
        row: Row of the first lattice point.
        length: Pixel edges.
        heading: ``EAST``, ``WEST``, ``SOUTH`` or ``NORTH``.
        soft: Whether the upper end is no vertex: the border runs straight on in the strip above.
    """

    label: Array
    col: Array
    row: Array
    length: Array
    heading: Array
    soft: Array

    def __len__(self) -> int:
        return int(self.label.size)

    @property
    def columns(self) -> tuple[Array, ...]:
        """All columns."""
        return self.label, self.col, self.row, self.length, self.heading, self.soft

    @property
    def stop(self) -> tuple[Array, Array]:
        """Column and row of the last lattice points."""
        return self.col + self.length * _STEP_X[self.heading], self.row + self.length * _STEP_Y[self.heading]

    def take(self, which: Array) -> Segments:
        """Some of the segments."""
        return Segments(*(column[which] for column in self.columns))

    @staticmethod
    def join(parts: Sequence[Segments]) -> Segments:
        """Several sets as one."""
        return Segments(*(np.concatenate(columns) for columns in zip(*(part.columns for part in parts), strict=True)))


@dataclass(frozen=True, slots=True)
class Traced:
    """Complete polygons on the pixel lattice.

    Attributes:
        label: ``[n]`` their labels, increasing.
        points: ``[p, 2]`` columns and rows of all vertices, ring by ring, each ring closed; a shell runs
            counter-clockwise on the screen and comes before its holes.
        ring_starts: First point of each ring, and the number of points.
        polygon_starts: First ring of each polygon, and the number of rings.
        segments: All segments of these polygons, in no particular order.
    """

    label: Ints
    points: Array
    ring_starts: Ints
    polygon_starts: Ints
    segments: Segments

    def polygons(self, transform: Affine | None = None) -> npt.NDArray[np.object_]:
        """Shapely polygons on the map, or in pixel coordinates where ``transform`` is None."""
        points = self.points.astype(np.float64)
        if transform is not None:
            col, row = points.T
            t = transform
            points = np.stack((t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f), axis=1)
        offsets = (self.ring_starts, self.polygon_starts)
        return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, offsets), dtype=object)


def trace_rows(rows: Iterable[tuple[int, Array]], width: int, last_row: Array) -> Iterator[Traced]:
    """Trace a label raster that comes in strips from the top.

    Args:
        rows: First row and ``[h, width]`` labels of each strip, without gaps; 0 is none.
        width: Columns.
        last_row: One past the last row of each label; entry ``i`` is label ``i``'s (entry 0 is not used).

    Yields:
        The polygons that are complete, by strips.
    """
    above = np.zeros((1, width), np.int32)
    held: list[Segments] = []
    row_stop = 0
    for row_start, labels in rows:
        sheet = np.concatenate((above, labels.astype(np.int32)))
        fresh = _segments(sheet, row_start)
        above, row_stop = sheet[-1:], row_start + labels.shape[0]
        closed = last_row[fresh.label] < row_stop
        ready = [fresh.take(closed)]
        waiting = []
        for part in held:
            done = last_row[part.label] < row_stop
            if done.any():
                ready.append(part.take(done))
                part = part.take(~done)
            if len(part):
                waiting.append(part)
        held = [*waiting, fresh.take(~closed)]
        yield _trace(Segments.join(ready))
    bottom = np.concatenate((above, np.zeros_like(above)))
    yield _trace(Segments.join([*held, _segments(bottom, row_stop)]))


def trace(labels: Array) -> Traced:
    """Trace a label raster that is in memory; labels must be 4-connected."""
    height, width = labels.shape
    last_row = np.full(int(labels.max(initial=0)) + 1, height)
    parts = [part for part in trace_rows([(0, labels)], width, last_row) if part.label.size]
    return parts[0] if parts else _trace(_segments(np.zeros((2, 1), np.int32), 0))


def coverage(labels: Array, transform: Affine | None = None) -> tuple[Ints, npt.NDArray[np.object_]]:
    """Labels and polygons of a label raster that is in memory; labels must be 4-connected."""
    traced = trace(labels)
    return traced.label, traced.polygons(transform)


def simplify(polygons: Array, tolerance: float) -> npt.NDArray[np.object_]:
    """Simplify a coverage as a whole: shared borders stay shared, no gaps or overlaps appear.

    Args:
        polygons: Polygons of a valid coverage.
        tolerance: Side of the square whose area a corner must reach to be kept, in map units.
    """
    if tolerance <= 0:
        return np.asarray(polygons, dtype=object)
    return np.asarray(shapely.coverage_simplify(np.asarray(polygons, dtype=object), tolerance), dtype=object)


def _segments(sheet: Array, first_row: int) -> Segments:
    """Segments of the rows of ``sheet`` below its first one, which lies above the scene row ``first_row``."""
    label, col, row, length, kind = np.ascontiguousarray(_cut_borders(sheet, first_row).T)
    return Segments(label, col, row, length, (kind & 3).astype(np.int8), kind >= _SOFT)


@kernel
def _cut_borders(sheet: Array, first_row: int) -> Array:
    """Maximal straight pieces along which the labels on either side stay the same, once for each label.

    Along lattice rows between each two rows of ``sheet``, and along lattice columns beside all rows but the first.

    Returns:
        ``[n, 5]`` label, column, row, length, heading (plus ``_SOFT``).
    """
    height, width = sheet.shape
    most = 2 * (width + 1)
    for y in range(1, height):
        for x in range(1, width):
            most += 2 * (sheet[y, x] != sheet[y, x - 1]) + 2 * (sheet[y, x] != sheet[y - 1, x])
        most += 6
    found = np.empty((most, 5), np.int32)
    count = 0
    begun = np.empty(width + 1, np.int64)
    for x in range(width + 1):
        begun[x] = -1
    for y in range(1, height + 1):
        for x in range(width + 1):
            left = sheet[y, x - 1] if y < height and x > 0 else 0
            right = sheet[y, x] if y < height and x < width else 0
            was_left = sheet[y - 1, x - 1] if x > 0 else 0
            was_right = sheet[y - 1, x] if x < width else 0
            same = left == was_left and right == was_right
            if begun[x] >= 0 and (y == height or not same):
                top, bottom = max(begun[x], first_row), y - 1 + first_row
                soft = _SOFT if begun[x] < first_row else 0
                count = _note(found, count, was_right, x, top, bottom - top, SOUTH + soft)
                count = _note(found, count, was_left, x, bottom, bottom - top, NORTH + soft)
                begun[x] = -1
            if left != right and begun[x] < 0:
                # A row higher than the first says that the border runs straight on above.
                begun[x] = y - 1 + first_row - (1 if y == 1 and same else 0)
        if y == height:
            break
        x = 0
        while x < width:
            above, below = sheet[y - 1, x], sheet[y, x]
            start = x
            x += 1
            if above != below:
                while x < width and sheet[y - 1, x] == above and sheet[y, x] == below:
                    x += 1
                count = _note(found, count, below, x, y - 1 + first_row, x - start, WEST)
                count = _note(found, count, above, start, y - 1 + first_row, x - start, EAST)
    return found[:count]


@kernel
def _note(found: Array, count: int, label: int, col: int, row: int, length: int, kind: int) -> int:
    """Add a segment where there is a label; returns how many there are."""
    if label <= 0:
        return count
    found[count, 0], found[count, 1], found[count, 2], found[count, 3], found[count, 4] = label, col, row, length, kind
    return count + 1


def _trace(segments: Segments) -> Traced:
    """Follow segments that form whole rings."""
    count = len(segments)
    if count == 0:
        nothing = np.zeros(1, np.int64)
        return Traced(np.empty(0, np.int64), np.empty((0, 2), np.int32), nothing, nothing, segments)
    follow = _successors(segments)
    sequence, ring = _walk(follow)
    label = segments.label[sequence]
    doubled = _doubled_areas(segments, sequence, ring)
    is_hole = doubled > 0
    ring_label = np.empty(doubled.size, np.int64)
    ring_label[ring] = label
    order = np.lexsort((is_hole, ring_label))
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    hidden = np.zeros(count, bool)
    hidden[segments.soft & (segments.heading == SOUTH)] = True
    hidden[follow[segments.soft & (segments.heading == NORTH)]] = True
    shown = ~hidden[sequence]
    sequence, place = sequence[shown], rank[ring[shown]]
    sorted_order = np.argsort(place, kind="stable")
    sequence, place = sequence[sorted_order], place[sorted_order]
    sizes = np.bincount(place, minlength=order.size) + 1
    ring_starts = np.concatenate(([0], np.cumsum(sizes)))
    points = np.empty((int(ring_starts[-1]), 2), np.int32)
    where = np.arange(sequence.size) + place
    points[where, 0], points[where, 1] = segments.col[sequence], segments.row[sequence]
    points[ring_starts[1:] - 1] = points[ring_starts[:-1]]
    ring_label = ring_label[order]
    first_ring = np.flatnonzero(np.diff(ring_label, prepend=-1) != 0)
    polygon_starts = np.append(first_ring, ring_label.size)
    return Traced(ring_label[first_ring], points, ring_starts, polygon_starts, segments)


def _successors(segments: Segments) -> Ints:
    """Segment that each segment is followed by in its ring.

    A segment starts where one of the same region ends. At a crossing, where two pixels of the region meet at their
    corners, two end and two start, and each is followed by its right turn.
    """
    stop_col, stop_row = segments.stop
    span = np.int64(max(int(segments.col.max()), int(stop_col.max())) + 1)
    low = np.int64(segments.row.min())
    high = np.int64(segments.row.max()) - low + 1
    label = segments.label.astype(np.int64) * high
    arrive: Array = 2 * ((label + (stop_row - low)) * span + stop_col) + _ARRIVING[segments.heading]
    leave: Array = 2 * ((label + (segments.row - low)) * span + segments.col) + _LEAVING[segments.heading]
    follow = np.empty(len(segments), np.int64)
    follow[np.argsort(arrive)] = np.argsort(leave)
    return follow


@kernel
def _walk(follow: Ints) -> tuple[Ints, Ints]:
    """Order segments along their rings.

    Returns:
        Segments ring by ring, and the ring of each.
    """
    sequence, ring = np.empty(follow.size, np.int64), np.empty(follow.size, np.int64)
    walked = np.zeros(follow.size, np.bool_)
    count, rings = 0, 0
    for first in range(follow.size):
        if walked[first]:
            continue
        segment = first
        while not walked[segment]:
            walked[segment] = True
            sequence[count], ring[count] = segment, rings
            count += 1
            segment = follow[segment]
        rings += 1
    return sequence, ring


def _doubled_areas(segments: Segments, sequence: Ints, ring: Ints) -> Array:
    """Twice the signed area of each ring, negative for shells."""
    col, row = segments.col[sequence].astype(np.int64), segments.row[sequence].astype(np.int64)
    length, heading = segments.length[sequence].astype(np.int64), segments.heading[sequence]
    cross = length * (col * _STEP_Y[heading] - row * _STEP_X[heading])
    return np.bincount(ring, cross.astype(np.float64))
