"""Regions that a model sees as alike: nearest neighbours by the angle between token vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.errors import OptionError
from engine.regions.table import RegionTable


@dataclass(frozen=True, slots=True)
class Similar:
    """A region and how far it is.

    Attributes:
        region_id: The region.
        distance: 1 minus the cosine of the token vectors: 0 is the same, 2 the opposite.
    """

    region_id: int
    distance: float


class HasRegionTable(Protocol):
    """What has a region table, as an analysis has."""

    @property
    def region_table(self) -> RegionTable:
        """The table."""


def similar_regions(source: RegionTable | HasRegionTable, region_id: int, count: int = 50) -> list[Similar]:
    """The regions most like one, nearest first, without itself.

    Args:
        source: A region table or an analysis; the table's vectors are read once and kept.
        region_id: The region to compare with.
        count: How many at most.
    """
    if count < 1:
        raise OptionError(f"{count} similar regions cannot be shown", where="count", remedy="Ask for one or more.")
    table = source if isinstance(source, RegionTable) else source.region_table
    distance = distances(table.all_features, table.features(region_id))
    distance[region_id - 1] = np.inf
    count = min(count, distance.size - 1)
    if count == 0:
        return []
    near = np.argpartition(distance, count - 1)[:count]
    near = near[np.lexsort((near, distance[near]))]
    return [Similar(int(i) + 1, float(distance[i])) for i in near if np.isfinite(distance[i])]


def distances(vectors: npt.NDArray[np.float32], one: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosine distance of each row of ``vectors`` to ``one``; infinite for rows without direction."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    mine = float(np.sqrt(one @ one))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (vectors @ one) / (length * mine)
    return np.where((length > 0) & (mine > 0), np.maximum(0, 1 - cosine), np.inf).astype(np.float32)
