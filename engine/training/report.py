"""What scoring a model gives, in one form for every task: the headline, a table of the classes, a confusion matrix.

Guarantees: the same report is printed, saved, and written on the card, so the three cannot differ.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import OutputError


@dataclass(frozen=True, slots=True)
class Extra:
    """A further measure.

    Attributes:
        plain: Its figures, in types that JSON knows.
        title: Title of its table.
        columns: Titles of the columns.
        rows: The table's cells.
    """

    plain: dict[str, Any]
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of a model on a split.

    Attributes:
        headline: Scores by key, in the order they are printed.
        titles: What the keys are called in a table.
        per_class: A column of scores for each key: class name to value.
        counts: How much was measured on, by unit (``tiles``, ``pixels``, ``images``).
        names: Class names in the order of their codes.
        confusion: ``[K, K]`` counts, rows are the truth; None where the task has none.
        extra: What else was measured, by name.
    """

    headline: dict[str, float]
    titles: dict[str, str]
    per_class: dict[str, dict[str, float]]
    counts: dict[str, int]
    names: tuple[str, ...]
    confusion: np.ndarray | None = None
    extra: dict[str, Extra] = field(default_factory=dict)

    def as_card_table(self) -> dict[str, Any]:
        """The form that cards carry; a score that is not defined is None."""
        return {
            **_rounded(self.headline),
            **{key: _rounded(column) for key, column in self.per_class.items()},
            **self.counts,
        }

    def as_plain(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        confusion = {} if self.confusion is None else {"confusion": self.confusion.tolist()}
        return {**self.as_card_table(), **confusion, **{name: extra.plain for name, extra in self.extra.items()}}


def save_report(report: Report, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write a report as ``report.json``, ``table.csv`` and, where there is a confusion matrix, ``confusion.png``.

    Args:
        report: The report.
        folder: Where; it is made.
        about: What else the JSON says (model, split).

    Raises:
        OutputError: The folder cannot be written to.
    """
    from engine.training.drawing import confusion_picture

    written = [folder / "report.json", folder / "table.csv"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written[0].write_text(json.dumps({**about, **report.as_plain()}, indent=1), encoding="utf-8")
        with written[1].open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["class", *report.per_class])
            for name in report.names:
                rows.writerow([name, *(f"{column[name]:.4f}" for column in report.per_class.values())])
            for key, value in report.headline.items():
                rows.writerow([report.titles.get(key, key), f"{value:.4f}"])
        if report.confusion is not None:
            written.append(folder / "confusion.png")
            confusion_picture(report.confusion, report.names).save(written[-1])
    except OSError as error:
        raise OutputError(
            f"the report cannot be written: {error}", where=folder, remedy="Name a folder that can be written to."
        ) from error
    return written


def _rounded(column: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in column.items()}
