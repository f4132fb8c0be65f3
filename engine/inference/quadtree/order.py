"""The order in which greedy cutting opens the patches of one tree, for every budget at once.

Let e(patch) be the worst place in the order of scores on the path from its root. Patches are cut by rising e. Those
that share an e hang below the one patch that holds them up: it is cut first, then the same rule holds for the trees
below it. So places are given out in rounds; each settles the patches that hold others up and descends a level.

Guarantees: the order of ``engine.tokenizers.quadtree.run`` (lowest score, then the larger, upper, left patch), so the
first K patches are those that it cuts; patches that never take part are left out. Plain numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def greedy_order(scores: Sequence[npt.NDArray[np.float32]], taking_part: Sequence[Flags]) -> Ints:
    """Patches in the order in which they are cut.

    Args:
        scores: Scores of each level that can be cut, coarse to fine, ``[rows, cols]`` each.
        taking_part: Which of them may be cut. The patch above one that takes part takes part too.

    Returns:
        Numbers of patches, counted coarse to fine and row by row.
    """
    shapes = [level.shape for level in scores]
    there = np.concatenate([flags.ravel() for flags in taking_part]) if shapes else np.zeros(0, np.bool_)
    numbers = np.flatnonzero(there)
    values = np.concatenate([level.ravel() for level in scores])[numbers] if shapes else np.zeros(0, np.float32)
    keys = np.full(there.size, -1, np.int64)
    keys[numbers[np.argsort(values, kind="stable")]] = np.arange(numbers.size)
    worst = _path_max(keys, shapes)
    place = np.full(there.size, -1, np.int64)
    open_ones, base = numbers, np.zeros(numbers.size, np.int64)
    while open_ones.size:
        # Patches of one base fill the places from it on, in the order of what holds them up.
        held = worst[open_ones]
        ranking = np.argsort(base * (keys.size + 1) + held, kind="stable")
        open_ones, base, held = open_ones[ranking], base[ranking], held[ranking]
        index = np.arange(open_ones.size)
        new_base = np.concatenate(([True], base[1:] != base[:-1]))
        new_group = new_base | np.concatenate(([True], held[1:] != held[:-1]))
        first_of_base = np.maximum.accumulate(np.where(new_base, index, 0))
        first_of_group = np.maximum.accumulate(np.where(new_group, index, 0))
        start = base + first_of_group - first_of_base
        holds = keys[open_ones] == held
        place[open_ones[holds]] = start[holds]
        open_ones, base = open_ones[~holds], start[~holds] + 1
        below = np.full(keys.size, -1, np.int64)
        below[open_ones] = keys[open_ones]
        worst = _path_max(below, shapes)
    order = np.empty(numbers.size, np.int64)
    order[place[numbers]] = numbers
    return order


def _path_max(keys: Ints, shapes: Sequence[tuple[int, ...]]) -> Ints:
    """Largest key on the way down to each patch from its root, or from the last patch above it whose key is -1."""
    worst = keys.copy()
    start, above = 0, None
    for rows, cols in shapes:
        level = worst[start : start + rows * cols].reshape(rows, cols)
        if above is not None:
            np.maximum(level, spread(above, rows, cols), out=level, where=level >= 0)
        above = level
        start += rows * cols
    return worst


def spread(level: npt.NDArray[np.generic], rows: int, cols: int) -> npt.NDArray[np.generic]:
    """Each value for its four parts, cut to ``rows`` x ``cols``."""
    return level.repeat(2, axis=0)[:rows].repeat(2, axis=1)[:, :cols]
