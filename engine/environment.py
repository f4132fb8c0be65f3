"""Data paths of other programs in the environment: the usual reason for «PROJ: no such CRS» after a fresh install.

The wheels of rasterio, pyogrio and pyproj bring their own PROJ and GDAL data. Where ``PROJ_DATA`` or ``GDAL_DATA``
points into another installation (QGIS, conda, PostGIS), its files are of another version and coordinate systems fail.
Guarantees: only paths that hold another installation's files count as foreign, folders of extra grids do not;
installations that bring no data of their own (conda, Debian) are left alone. Imports nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

_VARIABLES = {"PROJ_DATA": "proj.db", "PROJ_LIB": "proj.db", "GDAL_DATA": "gdalvrt.xsd"}
_PACKAGES = ("rasterio", "pyogrio", "pyproj")


@dataclass(frozen=True, slots=True)
class ForeignPath:
    """A variable of the environment that leads the wheels to another program's files."""

    variable: str
    path: str


def foreign_paths() -> list[ForeignPath]:
    """Variables that point into another installation of PROJ or GDAL."""
    homes = [home for home in map(_home, _PACKAGES) if home is not None]
    found = []
    for variable, mark in _VARIABLES.items():
        if not any(next(home.rglob(mark), None) for home in homes):
            continue
        for part in os.environ.get(variable, "").split(os.pathsep):
            folder = Path(part)
            if part and (folder / mark).is_file() and not any(folder.resolve().is_relative_to(h) for h in homes):
                found.append(ForeignPath(variable, part))
    return found


def drop_foreign_paths() -> list[ForeignPath]:
    """Unset such variables for this process. Call it before anything imports GDAL.

    Returns:
        What was unset.
    """
    found = foreign_paths()
    for foreign in found:
        os.environ.pop(foreign.variable, None)
    return found


def _home(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
