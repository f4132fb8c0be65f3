"""Tiny rasters for the scene tests."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

UTM = "EPSG:32632"
PLACE = Affine(10, 0, 500_000, 0, -10, 5_300_000)


def write(path: Path, data, *, transform=PLACE, crs=UTM, descriptions=None, overviews=(), tags=None, **profile) -> Path:
    """Write [bands, rows, columns] as a GeoTIFF."""
    data = np.asarray(data)
    data = data[None] if data.ndim == 2 else data
    options = {"driver": "GTiff", "count": data.shape[0], "height": data.shape[1], "width": data.shape[2]}
    options |= {"dtype": data.dtype, "crs": crs, "transform": transform} | profile
    with rasterio.open(path, "w", **options) as file:
        file.write(data)
        for number, description in enumerate(descriptions or (), 1):
            file.set_band_description(number, description)
        for number, entries in (tags or {}).items():
            file.update_tags(number, **entries)
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(list(overviews), rasterio.enums.Resampling.nearest)
    return path


def numbers(bands=3, rows=40, cols=50, dtype="uint8", seed=0):
    """Random values from 1 up."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(1, info.max, (bands, rows, cols), endpoint=True).astype(dtype)
