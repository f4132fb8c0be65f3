"""Maps of a run that is still going on, read from its journal.

Guarantees: thread-safe; rows that are not journalled yet keep the value they were asked with; what is looked at
again is read once: strips are kept thinned out, so that a zoomed-out picture costs little. Importing this module
does not import torch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.inference.info import ClassShare
from engine.inference.plan import WindowPlan
from engine.inference.rowfile import RowDamagedError, RowFile
from engine.inference.store import labels_path, read_strip, row_path
from engine.models.card import CardClass
from engine.scene import Grid

_THIN = 8
"""Every eighth row and column of a strip is kept once it was unpacked."""
_FILES = 512


class GrowingMaps:
    """Reads journal files of ``.partial``.

    Args:
        partial: The ``.partial`` folder.
        plan: The windows of the run.
    """

    def __init__(self, partial: Path, plan: WindowPlan) -> None:
        self._partial, self._plan = partial, plan
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, RowFile] = OrderedDict()
        self._thin: dict[tuple[str, int], npt.NDArray[Any]] = {}

    def read(self, layer: str, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp], out: npt.NDArray[Any]) -> None:
        """Fill ``out`` with the pixels at increasing grid rows and columns, as far as they are final."""
        starts = np.array(self._plan.row_starts)
        strips = np.searchsorted(starts, rows, side="right") - 1
        step = min(_step(rows), _step(cols))
        for strip in np.unique(strips):
            place = np.flatnonzero(strips == strip)
            wanted = rows[place] - starts[strip]
            if step >= _THIN:
                thin = self._thinned(layer, int(strip))
                if thin is not None:
                    inner = np.minimum(wanted // _THIN, thin.shape[0] - 1)
                    out[place] = thin[np.ix_(inner, cols // _THIN)]
                continue
            left = int(cols[0])
            block = self._strip(layer, int(strip), left, int(cols[-1]) + 1)
            if block is not None:
                out[place] = block[np.ix_(wanted, cols - left)]

    def class_shares(self, grid: Grid, classes: Sequence[CardClass]) -> list[ClassShare]:
        """Shares of the classes in the rows so far, from every eighth pixel of every eighth row."""
        counts = np.zeros(len(classes))
        area = np.zeros(len(classes))
        for strip, start in enumerate(self._plan.row_starts):
            thin = self._thinned("classes", strip)
            if thin is None:
                break
            middle = grid.ground(np.array([start + 0.5]), np.array([grid.width / 2])).area_m2[0]
            pixels = np.bincount(thin.reshape(-1), minlength=256)[: len(classes)] * float(_THIN * _THIN)
            counts += pixels
            area += pixels * middle
        total = area.sum()
        return [
            ClassShare(
                code=code,
                name=entry.name,
                color=entry.color,
                pixels=int(counts[code]),
                area_m2=float(area[code]) if grid.crs is not None else None,
                share=float(area[code] / total) if total else 0.0,
            )
            for code, entry in enumerate(classes)
        ]

    def _thinned(self, layer: str, strip: int) -> npt.NDArray[Any] | None:
        key = layer, strip
        with self._lock:
            known = self._thin.get(key)
        if known is None:
            whole = self._strip(layer, strip, 0, self._plan.width)
            if whole is None:
                return None
            known = whole[::_THIN, ::_THIN].copy()
            with self._lock:
                self._thin[key] = known
        return known

    def _strip(self, layer: str, strip: int, left: int, right: int) -> npt.NDArray[Any] | None:
        path = (labels_path if layer == "regions" else row_path)(self._partial, strip)
        try:
            with self._lock:
                file = self._files.pop(path, None)
            if file is None:
                file = RowFile(path)
            block = read_strip(file, layer, self._plan.width, left, right)
        except (FileNotFoundError, RowDamagedError):
            return None
        with self._lock:
            self._files[path] = file
            while len(self._files) > _FILES:
                self._files.popitem(last=False)
        return block


def _step(positions: npt.NDArray[np.intp]) -> float:
    return (positions[-1] - positions[0]) / (positions.size - 1) if positions.size > 1 else 1.0
