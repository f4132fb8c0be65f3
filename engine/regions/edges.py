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

from engine.jit import kernel
from engine.regions.strips import StripMaps

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

ROUNDS = 2
RADIUS = 2
REACH = ROUNDS * 2 * RADIUS
"""Rows above and below that have an influence: two half steps a round, each as far as pixels look."""
SMOOTHNESS = 0.02
"""What one more like pixel near by counts for, in variances of the scene's colours."""
_STEPS = 16
"""Grey levels a standard deviation; colours take 7 bits, a sum of twelve fits into 12."""
_LANE = 12
_COUNT_LANE = 4 * _LANE
_LANE_MASK = (1 << _LANE) - 1


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
            moved = follow_edges(owners, lookup, maps.bands, colours, maps.row_start)
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
        bands: ``[B, h, W]`` all bands, without NaN.
        colours: The bands to judge by, at most four, with mean and spread.
        first_row: Row of the scene the first row is, so that the chessboard lies still.
    """
    height, width = owners.shape
    inside = slice(RADIUS, RADIUS + height), slice(RADIUS, RADIUS + width)
    owner, label = (np.zeros((height + 2 * RADIUS, width + 2 * RADIUS), np.int32) for _ in range(2))
    _label(owners, lookup, owner[inside], label[inside])
    colour = np.zeros(owner.shape, np.int64)
    spread = np.maximum(colours.spread, 1e-12)
    darkest = (colours.mean - 64 / _STEPS * spread).astype(np.float32)
    _pack(bands, np.array(colours.bands), darkest, (_STEPS / spread).astype(np.float32), colour[inside])
    weight = np.float32(SMOOTHNESS * _STEPS * _STEPS * len(colours.bands))
    flat = owner.reshape(-1), label.reshape(-1), colour.reshape(-1)
    sides, near = _steps(owner.shape[1])
    active, count = np.empty((2, owner.size // 2 + 1), np.int64), np.zeros(2, np.int64)
    _at_borders(label, first_row & 1, active, count)
    for turn in range(ROUNDS):
        moved = []
        # All pixels of one colour of the chessboard, then those of the other: no two of either touch.
        for field in (1, 0):
            at = active[field, : count[field]]
            places, taken = np.empty(at.size, np.int64), np.empty(at.size, np.int64)
            changes = _half_step(at, *flat, sides, near, turn, len(colours.bands), weight, places, taken)
            moved.append(places[:changes])
        if turn + 1 < ROUNDS:
            count[:] = 0
            _around(np.concatenate(moved), label, first_row & 1, np.zeros(label.shape, np.bool_), active, count)
    return owner[inside]


@kernel
def _label(owners: Labels, lookup: Labels, owner: Labels, label: Labels) -> None:
    """Copy area labels to ``owner`` and look the label of each up."""
    for row in range(owners.shape[0]):
        for col in range(owners.shape[1]):
            owner[row, col] = owners[row, col]
            label[row, col] = lookup[owners[row, col]]


@kernel
def _pack(bands: Array, chosen: Ints, darkest: Array, steps: Array, colour: Ints) -> None:
    """Write some bands as 7 bits each into the lanes of ``colour``, and a 1 into the lane that counts."""
    for row in range(colour.shape[0]):
        for col in range(colour.shape[1]):
            colour[row, col] = 1 << _COUNT_LANE
        for i in range(chosen.size):
            lane, low, step = i * _LANE, darkest[i], steps[i]
            for col in range(colour.shape[1]):
                grey = (np.float32(bands[chosen[i], row, col]) - low) * step
                grey = np.float32(0) if grey < np.float32(0) else grey
                grey = np.float32(127) if grey > np.float32(127) else grey
                colour[row, col] |= np.int64(np.int32(grey)) << lane


@kernel
def _at_borders(label: Labels, odd: int, found: Ints, count: Ints) -> None:
    """Add the pixels beside which another label lies to the row of ``found`` that their field's colour has."""
    height, width = label.shape
    for row in range(RADIUS, height - RADIUS):
        for col in range(RADIUS, width - RADIUS):
            mine = label[row, col]
            same = (mine == label[row, col - 1]) & (mine == label[row, col + 1])
            same &= (mine == label[row - 1, col]) & (mine == label[row + 1, col])
            if not same and mine > 0:
                field = (row + col + odd) & 1
                found[field, count[field]] = row * width + col
                count[field] += 1


@kernel
def _half_step(
    at: Ints,
    owner: Labels,
    label: Labels,
    colour: Ints,
    sides: Ints,
    near: Ints,
    turn: int,
    bands: int,
    weight: np.float32,
    moved: Ints,
    taken: Ints,
) -> int:
    """Let pixels change sides that no two of are neighbours; notes those that did and returns how many."""
    changes = 0
    for i in range(at.size):
        place = at[i]
        mine = label[place]
        source = place
        for side in range(4):
            there = place + sides[(side + turn) & 3]
            if label[there] != mine and label[there] > 0:
                source = there
                break
        if source == place:
            continue
        theirs = label[source]
        sum_mine, sum_theirs = np.int64(0), np.int64(0)
        for step in range(near.size):
            beside = place + near[step]
            sum_mine += colour[beside] if label[beside] == mine else 0
            sum_theirs += colour[beside] if label[beside] == theirs else 0
        count_mine, count_theirs = np.float32(sum_mine >> _COUNT_LANE), np.float32(sum_theirs >> _COUNT_LANE)
        if count_mine == 0:
            continue
        each_mine, each_theirs = np.float32(1) / count_mine, np.float32(1) / count_theirs
        gain = np.float32(0)
        for band in range(bands):
            lane = band * _LANE
            own = np.float32((colour[place] >> lane) & _LANE_MASK)
            far_mine = own - np.float32((sum_mine >> lane) & _LANE_MASK) * each_mine
            far_theirs = own - np.float32((sum_theirs >> lane) & _LANE_MASK) * each_theirs
            gain += far_mine * far_mine
            gain -= far_theirs * far_theirs
        if gain + weight * (count_theirs - count_mine) > 0:
            moved[changes], taken[changes] = place, source
            changes += 1
    for i in range(changes):
        owner[moved[i]], label[moved[i]] = owner[taken[i]], label[taken[i]]
    return changes


@kernel
def _around(moved: Ints, label: Labels, odd: int, seen: npt.NDArray[np.bool_], found: Ints, count: Ints) -> None:
    """Add the pixels with a label within ``RADIUS`` of those that moved, as :func:`_at_borders` does."""
    width = label.shape[1]
    for i in range(moved.size):
        row, col = moved[i] // width, moved[i] % width
        for down in range(-RADIUS, RADIUS + 1):
            reach = RADIUS - abs(down)
            for right in range(-reach, reach + 1):
                if not seen[row + down, col + right] and label[row + down, col + right] > 0:
                    seen[row + down, col + right] = True
                    field = (row + down + col + right + odd) & 1
                    found[field, count[field]] = (row + down) * width + col + right
                    count[field] += 1


def _steps(width: int) -> tuple[Ints, Ints]:
    """From a pixel of a flat raster to its four neighbours, clockwise from above, and to all within ``RADIUS``."""
    around = range(-RADIUS, RADIUS + 1)
    near = [down * width + right for down in around for right in around if 0 < abs(down) + abs(right) <= RADIUS]
    return np.array((-width, 1, width, -1)), np.array(near)
