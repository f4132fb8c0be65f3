"""What the map paints at known places."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from map_fakes import (
    IDENTITY_STRETCH,
    NORTH_UP,
    UTM,
    FakeAnalysis,
    FakeScene,
    colour_at,
    make_grid,
    quadrants,
    wait_settled,
)
from PySide6.QtGui import QColor, QPalette

from engine.errors import SceneError
from engine.scene import Raster, Scene, Window
from rs_viewer.map import ImageOverlay, MapView, RasterLayer, SceneLayer

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ROTATED = NORTH_UP @ Affine.rotation(30)
SOUTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, 10.0, 5_300_000.0)


@pytest.fixture
def view(qtbot):
    widget = MapView()
    qtbot.addWidget(widget)
    widget.resize(640, 480)
    widget.show()
    return widget


def scene_layer(data=None, transform=NORTH_UP, **options):
    data = quadrants() if data is None else data
    scene = FakeScene(data, make_grid(data.shape[2], data.shape[1], transform, **options))
    return SceneLayer(scene, stretch=IDENTITY_STRETCH)


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED], ids=["north-up", "south-up", "rotated"])
@pytest.mark.parametrize("zoom", [1.0, 0.3, 2.0])
def test_each_pixel_lies_where_its_grid_says(qtbot, view, transform, zoom):
    view.layers.add(scene_layer(transform=transform))
    view.zoom_by(zoom)
    wait_settled(qtbot, view)
    places = (
        [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]
        if zoom <= 1.0
        else [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)]
    )
    seen = [colour_at(view, *(transform @ (u * 1024, v * 768))) for u, v in places]
    assert seen == [RED, GREEN, WHITE, BLUE]


def test_single_pixels_show_sharp_when_zoomed_in(qtbot, view):
    data = np.zeros((3, 600, 600), np.uint8)
    data[:, 300, 300] = 255
    view.layers.add(scene_layer(data))
    x, y = NORTH_UP @ (300.5, 300.5)
    view.set_view(x, y, 0.5)  # 20 screen pixels a grid pixel
    wait_settled(qtbot, view)
    half = 4.75
    for dx in (-half, half):
        for dy in (-half, half):
            assert colour_at(view, x + dx, y + dy) == WHITE
    assert colour_at(view, x + 5.5, y) == (0, 0, 0)
    assert colour_at(view, x, y - 5.5) == (0, 0, 0)


def test_no_seams_between_tiles(qtbot, view):
    view.layers.add(scene_layer(np.full((3, 2000, 2000), 200, np.uint8), transform=ROTATED))
    for zoom in (1.0, 1.37, 2.13, 0.71):
        view.zoom_by(zoom)
        wait_settled(qtbot, view)
        image = view.render_layers()
        bits = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
        inverse = ~ROTATED
        rows, cols = np.mgrid[0 : image.height(), 0 : image.width()]
        x, y = view.viewport.to_map(cols + 0.5, rows + 0.5)
        col, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
        edge = 2 * view.viewport.scale / 10
        inside = (col > edge) & (col < 2000 - edge) & (row > edge) & (row < 2000 - edge)
        assert inside.sum() > 1000
        assert (bits[: image.height(), : image.width(), :3][inside] == 200).all()


def test_the_scene_ends_where_its_grid_ends(qtbot, view):
    view.layers.add(scene_layer(np.full((3, 300, 300), 255, np.uint8)))
    wait_settled(qtbot, view)
    ground = colour_at(view, *(NORTH_UP @ (-3, 150)))
    assert ground != WHITE
    assert colour_at(view, *(NORTH_UP @ (2, 150))) == WHITE
    assert colour_at(view, *(NORTH_UP @ (298, 150))) == WHITE
    assert colour_at(view, *(NORTH_UP @ (303, 150))) == ground


def test_images_without_a_place_hang_the_right_way_up(qtbot, view):
    view.layers.add(scene_layer(transform=Affine.identity(), crs=None))
    wait_settled(qtbot, view)
    assert not view.viewport.y_up
    upper = view.viewport.to_screen(200, 100)
    assert upper[1] < view.height() / 2
    assert colour_at(view, 200, 100) == RED


def test_layers_of_another_resolution_lie_on_their_own_grid(qtbot, view):
    view.layers.add(scene_layer())
    coarse = NORTH_UP @ Affine.scale(4.0)
    classes = np.zeros((192, 256), np.uint8)
    classes[:96] = 1
    layer = RasterLayer(FakeAnalysis(classes, classes.astype(np.uint32), grid=make_grid(256, 192, coarse)), "classes")
    view.layers.add(layer)
    wait_settled(qtbot, view)
    assert colour_at(view, *(NORTH_UP @ (100, 370))) == GREEN
    assert colour_at(view, *(NORTH_UP @ (900, 400))) == BLUE


def test_opacity_visibility_and_order_show(qtbot, view):
    bottom = scene_layer(np.full((3, 400, 400), 255, np.uint8))
    view.layers.add(bottom)
    classes = np.zeros((400, 400), np.uint8)
    top = RasterLayer(FakeAnalysis(classes, classes.astype(np.uint32)), "classes")
    view.layers.add(top)
    middle = NORTH_UP @ (200, 200)
    wait_settled(qtbot, view)
    assert colour_at(view, *middle) == BLUE
    top.opacity = 0.5
    assert colour_at(view, *middle) == pytest.approx((127, 127, 255), abs=2)
    top.visible = False
    assert colour_at(view, *middle) == WHITE
    top.visible, top.opacity = True, 1.0
    view.layers.move(bottom, 1)
    wait_settled(qtbot, view)
    assert colour_at(view, *middle) == WHITE


def test_nodata_is_transparent(qtbot, view):
    view.layers.add(scene_layer(np.full((3, 400, 400), 255, np.uint8)))
    classes = np.full((400, 400), 255, np.uint8)
    classes[:200] = 0
    view.layers.add(RasterLayer(FakeAnalysis(classes, classes.astype(np.uint32)), "classes"))
    wait_settled(qtbot, view)
    assert colour_at(view, *(NORTH_UP @ (200, 100))) == BLUE
    assert colour_at(view, *(NORTH_UP @ (200, 300))) == WHITE


def test_an_overlay_covers_its_window(qtbot, view):
    view.layers.add(scene_layer(np.zeros((3, 400, 400), np.uint8)))
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[...] = (255, 0, 0, 255)
    overlay = ImageOverlay(view.layers.grid, Window(100, 50, 64, 64), rgba)
    view.layers.add(overlay)
    wait_settled(qtbot, view)
    assert colour_at(view, *(NORTH_UP @ (110, 60))) == RED
    assert colour_at(view, *(NORTH_UP @ (155, 105))) == RED
    assert colour_at(view, *(NORTH_UP @ (95, 60))) == (0, 0, 0)
    assert colour_at(view, *(NORTH_UP @ (170, 60))) == (0, 0, 0)


def test_other_bands_keep_the_old_picture_until_the_new_one_is_there(qtbot, view):
    layer = scene_layer(np.stack([np.full((400, 400), v, np.uint8) for v in (255, 0, 0)]))
    view.layers.add(layer)
    wait_settled(qtbot, view)
    middle = NORTH_UP @ (200, 200)
    assert colour_at(view, *middle) == RED
    layer.scene.gate.clear()
    layer.set_bands((3, 1, 2), IDENTITY_STRETCH)
    qtbot.wait(80)
    assert colour_at(view, *middle) == RED
    layer.scene.gate.set()
    wait_settled(qtbot, view)
    assert colour_at(view, *middle) == GREEN


def test_the_stretch_of_a_real_scene_is_computed_off_the_gui_thread(qtbot, view, tmp_path, monkeypatch):
    data = np.full((3, 300, 300), 90, np.uint8)
    data[:, :100] = 10
    path = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "width": 300, "height": 300, "count": 3, "dtype": "uint8", "crs": UTM}
    with rasterio.open(path, "w", transform=NORTH_UP, photometric="RGB", **profile) as target:
        target.write(data)
    readers = set()
    original = Scene.read

    def read(self, *args, **options):
        readers.add(threading.current_thread())
        return original(self, *args, **options)

    monkeypatch.setattr(Scene, "read", read)
    layer = SceneLayer(Scene.open(path))
    view.layers.add(layer)
    assert layer.stretch is None
    wait_settled(qtbot, view)
    assert layer.bands == (1, 2, 3)
    assert layer.stretch.low == pytest.approx((10, 10, 10), abs=1)
    assert layer.stretch.high == pytest.approx((90, 90, 90), abs=1)
    assert readers
    assert threading.main_thread() not in readers
    assert colour_at(view, *(NORTH_UP @ (150, 200))) == WHITE


def test_a_tile_that_cannot_be_read_is_told_once_and_marked(qtbot, view):
    layer = scene_layer(np.full((3, 900, 900), 255, np.uint8))
    layer.scene.error = SceneError("the tile is damaged", where="block 7", remedy="Copy the file again.")
    told = []
    view.layers.failed.connect(lambda who, message: told.append((who, message)))
    view.layers.add(layer)
    wait_settled(qtbot, view)
    assert told == [(layer, "the tile is damaged (block 7). Copy the file again.")]
    reads = len(layer.scene.windows)
    view.repaint_layers()
    wait_settled(qtbot, view)
    assert len(layer.scene.windows) == reads, "a failed tile is not asked for again by itself"
    view.refresh(layer)
    wait_settled(qtbot, view)
    assert len(layer.scene.windows) > reads
    assert len(told) == 1, "the same sentence is not told twice"
    layer.scene.error = None
    view.refresh(layer)
    wait_settled(qtbot, view)
    assert colour_at(view, *(NORTH_UP @ (450, 450))) == WHITE


HIDPI = """
import sys
sys.path[:0] = [{root!r}, {gui!r}]
from PySide6.QtWidgets import QApplication
app = QApplication([])
import time, numpy as np
from map_fakes import *
from rs_viewer.map import MapView, SceneLayer
view = MapView(); view.resize(300, 300); view.show()
data = np.zeros((3, 1024, 1024), np.uint8); data[:, :, ::2] = 255
view.layers.add(SceneLayer(FakeScene(data), stretch=IDENTITY_STRETCH))
view.set_view(*(NORTH_UP @ (512, 512)), 20.0)  # one device pixel a grid pixel at a ratio of 2
until = time.monotonic() + 20
while not view.is_settled and time.monotonic() < until:
    app.processEvents(); view.grab(); time.sleep(0.01)
image = view.render_layers()
bits = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1, 4)[100, :, 0]
print(image.width(), image.height(), view.devicePixelRatioF(), view.grab_image().width())
print(len(view.layers[0].scene.windows) > 0, max(w[2] for w in view.layers[0].scene.windows[1:]))
print(sorted(set(bits.tolist())), int(np.abs(np.diff(bits.astype(int))).min()))
view.close()
"""


def test_high_density_screens_get_pixels_of_their_own():
    gui = Path(__file__).parent
    code = HIDPI.format(root=str(gui.parents[1]), gui=str(gui))
    env = {**os.environ, "QT_SCALE_FACTOR": "2", "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "600 600 2.0 600"
    assert lines[1] == "True 256.0" or lines[1] == "True 256"
    assert lines[2] == "[0, 255] 255", "alternating columns arrive as alternating device pixels"


def test_a_scene_without_data_shows_where_it_lies(qtbot, view):
    layer = scene_layer(np.zeros((3, 300, 300), np.uint8))
    layer.scene.read = lambda window, **options: Raster(
        np.zeros((3, 256, 256), np.uint8), np.zeros((256, 256), bool), (), NORTH_UP, UTM
    )
    view.layers.add(layer)
    wait_settled(qtbot, view)
    ground = colour_at(view, *(NORTH_UP @ (150, 150)))
    x, y = view.viewport.to_screen(*(NORTH_UP @ (0, 150)))
    image = view.grab_image()
    assert any(image.pixelColor(int(x) + dx, int(y)).getRgb()[:3] != ground for dx in (-1, 0, 1))


def test_the_ground_follows_the_colour_scheme(qtbot, view):
    view.layers.add(scene_layer())
    wait_settled(qtbot, view)
    palette = view.palette()
    palette.setColor(QPalette.ColorRole.Window, QColor(20, 30, 40))
    view.setPalette(palette)
    assert view.grab_image().pixelColor(3, 3).getRgb()[:3] == (20, 30, 40)


def test_an_empty_map_says_what_to_do(view):
    image = view.grab_image()
    bits = np.frombuffer(image.constBits(), np.uint8)
    assert len(np.unique(bits)) > 4, "words are painted"
    assert view.layers.grid is None


def test_a_removed_layer_leaves_the_map_and_closes_its_scene(qtbot, view):
    layer = scene_layer()
    view.layers.add(layer)
    wait_settled(qtbot, view)
    view.layers.remove(layer)
    qtbot.waitUntil(lambda: layer.scene.closed, timeout=3000)
    assert len(view._cache) == 0
    assert view.layers.grid is None
