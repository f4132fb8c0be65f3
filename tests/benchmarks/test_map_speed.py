"""How fast the map paints, and that many regions cost what few cost. Prints frames a second and ratios."""

from __future__ import annotations

import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
sys.path.insert(0, str(Path(__file__).parents[1] / "gui"))

from map_fakes import IDENTITY_STRETCH, NORTH_UP, FakeAnalysis, FakeScene, wait_settled
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QWidget

from rs_viewer.map import MapView, RasterLayer, SceneLayer
from rs_viewer.map.pyramid import TileKey

WIDTH, HEIGHT = 1920, 1200


def blocks(across, size=4096):
    """Square regions, so many across, with ids in scan order; classes alternate."""
    at = np.arange(size) * across // size
    ids = (at[:, None] * across + at[None, :] + 1).astype(np.uint32)
    return (ids % 2).astype(np.uint8), ids


@pytest.fixture
def full_map(qtbot):
    def make(across):
        view = MapView()
        qtbot.addWidget(view)
        view.resize(WIDTH, HEIGHT)
        view.show()
        noise = np.random.default_rng(1).integers(0, 255, (3, 4096, 4096), dtype=np.uint8)
        view.layers.add(SceneLayer(FakeScene(noise), stretch=IDENTITY_STRETCH))
        classes, regions = blocks(across)
        analysis = FakeAnalysis(classes, regions)
        layers = [RasterLayer(analysis, "classes", opacity=0.5), RasterLayer(analysis, "regions")]
        for layer in layers:
            view.layers.add(layer)
        return view

    return make


def frame_s(view, count=25):
    """Median processor seconds of a whole repaint from cached tiles (wall time would measure what else runs)."""
    times = []
    for _ in range(count):
        view.repaint_layers()
        started = time.process_time()
        view.repaint()
        times.append(time.process_time() - started)
    return statistics.median(times)


class Pictures(QWidget):
    """Qt's own three pictures, one over the other: what a repaint of three layers cannot be much cheaper than."""

    def __init__(self, zoom):
        super().__init__()
        self.resize(WIDTH, HEIGHT)
        self.zoom = zoom
        noise = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 4), dtype=np.uint8)
        noise[..., 3] = 255
        image = QImage(noise.data, WIDTH, HEIGHT, QImage.Format.Format_ARGB32_Premultiplied)
        # A copy, for Qt only borrows the array, and scaling to the same size copies nothing.
        self.picture = image.copy().scaled(round(WIDTH / zoom), round(HEIGHT / zoom))

    def paintEvent(self, event):
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.zoom < 1)
            for opacity in (1.0, 0.5, 1.0):
                painter.setOpacity(opacity)
                painter.drawImage(self.rect(), self.picture)


@pytest.mark.parametrize("scale", [10.0, 7.3, 13.1, 2.0], ids=["1:1", "1.37x", "0.76x", "5x"])
def test_a_full_view_of_three_layers_costs_little_more_than_three_pictures(qtbot, full_map, scale):
    view, pictures = full_map(3), Pictures(10.0 / scale)
    qtbot.addWidget(pictures)
    pictures.show()
    view.set_view(*(NORTH_UP @ (2048, 2048)), scale)
    wait_settled(qtbot, view, 60_000)
    whole, bare = [], []
    for _ in range(25):  # by turns, so that a machine that slows down slows both
        view.repaint_layers()
        whole.append(_timed(view.repaint))
        bare.append(_timed(pictures.repaint))
    seconds, reference = statistics.median(whole), statistics.median(bare)
    print(
        f"\n{WIDTH}x{HEIGHT}, three layers, {scale:g} m a pixel: {1 / seconds:.0f} fps ({seconds * 1e3:.1f} ms), "
        f"{seconds / reference:.2f} times Qt's three pictures ({reference * 1e3:.1f} ms)"
    )
    assert seconds <= 2 * reference


def test_a_hundred_thousand_regions_cost_what_ten_cost(qtbot, full_map):
    few, many = full_map(3), full_map(317)
    for view in (few, many):
        view.set_view(*(NORTH_UP @ (2048, 2048)), 10.0)
        wait_settled(qtbot, view, 60_000)
    painters = []
    for view in (few, many):
        layer = view.layers[2]
        layer.style = "fill"
        layer.set_highlights({1: 1.0, 2: 0.5})
        wait_settled(qtbot, view, 60_000)
        raw = layer.source.paint(TileKey(0, 4, 4), None).raw
        painters.append(partial(layer.source.paint, TileKey(0, 4, 4), raw))
    frames, tiles = [9.0, 9.0], [9.0, 9.0]
    for _ in range(80):  # by turns, so that a machine that slows down slows both
        tiles = [min(best, _timed(paint)) for best, paint in zip(tiles, painters, strict=True)]
    for _ in range(2):
        frames = [min(best, frame_s(view, 12)) for best, view in zip(frames, (few, many), strict=True)]
    print(
        f"\nregions 100,489 / 9: a frame {frames[1] / frames[0]:.2f}, a tile {tiles[1] / tiles[0]:.2f} times the cost"
    )
    assert frames[1] / frames[0] <= 2
    assert tiles[1] / tiles[0] <= 2


def test_moving_the_cursor_costs_far_less_than_a_frame(qtbot, full_map):
    view = full_map(50)
    view.set_view(*(NORTH_UP @ (2048, 2048)), 7.3)
    wait_settled(qtbot, view, 60_000)
    whole = frame_s(view)
    ring = np.array([(2000, 2000), (2082, 2000), (2082, 2082), (2000, 2082), (2000, 2000)], float)
    times = []
    for i in range(25):
        view.set_outline([ring + i], kind="hovered")
        started = time.process_time()
        view.repaint()
        times.append(time.process_time() - started)
    hover = statistics.median(times)
    print(f"\nhover {hover * 1e3:.2f} ms, a frame {whole * 1e3:.2f} ms: {hover / whole:.2f}")
    assert hover < 0.6 * whole


def circle(vertices):
    turn = np.linspace(0, 2 * np.pi, vertices)
    return np.stack([2048 + 1500 * np.cos(turn), 2048 + 1500 * np.sin(turn)], axis=1)


@pytest.mark.parametrize(("place", "scale"), [((2048, 2048), 30.0), ((3548, 2048), 0.5)], ids=["all of it", "a piece"])
def test_an_outline_costs_what_shows_of_it(qtbot, full_map, place, scale):
    """200,000 vertices against 3,000, about one for each pixel of the whole circle on the screen."""
    view = full_map(3)
    view.set_view(*(NORTH_UP @ place), scale)
    wait_settled(qtbot, view, 60_000)
    least = {}
    for vertices in (3_000, 200_000):
        view.set_outline([circle(vertices)])
        view.repaint()
        least[vertices] = min(_timed(view.repaint) for _ in range(10))
    print(f"\noutline, {least[200_000] * 1e3:.1f} ms with 200,000 vertices, {least[3_000] * 1e3:.1f} ms with 3,000")
    assert least[200_000] <= 6 * least[3_000]  # 67 times the vertices


def _timed(call):
    started = time.process_time()
    call()
    return time.process_time() - started
