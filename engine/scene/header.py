"""What a raster file says about itself, read once and without touching pixels.

Guarantees: everything a scene needs to know is in one immutable :class:`Header`; files that cannot be opened give a
:class:`~engine.errors.SceneError` that says why and what would work.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from engine.errors import SceneError
from engine.scene.bands import BandFacts

MaskKind = Literal["none", "nodata", "alpha", "mask"]


@dataclass(frozen=True)
class Header:
    """Facts of one raster file.

    Attributes:
        source: What GDAL opens: a path, a URL or a VRT document.
        where: How to name the source in messages.
        driver: GDAL's name of the format.
        width: Columns.
        height: Rows.
        dtype: Type that holds the values of all bands, ``complex_int16`` included.
        nodata: Value that marks missing pixels, None where there is none or it cannot occur in this type.
        crs: Coordinate reference system.
        transform: Pixel to map positions; rows count downwards (0, -1, -2 …) where the file has no place on a map.
        georeferenced: Whether the file gives its own transform.
        gcps: Number of ground control points.
        gcps_crs: CRS of the ground control points.
        rpcs: Whether rational polynomial coefficients place the raster.
        data_bands: GDAL numbers of the bands that hold data (all but alpha).
        alpha_band: GDAL number of the alpha band.
        mask: What tells valid pixels from others.
        palette: Colours of the codes of a palette raster.
        overviews: Reduction factors of the overviews.
        block_shape: Rows and columns of a block.
        compression: Name of the compression, empty where none.
        bands: Facts of the data bands.
        tags: Metadata of the file.
    """

    source: str
    where: str
    driver: str
    width: int
    height: int
    dtype: str
    nodata: float | None
    crs: CRS | None
    transform: Affine
    georeferenced: bool
    gcps: int
    gcps_crs: CRS | None
    rpcs: bool
    data_bands: tuple[int, ...]
    alpha_band: int | None
    mask: MaskKind
    palette: Mapping[int, tuple[int, int, int, int]] | None
    overviews: tuple[int, ...]
    block_shape: tuple[int, int]
    compression: str
    bands: tuple[BandFacts, ...]
    tags: Mapping[str, str]

    @property
    def is_complex(self) -> bool:
        """Complex values have no order: they can be neither shown nor classified as they are."""
        return self.dtype.startswith("complex")


def read_header(source: str, *, where: str | None = None, alpha_as_data: bool = False) -> Header:
    """Read the header of a raster.

    Args:
        source: What GDAL opens.
        where: How to name it in messages; the source itself by default.
        alpha_as_data: Take an alpha band for a band of data.

    Raises:
        SceneError: It is missing, no raster, or a container of several.
    """
    name = where or source
    with (
        rasterio.Env(),
        open_dataset(source, where=name) as dataset,
    ):  # Env: GDAL's remarks go to the log, not the screen
        if dataset.count == 0:
            listed = ", ".join(dataset.subdatasets[:4])
            raise SceneError(
                "the file is a container without bands of its own"
                + (f"; it holds {len(dataset.subdatasets)} rasters" if listed else ""),
                where=name,
                remedy=f"Open one of them by its GDAL name: {listed}." if listed else "Open another file.",
            )
        return _facts(dataset, source, name, alpha_as_data)


def open_dataset(source: str, *, where: str | None = None, overview_level: int | None = None) -> Any:
    """Open a dataset for reading by one thread at a time.

    Sources of a VRT are never shared between handles, so that handles may be used side by side.

    Raises:
        SceneError: GDAL cannot open it.
    """
    options = {} if overview_level is None else {"overview_level": overview_level}
    try:
        with warnings.catch_warnings(), rasterio.Env(VRT_SHARED_SOURCE="NO"):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(source, **options)
    except RasterioIOError as error:
        raise _open_error(source, where or source, error) from error
    except (RasterioError, OSError, ValueError, TypeError) as error:
        raise SceneError(f"the raster cannot be opened: {error}", where=where or source) from error


def is_gdal_name(source: str) -> bool:
    """Whether a source is a URL, a GDAL file system path, a subdataset or a VRT document rather than a path."""
    return bool(
        source.startswith(("/vsi", "<VRTDataset"))
        or re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source)
        or re.match(r"[A-Z][A-Z0-9_]+:", source)
    )


def _facts(dataset: Any, source: str, where: str, alpha_as_data: bool) -> Header:
    colors = [_color(dataset, i) for i in dataset.indexes]
    alpha = next((i for i in dataset.indexes if colors[i - 1] == "alpha"), None)
    if alpha_as_data or dataset.count == 1:
        alpha = None
    data = tuple(i for i in dataset.indexes if i != alpha)
    dtype = _common_type([dataset.dtypes[i - 1] for i in data])
    nodata = _usable_nodata(dataset.nodatavals[data[0] - 1], dtype)
    gcps, gcps_crs = dataset.gcps
    transform = dataset.transform
    rpcs = dataset.rpcs is not None and transform == Affine.identity()
    georeferenced = transform != Affine.identity()
    palette = dataset.colormap(1) if colors[0] == "palette" and dataset.count == 1 else None
    return Header(
        source=source,
        where=where,
        driver=dataset.driver,
        width=dataset.width,
        height=dataset.height,
        dtype=dtype,
        nodata=nodata,
        crs=dataset.crs if georeferenced or rpcs else None,
        transform=transform if georeferenced else Affine(1, 0, 0, 0, -1, 0),
        georeferenced=georeferenced,
        gcps=0 if georeferenced else len(gcps),
        gcps_crs=gcps_crs,
        rpcs=rpcs,
        data_bands=data,
        alpha_band=alpha,
        mask=_mask_kind(dataset, data, alpha, nodata),
        palette=palette,
        overviews=tuple(dataset.overviews(data[0])),
        block_shape=tuple(dataset.block_shapes[0]),
        compression=str(dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "")),
        bands=tuple(_band_facts(dataset, i, colors[i - 1]) for i in data),
        tags=dataset.tags(),
    )


def _color(dataset: Any, index: int) -> str:
    try:
        return str(dataset.colorinterp[index - 1].name)
    except ValueError:  # a colour interpretation that this rasterio does not know yet
        return "undefined"


def _band_facts(dataset: Any, index: int, color: str) -> BandFacts:
    tags = dict(dataset.tags(index))
    tags.update(dataset.tags(index, ns="IMAGERY"))
    return BandFacts(
        description=dataset.descriptions[index - 1] or "",
        color=color,
        tags=tags,
        scale=dataset.scales[index - 1],
        offset=dataset.offsets[index - 1],
        unit=dataset.units[index - 1] or "",
    )


def _mask_kind(dataset: Any, data: Sequence[int], alpha: int | None, nodata: float | None) -> MaskKind:
    if nodata is not None:
        return "nodata"
    if alpha is not None:
        return "alpha"
    flags = dataset.mask_flag_enums[data[0] - 1]
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        return "mask"
    return "none"


def _common_type(dtypes: Sequence[str]) -> str:
    if any(name.startswith("complex") for name in dtypes):
        return next(name for name in dtypes if name.startswith("complex"))
    return str(np.result_type(*dtypes))


def _usable_nodata(value: float | None, dtype: str) -> float | None:
    """The nodata value, None where no pixel of this type can hold it."""
    if value is None or dtype.startswith("complex"):
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return float(value)
    info = np.iinfo(kind)
    return float(value) if np.isfinite(value) and float(value).is_integer() and info.min <= value <= info.max else None


def _open_error(source: str, where: str, error: Exception) -> SceneError:
    text = str(error)
    if is_gdal_name(source) and not source.startswith("<VRTDataset"):
        return SceneError(
            f"GDAL cannot open it: {text}",
            where=where,
            remedy="Check the address and the network; a URL must point at a raster file, not at a web page.",
        )
    path = Path(source)
    if not source.startswith("<VRTDataset"):
        if not path.exists():
            return SceneError("there is no such file", where=where, remedy="Check the path and its spelling.")
        if not os.access(path, os.R_OK):
            return SceneError("the file may not be read", where=where, remedy="Ask for permission to read it.")
        if path.is_file() and path.stat().st_size == 0:
            return SceneError("the file is empty", where=where, remedy="Copy or download it again.")
        if _looks_like_tiff(path):
            return SceneError(
                f"the TIFF is damaged or incomplete: {text}", where=where, remedy="Copy or download it again."
            )
    if "not recognized as being in a supported file format" in text:
        return SceneError(
            "this is no raster in a format that GDAL knows here",
            where=where,
            remedy="Open a GeoTIFF, JPEG 2000, PNG, JPEG or VRT; `rs-engine doctor` says what is missing.",
        )
    return SceneError(f"the raster cannot be opened: {text}", where=where, remedy="Copy or download it again.")


def _looks_like_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except OSError:
        return False
