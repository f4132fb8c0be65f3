"""Reader threads of a run: scene pixels in, batches of windows out, in an order that never changes.

Each row of windows is a band of the scene; a band's new rows are read once by a thread of a small pool, ahead of the
device, the rows it shares with the band above are kept. Windows without a valid pixel are left out; the others are
cut, padded by reflection where a small scene ends, and their gaps filled with the mean of what is valid.

Guarantees: the same scene and plan give the same batches in the same order, from whatever row they start; at most a
few bands are in memory; an error in any thread is raised where the items are taken; :meth:`RowReader.close` ends
every thread. Importing this module does not import torch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from engine.inference.plan import PlanWindow, WindowPlan
from engine.scene import Raster, Scene, ScenePair, Window
from engine.scene.roi import rasterize_roi

_POLL_S = 0.1
_QUEUED_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows for the device.

    Attributes:
        row: Row of windows they belong to.
        windows: Where they lie.
        pixels: ``[B, C, window, window]`` of the model's bands in the scene's data type.
        gaps: True where windows of the row are left out.
    """

    row: int
    windows: tuple[PlanWindow, ...]
    pixels: npt.NDArray[Any]
    gaps: bool


@dataclass(frozen=True, slots=True)
class RowDone:
    """No batch of this row follows.

    Attributes:
        row: The row of windows.
        image: All bands of the rows that become final with it.
        kept: Pixels of the whole band of the row that have data and lie in the region of interest.
        skipped: Windows of the row without a valid pixel.
    """

    row: int
    image: Raster
    kept: npt.NDArray[np.bool_]
    skipped: int


@dataclass(frozen=True, slots=True)
class _Band:
    """Pixels of the scene rows that a row of windows covers, over the grid's whole width.

    ``present`` pixels have data; ``kept`` ones lie in the region of interest too.
    """

    data: npt.NDArray[Any]
    present: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_]


class _StoppedError(Exception):
    """The consumer is gone."""


class RowReader:
    """Reads a scene row of windows by row of windows.

    Args:
        scene: The scene, or both of a comparison, on the analysis grid.
        plan: The windows.
        active: For each row, the windows that touch the region of interest.
        bands: 1-based bands of the model.
        batch: Windows a batch.
        roi_px: Region of interest in pixels, None for everything.
        replayed: Rows that are done already: only their image is given out.
        threads: Threads that read.
    """

    def __init__(
        self,
        scene: Scene | ScenePair,
        plan: WindowPlan,
        active: Sequence[Sequence[PlanWindow]],
        bands: Sequence[int],
        batch: int,
        *,
        roi_px: BaseGeometry | None = None,
        replayed: int = 0,
        threads: int = 2,
    ) -> None:
        self._scene, self._plan, self._active = scene, plan, active
        self._model_bands = np.asarray(bands) - 1
        self._batch, self._roi, self._replayed = batch, roi_px, replayed
        self._dtype = np.dtype(scene.dtype)
        self._queue: Queue[Batch | RowDone | BaseException | None] = Queue(_QUEUED_BATCHES)
        self._stop = threading.Event()
        self._ahead = max(1, threads)
        self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="rs-read")
        self._thread = threading.Thread(target=self._work, name="rs-rows", daemon=True)
        self._thread.start()

    def items(self) -> Generator[Batch | RowDone | None]:
        """Batches and ends of rows, in order; None from time to time while nothing is ready."""
        while True:
            try:
                item = self._queue.get(timeout=_POLL_S)
            except Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """End all threads and wait for them."""
        self._stop.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._rows()
            self._put(None)
        except _StoppedError:
            return
        except BaseException as error:
            try:
                self._put(error)
            except _StoppedError:
                return

    def _put(self, item: Batch | RowDone | BaseException | None) -> None:
        while True:
            if self._stop.is_set():
                raise _StoppedError
            try:
                self._queue.put(item, timeout=_POLL_S)
                return
            except Full:
                continue

    def _rows(self) -> None:
        requests = deque[tuple[int, int, Future[Raster] | None]]()
        above: _Band | None = None
        asked = 0
        for row in range(self._plan.rows):
            while asked < self._plan.rows and len(requests) <= self._ahead:
                requests.append(self._request(asked))
                asked += 1
            start, span, future = requests.popleft()
            band = self._band(row, start, span, future, above)
            self._give(row, band)
            above = band

    def _span(self, row: int) -> tuple[int, int]:
        """Columns that windows of a row touch."""
        windows = self._active[row]
        return (windows[0].col, windows[-1].col + windows[-1].width) if windows else (0, 0)

    def _request(self, row: int) -> tuple[int, int, Future[Raster] | None]:
        """Start reading a row's new pixels: from which grid row on, which first column, and what to wait for."""
        left, right = self._span(row)
        if left == right:
            return self._plan.row_starts[row], left, None
        start, stop = self._plan.row_starts[row], self._plan.band_stop(row)
        if row > 0:
            above = self._span(row - 1)
            if above[0] <= left and right <= above[1]:
                start = self._plan.band_stop(row - 1)
        window = Window(left, start, right - left, stop - start)
        return start, left, self._pool.submit(self._scene.read, window)

    def _band(self, row: int, start: int, left: int, future: Future[Raster] | None, above: _Band | None) -> _Band:
        top, stop = self._plan.row_starts[row], self._plan.band_stop(row)
        shape = stop - top, self._plan.width
        data = np.zeros((len(self._scene.bands), *shape), self._dtype)
        present = np.zeros(shape, np.bool_)
        kept = present if self._roi is None else np.zeros(shape, np.bool_)
        if future is None:
            return _Band(data, present, kept)
        known = start - top
        if known:
            assert above is not None
            data[:, :known] = above.data[:, -known:]
            present[:known] = above.present[-known:]
            kept[:known] = above.kept[-known:]
        raster = self._wait(future)
        cols = slice(left, left + raster.data.shape[2])
        good = raster.valid
        data[:, known:, cols] = raster.data
        if self._dtype.kind == "f":
            good = good & np.isfinite(raster.data).all(axis=0)
            np.copyto(data[:, known:, cols], 0, where=~good)
        present[known:, cols] = good
        if self._roi is not None:
            inside = rasterize_roi(self._roi, Window(left, start, good.shape[1], good.shape[0]))
            kept[known:, cols] = good & inside
        return _Band(data, present, kept)

    def _wait(self, future: Future[Raster]) -> Raster:
        while True:
            if self._stop.is_set():
                raise _StoppedError
            try:
                return future.result(timeout=_POLL_S)
            except TimeoutError:
                if future.done():
                    raise

    def _give(self, row: int, band: _Band) -> None:
        wanted = []
        if row >= self._replayed:
            for window in self._active[row]:
                if band.kept[:, window.col : window.col + window.width].any():
                    wanted.append(window)
            for first in range(0, len(wanted), self._batch):
                some = tuple(wanted[first : first + self._batch])
                self._put(Batch(row, some, self._cut(some, band), len(wanted) < self._plan.cols))
        start, stop = self._plan.final_rows(row)
        height = stop - start
        image = Raster(
            data=band.data[:, :height],
            valid=band.kept[:height],
            bands=self._scene.bands,
            transform=self._scene.grid.window_transform(Window(0, start, self._plan.width, height)),
            crs=self._scene.crs,
        )
        self._put(RowDone(row, image, band.kept, len(self._active[row]) - len(wanted)))

    def _cut(self, windows: Sequence[PlanWindow], band: _Band) -> npt.NDArray[Any]:
        edge = self._plan.window_px
        pixels = np.empty((len(windows), len(self._model_bands), edge, edge), self._dtype)
        for place, window in zip(pixels, windows, strict=True):
            cols = slice(window.col, window.col + window.width)
            place[...] = cut_window(band.data[self._model_bands, :, cols], band.present[:, cols], edge)
        return pixels


def cut_window(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_], edge: int) -> npt.NDArray[Any]:
    """One window as the model gets it: gaps filled with the mean of what is valid, small ones padded by reflection.

    Args:
        data: ``[C, h, w]`` with h and w at most ``edge``.
        valid: ``[h, w]``, true somewhere.
        edge: Edge of the window.
    """
    if not valid.all():
        mean = data[:, valid].mean(axis=1, dtype=np.float64)
        if data.dtype.kind in "ui":
            mean = np.rint(mean)
        data = np.where(valid, data, mean.astype(data.dtype)[:, None, None])
    below, right = edge - data.shape[1], edge - data.shape[2]
    if below or right:
        data = np.pad(data, ((0, 0), (0, below), (0, right)), mode="reflect")
    return data
