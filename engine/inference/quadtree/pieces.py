"""A scene piece by piece: blocks of pixels in reading order, read ahead, of bounded size.

Guarantees: memory holds two pieces, whatever the scene's size; pixels without data are zero and flagged, those beyond
the scene included; an error while reading is raised where the pieces are taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.scene import Raster, Scene, Window

_PIECE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A block of a scene.

    Attributes:
        top: First row, without margin.
        left: First column, without margin.
        data: ``[bands, height, width]`` as stored, margin included; 0 where invalid.
        valid: ``[height, width]``.
        share: Share of the scene that is done once this piece is.
    """

    top: int
    left: int
    data: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    share: float


def pieces(scene: Scene, bands: Sequence[int], edge: int, margin: int) -> Iterator[Piece]:
    """Blocks of ``edge`` x ``edge`` pixels with ``margin`` more on each side, row by row.

    Several blocks are read at a time, so that scenes stored in strips are read once.

    Args:
        scene: The scene.
        bands: Band numbers from 1.
        edge: Rows and columns of a block; the last ones reach beyond the scene.
        margin: Pixels more on each side.
    """
    row_bytes = (edge + 2 * margin) * edge * len(bands) * np.dtype(scene.dtype).itemsize
    together = max(1, _PIECE_BYTES // row_bytes)
    rows, cols = -(-scene.height // edge), -(-scene.width // edge)
    plan = [(row, first, min(first + together, cols)) for row in range(rows) for first in range(0, cols, together)]
    waiting = deque[tuple[tuple[int, int, int], Future[Raster]]]()
    done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="rs-pieces") as pool:
        try:
            for part in [*plan, None]:
                if part is not None:
                    row, first, stop = part
                    window = Window(
                        first * edge - margin,
                        row * edge - margin,
                        (stop - first) * edge + 2 * margin,
                        edge + 2 * margin,
                    )
                    waiting.append((part, pool.submit(scene.read, window, bands=bands)))
                while waiting and (part is None or len(waiting) > 1):
                    (row, first, stop), future = waiting.popleft()
                    raster = future.result()
                    valid = raster.valid
                    if raster.data.dtype.kind == "f":
                        valid = valid & np.isfinite(raster.data).all(axis=0)
                        np.copyto(raster.data, 0, where=~valid)
                    for col in range(first, stop):
                        done += 1
                        here = np.s_[(col - first) * edge : (col - first + 1) * edge + 2 * margin]
                        yield Piece(
                            row * edge, col * edge, raster.data[:, :, here], valid[:, here], done / (rows * cols)
                        )
        finally:
            for _, future in waiting:
                future.cancel()
