"""Regions, classes and confidence through look-up tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_fakes import IDENTITY_STRETCH, NORTH_UP, FakeAnalysis, FakeScene, colour_at, wait_settled
from PySide6.QtGui import QColor

from rs_viewer.map import MapView, RasterLayer, SceneLayer, colours
from rs_viewer.map.pyramid import TileKey


@pytest.fixture
def view(qtbot):
    widget = MapView()
    qtbot.addWidget(widget)
    widget.resize(600, 600)
    widget.show()
    return widget


def chequered(cells=4, size=100):
    """Regions of squares, numbered from 1 in scan order, of alternating classes."""
    ids = np.arange(1, cells * cells + 1, dtype=np.uint32).reshape(cells, cells)
    classes = (np.indices((cells, cells)).sum(axis=0) % 2).astype(np.uint8)
    return classes.repeat(size, 0).repeat(size, 1), ids.repeat(size, 0).repeat(size, 1)


def on_black(view, layer):
    view.layers.add(SceneLayer(FakeScene(np.zeros((3, 400, 400), np.uint8)), stretch=IDENTITY_STRETCH))
    view.layers.add(layer)


def at(view, col, row):
    return colour_at(view, *(NORTH_UP @ (col, row)))


def test_boundaries_are_drawn_between_regions_and_nowhere_else(qtbot, view):
    on_black(view, RasterLayer(FakeAnalysis(*chequered()), "regions"))
    view.set_view(*(NORTH_UP @ (200, 200)), 10.0)
    wait_settled(qtbot, view)
    for col, row in [(99.5, 50.5), (299.5, 150.5), (150.5, 99.5), (350.5, 299.5)]:
        assert min(at(view, col, row)) > 180
    for col, row in [(50.5, 50.5), (103.5, 50.5), (95.5, 50.5), (250.5, 350.5)]:
        assert at(view, col, row) == (0, 0, 0)


@pytest.mark.parametrize("zoom", [4, 8, 16, 32])
def test_boundaries_stay_thin_when_zoomed_in(qtbot, view, zoom):
    on_black(view, RasterLayer(FakeAnalysis(*chequered()), "regions"))
    view.set_view(*(NORTH_UP @ (100, 50)), 10.0 / zoom)
    wait_settled(qtbot, view)
    image = view.render_layers()
    line = [image.pixelColor(x, 300).lightness() for x in range(image.width())]
    bright = [x for x, value in enumerate(line) if value > 90]
    assert 1 <= len(bright) <= 2
    assert abs(bright[0] - 300) <= 2, "the boundary lies on the edge of the grid pixels"


def test_boundaries_meet_across_tiles(qtbot, view):
    classes = np.zeros((600, 600), np.uint8)
    regions = np.ones((600, 600), np.uint32)
    regions[:, 256:] = 2
    regions[256:, :] += 2
    view.layers.add(SceneLayer(FakeScene(np.zeros((3, 600, 600), np.uint8)), stretch=IDENTITY_STRETCH))
    view.layers.add(RasterLayer(FakeAnalysis(classes, regions), "regions"))
    view.set_view(*(NORTH_UP @ (256, 256)), 10.0)
    wait_settled(qtbot, view)
    for row in (10.5, 130.5, 254.5, 258.5, 400.5):
        assert min(at(view, 255.5, row)) > 180
        assert min(at(view, row, 255.5)) > 180


def test_filled_regions_take_shades_of_their_class(qtbot, view):
    analysis = FakeAnalysis(*chequered())
    layer = RasterLayer(analysis, "regions", style="fill")
    on_black(view, layer)
    wait_settled(qtbot, view)
    water, forest, water_too = at(view, 50, 50), at(view, 150, 50), at(view, 250, 50)
    assert water[2] > water[0] + 150
    assert forest[1] > forest[0] + 150
    assert water != water_too, "two regions of one class differ"


def test_while_a_run_goes_on_regions_take_the_colours_of_the_class_map(qtbot, view):
    analysis = FakeAnalysis(*chequered(), complete=False)
    on_black(view, RasterLayer(analysis, "regions", style="fill"))
    wait_settled(qtbot, view)
    assert at(view, 50, 50) == (0, 0, 255)
    assert at(view, 150, 50) == (0, 255, 0)


def test_highlights_tint_by_strength_and_dim_the_rest_without_reading_again(qtbot, view):
    analysis = FakeAnalysis(*chequered())
    layer = RasterLayer(analysis, "regions")
    on_black(view, layer)
    view.layers[0].scene.data[:] = 102
    wait_settled(qtbot, view)
    reads = analysis.reads
    layer.set_highlights({1: 1.0, 3: 0.4}, QColor(255, 0, 0))
    wait_settled(qtbot, view)
    assert analysis.reads == reads
    assert at(view, 50, 50) == pytest.approx((150 + 42, 42, 42), abs=2)
    assert at(view, 250, 50) == pytest.approx((60 + 78, 78, 78), abs=2)
    assert at(view, 150, 50) == pytest.approx((50, 50, 50), abs=2)
    view.set_highlights(())
    wait_settled(qtbot, view)
    assert at(view, 50, 50) == at(view, 150, 50) == (102, 102, 102)


def test_the_view_highlights_in_the_accent_colour(qtbot, view):
    on_black(view, RasterLayer(FakeAnalysis(*chequered()), "regions"))
    view.set_highlights({6})
    wait_settled(qtbot, view)
    seen, accent = at(view, 150, 150), view.accent
    assert seen == pytest.approx(tuple(round(v * 150 / 255) for v in accent.getRgb()[:3]), abs=3)


def test_confidence_goes_from_dark_to_bright_and_nodata_is_transparent(qtbot, view):
    classes, regions = chequered()
    confidence = np.zeros((400, 400), np.uint8)
    confidence[100:200], confidence[200:300], confidence[300:] = 1, 50, 100
    on_black(view, RasterLayer(FakeAnalysis(classes, regions, confidence), "confidence"))
    wait_settled(qtbot, view)
    assert at(view, 50, 50) == (0, 0, 0)
    assert at(view, 50, 150) == QColor("#440154").getRgb()[:3]
    assert at(view, 50, 350) == QColor("#fde725").getRgb()[:3]
    assert sum(at(view, 50, 150)) < sum(at(view, 50, 250)) < sum(at(view, 50, 350))


def test_a_finished_analysis_takes_over_from_the_growing_one(qtbot, view):
    classes, regions = chequered()
    layer = RasterLayer(FakeAnalysis(np.zeros_like(classes), regions, complete=False), "classes")
    on_black(view, layer)
    wait_settled(qtbot, view)
    assert at(view, 150, 50) == (0, 0, 255)
    layer.set_analysis(FakeAnalysis(classes, regions))
    assert at(view, 150, 50) == (0, 0, 255), "the old picture stays until the new one is there"
    wait_settled(qtbot, view)
    assert at(view, 150, 50) == (0, 255, 0)
    with pytest.raises(ValueError, match="another grid"):
        layer.set_analysis(FakeAnalysis(classes[:100], regions[:100]))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50), st.integers(1, 40))
def test_values_beyond_a_table_give_nothing(values, size):
    table = np.arange(1, size + 1, dtype=np.uint32)
    ids = np.array(values, np.uint32)
    expected = [int(table[v]) if v < size else 0 for v in values]
    assert colours.looked_up(table, ids).tolist() == expected


def test_bytes_index_a_whole_table():
    table = colours.class_table(["#ff0000"])
    assert colours.looked_up(table, np.array([0, 1, 255], np.uint8)).tolist() == [0xFFFF0000, 0, 0]


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_laying_over_keeps_to_opaque_and_transparent(red, green, blue, alpha):
    def packed(*parts):
        return colours.premultiplied(*(np.array([v], np.uint32) for v in parts))

    top, bottom = packed(red, green, blue, alpha), packed(10, 200, 90, 255)
    mixed = int(colours.over(top, bottom)[0])
    assert mixed >> 24 == 255
    for shift, high, low in ((16, red, 10), (8, green, 200), (0, blue, 90)):
        assert (mixed >> shift) & 255 == pytest.approx((high * alpha + low * (255 - alpha)) / 255, abs=1.01)


def test_neighbours_in_number_get_different_shades():
    shades = colours.shade_of(np.arange(1000, dtype=np.uint32))
    assert np.abs(np.diff(shades)).min() > 0.05
    assert -0.3 <= shades.min() < -0.25
    assert 0.25 < shades.max() <= 0.3


def test_a_source_does_not_change_with_its_layer():
    layer = RasterLayer(FakeAnalysis(*chequered()), "regions")
    before = layer.source
    layer.set_highlights({1})
    assert layer.source is not before
    assert not before.strengths
    assert before.paint(TileKey(0, 0, 0), None).raw.shape == (257, 257)
