"""Scenes: georeferenced rasters read at any window, scale and bands. Importing this never imports torch."""

from rasterio.windows import Window

from engine.scene.bands import ROLES, Band, BandRole
from engine.scene.grid import Grid, GroundScale
from engine.scene.pair import ScenePair, pair_scenes
from engine.scene.roi import Roi, rasterize_roi, read_roi
from engine.scene.scene import Raster, Scene, open_scene
from engine.scene.stretch import Stretch, percentile_stretch, to_rgba

__all__ = [
    "ROLES",
    "Band",
    "BandRole",
    "Grid",
    "GroundScale",
    "Raster",
    "Roi",
    "Scene",
    "ScenePair",
    "Stretch",
    "Window",
    "open_scene",
    "pair_scenes",
    "percentile_stretch",
    "rasterize_roi",
    "read_roi",
    "to_rgba",
]
