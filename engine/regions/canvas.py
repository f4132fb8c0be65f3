"""Bands where sheets overlap, laid out with a margin of settled land, several of one size below one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.regions.runs import Ints
from engine.regions.seams import Ground, resolve

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]


class Canvas:
    """Room for some bands of ``height`` x ``width`` pixels.

    Args:
        places: Row and column of each band's first pixel in the ground it will be judged by.
        height: Rows of a band.
        width: Columns of a band.
    """

    def __init__(self, places: Sequence[tuple[int, int]], height: int, width: int) -> None:
        self._places = np.array(places, np.int64)
        self._height, self._width = height, width
        shape = (len(places), height + 2, width + 2)
        self._first, self._second, self._land = (np.zeros(shape, np.int32) for _ in range(3))

    def put(self, index: int, first: Labels, second: Labels) -> None:
        """Fill band ``index`` with the labels of both sheets."""
        self._first[index, 1:-1, 1:-1] = first
        self._second[index, 1:-1, 1:-1] = second

    def margin(
        self,
        index: int,
        *,
        left: Labels | None = None,
        right: Labels | None = None,
        above: Labels | None = None,
        below: Labels | None = None,
    ) -> None:
        """Say what lies around band ``index``; None is nothing settled."""
        land = self._land[index]
        for side, given in (
            (land[1:-1, 0], left),
            (land[1:-1, -1], right),
            (land[0, 1:-1], above),
            (land[-1, 1:-1], below),
        ):
            if given is not None:
                side[:] = given

    def resolve(self, lookup: Labels, lean: Array, ground: Ground) -> None:
        """Decide all bands.

        Args:
            lookup: Root of each label.
            lean: Positive where the first sheet sees better; broadcast over a band with its margin.
            ground: What the bands look like.
        """
        rows, cols = self._height + 2, self._width + 2

        def change(flat: Ints) -> Array:
            line, col = np.divmod(flat, cols)
            band, row = np.divmod(line, rows)
            return ground.change(self._places[band, 0] + row - 1, self._places[band, 1] + col - 1)

        sheets = [lookup[part].reshape(-1, cols) for part in (self._first, self._second, self._land)]
        tilt = np.broadcast_to(lean, self._first.shape).reshape(-1, cols)
        take_first = resolve(sheets[0], sheets[1], sheets[2], tilt, change)
        np.copyto(self._second, self._first, where=take_first.reshape(self._first.shape))

    def result(self, index: int) -> Labels:
        """Labels of band ``index`` after :meth:`resolve`."""
        return self._second[index, 1:-1, 1:-1]
