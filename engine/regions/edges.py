"""Borders of regions move to the edges of the image, by up to two pixels, once windows are put together.

Models answer on a grid of cells, and their borders keep to its lines. Here every pixel at a border asks whether
it looks more like its own region or like the one next door, judged by the pixels of either within two pixels of it,
and by how many of them there are; it changes sides if so (iterated conditional modes, Besag 1986, with a Potts
prior). All pixels of one colour of a chessboard decide at once, then those of the other. A second round looks
only where the first one moved something.

Guarantees: a pixel takes only labels of its neighbours, nodata stays nodata; the outcome does not depend on how rows
come in, for each row is decided with all rows that can matter to it (``REACH`` on either side).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.strips import StripMaps

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

ROUNDS = 2
RADIUS = 2
REACH = ROUNDS * 2 * RADIUS
"""Rows above and below that have an influence: two half steps a round, each as far as pixels look."""
SMOOTHNESS = 0.02
"""What one more like pixel near by counts for, in variances of the scene's colours."""
_STEPS = 16
"""Grey levels a standard deviation; colours take 7 bits, a sum of twelve fits into 12."""
_LANE = 12
_COUNT_LANE = np.uint64(4 * _LANE)
_LANE_MASK = np.uint64((1 << _LANE) - 1)
_NEAR = [
    (down, right)
    for down in range(-RADIUS, RADIUS + 1)
    for right in range(-RADIUS, RADIUS + 1)
    if 0 < abs(down) + abs(right) <= RADIUS
]


@dataclass(frozen=True, slots=True)
class Colours:
    """How colours are judged.

    Attributes:
        bands: Which bands, at most four.
        mean: ``[B]`` mean of each over the scene so far.
        spread: ``[B]`` standard deviation of each.
    """

    bands: list[int]
    mean: Array
    spread: Array


class EdgeFollower:
    """Takes rows from the top and hands them on, a few rows later, with borders moved."""

    def __init__(self) -> None:
        self._owners: Labels | None = None
        self._maps: StripMaps | None = None
        self._done = 0

    @property
    def held(self) -> Labels | None:
        """Area labels of the rows that are still needed."""
        return self._owners

    def push(
        self, owners: Labels, maps: StripMaps, lookup: Labels, colours: Colours, *, last: bool
    ) -> tuple[Labels, StripMaps] | None:
        """Take the next rows.

        Args:
            owners: ``[h, W]`` area label of each pixel, 0 is none.
            maps: The maps of these rows.
            lookup: Provisional label of each area label: borders run between these.
            colours: How colours are judged.
            last: Whether these are the scene's last rows.

        Returns:
            The rows that are decided now, with their maps; None where there are none yet.
        """
        if self._owners is not None and self._maps is not None:
            owners, maps = np.concatenate((self._owners, owners)), self._maps.below(maps)
        stop = maps.row_start + owners.shape[0]
        ready = stop if last else max(self._done, stop - REACH)
        done = None
        if ready > self._done:
            moved = follow_edges(owners, lookup, maps.bands[colours.bands], colours, maps.row_start)
            part = slice(self._done - maps.row_start, ready - maps.row_start)
            done = moved[part], maps.rows(part)
            self._done = ready
        keep = slice(max(0, self._done - REACH - maps.row_start), None)
        self._owners, self._maps = owners[keep].copy(), maps.rows(keep).copy()
        return done


def follow_edges(owners: Labels, lookup: Labels, bands: Array, colours: Colours, first_row: int) -> Labels:
    """Move the borders between labels to the edges of the image.

    Args:
        owners: ``[h, W]`` area labels, 0 is none.
        lookup: Label of each area label: borders run between these.
        bands: ``[B, h, W]`` the bands to judge by, at most four.
        colours: Mean and spread of these bands.
        first_row: Row of the scene the first row is, so that the chessboard lies still.
    """
    framed = np.pad(owners, RADIUS)
    owner, label = framed.reshape(-1), lookup[framed].reshape(-1)
    width = framed.shape[1]
    colour = np.pad(_packed(bands, colours), RADIUS).reshape(-1)
    near = [down * width + right for down, right in _NEAR]
    active = np.flatnonzero(_at_borders(label.reshape(framed.shape)))
    for turn in range(ROUNDS):
        row, col = np.divmod(active, width)
        dark = ((row + col + first_row) & 1).astype(bool)
        changed = [
            _half_step(active[side], owner, label, colour, near, width, turn, len(bands)) for side in (dark, ~dark)
        ]
        if turn + 1 < ROUNDS:
            active = _around(np.concatenate(changed), near, framed.shape)
    return framed[RADIUS:-RADIUS, RADIUS:-RADIUS]


def _half_step(
    at: Array, owner: Labels, label: Labels, colour: Array, near: list[int], width: int, turn: int, bands: int
) -> Array:
    """Let pixels change sides that no two of are neighbours; returns those that did."""
    mine, source = label[at], at.copy()
    for side in range(4):
        place = at + (-width, 1, width, -1)[(side + turn) % 4]
        there = label[place]
        np.copyto(source, place, where=(source == at) & (there != mine) & (there > 0))
    border = (source != at) & (mine > 0)
    at, source, mine = at[border], source[border], mine[border]
    theirs = label[source]
    sum_mine, sum_theirs = np.zeros(at.size, np.uint64), np.zeros(at.size, np.uint64)
    for step in near:
        place = at + step
        there, look = label[place], colour[place]
        sum_mine += look * (there == mine)
        sum_theirs += look * (there == theirs)
    count_mine = (sum_mine >> _COUNT_LANE).astype(np.float32)
    count_theirs = (sum_theirs >> _COUNT_LANE).astype(np.float32)
    gain = np.zeros(at.size, np.float32)
    each_mine, each_theirs = 1 / np.maximum(count_mine, 1), 1 / count_theirs
    for band in range(bands):
        lane = np.uint64(band * _LANE)
        own = ((colour[at] >> lane) & _LANE_MASK).astype(np.float32)
        gain += (own - ((sum_mine >> lane) & _LANE_MASK).astype(np.float32) * each_mine) ** 2
        gain -= (own - ((sum_theirs >> lane) & _LANE_MASK).astype(np.float32) * each_theirs) ** 2
    weight = np.float32(SMOOTHNESS * _STEPS * _STEPS * bands)
    moves = (gain + weight * (count_theirs - count_mine) > 0) & (count_mine > 0)
    moved, source = at[moves], source[moves]
    owner[moved], label[moved] = owner[source], label[source]
    return moved


def _packed(bands: Array, colours: Colours) -> npt.NDArray[np.uint64]:
    """Bands as 7-bit lanes of one number, with a 1 in the lane that counts."""
    packed = np.full(bands.shape[1:], np.uint64(1) << _COUNT_LANE)
    for index, band in enumerate(bands):
        spread = max(float(colours.spread[index]), 1e-12)
        grey = band.astype(np.float32)
        grey -= np.float32(colours.mean[index] - 64 / _STEPS * spread)
        grey *= np.float32(_STEPS / spread)
        np.clip(grey, 0, 127, out=grey)
        packed |= grey.astype(np.uint64) << np.uint64(index * _LANE)
    return packed


def _at_borders(label: Labels) -> npt.NDArray[np.bool_]:
    """Pixels beside which another label lies."""
    border = np.zeros(label.shape, bool)
    across, down = label[:, 1:] != label[:, :-1], label[1:] != label[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return border & (label > 0)


def _around(places: Array, near: list[int], shape: tuple[int, int]) -> Array:
    """Pixels that see one of ``places``, without the frame."""
    marks = np.zeros(shape, bool)
    flat = marks.reshape(-1)
    for step in (0, *near):
        flat[places + step] = True
    inner = np.zeros(shape, bool)
    inner[RADIUS:-RADIUS, RADIUS:-RADIUS] = marks[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return np.flatnonzero(inner)
