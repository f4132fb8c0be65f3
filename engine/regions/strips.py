"""Settled rows on disk: label runs, sums by area and contacts, one file a strip, so that memory follows the width.

An *atom* is a connected piece of one area within a strip. Atoms are numbered through the scene in scan order of
strips; what they belong to is decided at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import OutputError
from engine.regions.kernels import measure_runs
from engine.regions.runs import Ints, Runs, map_runs, sum_pairs

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StripMaps:
    """The final maps of some rows.

    Attributes:
        row_start: First row.
        classes: ``[h, W]`` class codes, 255 is nodata.
        confidence: ``[h, W]`` percent.
        runner_up: ``[h, W]`` class codes.
        bands: ``[B, h, W]`` values, without NaN.
    """

    row_start: int
    classes: Array
    confidence: Array
    runner_up: Array
    bands: Array

    def rows(self, part: slice) -> StripMaps:
        """A view of some rows."""
        start = self.row_start + (part.start or 0)
        classes, confidence, runner_up = (layer[part] for layer in self._layers)
        return StripMaps(start, classes, confidence, runner_up, self.bands[:, part])

    def below(self, lower: StripMaps) -> StripMaps:
        """These rows with those of ``lower`` underneath."""
        pairs = zip(self._layers, lower._layers, strict=True)
        classes, confidence, runner_up = (np.concatenate(pair) for pair in pairs)
        return StripMaps(
            self.row_start, classes, confidence, runner_up, np.concatenate((self.bands, lower.bands), axis=1)
        )

    def copy(self) -> StripMaps:
        """A copy that holds on to nothing else."""
        classes, confidence, runner_up = (layer.copy() for layer in self._layers)
        return StripMaps(self.row_start, classes, confidence, runner_up, self.bands.copy())

    @property
    def _layers(self) -> tuple[Array, Array, Array]:
        return self.classes, self.confidence, self.runner_up


@dataclass(frozen=True, slots=True)
class StripRecord:
    """What is kept of a strip. Arrays named by atom have a row for each atom of the strip.

    Attributes:
        shape: Rows and columns of the strip.
        row_start: First row.
        run_lengths: Pixels of each run of one atom, in scan order through row ends.
        run_atoms: Atom of each run, 1..n within the strip, 0 is none.
        label: Provisional label of each atom.
        pixels: Pixels of each atom.
        first: Scan index in the scene of each atom's first pixel.
        bbox: ``[n, 4]`` first row, one past the last, first column, one past the last.
        position: ``[n, 2]`` sum of columns and of rows of pixel centres.
        classes: ``[n, K]`` pixels by class.
        runner_up: ``[n, K]`` pixels by runner-up.
        confidence: Sum of confidence in percent.
        sums: ``[n, B]`` sum of values by band.
        squares: ``[n, B]`` sum of squared values.
        edges: ``[e, 3]`` contacts: two atoms (0-based within the strip; negative: counted back from the strip's
            first atom into the strip before) and the pixel edges they share.
        owners: ``[o, 3]`` atom (0-based), area label of the window whose token owns the pixels, and pixels.
    """

    shape: Array
    row_start: Array
    run_lengths: Array
    run_atoms: Array
    label: Array
    pixels: Array
    first: Array
    bbox: Array
    position: Array
    classes: Array
    runner_up: Array
    confidence: Array
    sums: Array
    squares: Array
    edges: Array
    owners: Array

    def atoms(self) -> Array:
        """Draw the atoms, ``[h, W]``, 0 is none."""
        height, width = (int(v) for v in self.shape)
        return np.repeat(self.run_atoms, self.run_lengths).reshape(height, width)


def measure_strip(
    owners: Array, lookup: Array, maps: StripMaps, class_count: int, above: Array | None, above_count: int
) -> tuple[StripRecord, Array]:
    """Cut settled rows into atoms and measure them.

    Args:
        owners: ``[h, W]`` area label of the window that owns each pixel, 0 is none.
        lookup: Provisional label of each area label.
        maps: The maps of these rows.
        class_count: Number of classes.
        above: ``[W]`` atoms of the row above, None for the first strip.
        above_count: Atoms of the strip above.

    Returns:
        The record, and the atoms of its last row.
    """
    height, width = owners.shape
    graph = map_runs(owners)
    runs = graph.runs
    owner_of_run = runs.take(owners)
    label_of_run = lookup[owner_of_run]
    count, atom_of_run = graph.connect(label_of_run, 0)
    plain = _plain_runs(atom_of_run, runs)
    inside = atom_of_run > 0
    first, pixels = np.zeros(count, np.int64), np.zeros(count, np.int64)
    bbox, position = np.zeros((count, 4), np.int64), np.zeros((count, 2))
    measure_runs(runs.starts, runs.lengths, atom_of_run, width, first, pixels, bbox, position)
    label = lookup[owners.reshape(-1)[first]]
    first += maps.row_start * width
    bbox[:, :2] += maps.row_start
    position[:, 1] += maps.row_start * pixels
    last = runs.starts >= (height - 1) * width
    last_row = np.repeat(atom_of_run[last], runs.lengths[last])
    top = runs.starts < width
    edges = _edges(
        graph.contacts(atom_of_run, count), np.repeat(atom_of_run[top], runs.lengths[top]), above, above_count
    )
    totals = [runs.sums(atom_of_run, count, band) for band in maps.bands]
    record = StripRecord(
        shape=np.array(owners.shape),
        row_start=np.array(maps.row_start),
        run_lengths=plain[0],
        run_atoms=plain[1],
        label=label,
        pixels=pixels,
        first=first,
        bbox=bbox,
        position=position,
        classes=runs.histogram(atom_of_run, count, maps.classes, class_count),
        runner_up=runs.histogram(atom_of_run, count, maps.runner_up, class_count),
        confidence=runs.sums(atom_of_run, count, maps.confidence)[0],
        sums=np.stack([total for total, _ in totals], axis=1),
        squares=np.stack([squares for _, squares in totals], axis=1),
        edges=edges,
        owners=np.stack(sum_pairs(atom_of_run[inside] - 1, owner_of_run[inside], runs.lengths[inside]), axis=1),
    )
    return record, last_row


def _plain_runs(atom: Array, runs: Runs) -> tuple[Array, Array]:
    """Runs of one atom, joined across owners and row ends: lengths and atoms."""
    head = np.flatnonzero(np.diff(atom, prepend=-1) != 0)
    starts = runs.starts[head]
    total = int(runs.starts[-1] + runs.lengths[-1])
    return np.diff(starts, append=total).astype(np.uint32), atom[head].astype(np.uint32)


def _edges(inner: tuple[Ints, Ints, Ints], top: Array, above: Array | None, above_count: int) -> Ints:
    first, second, length = inner
    within = np.stack((first - 1, second - 1, length), axis=1)
    if above is None:
        return within
    both = (above > 0) & (top > 0)
    up, down, shared = sum_pairs(above[both], top[both])
    return np.concatenate((np.stack((up - 1 - above_count, down - 1, shared), axis=1), within))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a table lies in its strip's file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


class StripStore:
    """Strip records in a folder, written top to bottom and read as often as needed.

    The tables of a strip lie in its file one after the other; where they begin is known to the store alone.

    Args:
        folder: Where the files go; made where missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.atom_bases: list[int] = [0]
        self._places: list[dict[str, _Place]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def atom_count(self) -> int:
        """Atoms of all strips."""
        return self.atom_bases[-1]

    def append(self, record: StripRecord) -> None:
        """Write the next strip.

        Raises:
            OutputError: The disk is full or the folder not writable.
        """
        tables = {field.name: np.asarray(getattr(record, field.name), order="C") for field in fields(record)}
        ends = np.cumsum([table.nbytes for table in tables.values()]).tolist()
        path = self._path(len(self))
        try:
            with path.open("wb") as file:
                file.writelines(table.reshape(-1).view(np.uint8).data for table in tables.values())
        except OSError as error:
            raise OutputError(
                f"the regions of a strip cannot be written: {error.strerror or error}",
                where=path,
                remedy="Free some space or choose another output folder, then run again to continue.",
            ) from error
        self._places.append(
            {
                name: _Place(table.dtype, table.shape, end - table.nbytes)
                for (name, table), end in zip(tables.items(), ends, strict=True)
            }
        )
        self.atom_bases.append(self.atom_count + record.label.size)

    def tables(self, index: int, *names: str) -> tuple[Array, ...]:
        """Some tables of a strip."""
        places = self._places[index]
        with self._path(index).open("rb", buffering=0) as file:
            return tuple(_read(file, places[name]) for name in names)

    def rows(self, lookup: Array) -> Iterator[tuple[int, Array]]:
        """Draw all strips from the top: first row and ``lookup`` of each pixel's atom (scene-wide, 1-based, 0 none)."""
        for index, base in enumerate(self.atom_bases[:-1]):
            shape, row_start, lengths, atoms = self.tables(index, "shape", "row_start", "run_lengths", "run_atoms")
            values = lookup[np.where(atoms > 0, atoms.astype(np.int64) + base, 0)]
            yield int(row_start), np.repeat(values, lengths).reshape(shape)

    def _path(self, index: int) -> Path:
        return self.folder / f"strip_{index:06d}.bin"


def _read(file: FileIO, place: _Place) -> Array:
    table: Array = np.empty(place.shape, place.dtype)
    file.seek(place.offset)
    if table.nbytes and file.readinto(table.reshape(-1).view(np.uint8).data) != table.nbytes:
        raise OutputError(
            "the regions of a strip were cut off by something else",
            where=str(file.name),
            remedy="Run again to continue; let no other program write into the folder.",
        )
    return table
