"""Pixels and their validity from one resolution level of a raster.

Guarantees: only the asked bands of the asked rectangle are read, the mask only where the raster has one; several
threads may read at once; what cannot be read gives a :class:`~engine.errors.SceneError` naming the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from engine.errors import SceneError
from engine.scene.handles import HandlePool
from engine.scene.header import Header

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


class PixelReader:
    """One level of a raster: the raster itself or one of its overviews.

    Args:
        header: Facts of the raster.
        width: Columns of this level.
        height: Rows of this level.
        opener: Opens a handle of this level.
    """

    def __init__(self, header: Header, width: int, height: int, opener: Callable[[], Any]) -> None:
        self.width = width
        self.height = height
        self._header = header
        self._pool = HandlePool(opener)
        self._dtype = np.dtype("uint8") if header.palette else None
        if not header.is_complex and self._dtype is None:
            self._dtype = np.dtype(header.dtype)
        self._palette = _palette_table(header) if header.palette else None

    def read(self, col: int, row: int, width: int, height: int, bands: Sequence[int]) -> tuple[Array, Mask | None]:
        """Pixels [bands, height, width] of a rectangle that lies inside, 0 where invalid.

        Args:
            col: First column.
            row: First row.
            width: Columns.
            height: Rows.
            bands: Scene band numbers, from 1.

        Returns:
            Data and validity; None where every pixel is valid.
        """
        header = self._header
        if header.is_complex:
            raise complex_error(header)
        window = Window(col, row, width, height)
        numbers = [1] if self._palette is not None else [header.data_bands[i - 1] for i in bands]
        with rasterio.Env(), self._pool.lend() as handle:  # Env: GDAL's remarks go to the log, not the screen
            try:
                if self._palette is not None:
                    return self._expand(handle, window, bands)
                return self._read(handle, window, numbers)
            except (RasterioError, OSError) as error:
                raise _read_error(header, window, error) from error

    def close(self) -> None:
        """Close the handles."""
        self._pool.close()

    def _read(self, handle: Any, window: Window, numbers: list[int]) -> tuple[Array, Mask | None]:
        header = self._header
        if header.mask == "alpha":
            stack = handle.read([*numbers, header.alpha_band], window=window, out_dtype=self._dtype)
            data, valid = stack[:-1], stack[-1] > 0
        else:
            data = handle.read(numbers, window=window, out_dtype=self._dtype)
            valid = None
            if header.mask == "nodata":
                valid = self._has_value(handle, window, numbers, data)
            elif header.mask == "mask":
                valid = handle.read_masks(numbers[0], window=window) > 0
        if data.dtype.kind == "f":
            finite = np.isfinite(data).all(axis=0)
            valid = finite if valid is None else valid & finite
        if valid is None or bool(valid.all()):
            return data, None
        data[:, ~valid] = 0
        return data, valid

    def _has_value(self, handle: Any, window: Window, numbers: list[int], data: Array) -> Mask | None:
        """Validity from the nodata value.

        In floats and below zero the value is unmistakable: one band without data is enough. An integer such as 0 or
        255 also occurs as a dark or bright value, so there a pixel is missing only if all bands of the raster say so.
        """
        nodata = self._header.nodata
        if nodata is None or np.isnan(nodata):
            return None
        value = data.dtype.type(nodata)
        if data.dtype.kind == "f" or nodata < 0:
            return np.asarray((data != value).all(axis=0))
        valid = data[0] != value
        for band in data[1:]:
            valid |= band != value
        others = [i for i in self._header.data_bands if i not in numbers]
        if others and not valid.all():
            for number in others:
                valid |= handle.read(number, window=window) != value
        return np.asarray(valid)

    def _expand(self, handle: Any, window: Window, bands: Sequence[int]) -> tuple[Array, Mask | None]:
        assert self._palette is not None
        colors, shown = self._palette
        header = self._header
        codes, *alpha = handle.read([1] if header.mask != "alpha" else [1, header.alpha_band], window=window)
        data = colors[[i - 1 for i in bands]][:, codes]
        valid = shown[codes]
        if alpha:
            valid &= alpha[0] > 0
        elif header.mask == "mask":
            valid &= handle.read_masks(1, window=window) > 0
        if valid.all():
            return data, None
        data[:, ~valid] = 0
        return data, valid


def complex_error(header: Header) -> SceneError:
    """Why complex data cannot be read, and what can."""
    remedy = "Convert it to amplitude first."
    if not header.where.startswith("<"):
        remedy = f"Open its amplitude instead: DERIVED_SUBDATASET:AMPLITUDE:{header.source}"
    return SceneError(
        "the raster holds complex numbers, which can be neither shown nor classified", where=header.where, remedy=remedy
    )


def _palette_table(header: Header) -> tuple[Array, Mask]:
    size = 1 << (8 * np.dtype(header.dtype).itemsize)
    colors = np.zeros((3, size), np.uint8)
    shown = np.zeros(size, bool)
    for code, (red, green, blue, alpha) in (header.palette or {}).items():
        if 0 <= code < size:
            colors[:, code] = red, green, blue
            shown[code] = alpha > 0
    if header.nodata is not None:
        shown[int(header.nodata)] = False
    return colors, shown


def _read_error(header: Header, window: Window, error: Exception) -> SceneError:
    reason = str(error.__cause__ or error).strip().rstrip(".")
    return SceneError(
        f"columns {window.col_off} to {window.col_off + window.width} and rows {window.row_off} to "
        f"{window.row_off + window.height} cannot be read: {reason}",
        where=header.where,
        remedy="The file is probably damaged or incomplete, or its server does not answer: copy or download it again.",
    )
