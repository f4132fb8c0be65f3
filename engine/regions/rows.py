"""A row of windows with its areas, and the sheet it makes once the overlaps of neighbours are resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.canvas import Canvas
from engine.regions.runs import Ints
from engine.regions.seams import Ground

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

_GROUP = 16
"""Overlaps that are resolved in one go."""


@dataclass(frozen=True, slots=True)
class WindowAreas:
    """A window whose areas have scene-wide labels, ``base + 1`` and on."""

    col: int
    base: int
    labels: Labels
    edges: tuple[Ints, Ints]
    features: Array

    @property
    def stop(self) -> int:
        """One past the last column."""
        return self.col + int(self.labels.shape[1])


@dataclass
class WindowRow:
    """A row of windows that rows to come still touch."""

    start: int
    stop: int
    windows: list[WindowAreas]
    matched: bool = False


def compose_row(
    row: WindowRow, top: int, bottom: int, width: int, lookup: Labels, above: Labels | None, ground: Ground, start: int
) -> Labels:
    """Owners of some rows from one row of windows, overlaps of neighbours resolved.

    Args:
        row: The windows.
        top: First row wanted.
        bottom: One past the last.
        width: Columns of the scene.
        lookup: Root of each label.
        above: Owners of the row above ``top`` where that is settled.
        ground: Looks of the strip.
        start: First row of the strip.
    """
    sheet = np.zeros((bottom - top, width), np.int32)
    settled = None if top == row.start else above
    filled = 0
    waiting: list[tuple[int, int, Labels]] = []

    def settle() -> None:
        if not waiting:
            return
        shared = waiting[0][1]
        canvas = Canvas([(top - start, col) for col, _, _ in waiting], bottom - top, shared)
        for index, (col, _, labels) in enumerate(waiting):
            band = slice(col, col + shared)
            canvas.put(index, sheet[:, band], labels[:, :shared])
            canvas.margin(
                index,
                left=sheet[:, col - 1] if col else None,
                right=labels[:, shared] if shared < labels.shape[1] else None,
                above=None if settled is None else settled[band],
            )
        lean = (shared + 1) / 2 - np.arange(shared + 2)
        canvas.resolve(lookup, lean, ground)
        for index, (col, _, _) in enumerate(waiting):
            sheet[:, col : col + shared] = canvas.result(index)
        waiting.clear()

    for window in row.windows:
        labels = window.labels[top - row.start : bottom - row.start]
        both = max(0, filled - window.col)
        if waiting and (both != waiting[0][1] or window.col <= waiting[-1][0] + both or len(waiting) == _GROUP):
            settle()
        if both:
            waiting.append((window.col, both, labels))
        sheet[:, window.col + both : window.stop] = labels[:, both:]
        filled = max(filled, window.stop)
    settle()
    return sheet
