"""An analysis on disk, finished or still growing: its maps and regions, objects or cells, and its numbers.

Guarantees: reads are thread-safe; a map can be read while the run goes on, rows that are not final yet are nodata;
an analysis that becomes complete under an open object is noticed at the next read; folders of newer versions and
foreign folders are refused with a sentence. Importing this module does not import torch.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from engine.errors import AnalysisError
from engine.inference.growing import GrowingMaps
from engine.inference.info import (
    NODATA_CLASS,
    NODATA_CONFIDENCE,
    NODATA_REGION,
    AnalysisInfo,
    ClassShare,
    map_file,
    read_info,
)
from engine.inference.plan import WindowPlan
from engine.inference.rowfile import RowDamagedError
from engine.inference.store import INFO_NAME, PARTIAL_NAME, row_path
from engine.models.card import ModelCard
from engine.scene import Grid

if TYPE_CHECKING:
    import geopandas as gpd

    from engine.inference.detection.objects import FoundObjects
    from engine.inference.recognition.cells import Cell, FoundCells
    from engine.regions.table import Region, RegionTable

Layer = Literal["classes", "confidence", "regions"]
MAPS_OF: dict[str, tuple[Layer, ...]] = {
    "segmentation": ("classes", "confidence", "regions"),
    "change": ("classes", "confidence", "regions"),
    "classification": ("classes", "confidence"),
}
"""Maps that analyses of each kind hold."""
LAYER_TYPES: dict[Layer, tuple[npt.DTypeLike, int]] = {
    "classes": (np.uint8, NODATA_CLASS),
    "confidence": (np.uint8, NODATA_CONFIDENCE),
    "regions": (np.uint32, NODATA_REGION),
}


def open_analysis(path: str | Path) -> Analysis:
    """Open an analysis folder; one whose run is unfinished opens too, with ``complete`` False.

    Raises:
        AnalysisError: It is no analysis, or one of a newer version.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise AnalysisError(
            "there is no such analysis folder", where=folder, remedy="Give the folder a run has written."
        )
    final, begun = folder / INFO_NAME, folder / PARTIAL_NAME / "run.json"
    for source in (final, begun):
        if source.exists():
            return Analysis(folder, read_info(source), complete=source is final)
    raise AnalysisError("the folder holds no analysis", where=folder, remedy="Give the folder a run has written.")


class Analysis:
    """An analysis, opened with :func:`open_analysis`.

    Attributes:
        path: Its folder.
        grid: The grid its maps lie on.
    """

    def __init__(self, path: Path, info: AnalysisInfo, *, complete: bool) -> None:
        self.path = path
        self.grid: Grid = info.grid.grid()
        self._info = info
        self._complete = complete
        self._lock = threading.Lock()
        self._handles: dict[str, list[Any]] = {}
        draws = info.kind in MAPS_OF
        self._growing = GrowingMaps(path / PARTIAL_NAME, self.plan) if draws and not complete else None
        self._cells: FoundCells | None = None
        self._detections: gpd.GeoDataFrame | None = None
        self._regions: gpd.GeoDataFrame | None = None
        self._table: RegionTable | None = None
        self._region_table: RegionTable | None = None

    @property
    def info(self) -> AnalysisInfo:
        """What is in ``analysis.json``."""
        return self._info

    @property
    def kind(self) -> str:
        """``segmentation`` has maps and regions, ``classification`` maps and cells, ``detection`` has objects.

        ``change`` has maps and regions as well: regions of what changed, and its probability in the map of confidence.
        """
        return self._info.kind

    @property
    def card(self) -> ModelCard:
        """Card of the model that ran."""
        return self._info.model.card

    @property
    def plan(self) -> WindowPlan:
        """The windows of the run."""
        resolved = self._info.resolved
        return WindowPlan(self.grid.width, self.grid.height, resolved.window_px, resolved.overlap_px)

    @property
    def complete(self) -> bool:
        """True once everything is on disk; asks the disk until then."""
        if not self._complete and (self.path / INFO_NAME).exists():
            with self._lock:
                self._info = read_info(self.path / INFO_NAME)
                self._complete = True
        return self._complete

    def read(
        self, layer: Layer, window: Window | None = None, out_shape: tuple[int, int] | None = None
    ) -> npt.NDArray[Any]:
        """Read a map, taking the nearest pixel where the scale changes.

        Args:
            layer: ``classes`` (255 is nodata), ``confidence`` (percent, 0 is nodata) or ``regions`` (0 is none).
            window: Rectangle of the grid, which may reach outside; everything by default.
            out_shape: Rows and columns of the result.

        Raises:
            AnalysisError: The map is gone or damaged, or the analysis has no maps.
        """
        if layer in LAYER_TYPES and layer not in MAPS_OF.get(self.kind, ()):
            self._must_be("segmentation")
        if layer not in LAYER_TYPES:
            raise AnalysisError(
                f"there is no layer {layer!r}", where=self.path, remedy=f"Use {', '.join(LAYER_TYPES)}."
            )
        dtype, nodata = LAYER_TYPES[layer]
        window = Window(0, 0, self.grid.width, self.grid.height) if window is None else window
        shape = out_shape or (max(1, round(window.height)), max(1, round(window.width)))
        rows, row_place = _inside(window.row_off, window.height, shape[0], self.grid.height)
        cols, col_place = _inside(window.col_off, window.width, shape[1], self.grid.width)
        out = np.full(shape, nodata, dtype)
        if rows.size == 0 or cols.size == 0:
            return out
        if self.complete:
            out[row_place, col_place] = self._read_final(layer, rows, cols)
        else:
            assert self._growing is not None
            self._growing.read(layer, rows, cols, out[row_place, col_place])
        return out

    @property
    def region_table(self) -> RegionTable:
        """The table of regions, of which single rows and columns can be read.

        Raises:
            AnalysisError: The run is not complete, or the analysis has no regions.
        """
        from engine.regions.table import RegionTable

        self._must_be("segmentation")
        if not self.complete:
            raise AnalysisError(
                "the regions are not there before the run is complete", where=self.path, remedy="Let the run finish."
            )
        with self._lock:
            if self._table is None:
                self._table = RegionTable(self.path / "regions.parquet", self.grid)
            return self._table

    def regions(self) -> gpd.GeoDataFrame:
        """All regions, indexed by ``region_id``; read once, then kept.

        Raises:
            AnalysisError: The run is not complete, or the table is gone.
        """
        from engine.regions.table import read_regions

        path = self.region_table.path
        with self._lock:
            if self._regions is None:
                self._regions = read_regions(path)
            return self._regions

    def region(self, region_id: int) -> Region:
        """One region with its attributes and outline.

        Raises:
            AnalysisError: There is none of this number.
        """
        return self.region_table.region(region_id)

    def region_id_at(self, col: float, row: float) -> int:
        """Region at a grid position, 0 where there is none."""
        if not (0 <= col < self.grid.width and 0 <= row < self.grid.height):
            return NODATA_REGION
        return int(self.read("regions", Window(int(col), int(row), 1, 1))[0, 0])

    def detections(self) -> gpd.GeoDataFrame:
        """All objects as oriented polygons, indexed by ``detection_id``, the surest first; read once, then kept.

        Raises:
            AnalysisError: The run is not complete, the table is gone, or the analysis has no objects.
        """
        from engine.inference.detection.table import TABLE_NAME, read_table

        self._must_be("detection")
        if not self.complete:
            raise AnalysisError(
                "the table of objects is not there before the run is complete",
                where=self.path,
                remedy="Let the run finish.",
            )
        with self._lock:
            if self._detections is None:
                self._detections = read_table(self.path / TABLE_NAME)
            return self._detections

    def objects(self) -> FoundObjects:
        """All objects in pixels of the grid; while the run goes on, those of the rows of windows so far.

        Raises:
            AnalysisError: The table is gone or damaged, or the analysis has no objects.
        """
        from engine.inference.detection.journal import read_rows
        from engine.inference.detection.table import TABLE_NAME, read_objects

        self._must_be("detection")
        if self.complete:
            return read_objects(self.path / TABLE_NAME)
        from engine.inference.detection.borders import settle

        try:
            found, run = read_rows(self.path / PARTIAL_NAME, self.plan)
        except (OSError, RowDamagedError) as error:  # the run has just ended, or the row is being written anew
            if self.complete:
                return read_objects(self.path / TABLE_NAME)
            raise AnalysisError(
                f"the objects so far cannot be read: {error}", where=self.path, remedy="Try again in a moment."
            ) from error
        return settle(found, self.plan, run, self._info.resolved.max_overlap)

    def cells(self) -> gpd.GeoDataFrame:
        """All cells of a scene classifier as rectangles with their likeliest classes, indexed by ``cell_id``.

        Raises:
            AnalysisError: The run is not complete, the table is gone, or the analysis has no cells.
        """
        from engine.inference.recognition.table import TABLE_NAME, read_table

        self._must_be("classification")
        if not self.complete:
            raise AnalysisError(
                "the table of cells is not there before the run is complete",
                where=self.path,
                remedy="Let the run finish.",
            )
        return read_table(self.path / TABLE_NAME)

    def cell_at(self, col: float, row: float) -> Cell | None:
        """The cell at a grid position, None where there is none, or none yet while the run goes on.

        Raises:
            AnalysisError: The table is gone or damaged, or the analysis has no cells.
        """
        from engine.inference.recognition.cells import CellPlan

        self._must_be("classification")
        cells = CellPlan(self.plan)
        window = cells.window_at(col, row)
        found = None if window is None else self._found_cells(window // self.plan.cols)
        if window is None or found is None:
            return None
        place = found.place_of(window)
        return None if place is None else cells.cell(found, place)

    def _found_cells(self, row: int) -> FoundCells | None:
        """All cells, or those of a row of windows while the run goes on; None where that is not done yet."""
        from engine.inference.recognition.journal import read_cells as read_row
        from engine.inference.recognition.table import TABLE_NAME, read_cells

        if not self.complete:
            try:
                return read_row(row_path(self.path / PARTIAL_NAME, row))
            except (OSError, RowDamagedError):  # the row is not done yet, or the run has just ended
                if not self.complete:
                    return None
        with self._lock:
            if self._cells is None:
                self._cells = read_cells(self.path / TABLE_NAME, [entry.name for entry in self.card.classes])
            return self._cells

    def class_shares(self) -> list[ClassShare]:
        """How much of the scene each class covers; counted from the rows so far while the run goes on.

        Empty for an analysis without maps.
        """
        if self.complete or self.kind not in MAPS_OF:
            return list(self._info.class_shares)
        assert self._growing is not None
        return self._growing.class_shares(self.grid, self.card.classes)

    def close(self) -> None:
        """Close the files; reading opens them again."""
        with self._lock:
            handles, self._handles = self._handles, {}
        for pool in handles.values():
            for handle in pool:
                handle.close()

    def __enter__(self) -> Analysis:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _must_be(self, kind: str) -> None:
        if kind == "segmentation" and "regions" in MAPS_OF.get(self.kind, ()):
            return
        if self.kind != kind:
            asked = {"segmentation": "maps or regions", "detection": "objects", "classification": "cells"}[kind]
            if kind == "segmentation" and self.kind in MAPS_OF:
                asked = "regions"
            raise AnalysisError(
                f"a {self.kind} analysis holds no {asked}",
                where=self.path,
                remedy=f"Run a model whose task is {kind} over the scene.",
            )

    def _read_final(self, layer: Layer, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Pixels at grid rows and columns, through the overview that still has one for each."""
        top, left = int(rows[0]), int(cols[0])
        height, width = int(rows[-1]) + 1 - top, int(cols[-1]) + 1 - left
        shape = rows.size, cols.size
        step = min(height / shape[0], width / shape[1])
        with self._lock:
            pool = self._handles.setdefault(layer, [])
            handle = pool.pop() if pool else None
        path = self.path / map_file(self.kind, layer)
        try:
            if handle is None:
                handle = rasterio.open(path)
            if step >= 2:
                window = Window(left, top, width, height)
                return np.asarray(handle.read(1, window=window, out_shape=shape, resampling=Resampling.nearest))
            block = handle.read(1, window=Window(left, top, width, height))
        except (RasterioError, OSError) as error:
            raise AnalysisError(
                f"the map cannot be read: {error}", where=path, remedy="Run the analysis again."
            ) from error
        finally:
            if handle is not None:
                with self._lock:
                    self._handles.setdefault(layer, []).append(handle)
        return np.asarray(block[np.ix_(rows - top, cols - left)])


def _inside(start: float, length: float, count: int, size: int) -> tuple[npt.NDArray[np.intp], slice]:
    """Nearest grid pixels of ``count`` samples along an axis that lie on the grid, and which samples they are."""
    centres = np.floor(start + (np.arange(count) + 0.5) * (length / count)).astype(np.intp)
    inside = np.flatnonzero((centres >= 0) & (centres < size))
    if inside.size == 0:
        return centres[:0], slice(0, 0)
    place = slice(int(inside[0]), int(inside[-1]) + 1)
    return centres[place], place
