"""The folder of a run on disk: final files, and beside them in ``.partial`` all that a later call needs to go on.

Guarantees: rows of windows are journalled one file each, in order, each whole or absent; the blending state behind
the last row lies in a file of its own, the one before it is kept until the new one is safe; a folder is used by one
run at a time; nothing that is not ours is overwritten or removed. Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from engine.errors import AnalysisError, OutputError
from engine.inference.info import AnalysisInfo, differences, read_info
from engine.inference.rowfile import RowDamagedError, RowFile, write_rowfile

INFO_NAME = "analysis.json"
PARTIAL_NAME = ".partial"
FINAL_NAMES = (
    "classes.tif",
    "classes.tif.aux.xml",
    "confidence.tif",
    "confidence.tif.aux.xml",
    "regions.tif",
    "regions.tif.aux.xml",
    "regions.parquet",
    "change.tif",
    "change.tif.aux.xml",
    "score.tif",
    "score.tif.aux.xml",
    "detections.parquet",
    "cells.parquet",
    INFO_NAME,
)

BLOCK_COLS = 4096
"""Columns of a strip that are compressed together, so that a small read unpacks little."""

LAYERS = ("classes", "confidence", "runner_up")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below ``path`` into a sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                "the disk is full",
                where=path,
                remedy="Free some space and run again with the same options: the run goes on where it stopped.",
            ) from error
        raise OutputError(
            f"the folder cannot be written to: {error.strerror or error}",
            where=path,
            remedy="Choose a folder you may write to.",
        ) from error


def row_path(partial: Path, row: int) -> Path:
    """Journal file of a row of windows."""
    return partial / "rows" / f"{row:06d}.row"


def labels_path(partial: Path, row: int) -> Path:
    """Provisional region labels of a row's strip, for looking on while a run goes on."""
    return partial / "rows" / f"{row:06d}.labels"


def blocks_of(name: str, strip: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Cut a strip into the column blocks it is stored in."""
    width = strip.shape[1]
    return {f"{name}.{col}": strip[:, col : col + BLOCK_COLS] for col in range(0, width, BLOCK_COLS)}


def read_strip(
    file: RowFile, name: str, width: int, col_start: int = 0, col_stop: int | None = None
) -> npt.NDArray[Any]:
    """Read columns of a strip that :func:`blocks_of` stored."""
    col_stop = width if col_stop is None else col_stop
    first = col_start // BLOCK_COLS * BLOCK_COLS
    parts = file.read_many(f"{name}.{col}" for col in range(first, col_stop, BLOCK_COLS))
    return np.concatenate(parts, axis=1)[:, col_start - first : col_stop - first]


class RunStore:
    """Folder of one run, held from opening to :meth:`close`.

    Args:
        path: The analysis folder.
        info: What is about to run.
        overwrite: Throw away what another run left in the folder.
    """

    def __init__(self, path: Path, info: AnalysisInfo, *, overwrite: bool = False) -> None:
        self.path = path
        self.partial = path / PARTIAL_NAME
        self.info = info
        self.complete = False
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            self.partial.mkdir(exist_ok=True)
            self._lock = _take_lock(self.partial / "lock")
        try:
            with writing(path):
                self._enter(overwrite)
        except BaseException:
            self.close()
            raise

    def _enter(self, overwrite: bool) -> None:
        final, begun = self.path / INFO_NAME, self.partial / "run.json"
        if overwrite:
            self._clear()
        elif final.exists():
            self._same_as(read_info(final))
            self.info = read_info(final)
            self.complete = True
            return
        elif begun.exists():
            earlier = read_info(begun)
            self._same_as(earlier)
            self.info = earlier
        else:
            taken = [name for name in FINAL_NAMES if (self.path / name).exists()]
            if taken:
                raise AnalysisError(
                    f"the folder holds {taken[0]} of something else",
                    where=self.path,
                    remedy="Choose another folder, or allow overwriting.",
                )
        (self.partial / "rows").mkdir(exist_ok=True)
        if not begun.exists():
            temporary = begun.with_name("run.json.tmp")
            temporary.write_text(self.info.to_json(), encoding="utf-8")
            temporary.replace(begun)

    def _same_as(self, earlier: AnalysisInfo) -> None:
        faults = differences(earlier.identity(), self.info.identity())
        if faults:
            raise AnalysisError(
                f"the folder holds an analysis of something else ({'; '.join(faults[:3])})",
                where=self.path,
                remedy="Choose another folder, repeat the options of that run, or allow overwriting.",
            )

    def _clear(self) -> None:
        for name in (INFO_NAME, *FINAL_NAMES):
            (self.path / name).unlink(missing_ok=True)
        for entry in self.partial.iterdir():
            if entry.name == "lock":
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    # -- rows -------------------------------------------------------------------------------------------------------

    def rows_done(self) -> int:
        """Rows of windows that are journalled without a gap and can be continued from; damaged ones do not count."""
        count = 0
        while _intact(row_path(self.partial, count)):
            count += 1
        while count and not _intact(self._tail_path(count - 1)):
            count -= 1
        return count

    def write_row(
        self, row: int, arrays: dict[str, npt.NDArray[Any]], meta: dict[str, Any], tail: npt.NDArray[np.float32]
    ) -> None:
        """Journal a row: first the blending state behind it, then the row itself."""
        with writing(self.path):
            write_rowfile(self._tail_path(row), {"tail": tail}, meta={"row": row}, raw=("tail",))
            write_rowfile(row_path(self.partial, row), arrays, meta=meta, raw=("features",))
            self._tail_path(row - 2).unlink(missing_ok=True)

    def write_labels(self, row: int, labels: npt.NDArray[np.uint32]) -> None:
        """Keep a strip's provisional region labels for whoever looks on."""
        with writing(self.path):
            write_rowfile(labels_path(self.partial, row), blocks_of("regions", labels), meta={"row": row})

    def row(self, row: int) -> RowFile:
        """Open the journal file of a row."""
        return RowFile(row_path(self.partial, row))

    def tail(self, row: int) -> npt.NDArray[np.float32]:
        """Blending state behind a row."""
        return RowFile(self._tail_path(row)).read("tail")

    def _tail_path(self, row: int) -> Path:
        return self.partial / f"tail-{row:06d}.bin"

    def work_dir(self) -> Path:
        """An empty folder for the region builder."""
        folder = self.partial / "regions"
        with writing(self.path):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        return folder

    # -- end --------------------------------------------------------------------------------------------------------

    def publish(self, name: str) -> None:
        """Give a finished file of ``.partial`` its final name."""
        with writing(self.path):
            source = self.partial / name
            with source.open("r+b") as file:
                os.fsync(file.fileno())
            source.replace(self.path / name)

    def publish_info(self, info: AnalysisInfo) -> None:
        """Write ``analysis.json``, the last file of a run, and clear ``.partial`` away."""
        with writing(self.path):
            text = self.partial / INFO_NAME
            text.write_text(info.to_json(), encoding="utf-8")
        self.publish(INFO_NAME)
        self.complete = True
        self.info = info

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Say what to do where the journal turns out to be damaged.

        Raises:
            AnalysisError: A row is not as it was written.
        """
        try:
            yield
        except RowDamagedError as error:
            raise AnalysisError(
                f"the journal of the run is damaged: {error}", where=self.path, remedy="Run again: the row is redone."
            ) from error

    def close(self) -> None:
        """Let go of the folder; of a complete run ``.partial`` goes away."""
        _drop_lock(self._lock)
        if self.complete:
            shutil.rmtree(self.partial, ignore_errors=True)

    def check_space(self, needed_bytes: int) -> None:
        """Refuse a run that the disk cannot hold.

        Raises:
            OutputError: Less is free than the run is expected to need.
        """
        free = shutil.disk_usage(self.path).free
        if free < needed_bytes:
            raise OutputError(
                f"the run needs about {needed_bytes / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free",
                where=self.path,
                remedy="Free some space or choose a folder on another disk.",
            )


def _intact(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        RowFile(path).verify()
    except RowDamagedError:
        return False
    return True


def _take_lock(path: Path) -> BinaryIO:
    """Lock a file for this process; the operating system frees it however the process ends."""
    file = path.open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise
        raise AnalysisError(
            "another run is at work in this folder",
            where=path.parent.parent,
            remedy="Wait for it to end or choose another folder.",
        ) from error
    return file


def _drop_lock(file: BinaryIO) -> None:
    if sys.platform == "win32" and not file.closed:
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    file.close()
