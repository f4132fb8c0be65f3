"""The pan-and-zoom map: layers drawn from tiles that are read off the GUI thread."""

from rs_viewer.map.boxes import BoxLayer
from rs_viewer.map.layers import ImageOverlay, Layer, RasterLayer, SceneLayer, TiledLayer
from rs_viewer.map.outlines import OutlineLayer
from rs_viewer.map.stack import LayerStack
from rs_viewer.map.view import MapView

__all__ = [
    "BoxLayer",
    "ImageOverlay",
    "Layer",
    "LayerStack",
    "MapView",
    "OutlineLayer",
    "RasterLayer",
    "SceneLayer",
    "TiledLayer",
]
