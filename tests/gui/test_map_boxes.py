"""Boxes on the map: which one lies at a place, and how they are painted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from map_fakes import make_grid
from PySide6.QtGui import QColor, QImage, QPainter

from rs_viewer.map.boxes import BoxLayer
from rs_viewer.map.viewport import Viewport

PLAIN = Affine.identity()


def boxes(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middle, size = rng.uniform(10, 90, (count, 2)), rng.uniform(2, 30, (count, 2))
    angle = rng.uniform(0, math.pi, count)
    along = 0.5 * size[:, :1] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    across = 0.5 * size[:, 1:] * np.stack((-np.sin(angle), np.cos(angle)), axis=1)
    return np.stack(
        (middle - along - across, middle + along - across, middle + along + across, middle - along + across), 1
    )


def layer_of(corners: np.ndarray, groups=None, colors=("#ff0000",), transform=PLAIN, **options) -> BoxLayer:
    layer = BoxLayer("boxes", make_grid(100, 100, transform), **options)
    layer.set_boxes(corners, np.zeros(len(corners)) if groups is None else groups, [QColor(c) for c in colors])
    return layer


def tiles_of(side: int, cell_px: int, **options) -> BoxLayer:
    """A checkerboard of patches, ``side`` a row."""
    row, col = np.divmod(np.arange(side * side), side)
    hulls = np.stack((col, row, col + 1, row + 1), axis=1) * cell_px
    layer = BoxLayer("patches", make_grid(side * cell_px, side * cell_px, PLAIN), width=1.0, cased=False)
    colors = [QColor("#ff0000"), QColor("#00ff00")]
    index = np.arange(side * side, dtype=np.int32).reshape(side, side)
    layer.set_patches(hulls, (row + col) % 2, [cell_px] * 2, colors, index, cell_px)
    return layer


def painted(layer: BoxLayer, view: Viewport) -> np.ndarray:
    image = QImage(view.width, view.height, QImage.Format.Format_RGB32)
    image.fill(QColor("#000000"))
    painter = QPainter(image)
    layer.paint(painter, view)
    painter.end()
    data = np.frombuffer(image.constBits(), np.uint8).reshape(view.height, view.width, 4)
    return data[..., 2::-1].copy()


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_box_at_a_place_is_the_smallest_that_holds_it(qapp, mirrored):
    corners = boxes(60)
    layer = layer_of(corners[:, ::-1] if mirrored else corners)
    shapes = [shapely.Polygon(c) for c in corners]
    for col, row in np.random.default_rng(2).uniform(0, 100, (300, 2)):
        held = [k for k, shape in enumerate(shapes) if shape.contains(shapely.Point(col, row))]
        wanted = min(held, key=lambda k: shapes[k].area) if held else None
        assert layer.at(col, row) == wanted


def test_no_boxes_are_no_trouble(qapp):
    layer = layer_of(np.zeros((0, 4, 2)), colors=())
    assert layer.at(5, 5) is None
    assert layer.count == 0
    assert not painted(layer, Viewport(50, 50, 1.0, 100, 100)).any()


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("many", [False, True])
def test_lines_keep_their_width_at_every_zoom(qapp, monkeypatch, scale, many):
    monkeypatch.setattr("rs_viewer.map.boxes._MANY_BOXES", 0 if many else 1000)
    layer = tiles_of(2, 200)
    row = painted(layer, Viewport(200, 100, scale, 80, 80, y_up=False))[38]
    assert np.count_nonzero(row[20:60].any(axis=1)) == 1


@pytest.mark.parametrize("many", [False, True])
def test_groups_have_their_colours_and_an_opacity(qapp, monkeypatch, many):
    monkeypatch.setattr("rs_viewer.map.boxes._MANY_BOXES", 0 if many else 1000)
    layer = tiles_of(3, 20)
    view = Viewport(30, 30, 1.0, 100, 100, y_up=False)
    shown = painted(layer, view)
    assert {tuple(c) for c in shown.reshape(-1, 3)} == {(0, 0, 0), (255, 0, 0), (0, 255, 0)}
    layer.opacity = 0.5
    assert 120 <= painted(layer, view).max() <= (135 if many else 195), "shared edges of few boxes are drawn twice"
    layer.set_colors([QColor("#0000ff")] * 2)
    assert not painted(layer, view)[..., :2].any()


def test_many_patches_are_painted_where_few_are(qapp, monkeypatch):
    layer = tiles_of(9, 7)
    layer.set_colors([QColor("#ffffff")] * 2)
    view = Viewport(30.3, 28.8, 0.31, 120, 90, y_up=False)
    monkeypatch.setattr("rs_viewer.map.boxes._MANY_BOXES", 1000)
    few = painted(layer, view).any(axis=2)
    monkeypatch.setattr("rs_viewer.map.boxes._MANY_BOXES", 0)
    many = painted(layer, view).any(axis=2)
    inner = (slice(2, -2), slice(2, -2))
    near = few.copy()
    for step in (-1, 1):
        near |= np.roll(few, step, axis=0) | np.roll(few, step, axis=1)
    assert many[inner].any()
    assert not (many & ~near)[inner].any()


def test_pixels_too_many_for_a_screen_are_fainter_not_solid(qapp, monkeypatch):
    monkeypatch.setattr("rs_viewer.map.boxes._MANY_BOXES", 0)
    layer = tiles_of(60, 4)
    shown = painted(layer, Viewport(120, 120, 4.0, 40, 40, y_up=False))
    assert 60 < shown.max() < 140


def test_a_turned_box_on_a_turned_grid_is_painted_where_it_lies(qapp):
    layer = layer_of(boxes(1), width=2.0, transform=Affine.rotation(20) @ Affine.scale(2, -2))
    x, y = layer.transform(*layer.ring(0)[0])
    shown = painted(layer, Viewport(x, y, 0.2, 60, 60))
    assert shown[28:33, 28:33].max() > 200


def test_a_box_too_small_to_show_stays_as_a_speck(qapp):
    layer = layer_of(boxes(1))
    assert painted(layer, Viewport(50, 50, 500.0, 40, 40, y_up=False)).max() > 150
