"""Boxes of many images in one table.

Guarantees: images come in the order of their names; a row that is no box is an error that names the table and the line;
tables that travel with the program are found by name.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.errors import TrainingError
from engine.resources import resources_dir
from engine.training.detection.dota import Annotations

COLUMNS = ("image", "class", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


def find_table(name_or_path: str) -> Path:
    """The file of a table in ``resources/annotations``, or the path itself."""
    shipped = resources_dir() / "annotations" / f"{name_or_path}.csv"
    return shipped if shipped.is_file() else Path(name_or_path)


def read_table(path: Path, codes: Mapping[str, int]) -> dict[str, Annotations]:
    """Read a table.

    Args:
        path: A CSV file with the columns :data:`COLUMNS`.
        codes: Class names with their codes; rows of other classes are passed over, their images stay.

    Returns:
        What is in each image, by the image's name as written, sorted.

    Raises:
        TrainingError: The table is missing, or a line is no box.
    """
    boxes: dict[str, list[tuple[list[float], int]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != COLUMNS:
                raise TrainingError(
                    "the table does not begin with its columns", where=path, remedy=f"They are {','.join(COLUMNS)}."
                )
            for row in reader:
                if not row:
                    continue
                try:
                    place = [float(value) for value in row[2:]]
                    if len(place) != 8 or not np.isfinite(place).all():
                        raise ValueError("four corners belong in it")
                except ValueError as error:
                    raise TrainingError(
                        f"line {reader.line_num} is no box: {error}", where=path, remedy=f"Use {','.join(COLUMNS)}."
                    ) from error
                known = boxes.setdefault(row[0], [])
                if row[1] in codes:
                    known.append((place, codes[row[1]]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(
            f"the table of boxes cannot be read: {error}", where=path, remedy="Correct `table` of the data source."
        ) from error
    return {
        name: Annotations(
            np.array([place for place, _ in found], np.float64).reshape(-1, 4, 2),
            np.array([label for _, label in found], np.int64),
            np.zeros(len(found), np.bool_),
        )
        for name, found in sorted(boxes.items())
    }
