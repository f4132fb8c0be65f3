"""Tiles come off the GUI thread: newest wishes win, refreshes keep the picture, memory is bounded, closing waits."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from map_fakes import IDENTITY_STRETCH, NORTH_UP, FakeAnalysis, FakeScene, colour_at, quadrants, wait_settled

from rs_viewer.map import MapView, RasterLayer, SceneLayer
from rs_viewer.map.cache import Tile, TileCache
from rs_viewer.map.colours import image_of
from rs_viewer.map.loader import Picture, Request, TileLoader
from rs_viewer.map.pyramid import TileKey


@pytest.fixture
def view(qtbot):
    widget = MapView()
    qtbot.addWidget(widget)
    widget.resize(500, 400)
    widget.show()
    return widget


class SlowSource:
    def __init__(self):
        self.gate = threading.Event()
        self.begun = []

    def paint(self, key, raw):
        self.begun.append(key)
        assert self.gate.wait(20)
        return Picture(image_of(np.zeros((256, 256), np.uint32)))


@pytest.fixture
def loader(qapp):
    made = TileLoader(threads=2)
    yield made
    made.close()


def wishes(source, count, *, layer=1, level=0):
    return [Request(layer, TileKey(level, i, 0), source, 0) for i in range(count)]


def test_stale_requests_are_never_read(qtbot, loader):
    source = SlowSource()
    loader.want(wishes(source, 50))
    qtbot.waitUntil(lambda: len(source.begun) == 2)
    loader.want(wishes(source, 3, level=4))
    source.gate.set()
    qtbot.waitUntil(lambda: len(loader.pool._done) == 5)
    assert [k.level for k in source.begun].count(0) == 2
    assert [k.level for k in source.begun].count(4) == 3
    assert loader.pending == 5
    assert len(loader.take()) == 5
    assert loader.pending == 0


def test_a_tile_being_read_is_not_read_twice(qtbot, loader):
    source = SlowSource()
    for _ in range(5):
        loader.want(wishes(source, 1))
        time.sleep(0.02)
    source.gate.set()
    qtbot.waitUntil(lambda: len(loader.pool._done) == 1)
    assert loader.pending == 1
    assert len(source.begun) == 1


def test_results_of_a_removed_layer_are_dropped_and_its_source_closed_last(qtbot, loader):
    source = SlowSource()
    order = []
    loader.want(wishes(source, 4))
    qtbot.waitUntil(lambda: len(source.begun) == 2)
    loader.retire(1, lambda: order.append("closed"))
    time.sleep(0.05)
    assert order == []
    source.gate.set()
    qtbot.waitUntil(lambda: order == ["closed"])
    assert len(source.begun) == 2
    assert loader.take() == []


def test_a_removed_layer_dies_on_the_gui_thread(qtbot, view):
    ended_on, closed_on = [], []

    class Watched(FakeScene):
        def close(self):
            closed_on.append(threading.get_ident())
            super().close()

    for number in range(4):
        layer = SceneLayer(Watched(quadrants(600, 600)), stretch=IDENTITY_STRETCH, name=str(number))
        weakref.finalize(layer, lambda: ended_on.append(threading.get_ident()))
        view.layers.add(layer)
        wait_settled(qtbot, view)
        view.layers.remove(layer)
        del layer
        qtbot.waitUntil(lambda expected=number + 1: len(closed_on) == expected)
    gc.collect()
    qtbot.waitUntil(lambda: len(ended_on) == 4)
    main = threading.main_thread().ident
    assert set(ended_on) == {main}
    assert main not in closed_on, "files are closed off the GUI thread"


def test_close_waits_for_reads_and_ends_the_threads(loader):
    source = SlowSource()
    loader.want(wishes(source, 10))
    while len(source.begun) < 2:
        time.sleep(0.005)
    threads = loader.pool.threads
    threading.Timer(0.15, source.gate.set).start()
    started = time.monotonic()
    loader.close()
    assert time.monotonic() - started > 0.1
    assert not any(t.is_alive() for t in threads)
    assert len(source.begun) == 2
    loader.want(wishes(source, 1))
    assert loader.pending == 0


def test_the_gui_thread_never_reads_nor_waits(qtbot, view):
    scene = FakeScene(quadrants(4000, 3000), delay_s=0.15)
    started = time.monotonic()
    view.layers.add(SceneLayer(scene, stretch=IDENTITY_STRETCH))
    slowest = 0.0
    for step in range(20):
        before = time.monotonic()
        view.zoom_by(1.3 if step % 3 else 0.6)
        view.grab()
        slowest = max(slowest, time.monotonic() - before)
    assert slowest < 0.1
    assert time.monotonic() - started < 3.0
    wait_settled(qtbot, view, 20_000)
    assert threading.main_thread() not in scene.threads


def test_coarser_tiles_stand_in_while_finer_ones_load(qtbot, view):
    scene = FakeScene(quadrants(4096, 4096))
    view.layers.add(SceneLayer(scene, stretch=IDENTITY_STRETCH))
    wait_settled(qtbot, view)
    scene.gate.clear()
    view.zoom_by(8.0)
    for u, v, colour in [(0.49, 0.49, (255, 0, 0)), (0.51, 0.49, (0, 255, 0)), (0.49, 0.51, (0, 0, 255))]:
        assert colour_at(view, *(NORTH_UP @ (4096 * u, 4096 * v))) == colour
    assert not view.is_settled
    scene.gate.set()
    wait_settled(qtbot, view)


def test_finer_tiles_stand_in_while_coarser_ones_load(qtbot, view):
    scene = FakeScene(quadrants(4096, 4096))
    layer = SceneLayer(scene, stretch=IDENTITY_STRETCH)
    view.layers.add(layer)
    wait_settled(qtbot, view)
    view.zoom_by(4.0)
    wait_settled(qtbot, view)
    for key in [k for (owner, k) in list(view._cache._tiles) if k.level >= 3]:
        view._cache._tiles.pop((layer.id, key))
    scene.gate.clear()
    view.zoom_by(0.5)
    assert colour_at(view, *(NORTH_UP @ (4096 * 0.49, 4096 * 0.49))) == (255, 0, 0)
    scene.gate.set()
    wait_settled(qtbot, view)


def test_a_refresh_reads_only_the_tiles_of_its_rows_and_keeps_the_picture(qtbot, view):
    classes = np.zeros((2048, 512), np.uint8)
    analysis = FakeAnalysis(classes, classes.astype(np.uint32))
    layer = RasterLayer(analysis, "classes")
    view.layers.add(layer)
    x, y = NORTH_UP @ (256, 1024)
    view.resize(600, 2200)
    view.set_view(x, y, 10.0)
    wait_settled(qtbot, view)
    before = analysis.reads
    classes[300:400] = 1
    assert colour_at(view, *(NORTH_UP @ (256, 350))) == (0, 0, 255)
    view.refresh(layer, 300, 400)
    assert colour_at(view, *(NORTH_UP @ (256, 350))) == (0, 0, 255), "the old picture stays until the new one is there"
    wait_settled(qtbot, view)
    assert colour_at(view, *(NORTH_UP @ (256, 350))) == (0, 255, 0)
    assert colour_at(view, *(NORTH_UP @ (256, 700))) == (0, 0, 255)
    assert analysis.reads - before == 3, "two tiles of that row and the one on top of the pyramid"


def test_a_refresh_during_a_read_reads_again(qtbot, view):
    scene = FakeScene(np.zeros((3, 200, 200), np.uint8))
    layer = SceneLayer(scene, stretch=IDENTITY_STRETCH)
    scene.gate.clear()
    view.layers.add(layer)
    view.grab()
    qtbot.waitUntil(lambda: len(scene.windows) == 1)
    view.refresh(layer, 0, 10)
    scene.gate.set()
    wait_settled(qtbot, view)
    assert len(scene.windows) == 2


def test_memory_stays_within_the_limit(qtbot):
    limit = 8 * 2**20
    view = MapView(cache_bytes=limit)
    qtbot.addWidget(view)
    view.resize(500, 400)
    view.show()
    view.layers.add(SceneLayer(FakeScene(quadrants(4096, 4096)), stretch=IDENTITY_STRETCH))
    highest = 0
    for i in range(12):
        view.set_view(*(NORTH_UP @ (300 * i + 300, 300 * i + 300)), 10.0)
        wait_settled(qtbot, view)
        highest = max(highest, view._cache.nbytes)
        assert view._cache.nbytes == sum(tile.nbytes for tile in view._cache._tiles.values())
    assert 0.5 * limit < highest <= limit


def test_a_view_larger_than_the_cache_settles_on_a_coarser_level(qtbot):
    view = MapView(cache_bytes=3 * 2**20)
    qtbot.addWidget(view)
    view.resize(1600, 1200)
    view.show()
    scene = FakeScene(quadrants(4096, 4096))
    view.layers.add(SceneLayer(scene, stretch=IDENTITY_STRETCH))
    view.set_view(*(NORTH_UP @ (2048, 2048)), 10.0)
    wait_settled(qtbot, view)
    reads = len(scene.windows)
    view.repaint_layers()
    wait_settled(qtbot, view)
    assert len(scene.windows) == reads, "no tile pushes another one out"
    assert colour_at(view, *(NORTH_UP @ (2100, 2000))) == (0, 255, 0)


def test_the_least_recently_used_tile_goes_first(qapp):
    image = image_of(np.zeros((256, 256), np.uint32))
    size = Tile(image, None, 0).nbytes
    cache = TileCache(3 * size)
    for col in range(3):
        cache.put(1, TileKey(0, col, 0), Tile(image, None, 0))
    cache.get(1, TileKey(0, 0, 0))
    cache.put(1, TileKey(0, 3, 0), Tile(image, None, 0))
    assert cache.get(1, TileKey(0, 1, 0)) is None
    assert cache.get(1, TileKey(0, 0, 0)) is not None
    assert cache.nbytes == 3 * size
    cache.drop(1)
    assert cache.nbytes == 0
    assert len(cache) == 0


def test_closing_the_map_during_reads_ends_its_threads(qtbot, view):
    scene = FakeScene(quadrants(4096, 4096), delay_s=0.1)
    view.layers.add(SceneLayer(scene, stretch=IDENTITY_STRETCH))
    view.grab()
    qtbot.waitUntil(lambda: bool(scene.threads))
    assert view.close()
    assert not any(t.is_alive() for t in scene.threads)
    assert scene.closed


def test_a_map_that_dies_without_being_closed_ends_its_threads(qapp):
    view = MapView()
    scene = FakeScene(quadrants(2048, 2048), delay_s=0.02)
    view.layers.add(SceneLayer(scene, stretch=IDENTITY_STRETCH))
    view.grab()
    threads = view._loader.pool.threads
    assert threads
    del view
    gc.collect()
    deadline = time.monotonic() + 3
    while any(t.is_alive() for t in threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.is_alive() for t in threads)


def test_settled_is_told(qtbot, view):
    with qtbot.waitSignal(view.settled, timeout=30_000):
        view.layers.add(SceneLayer(FakeScene(quadrants()), stretch=IDENTITY_STRETCH))
    assert view.is_settled
