"""The map's arithmetic: screen, map and grid positions, and tiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rs_viewer.map.pyramid import TILE_PX, Pyramid, TileKey, touches_rows
from rs_viewer.map.viewport import Affine2, Viewport

coordinate = st.floats(-2e7, 2e7)
screen = st.floats(-3000, 5000)
viewports = st.builds(
    Viewport,
    x=coordinate,
    y=coordinate,
    scale=st.floats(1e-3, 1e5),
    width=st.integers(1, 4000),
    height=st.integers(1, 3000),
    y_up=st.booleans(),
)
angle = st.floats(0, 2 * math.pi)


@st.composite
def transforms(draw):
    """Grids that are rotated, mirrored, of oblong pixels."""
    size, ratio, turn, flip = draw(st.floats(0.05, 1e3)), draw(st.floats(0.3, 3)), draw(angle), draw(st.booleans())
    c, s, sign = math.cos(turn), math.sin(turn), 1 if flip else -1
    return Affine2(
        size * c, -sign * size * ratio * s, draw(coordinate), size * s, sign * size * ratio * c, draw(coordinate)
    )


@given(viewports, screen, screen)
def test_screen_to_map_and_back(view, sx, sy):
    back = view.to_screen(*view.to_map(sx, sy))
    assert back == pytest.approx((sx, sy), abs=1e-6 + 1e-8 * max(abs(view.x), abs(view.y)) / view.scale)


@given(viewports, screen, screen, st.floats(0.01, 100))
def test_zoom_keeps_the_point_under_the_cursor(view, sx, sy, factor):
    point = view.to_map(sx, sy)
    after = view.zoomed(factor, sx, sy)
    tolerance = 1e-6 + 1e-8 * max(abs(view.x), abs(view.y), abs(point[0]), abs(point[1])) / after.scale
    assert after.to_screen(*point) == pytest.approx((sx, sy), abs=tolerance)


@given(viewports, transforms(), st.floats(0, 40_000), st.floats(0, 40_000), st.floats(0.01, 100))
def test_pixels_go_to_the_screen_and_back_under_zoom(view, transform, col, row, factor):
    view = view.zoomed(factor, 10.0, 20.0)
    to_screen = view.grid_to_screen(transform)
    direct = view.to_screen(*transform(col, row))
    size = max(abs(v) for v in (*direct, *transform(col, row), view.x, view.y, to_screen.c, to_screen.f))
    assert to_screen(col, row) == pytest.approx(direct, abs=1e-6 + 1e-8 * size / min(view.scale, 1.0))
    step = math.sqrt(abs(to_screen.determinant))
    tolerance = 1e-6 + 1e-9 * size / min(step, 1.0)
    assume(tolerance < 1.0)
    assert to_screen.inverse()(*to_screen(col, row)) == pytest.approx((col, row), abs=tolerance)


@given(viewports, screen, screen)
def test_panning_drags_the_map_along(view, dx, dy):
    point = view.to_map(100.0, 50.0)
    moved = view.panned(dx, dy).to_screen(*point)
    size = 1e-6 + 1e-8 * (max(abs(view.x), abs(view.y)) / view.scale + abs(dx) + abs(dy))
    assert moved == pytest.approx((100.0 + dx, 50.0 + dy), abs=size)


def test_scale_stays_within_its_limits():
    view = Viewport(scale=1.0, width=100, height=100, min_scale=0.5, max_scale=4.0)
    assert view.zoomed(1000, 0, 0).scale == 0.5
    assert view.zoomed(0.001, 0, 0).scale == 4.0
    assert view.fitted((0, 0, 1e9, 1e9)).scale == 4.0


def test_a_transform_without_area_is_refused():
    with pytest.raises(ValueError, match="no area"):
        Affine2(1, 2, 0, 2, 4, 0).inverse()


sizes = st.integers(1, 50_000)


@given(sizes, sizes)
def test_the_top_of_a_pyramid_is_one_tile(width, height):
    pyramid = Pyramid(width, height)
    assert len(pyramid.range_in(pyramid.max_level, 0, 0, width, height)) == 1
    if pyramid.max_level:
        assert len(pyramid.range_in(pyramid.max_level - 1, 0, 0, width, height)) > 1


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 4))
def test_tiles_cover_the_grid_once(width, height, level):
    pyramid = Pyramid(width, height)
    level = min(level, pyramid.max_level)
    area = 0.0
    for key in pyramid.range_in(level, 0, 0, width, height).tiles():
        left, top, right, bottom = key.box
        assert pyramid.holds(key)
        area += (min(right, width) - left) * (min(bottom, height) - top)
    assert area == width * height


@given(st.integers(-5, 12), st.integers(0, 1000), st.integers(0, 1000))
def test_children_cover_their_parent(level, col, row):
    key = TileKey(level, col, row)
    boxes = [child.box for child in key.children]
    assert all(child.parent == key for child in key.children)
    joined = (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))
    assert joined == key.box
    assert sum((b[2] - b[0]) * (b[3] - b[1]) for b in boxes) == (key.box[2] - key.box[0]) * (key.box[3] - key.box[1])


@given(st.floats(1e-4, 100), st.integers(300, 50_000))
def test_tile_pixels_are_about_as_large_as_screen_pixels(screen_px, width):
    pyramid = Pyramid(width, width, -5)
    level = pyramid.level_for(screen_px)
    assert pyramid.min_level <= level <= pyramid.max_level
    if pyramid.min_level < level < pyramid.max_level:
        assert 0.70 <= screen_px * 2.0**level <= 1.42


def test_a_refresh_touches_the_tiles_of_its_rows_and_their_border():
    assert touches_rows(TileKey(0, 3, 1), 300, 310)
    assert touches_rows(TileKey(0, 3, 1), 0, 256)
    assert touches_rows(TileKey(0, 3, 1), 512, 600)
    assert not touches_rows(TileKey(0, 3, 1), 0, 255)
    assert not touches_rows(TileKey(0, 3, 1), 513, 600)
    assert touches_rows(TileKey(5, 0, 0), 4000, 4001)
    assert not touches_rows(TileKey(1, 0, 1), 0, 2 * TILE_PX - 2)
