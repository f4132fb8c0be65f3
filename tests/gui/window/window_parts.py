"""Parts that the tests of the window share: tiny scenes, open dialogs, patience."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from PySide6.QtWidgets import QApplication, QMessageBox
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

WAIT_MS = 180_000


def write_scene(path: Path, *, size=(192, 320), crs="EPSG:32632", origin=(600_000.0, 5_300_000.0), seed=1) -> Path:
    """A raster of soft blobs in red, green, blue and near infrared, 4 m a pixel."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(20, 230, (4, height // 32 + 1, width // 32 + 1)).astype(np.uint8)
    data = coarse.repeat(32, axis=1).repeat(32, axis=2)[:, :height, :width]
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 4, "dtype": "uint8", "crs": crs}
    with rasterio.open(path, "w", transform=from_origin(*origin, 4.0, 4.0), **profile) as file:
        file.descriptions = ("red", "green", "blue", "nir")
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
        file.write(data)
    return path


def place(window, col: float, row: float) -> tuple[float, float]:
    """Map coordinates of a place on the analysis grid."""
    x, y = window.workspace.analysis.analysis.grid.xy(col, row)
    return float(x), float(y)


def dialogs() -> list[QMessageBox]:
    """Message boxes that are open."""
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.isVisible()]


def dismiss_dialogs() -> None:
    """Close all message boxes."""
    for box in dialogs():
        box.close()
