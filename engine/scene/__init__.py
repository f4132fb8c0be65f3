"""Scenes: georeferenced rasters read at any window, scale and bands. Importing this never imports torch."""

from rasterio.windows import Window

from engine.scene.bands import ROLES, Band, BandRole
from engine.scene.grid import Grid, GroundScale
from engine.scene.scene import Raster, Scene, open_scene

__all__ = [
    "ROLES",
    "Band",
    "BandRole",
    "Grid",
    "GroundScale",
    "Raster",
    "Scene",
    "Window",
    "open_scene",
]
