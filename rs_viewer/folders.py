"""Folders that results go to: names that are proposed, what lies there, whether they can be written to.

Guarantees: nothing is written and nothing removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import OutputError

RESULT_SUFFIX = "_analysis"
CHANGE_SUFFIX = "_changes"


def interrupted(out_dir: str | Path) -> bool:
    """Whether a folder holds an analysis that was begun and not finished."""
    place = Path(out_dir)
    return (place / ".partial" / "run.json").is_file() and not (place / "analysis.json").is_file()


def default_out_dir(sources: Sequence[str], documents: str | Path) -> str:
    """Where results go unless somebody says otherwise: beside the scene, in the documents where that is read-only."""
    first = Path(sources[0]) if sources else Path("scene")
    stem = first.name if first.is_dir() else first.stem
    beside = first.parent
    local = "://" not in sources[0] and not sources[0].startswith("/vsi") if sources else False
    home = beside if local and beside.is_dir() and os.access(beside, os.W_OK) else Path(documents) / "RS Viewer"
    return str(home / f"{stem}{RESULT_SUFFIX}")


def default_change_dir(before: Sequence[str], after: Sequence[str], documents: str | Path) -> str:
    """Where the comparison of two scenes goes unless somebody says otherwise: beside the earlier one."""
    beside = default_out_dir(before, documents).removesuffix(RESULT_SUFFIX)
    return f"{beside}_{Path(after[0]).stem}{CHANGE_SUFFIX}"


def free_out_dir(path: str | Path) -> str:
    """``path``, or the first of ``path-2``, ``path-3`` … that holds no finished analysis."""
    place = Path(path)
    number = 1
    while (place / "analysis.json").exists():
        number += 1
        place = Path(f"{path}-{number}")
    return str(place)


def ensure_writable(path: str | Path) -> None:
    """Refuse a folder that cannot be made or written to.

    Raises:
        OutputError: It cannot.
    """
    place = Path(path)
    existing = next((parent for parent in (place, *place.parents) if parent.exists()), place)
    if not existing.is_dir():
        raise OutputError(
            "the output folder's path leads through a file", where=existing, remedy="Choose another folder."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError("the output folder cannot be written to", where=existing, remedy="Choose another folder.")
