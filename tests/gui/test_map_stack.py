"""The list of layers: order, one CRS, names, signals."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from affine import Affine
from map_fakes import IDENTITY_STRETCH, FakeAnalysis, FakeScene, make_grid
from rasterio.crs import CRS

from rs_viewer.map import LayerStack, MapView, RasterLayer, SceneLayer


def layer(name="scene", crs="EPSG:32632", transform=None):
    grid = make_grid(64, 64, transform or Affine(10, 0, 500_000, 0, -10, 5_300_000), crs and CRS.from_string(crs))
    return SceneLayer(FakeScene(np.zeros((3, 64, 64), np.uint8), grid), stretch=IDENTITY_STRETCH, name=name)


@pytest.fixture
def stack(qapp):
    return LayerStack()


def test_the_first_layer_gives_the_crs_and_the_last_one_takes_it_away(qtbot, stack):
    first = layer()
    with qtbot.waitSignal(stack.gridChanged) as told:
        stack.add(first)
    assert told.args == [first.grid]
    assert stack.grid is first.grid
    stack.add(layer("other"))
    stack.remove(first)
    assert stack.grid.crs == first.grid.crs
    stack.clear()
    assert stack.grid is None
    stack.add(layer("elsewhere", "EPSG:4326"))


def test_a_layer_in_another_crs_is_refused_with_a_sentence(stack):
    stack.add(layer())
    with pytest.raises(ValueError, match=r"Lagos is in EPSG:32631, the map is in EPSG:32632\. .*reproject"):
        stack.add(layer("Lagos", "EPSG:32631"))
    with pytest.raises(ValueError, match="photo is in no CRS"):
        stack.add(layer("photo", None))
    assert len(stack) == 1
    with pytest.raises(ValueError, match="another CRS"):
        stack.set_grid(make_grid(8, 8, crs=CRS.from_epsg(4326)))


def test_a_grid_without_area_and_a_layer_not_there_are_refused(stack):
    with pytest.raises(ValueError, match="no area"):
        stack.add(layer(transform=Affine(10, 10, 0, 10, 10, 0)))
    assert len(stack) == 0
    assert stack.grid is None
    with pytest.raises(ValueError, match="not on the map"):
        stack.remove(layer())


def test_layers_are_ordered_from_the_bottom(qtbot, stack):
    a, b, c = layer("a"), layer("b"), layer("c")
    for each in (a, b):
        stack.add(each)
    stack.add(c, 0)
    assert [each.name for each in stack] == ["c", "a", "b"]
    with qtbot.waitSignal(stack.reordered):
        stack.move(c, 2)
    assert [each.name for each in stack] == ["a", "b", "c"]
    assert stack.index(b) == 1
    with qtbot.assertNotEmitted(stack.reordered):
        stack.move(c, 99)
    with pytest.raises(ValueError, match="already"):
        stack.add(a)


def test_changes_are_told_with_their_layer(qtbot, stack):
    a, b = layer("a"), layer("b")
    stack.add(a)
    stack.add(b)
    with qtbot.waitSignal(stack.changed) as told:
        stack.set_opacity(b, 0.4)
    assert told.args == [b]
    assert b.opacity == 0.4
    with qtbot.waitSignal(stack.changed) as told:
        stack.set_visible(a, False)
    assert told.args == [a]
    with qtbot.assertNotEmitted(stack.changed):
        stack.set_visible(a, False)
        stack.set_opacity(b, 0.4)
    stack.set_opacity(b, 7)
    assert b.opacity == 1.0
    with qtbot.waitSignal(a.renamed) as named:
        a.name = "new"
    assert named.args == ["new"]
    stack.remove(a)
    with qtbot.assertNotEmitted(stack.changed):
        a.visible = True


def test_other_threads_read_the_stack_while_it_changes(stack):
    failures, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                names = [each.name for each in stack]
                if len(set(names)) != len(names):
                    failures.append(names)
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    layers = [layer(str(i)) for i in range(6)]
    for _ in range(30):
        for each in layers:
            stack.add(each)
        stack.move(layers[0], 5)
        stack.clear()
    stop.set()
    reader.join()
    assert not failures


def test_bounds_hold_all_layers(stack):
    assert stack.bounds is None
    stack.add(layer())
    stack.add(layer("east", transform=Affine(10, 0, 501_000, 0, -10, 5_300_000)))
    assert stack.bounds == (500_000, 5_299_360, 501_640, 5_300_000)


def test_a_scene_that_is_used_elsewhere_stays_open(qtbot):
    view = MapView()
    qtbot.addWidget(view)
    scene = FakeScene(np.zeros((3, 64, 64), np.uint8))
    shared = SceneLayer(scene, stretch=IDENTITY_STRETCH, owns_scene=False)
    view.layers.add(shared)
    view.layers.remove(shared)
    view.shutdown()
    assert not scene.closed


def test_shutdown_closes_every_layer_and_may_be_called_twice(qtbot):
    view = MapView()
    qtbot.addWidget(view)
    scenes = [FakeScene(np.zeros((3, 64, 64), np.uint8)) for _ in range(3)]
    for scene in scenes:
        view.layers.add(SceneLayer(scene, stretch=IDENTITY_STRETCH))
    classes = np.zeros((64, 64), np.uint8)
    analysis = FakeAnalysis(classes, classes.astype(np.uint32))
    view.layers.add(RasterLayer(analysis, "classes"))
    view.grab()
    view.shutdown()
    view.shutdown()
    assert all(scene.closed for scene in scenes)
    assert analysis.closed == 1
    assert len(view.layers) == 0
