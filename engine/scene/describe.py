"""A scene's facts and identity in plain types, for people, JSON and resumed runs.

Guarantees: no pixel is read; everything returned survives a round trip through JSON.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.scene.header import is_gdal_name

if TYPE_CHECKING:
    from engine.scene.grid import Grid
    from engine.scene.scene import Scene

_HEADER_BYTES = 4096


def describe_scene(scene: Scene) -> dict[str, Any]:
    """Everything ``rs-engine info`` says about a scene."""
    header, grid = scene.header, scene.grid
    return {
        "name": scene.name,
        "sources": list(scene.sources),
        "driver": header.driver,
        "width": scene.width,
        "height": scene.height,
        "dtype": scene.dtype,
        "nodata": _number(scene.nodata),
        "mask": header.mask,
        "bands": [
            {
                "index": band.index,
                "name": band.name,
                "role": band.role,
                "wavelength_nm": band.wavelength_nm,
                "scale": band.scale,
                "offset": band.offset,
                "unit": band.unit,
            }
            for band in scene.bands
        ],
        "rgb": list(scene.rgb_indices()),
        "crs": crs_name(grid),
        "transform": list(grid.transform)[:6],
        "bounds": list(grid.bounds),
        "gsd_m": grid.gsd_m,
        "lonlat_bounds": list(grid.lonlat_bounds) if grid.lonlat_bounds else None,
        "overviews": list(scene.overviews),
        "block_shape": list(header.block_shape),
        "compression": header.compression or None,
        "palette": header.palette is not None,
        "warnings": [{"kind": type(w).__name__, "message": w.message} for w in scene.warnings],
    }


def identify(scene: Scene) -> dict[str, Any]:
    """What must be equal for two scenes to be the same input."""
    return {
        "files": [_file_identity(source) for source in scene.sources],
        "header_sha256": hashlib.sha256(json.dumps(_header_facts(scene), sort_keys=True).encode()).hexdigest(),
    }


def crs_name(grid: Grid) -> str | None:
    """Authority code of a grid's CRS where it has one, else its WKT."""
    return grid.crs.to_string() if grid.crs is not None else None


def _header_facts(scene: Scene) -> dict[str, Any]:
    grid = scene.grid
    return {
        "size": [scene.width, scene.height],
        "dtype": scene.dtype,
        "nodata": _number(scene.nodata),
        "mask": scene.header.mask,
        "crs": crs_name(grid),
        "transform": list(grid.transform)[:6],
        "bands": [[band.index, band.name, band.role] for band in scene.bands],
    }


def _file_identity(source: str) -> dict[str, Any]:
    path = Path(source)
    if is_gdal_name(source) or not path.is_file():
        return {"name": source, "size": None, "mtime_ns": None, "start_sha256": None}
    stat = path.stat()
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    return {
        "name": path.name,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "start_sha256": hashlib.sha256(start).hexdigest(),
    }


def _number(value: float | None) -> float | str | None:
    """JSON knows no NaN."""
    return str(value) if value is not None and value != value else value
