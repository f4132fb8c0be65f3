"""Whole files or none: output under a temporary name, renamed at the end, with errors a user can act on.

Guarantees: the final name is taken by one rename; whatever goes wrong, cancelling included, no temporary file
stays behind; errors of the operating system and of the format libraries leave as :class:`OutputError`.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyogrio.errors
import rasterio.errors
from rasterio._err import CPLE_BaseError  # what rasterio.shutil raises; it has no public name

from engine.errors import EngineError, OutputError

FULL_DISK_BYTES = 1 << 20
"""Less free space than this after a failed write means that the disk is full."""

_LIBRARY_ERRORS = (
    OSError,
    pa.ArrowException,
    rasterio.errors.RasterioError,
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
    pyogrio.errors.GeometryError,
    pyogrio.errors.FieldError,
    CPLE_BaseError,
    RuntimeError,
)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a temporary name beside ``path``; on success what was written there becomes ``path``.

    Args:
        path: The final name. Its folder is made where it does not exist.

    Raises:
        OutputError: The folder cannot be written to, the disk is full, or a library could not write.
    """
    check_target(path)
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            _sync(draft)
            draft.replace(path)
        except EngineError:
            raise
        except _LIBRARY_ERRORS as error:
            raise output_error(error, path) from error
    finally:
        for left in path.parent.glob(f"{draft.name}*") if path.parent.is_dir() else ():
            left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def check_target(path: Path) -> None:
    """Say before any work is done that a file cannot be written.

    Raises:
        OutputError: It is a folder, its folder is no folder or not writable, or another program has it open.
    """
    remedy = "Choose another file name or a folder that you can write to."
    if path.is_dir():
        raise OutputError("the export would replace a folder", where=path, remedy="Give a file name inside it.")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError("the export's folder is a file", where=folder, remedy=remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError("the export's folder cannot be written to", where=folder, remedy=remedy)
    if path.with_name(path.name + "-wal").exists():
        raise OutputError(
            "the file is open in another program",
            where=path,
            remedy=f"Close it there (if nothing has it open, delete {path.name}-wal), or export under another name.",
        )


def output_error(error: Exception, path: Path) -> OutputError:
    """Turn what a library says into a sentence about the file and what would work."""
    folder = path.parent if path.parent.is_dir() else Path.cwd()
    full = shutil.disk_usage(folder).free < FULL_DISK_BYTES
    code = getattr(error, "errno", None)
    if full or code in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            "the disk is full; nothing was left under the final name",
            where=path,
            remedy="Free some space there, or export to another disk.",
        )
    if isinstance(error, PermissionError) or code in (errno.EACCES, errno.EROFS, errno.EPERM):
        return OutputError("the file cannot be written", where=path, remedy="Choose a folder that you can write to.")
    reason = " ".join(str(error).split()) or type(error).__name__
    return OutputError(
        f"writing failed: {reason}", where=path, remedy="Try another folder or another format (.gpkg takes everything)."
    )


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
