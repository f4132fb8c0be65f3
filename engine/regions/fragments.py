"""Small fragments join their best neighbour: rounds of contraction on a graph of areas, no loop over pixels.

Guarantees: deterministic (ties go to the lower number); every join follows an edge of the graph, so what was
connected stays connected; an area below the threshold survives only if it has no neighbour at all or is protected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.kernels import best_neighbours
from engine.regions.runs import Ints, fold_edges, sum_by

Array = npt.NDArray[Any]
Affinity = Callable[[Ints, Ints, Ints, Ints], npt.NDArray[np.float64]]
"""From group number of each node, first and second group of each edge and its length: how well they fit."""


def by_length(groups: Ints, first: Ints, second: Ints, length: Ints) -> npt.NDArray[np.float64]:
    """Affinity that only counts shared edges."""
    return length.astype(np.float64)


def absorb_small(
    sizes: Array,
    edges: tuple[Ints, Ints, Ints],
    minimum: float,
    *,
    affinity: Affinity = by_length,
    protected: npt.NDArray[np.bool_] | None = None,
) -> Ints:
    """Let areas smaller than ``minimum`` join neighbours, the smallest first.

    Args:
        sizes: Size of each node, in the unit of ``minimum``.
        edges: Both ends (node numbers) and length of each edge.
        minimum: Smaller nodes look for a neighbour.
        affinity: Scores the edges of a round; the best neighbour has the highest score.
        protected: Nodes that look for no neighbour themselves (others may still join them).

    Returns:
        Group number of each node, 0..groups-1 in order of the groups' first nodes.
    """
    groups = np.arange(sizes.size, dtype=np.int64)
    first, second, length = edges
    area = sizes.astype(np.float64)
    still = np.zeros(sizes.size, bool) if protected is None else protected.copy()
    smallest = float(area.min(initial=minimum))
    level = min(minimum, max(smallest, minimum / 1024) * 2)
    while first.size:
        small = (area < level) & ~still
        near = small[first] | small[second]
        if not near.any():
            if level >= minimum:
                break
            level = min(minimum, level * 2)
            continue
        a, b = first[near], second[near]
        best, value = np.arange(area.size), np.full(area.size, -np.inf)
        best_neighbours(a, b, affinity(groups, a, b, length[near]), small, best, value)
        number, joined = _follow(best)
        area = sum_by(joined, area, number)
        kept = np.zeros(number, bool)
        kept[joined[still]] = True
        still = kept
        groups = joined[groups]
        first, second, length = fold_edges(joined[first], joined[second], length)
    return groups


def _follow(root: Ints) -> tuple[int, Ints]:
    """Groups that form when each node joins the one that ``root`` names, its best neighbour or itself.

    Nodes that are each other's best neighbour are the only cycles there can be: on a longer one all edges would score
    the same, and ties go to the lower number.

    Returns:
        Their number, and the group of each node, numbered in order of the groups' first nodes.
    """
    count = root.size
    mutual = (root[root] == np.arange(count)) & (root > np.arange(count))
    root[mutual] = np.flatnonzero(mutual)
    while True:
        above = root[root]
        if np.array_equal(above, root):
            break
        root = above
    first = np.full(count, count)
    np.minimum.at(first, root, np.arange(count))
    lead = first[root]
    heads = lead == np.arange(count)
    return int(heads.sum()), (np.cumsum(heads) - 1)[lead]
