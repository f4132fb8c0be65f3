"""Rows of a detection run on disk, before their objects are brought together.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.inference.detection.objects import FoundObjects
from engine.inference.plan import WindowPlan
from engine.inference.rowfile import RowFile
from engine.inference.store import RunStore, row_path

_ARRAYS = ("boxes", "scores", "labels", "windows")
_NO_STATE = np.zeros(0, np.float32)
"""Rows of objects do not lean on one another, so nothing is kept behind a row."""


def write_row(store: RunStore, row: int, found: FoundObjects, run: Sequence[int]) -> None:
    """Journal a row of windows: its objects and the numbers of the windows that were run."""
    arrays = {**found.arrays(), "run": np.array(run, np.int64)}
    store.write_row(row, arrays, {"row": row}, _NO_STATE)


def read_rows(partial: Path, plan: WindowPlan) -> tuple[FoundObjects, npt.NDArray[np.bool_]]:
    """Objects of all rows that are journalled without a gap, and which windows were run ``[rows, cols]``.

    Raises:
        RowDamagedError: A row is not as it was written.
    """
    parts = []
    run = np.zeros(plan.rows * plan.cols, np.bool_)
    for row in range(plan.rows):
        path = row_path(partial, row)
        if not path.exists():
            break
        *arrays, windows = RowFile(path).read_many((*_ARRAYS, "run"))
        parts.append(FoundObjects(*arrays))
        run[windows] = True
    return FoundObjects.joined(parts), run.reshape(plan.rows, plan.cols)
