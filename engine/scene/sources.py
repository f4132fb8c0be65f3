"""From what the user names to one GDAL raster: files, folders, mosaics, stacks, warped rasters and their levels.

Guarantees: only headers are read; files that do not belong together are refused with what differs; the grid of a
mosaic is that of its first file, extended to all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import EngineWarning, GeolocationWarning, NoCrsWarning, NoOverviewWarning, SceneError
from engine.scene.bands import BandFacts
from engine.scene.grid import Grid
from engine.scene.header import Header, is_gdal_name, open_dataset, read_header
from engine.scene.vrt import is_stack, mosaic_document, stack_document
from engine.scene.warp import needs_warp, warped_backing

RASTER_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("tif", "tiff", "gtiff", "jp2", "j2k", "img", "vrt", "png", "jpg", "jpeg"),
        *("bmp", "dat", "bil", "bsq", "bip", "ecw", "nc", "hdf", "h5"),
    )
)
"""Suffixes that count as rasters in a folder; a file named by itself may have any."""

_LARGE_PX = 16_000_000

Level = tuple[int, int, Callable[[], Any]]
"""Width, height and opener of one resolution."""


@dataclass(frozen=True)
class Backing:
    """What a scene stands on.

    Attributes:
        name: Short name.
        sources: Files or addresses.
        header: Facts of the raster as GDAL presents it.
        grid: Its grid.
        band_facts: Facts of its bands.
        levels: Resolutions, the finest first.
        notices: Warnings that do not depend on the CRS.
    """

    name: str
    sources: tuple[str, ...]
    header: Header
    grid: Grid
    band_facts: tuple[BandFacts, ...]
    levels: tuple[Level, ...]
    notices: tuple[EngineWarning, ...] = ()

    def warnings_for(self, grid: Grid) -> tuple[EngineWarning, ...]:
        """Warnings of this raster on a grid, whose CRS the user may have set."""
        found: list[EngineWarning] = list(self.notices)
        if grid.crs is None:
            found.append(
                NoCrsWarning(
                    "The raster has no coordinate reference system: areas count pixels, and exports carry no place."
                )
            )
        elif not grid.is_earth:
            found.append(
                GeolocationWarning(
                    "The raster lies on another planet or moon; longitudes, latitudes and areas are that body's."
                )
            )
        if grid.width * grid.height > _LARGE_PX and len(self.levels) == 1:
            found.append(
                NoOverviewWarning("The raster is large and has no overviews: showing all of it at once takes a while.")
            )
        return tuple(found)


def open_backing(source: str | Path | Sequence[str | Path], roles: Mapping[str, int]) -> Backing:
    """Find out what a source is and read its header.

    Raises:
        SceneError: It cannot be opened or its files do not belong together.
    """
    files, name = _files(source)
    if len(files) == 1:
        header = read_header(files[0])
        if header.alpha_band is not None and header.alpha_band in roles.values():
            header = read_header(files[0], alpha_as_data=True)
        if needs_warp(header):
            return _warped(header, name)
        return _plain(header, files, name, header.bands)
    headers = [read_header(file) for file in files]
    unusable = next((h for h in headers if needs_warp(h)), None)
    if unusable is not None:
        raise SceneError(
            "the file is placed by control points or RPCs, which a mosaic cannot take",
            where=unusable.where,
            remedy="Open it alone, or warp it to a map grid first (gdalwarp).",
        )
    document, notices = stack_document(headers) if is_stack(headers) else mosaic_document(headers)
    header = read_header(document, where=f"{name} ({len(files)} files)")
    facts = header.bands
    if is_stack(headers):
        facts = tuple(replace(h.bands[0], file_stem=Path(h.source).stem, color="undefined") for h in headers)
    else:
        header = replace(header, driver=headers[0].driver, compression=headers[0].compression)
    return _plain(header, files, name, facts, notices)


def _plain(
    header: Header,
    files: Sequence[str],
    name: str,
    facts: tuple[BandFacts, ...],
    notices: tuple[EngineWarning, ...] = (),
) -> Backing:
    if header.palette is not None:
        facts = tuple(BandFacts(color=color) for color in ("red", "green", "blue"))
    grid = Grid(header.width, header.height, header.transform, header.crs)
    levels: list[Level] = [(header.width, header.height, _opener(header, None))]
    for number in range(len(header.overviews)):
        with open_dataset(header.source, where=header.where, overview_level=number) as overview:
            size = overview.width, overview.height
        if size[0] < levels[-1][0]:
            levels.append((*size, _opener(header, number)))
    return Backing(name, tuple(files), header, grid, facts, tuple(levels), notices)


def _warped(header: Header, name: str) -> Backing:
    grid, levels, warped, notice = warped_backing(header)
    return Backing(name, (header.source,), warped, grid, header.bands, levels, (notice,))


def _opener(header: Header, level: int | None) -> Callable[[], Any]:
    return lambda: open_dataset(header.source, where=header.where, overview_level=level)


def _files(source: str | Path | Sequence[str | Path]) -> tuple[list[str], str]:
    """Absolute files or GDAL names, and a short name for all."""
    if isinstance(source, str | Path):
        text = str(source)
        if is_gdal_name(text):
            return [text], text if len(text) < 60 else f"…{text[-56:]}"
        path = Path(text).expanduser().absolute()
        if path.is_dir():
            return _folder(path), path.name
        if not path.exists():
            raise SceneError("there is no such file", where=path, remedy="Check the path and its spelling.")
        return [str(path)], path.stem
    parts = [_files(part) for part in source]
    files = [file for found, _ in parts for file in found]
    if not files:
        raise SceneError("no file was named", remedy="Name at least one raster.")
    repeated = next((file for i, file in enumerate(files) if file in files[:i]), None)
    if repeated is not None:
        raise SceneError("the file is named twice", where=repeated, remedy="Name every file once.")
    return files, parts[0][1] if len(files) == 1 else f"{parts[0][1]} + {len(files) - 1}"


def _folder(path: Path) -> list[str]:
    try:
        found = [p for p in path.iterdir() if p.is_file() and p.suffix.lower() in RASTER_SUFFIXES]
    except OSError as error:
        raise SceneError(
            f"the folder cannot be listed: {error}", where=path, remedy="Check its permissions."
        ) from error
    if not found and _is_dataset(path):
        return [str(path)]
    if not found:
        raise SceneError(
            "the folder holds no rasters",
            where=path,
            remedy="Choose the folder that holds the tiles themselves (GeoTIFF, JPEG 2000, PNG, VRT …).",
        )
    return [str(p) for p in sorted(found, key=lambda p: natural_key(p.name))]


def _is_dataset(folder: Path) -> bool:
    """Whether GDAL takes the folder itself for a raster, as it does Zarr and Sentinel-2 products."""
    try:
        with open_dataset(str(folder)):
            return True
    except SceneError:
        return False


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts B2 before B10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", text)]
