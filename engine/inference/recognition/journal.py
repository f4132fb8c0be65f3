"""Rows of a recognition run on disk: the cells of a row of windows, and the rows of the maps that are final with it.

Importing this module does not import torch.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.inference.plan import WindowPlan
from engine.inference.recognition.cells import FoundCells
from engine.inference.rowfile import RowFile
from engine.inference.store import RunStore, blocks_of, read_strip, row_path

MAPS = ("classes", "confidence")
_NO_STATE = np.zeros(0, np.float32)
"""The maps are drawn from the cells alone, so nothing is kept behind a row."""

Rows = npt.NDArray[np.uint8]


def write_row(store: RunStore, row: int, found: FoundCells, maps: tuple[Rows, Rows]) -> None:
    """Journal a row of windows: its cells, and final rows of the class and confidence maps."""
    blocks = {
        key: block for name, strip in zip(MAPS, maps, strict=True) for key, block in blocks_of(name, strip).items()
    }
    store.write_row(row, {**found.arrays(), **blocks}, {"row": row}, _NO_STATE)


def read_cells(path: Path) -> FoundCells:
    """Cells of a journalled row.

    Raises:
        RowDamagedError: The row is not as it was written.
    """
    return FoundCells(*RowFile(path).read_many(field.name for field in fields(FoundCells)))


def read_rows(partial: Path, plan: WindowPlan, ranks: int) -> FoundCells:
    """Cells of all rows that are journalled without a gap.

    Raises:
        RowDamagedError: A row is not as it was written.
    """
    parts = []
    for row in range(plan.rows):
        path = row_path(partial, row)
        if not path.exists():
            break
        parts.append(read_cells(path))
    return FoundCells.joined(parts, ranks)


def read_maps(store: RunStore, row: int, width: int) -> tuple[Rows, Rows]:
    """Final rows of the maps, as journalled.

    Raises:
        RowDamagedError: The row is not as it was written.
    """
    file = store.row(row)
    classes, confidence = (read_strip(file, name, width) for name in MAPS)
    return classes, confidence
