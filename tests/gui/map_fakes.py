"""Scenes and analyses made of arrays, to put on a map without files."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
from affine import Affine
from rasterio.crs import CRS

from engine.scene import Band, Grid, Raster
from engine.scene.stretch import Stretch

UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_300_000.0)
IDENTITY_STRETCH = Stretch((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
CLASSES = [SimpleNamespace(name="water", color="#0000ff"), SimpleNamespace(name="forest", color="#00ff00")]


def make_grid(width=1024, height=768, transform=NORTH_UP, crs=UTM):
    return Grid(width, height, transform, crs)


def sampled(array, window, out_shape, fill):
    """Nearest samples of a window, boundless, in the manner of the engine."""
    out_h, out_w = out_shape or (round(window.height), round(window.width))
    rows = np.floor(window.row_off + (np.arange(out_h) + 0.5) * window.height / out_h).astype(int)
    cols = np.floor(window.col_off + (np.arange(out_w) + 0.5) * window.width / out_w).astype(int)
    inside = ((rows >= 0) & (rows < array.shape[-2]))[:, None] & ((cols >= 0) & (cols < array.shape[-1]))
    picked = array[..., np.clip(rows, 0, array.shape[-2] - 1)[:, None], np.clip(cols, 0, array.shape[-1] - 1)]
    return np.where(inside, picked, np.array(fill, array.dtype)), inside


class FakeScene:
    """A scene of an array [3, H, W] uint8; counts and may delay or refuse its reads."""

    def __init__(self, data, grid=None, *, delay_s=0.0, name="fake"):
        self.data = data
        self.grid = grid or make_grid(data.shape[2], data.shape[1])
        self.name = name
        self.delay_s = delay_s
        self.error = None
        self.closed = False
        self.windows = []
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()

    def read(self, window=None, *, bands=None, out_shape=None, resampling="average"):
        assert not self.closed, "read after close"
        self.threads.add(threading.current_thread())
        self.windows.append((window.col_off, window.row_off, window.width))
        self.gate.wait(20)
        time.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        data, valid = sampled(self.data[[b - 1 for b in bands]], window, out_shape, 0)
        about = tuple(Band(b, f"band {b}", None, None) for b in bands)
        return Raster(data, valid, about, self.grid.window_transform(window), self.grid.crs)

    def rgb_indices(self):
        return (1, 2, 3)

    def close(self):
        self.closed = True


class FakeAnalysis:
    """An analysis of arrays: classes uint8, confidence uint8, regions uint32."""

    def __init__(self, classes, regions, confidence=None, grid=None, *, complete=True):
        self.layers = {"classes": classes, "regions": regions}
        self.layers["confidence"] = np.full_like(classes, 50) if confidence is None else confidence
        self.grid = grid or make_grid(classes.shape[1], classes.shape[0])
        self.card = SimpleNamespace(classes=CLASSES, task="segmentation")
        self.complete = complete
        self.reads = 0
        self.closed = 0

    def read(self, layer, window=None, out_shape=None):
        self.reads += 1
        return sampled(self.layers[layer], window, out_shape, 255 if layer == "classes" else 0)[0]

    def close(self):
        self.closed += 1

    def regions(self):
        ids, first = np.unique(self.layers["regions"], return_index=True)
        codes = self.layers["classes"].ravel()[first]
        frame = pd.DataFrame({"class_code": codes[ids > 0]}, index=pd.Index(ids[ids > 0], name="region_id"))
        return frame


def quadrants(width=1024, height=768):
    """Red, green, blue and white quarters, clockwise from the upper left: red, green, white, blue."""
    data = np.zeros((3, height, width), np.uint8)
    h, w = height // 2, width // 2
    data[0, :h, :w] = 255
    data[1, :h, w:] = 255
    data[2, h:, :w] = 255
    data[:, h:, w:] = 255
    return data


def wait_settled(qtbot, view, timeout=8000):
    """Let a map read and paint all it needs."""

    def settled():
        view.grab()
        return view.is_settled

    qtbot.waitUntil(settled, timeout=timeout)


def colour_at(view, x, y):
    """(red, green, blue) that the map shows at a map point."""
    image = view.grab_image()
    ratio = image.devicePixelRatio()
    sx, sy = view.viewport.to_screen(x, y)
    color = image.pixelColor(int(sx * ratio), int(sy * ratio))
    return color.red(), color.green(), color.blue()
