"""What ``rs-engine doctor`` looks at, one function a subject.

Guarantees: a check never raises for what it is there to find; everything found wrong comes with what to do. Versions
of packages are read from their metadata, so Qt is never imported.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from engine.cli.console import size_text
from engine.environment import foreign_paths
from engine.errors import EngineWarning

_NEEDED = (
    "torch", "numpy", "scipy", "scikit-image", "rasterio", "pyogrio", "pyproj", "shapely", "geopandas", "pyarrow",
    "safetensors", "pydantic", "PySide6-Essentials", "pyqtgraph",
)  # fmt: skip
_TRAINING = ("lightning", "torchmetrics")
_FORMATS = ("GTiff", "COG", "VRT", "JP2OpenJPEG", "HDF4", "HDF5", "netCDF", "ECW", "MrSID")
_QT_LIBRARIES = {
    "EGL": "libegl1",
    "GL": "libgl1",
    "xkbcommon": "libxkbcommon0",
    "dbus-1": "libdbus-1-3",
    "fontconfig": "libfontconfig1",
    "xcb-cursor": "libxcb-cursor0",
}
_FREE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """A finding.

    Attributes:
        name: Its subject.
        status: ``ok``, ``warn`` where something works less well, ``fail`` where something needed is missing.
        detail: What was found.
        remedy: What to do; empty where nothing is to be done.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def all_checks() -> Iterator[Check]:
    """All findings, in the order a person reads them."""
    yield _program()
    yield from _packages()
    yield from _native()
    yield from _paths()
    yield from _device()
    yield from _models()
    yield from _folders()
    yield from _window()


def _program() -> Check:
    detail = f"{_version('rs-viewer') or 'a checkout'}, Python {platform.python_version()}, {platform.platform()}"
    return Check("RS Viewer", "ok", detail)


def _packages() -> Iterator[Check]:
    found = {name: _version(name) for name in (*_NEEDED, *_TRAINING)}
    yield Check("packages", "ok", ", ".join(f"{name} {number}" for name, number in found.items() if number))
    missing = [name for name in _NEEDED if not found[name]]
    if missing:
        yield Check("packages", "fail", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    if not all(found[name] for name in _TRAINING):
        yield Check("training", "warn", "the training extra is not installed", "pip install '.[train]' in the clone")
    if _version("opencv-python"):
        yield Check(
            "opencv-python",
            "warn",
            "it brings Qt plugins of its own, which can keep the window from starting",
            "pip uninstall opencv-python && pip install opencv-python-headless",
        )


def _native() -> Iterator[Check]:
    try:
        import pyogrio
        import pyproj
        import rasterio
        import shapely
    except ImportError as error:
        yield Check("GDAL", "fail", f"cannot be loaded: {error}", "pip install --force-reinstall rasterio pyogrio")
        return
    gdal = f"{rasterio.__gdal_version__} for rasters, {pyogrio.__gdal_version_string__} for vectors"
    yield Check("GDAL", "ok", gdal)
    yield Check("PROJ, GEOS", "ok", f"{pyproj.proj_version_str}, {shapely.geos_version_string}")
    with rasterio.Env() as env:
        drivers = set(env.drivers())
    missing = [name for name in _FORMATS if name not in drivers]
    detail = f"{len(drivers)} raster formats" + (f"; not in this GDAL: {', '.join(missing)}" if missing else "")
    yield Check("formats", "ok", detail)
    try:
        pyproj.Transformer.from_crs("EPSG:32632", "OGC:CRS84", always_xy=True)
        rasterio.crs.CRS.from_epsg(32632).to_wkt()
    except (pyproj.exceptions.ProjError, rasterio.errors.CRSError) as error:
        yield Check("PROJ data", "fail", str(error), "Unset PROJ_DATA and PROJ_LIB, or reinstall pyproj and rasterio.")


def _paths() -> Iterator[Check]:
    found = foreign_paths()
    for foreign in found:
        yield Check(
            foreign.variable,
            "warn",
            f"{foreign.path} belongs to another program",
            f"unset {foreign.variable} (rs-engine ignores it; other Python programs may fail on it)",
        )
    if not found:
        yield Check("data paths", "ok", "PROJ_DATA and GDAL_DATA lead to no other program")


def _device() -> Iterator[Check]:
    try:
        from engine.inference.device import list_devices

        devices = list_devices()
    except (ImportError, OSError) as error:
        yield Check("PyTorch", "fail", f"cannot be loaded: {error}", "pip install --force-reinstall torch")
        return
    first = devices[0]
    memory = f", {size_text(first.memory_bytes)}" if first.memory_bytes else ""
    card = _graphics_driver()
    if first.kind == "cpu" and card:
        yield Check(
            "device",
            "warn",
            f"{first.label}, although there is a graphics card ({card}). {first.reason}",
            "Install the PyTorch that fits the driver: https://pytorch.org/get-started",
        )
    else:
        yield Check("device", "ok", f"{first.label}{memory}. {first.reason}" + (f" Driver: {card}." if card else ""))
    for other in devices[1:]:
        yield Check("other device", "ok", other.label)


def _models() -> Iterator[Check]:
    from engine.models.catalog import DEFAULT_MODEL, list_models

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list_models()
    for item in caught:
        if issubclass(item.category, EngineWarning):
            yield Check("models", "warn", str(item.message), "Replace or delete that file.")
    if any(info.name == DEFAULT_MODEL for info in found):
        yield Check("models", "ok", ", ".join(info.name for info in found))
    else:
        yield Check(
            "models",
            "fail",
            f"the shipped model {DEFAULT_MODEL} is not there",
            "Reinstall RS Viewer, or name another model with --model.",
        )


def _folders() -> Iterator[Check]:
    import platformdirs

    for name, folder in (
        ("cache folder", platformdirs.user_cache_path("rs-viewer", appauthor=False)),
        ("data folder", platformdirs.user_data_path("rs-viewer", appauthor=False)),
    ):
        yield _writable(name, folder)


def _writable(name: str, folder: Path) -> Check:
    near = folder
    while not near.exists() and near != near.parent:
        near = near.parent
    try:
        with tempfile.TemporaryFile(dir=near):
            free = shutil.disk_usage(near).free
    except OSError as error:
        return Check(name, "fail", f"{folder} cannot be written to: {error.strerror}", f"Make {near} writable.")
    if free < _FREE_BYTES:
        return Check(name, "warn", f"{folder}, only {size_text(free)} free", "Free some space on that disk.")
    return Check(name, "ok", f"{folder}, {size_text(free)} free")


def _window() -> Iterator[Check]:
    if not sys.platform.startswith("linux"):
        return
    missing = [package for library, package in _QT_LIBRARIES.items() if ctypes.util.find_library(library) is None]
    if missing:
        yield Check(
            "window libraries",
            "warn",
            f"the window may not start without {', '.join(missing)}",
            f"sudo apt-get install {' '.join(missing)}",
        )
    else:
        yield Check("window libraries", "ok", "those that Qt needs are there")
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        yield Check("screen", "ok", "none here; rs-engine needs none, rs-viewer draws offscreen")


def _graphics_driver() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(line.strip() for line in answer.stdout.splitlines() if line.strip()) or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
