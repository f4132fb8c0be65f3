"""Overviews of a raster file, built while other threads go on.

rasterio holds the interpreter's lock for as long as GDAL builds overviews: seconds for a large map, in which no other
thread computes and no window answers. The same function of the same GDAL is therefore called through ``ctypes``, which
lets go of the lock. Where GDAL's functions cannot be reached that way rasterio's own call is taken; the bytes are
the same.

Guarantees: overviews lie inside the file; all cores take part; being cancelled leaves a file without them or
with some. Importing this module does not import torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import rasterio
import rasterio._io
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError

from engine.errors import CancelledError

_RASTER, _UPDATE = 0x02, 0x01
_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_double, ctypes.c_char_p, ctypes.c_void_p)


def build_overviews(
    path: str | Path, factors: Sequence[int], resampling: Resampling, cancel: Callable[[], bool] | None = None
) -> None:
    """Add overviews to a GeoTIFF.

    Args:
        path: The file, closed by whoever wrote it.
        factors: How many times smaller each overview is.
        resampling: How pixels are joined.
        cancel: Asked now and then whether to stop.

    Raises:
        CancelledError: ``cancel`` said so.
        RasterioIOError: GDAL could not.
    """
    if not factors:
        return
    library = _gdal()
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
        if library is None:
            with rasterio.open(path, "r+", num_threads="ALL_CPUS") as file:
                file.build_overviews(list(factors), resampling)
        else:
            _build(library, str(path), factors, resampling, cancel or (lambda: False))


def _build(
    library: ctypes.CDLL, path: str, factors: Sequence[int], resampling: Resampling, cancel: Callable[[], bool]
) -> None:
    options = (ctypes.c_char_p * 2)(b"NUM_THREADS=ALL_CPUS", None)
    file = library.GDALOpenEx(path.encode(), _RASTER | _UPDATE, None, options, None)
    if not file:
        raise RasterioIOError(f"{path}: {_reason(library)}")
    stopped = False

    def go_on(_share: float, _message: bytes, _data: Any) -> int:
        nonlocal stopped
        stopped = cancel()
        return 0 if stopped else 1

    levels = (ctypes.c_int * len(factors))(*factors)
    try:
        failed = library.GDALBuildOverviews(
            file, resampling.name.upper().encode(), len(factors), levels, 0, None, _PROGRESS(go_on), None
        )
        reason = _reason(library) if failed else ""
    finally:
        library.GDALClose(file)
    if stopped:
        raise CancelledError("building overviews was cancelled", where=path)
    if failed:
        raise RasterioIOError(f"{path}: {reason}")


def _reason(library: ctypes.CDLL) -> str:
    return bytes(library.CPLGetLastErrorMsg() or b"").decode(errors="replace") or "GDAL gives no reason"


@cache
def _gdal() -> ctypes.CDLL | None:
    """The GDAL that rasterio is linked with, None where its functions are out of reach.

    A search in rasterio's extension module finds what it depends on, except on Windows, where GDAL lies beside it.
    """
    beside = Path(rasterio.__file__).parent.with_name("rasterio.libs")
    for name in (Path(rasterio._io.__file__), *sorted(beside.glob("gdal*.dll"))):
        try:
            library = ctypes.CDLL(str(name))
            opened, built, closed = library.GDALOpenEx, library.GDALBuildOverviews, library.GDALClose
            told = library.CPLGetLastErrorMsg
        except (AttributeError, OSError):
            continue
        text_list = ctypes.POINTER(ctypes.c_char_p)
        opened.argtypes = [ctypes.c_char_p, ctypes.c_uint, text_list, text_list, text_list]
        opened.restype = ctypes.c_void_p
        built.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.c_int,
            ctypes.POINTER(ctypes.c_int), _PROGRESS, ctypes.c_void_p,
        ]  # fmt: skip
        built.restype = ctypes.c_int
        closed.argtypes, closed.restype = [ctypes.c_void_p], None
        told.argtypes, told.restype = [], ctypes.c_char_p
        return library
    return None
