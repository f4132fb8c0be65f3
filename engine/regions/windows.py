"""Where each area label comes from: window, token and the token's vector, the vectors on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import OutputError

Array = npt.NDArray[Any]

NONE = -1
"""Window and token of pixels that no token claims."""


class WindowTable:
    """One row a label, in the order in which labels are made.

    Args:
        folder: Where the vectors go.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "features.bin"
        self._path.write_bytes(b"")
        self._windows: list[Array] = []
        self._tokens: list[Array] = []
        self._vectors: list[Array] = []
        self._stored = 0
        self.width = 0

    def add(self, window_index: int, tokens: Array, features: Array) -> None:
        """Add the areas of a window: the token of each, and the vectors ``[N, D]`` of its tokens."""
        first = self.store(features)
        number = tokens.astype(np.int32)
        self.add_areas(np.full(tokens.size, window_index, np.int32), number, first + number.astype(np.int64))

    def store(self, features: Array) -> int:
        """Store the vectors ``[N, D]`` of a window's tokens; returns the number of the first."""
        self.width = int(features.shape[1])
        first = self._stored
        self._stored += int(features.shape[0])
        try:
            with self._path.open("ab") as file:
                file.write(np.ascontiguousarray(features, np.float32).tobytes())
        except OSError as error:
            raise OutputError(
                f"token vectors cannot be written: {error.strerror or error}",
                where=self._path,
                remedy="Free some space or choose another output folder, then run again to continue.",
            ) from error
        return first

    def add_areas(self, windows: Array, tokens: Array, vectors: Array) -> None:
        """Add areas: window and token of each, and the number of its vector; ``NONE`` where no token claims it."""
        self._windows.append(windows.astype(np.int32))
        self._tokens.append(tokens.astype(np.int32))
        self._vectors.append(vectors.astype(np.int64))

    def add_bare(self, number: int) -> None:
        """Add areas that no token claims."""
        for column, dtype in ((self._windows, np.int32), (self._tokens, np.int32), (self._vectors, np.int64)):
            column.append(np.full(number, NONE, dtype))

    def sources(self) -> tuple[Array, Array, Array]:
        """Window, token and number of the vector of labels 1, 2, …; row 0 belongs to no label."""
        columns = (self._windows, self._tokens, self._vectors)
        heads = (np.full(1, NONE, np.int32), np.full(1, NONE, np.int32), np.full(1, NONE, np.int64))
        window, token, vector = (np.concatenate([head, *parts]) for head, parts in zip(heads, columns, strict=True))
        return window, token, vector

    def vectors(self, numbers: Array) -> Array:
        """Vectors by number, ``[len(numbers), D]``; zeros where the number is ``NONE``."""
        found = np.zeros((numbers.size, self.width), np.float32)
        if self._stored:
            stored = np.memmap(self._path, np.float32, "r", shape=(self._stored, self.width))
            known = numbers >= 0
            found[known] = stored[numbers[known]]
        return found
