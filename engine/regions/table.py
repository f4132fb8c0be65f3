"""The region table of an analysis: one region, or one column, without reading the rest.

Guarantees: a click costs one row group; outlines come in pixel coordinates of the analysis grid, ready to draw;
tables may be read from any thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from engine.errors import AnalysisError
from engine.scene import Grid

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Region:
    """A region and what is known about it.

    Attributes:
        region_id: Its number in the region raster.
        class_code: Code of its class.
        class_name: Name of its class.
        class_share: Share of its pixels with this class.
        confidence: Mean confidence of its pixels, 0..1; of a change the mean probability that they changed.
        runner_up: Name of the most frequent second class, None where the model has one class only.
        pixels: Number of pixels.
        area_m2: Geodesic area, None without CRS.
        perimeter_m: Geodesic length of all its borders along pixel edges, None without CRS.
        centroid: Longitude and latitude, or x and y without CRS.
        band_names: Names of the bands.
        means: Mean of each band.
        stds: Standard deviation of each band.
        homogeneity: 1 where all its pixels look the same, 0 where they vary as the scene does.
        token_index: Token that owns most of it, -1 where none does.
        window: Window of that token, -1 where none does.
        windows: Number of windows that contributed.
        rings: Outline and holes in pixel coordinates, ``[n, 2]`` columns and rows, closed.
    """

    region_id: int
    class_code: int
    class_name: str
    class_share: float
    confidence: float
    runner_up: str | None
    pixels: int
    area_m2: float | None
    perimeter_m: float | None
    centroid: tuple[float, float]
    band_names: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    homogeneity: float
    token_index: int
    window: int
    windows: int
    rings: tuple[npt.NDArray[np.float64], ...]


def read_regions(path: str | Path) -> gpd.GeoDataFrame:
    """The whole table with polygons, indexed by ``region_id``; token vectors come from :class:`RegionTable`.

    Raises:
        AnalysisError: The file is missing or damaged.
    """
    try:
        columns = [name for name in pq.read_schema(path).names if name != "features"]
        return gpd.read_parquet(path, columns=columns).set_index("region_id", drop=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AnalysisError(
            f"the region table cannot be read: {error}", where=path, remedy="Run the analysis again."
        ) from error


class RegionTable:
    """Reads ``regions.parquet``.

    Args:
        path: The file.
        grid: The analysis grid.

    Raises:
        AnalysisError: The file is missing or damaged.
    """

    def __init__(self, path: str | Path, grid: Grid) -> None:
        self.path = Path(path)
        self.grid = grid
        self._lock = threading.Lock()
        try:
            self._file = pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise AnalysisError(
                f"the region table cannot be read: {error}", where=self.path, remedy="Run the analysis again."
            ) from error

        about = self._file.metadata
        sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._group_starts = np.cumsum([0, *sizes[:-1]])

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def region(self, region_id: int) -> Region:
        """One region.

        Raises:
            AnalysisError: There is none with this number.
        """
        self._check(region_id)
        group = int(np.searchsorted(self._group_starts, region_id - 1, "right")) - 1
        names = [name for name in self._file.schema_arrow.names if name != "features"]
        with self._lock:
            table = self._file.read_row_group(group, columns=names)
        values = table.slice(region_id - 1 - self._group_starts[group], 1).to_pylist()[0]
        bands = tuple(name.removeprefix("mean_") for name in names if name.startswith("mean_"))
        place = ("x", "y") if "x" in names and "lon" not in names else ("lon", "lat")
        return Region(
            region_id=values["region_id"],
            class_code=values["class_code"],
            class_name=values["class"],
            class_share=values["class_share"],
            confidence=values["score" if "score" in values else "confidence"],
            runner_up=values["runner_up"],
            pixels=values["pixels"],
            area_m2=values["area_m2"],
            perimeter_m=values["perimeter_m"],
            centroid=(values[place[0]], values[place[1]]),
            band_names=bands,
            means=tuple(values[f"mean_{band}"] for band in bands),
            stds=tuple(values[f"std_{band}"] for band in bands),
            homogeneity=values["homogeneity"],
            token_index=-1 if values["token"] is None else values["token"],
            window=-1 if values["window"] is None else values["window"],
            windows=values["windows"],
            rings=self._rings(values["geometry"]),
        )

    def features(self, region_id: int) -> npt.NDArray[np.float32]:
        """Token vector of one region."""
        self._check(region_id)
        return np.asarray(self.all_features[region_id - 1])

    @cached_property
    def all_features(self) -> npt.NDArray[np.float32]:
        """Token vectors of all regions, ``[n, D]``; read once and kept."""
        with self._lock:
            column = self._file.read(columns=["features"]).column("features").combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values, np.float32).reshape(len(self), -1)

    def column(self, name: str) -> Array:
        """One column of numbers or names; row ``i`` is region ``i + 1``."""
        with self._lock:
            return np.asarray(self._file.read(columns=[name]).column(name).to_numpy())

    def _check(self, region_id: int) -> None:
        if not 1 <= region_id <= len(self):
            raise AnalysisError(
                f"there is no region {region_id}",
                where=self.path,
                remedy=f"Regions are numbered from 1 to {len(self)}.",
            )

    def _rings(self, blob: bytes) -> tuple[npt.NDArray[np.float64], ...]:
        polygon = shapely.from_wkb(blob)
        found: list[npt.NDArray[np.float64]] = []
        for ring in (polygon.exterior, *polygon.interiors):
            col, row = self.grid.colrow(*shapely.get_coordinates(ring).T)
            found.append(np.rint(np.stack((col, row), axis=1)))
        return tuple(found)
