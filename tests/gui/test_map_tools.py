"""Mouse, wheel, touchpad, keyboard and tools of the map."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from affine import Affine
from map_fakes import IDENTITY_STRETCH, NORTH_UP, FakeScene, make_grid, quadrants, wait_settled
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from rasterio.crs import CRS

from rs_viewer.map import MapView, SceneLayer

LEFT, MIDDLE = Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton
SHIFT, PLAIN = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier


@pytest.fixture
def view(qtbot):
    widget = MapView()
    qtbot.addWidget(widget)
    widget.resize(600, 400)
    widget.show()
    widget.layers.add(SceneLayer(FakeScene(quadrants()), stretch=IDENTITY_STRETCH))
    widget.setFocus()
    return widget


def wheel(view, at, angle=0, pixels=0, phase=Qt.ScrollPhase.NoScrollPhase):
    point = QPointF(*at)
    event = QWheelEvent(
        point,
        view.mapToGlobal(point),
        QPoint(0, pixels),
        QPoint(0, angle),
        Qt.MouseButton.NoButton,
        PLAIN,
        phase,
        False,
    )
    QApplication.sendEvent(view, event)


def drag(view, button, start, stop, modifiers=PLAIN):
    QTest.mousePress(view, button, modifiers, QPoint(*start))
    for part in (0.3, 0.7, 1.0):
        place = QPoint(*(round(a + (b - a) * part) for a, b in zip(start, stop, strict=True)))
        move(view, place, button, modifiers)
    QTest.mouseRelease(view, button, modifiers, QPoint(*stop))


def move(view, place, buttons=Qt.MouseButton.NoButton, modifiers=PLAIN):
    point = QPointF(place)
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        point,
        view.mapToGlobal(point),
        Qt.MouseButton.NoButton,
        Qt.MouseButton(buttons),
        modifiers,
    )
    QApplication.sendEvent(view, event)


def rest(qtbot, view):
    qtbot.waitUntil(lambda: view._glide.state() == view._glide.State.Stopped, timeout=3000)


def test_the_wheel_zooms_about_the_cursor(qtbot, view):
    at = (450, 90)
    point, scale = view.viewport.to_map(*at), view.viewport.scale
    wheel(view, at, angle=120)
    wheel(view, at, angle=120)
    rest(qtbot, view)
    assert view.viewport.scale == pytest.approx(scale / 2)
    assert view.viewport.to_screen(*point) == pytest.approx(at, abs=1e-3)
    wheel(view, at, angle=-240)
    rest(qtbot, view)
    assert view.viewport.scale == pytest.approx(scale)


def test_a_touchpad_zooms_by_its_fine_steps_at_once(view):
    at = (100, 300)
    point, scale = view.viewport.to_map(*at), view.viewport.scale
    for _ in range(10):
        wheel(view, at, angle=8, pixels=10, phase=Qt.ScrollPhase.ScrollUpdate)
    assert view.viewport.scale == pytest.approx(scale / math.sqrt(2))
    assert view.viewport.to_screen(*point) == pytest.approx(at, abs=1e-3)


def test_zoom_ends_at_its_limits(qtbot, view):
    view.zoom_by(1e9)
    assert 10.0 / view.viewport.scale == pytest.approx(64.0)
    view.zoom_by(1e-9)
    assert 10240 / view.viewport.scale == pytest.approx(32.0)


@pytest.mark.parametrize("tool", ["pan", "inspect", "roi"])
def test_the_middle_button_pans_with_every_tool(view, tool):
    view.set_tool(tool)
    point = view.viewport.to_map(300, 200)
    drag(view, MIDDLE, (300, 200), (380, 150))
    assert view.viewport.to_screen(*point) == pytest.approx((380, 150))


def test_the_left_button_pans_with_the_pan_tool_and_the_inspect_tool(qtbot, view):
    for tool in ("pan", "inspect"):
        view.set_tool(tool)
        point = view.viewport.to_map(300, 200)
        with qtbot.assertNotEmitted(view.clicked):
            drag(view, LEFT, (300, 200), (360, 260))
        assert view.viewport.to_screen(*point) == pytest.approx((360, 260))


def test_the_space_bar_pans_with_the_drawing_tool(qtbot, view):
    view.set_tool("roi")
    point = view.viewport.to_map(300, 200)
    QTest.keyPress(view, Qt.Key.Key_Space)
    drag(view, LEFT, (300, 200), (330, 190))
    QTest.keyRelease(view, Qt.Key.Key_Space)
    assert view.viewport.to_screen(*point) == pytest.approx((330, 190))
    assert not view._drawing.active
    assert view.cursor().shape() == Qt.CursorShape.CrossCursor


def test_keys_move_zoom_and_show_everything(qtbot, view):
    start = view.viewport
    QTest.keyClick(view, Qt.Key.Key_Right)
    assert view.viewport.x > start.x
    QTest.keyClick(view, Qt.Key.Key_Down)
    assert view.viewport.y < start.y
    QTest.keyClick(view, Qt.Key.Key_Plus)
    rest(qtbot, view)
    assert view.viewport.scale == pytest.approx(start.scale / math.sqrt(2))
    QTest.keyClick(view, Qt.Key.Key_Minus)
    rest(qtbot, view)
    assert view.viewport.scale == pytest.approx(start.scale)
    QTest.keyClick(view, Qt.Key.Key_Home)
    assert view.viewport == start


def test_double_click_zooms_in(qtbot, view):
    scale, point = view.viewport.scale, view.viewport.to_map(200, 100)
    QTest.mouseDClick(view, LEFT, PLAIN, QPoint(200, 100))
    rest(qtbot, view)
    assert view.viewport.scale == pytest.approx(scale / 2)
    assert view.viewport.to_screen(*point) == pytest.approx((200, 100), abs=1e-3)
    QTest.mouseDClick(view, LEFT, SHIFT, QPoint(200, 100))
    rest(qtbot, view)
    assert view.viewport.scale == pytest.approx(scale)


def test_inspecting_tells_the_place_of_a_click(qtbot, view):
    view.set_tool("inspect")
    with qtbot.waitSignal(view.clicked) as told:
        QTest.mouseClick(view, LEFT, PLAIN, QPoint(320, 180))
    assert told.args == pytest.approx(view.viewport.to_map(320, 180))
    view.set_tool("pan")
    with qtbot.assertNotEmitted(view.clicked):
        QTest.mouseClick(view, LEFT, PLAIN, QPoint(320, 180))


def test_cursor_signals_come_at_most_sixty_times_a_second_and_the_last_one_always(qtbot, view):
    view.set_tool("inspect")
    cursor, hover = [], []
    view.cursorMoved.connect(lambda x, y: cursor.append((time.monotonic(), x, y)))
    view.hovered.connect(lambda x, y: hover.append((x, y)))
    started = time.monotonic()
    count = 0
    while time.monotonic() - started < 0.4:
        move(view, QPoint(100 + count % 300, 120))
        count += 1
        QApplication.processEvents()
    last = view.viewport.to_map(100 + (count - 1) % 300, 120)
    qtbot.waitUntil(lambda: cursor[-1][1:] == pytest.approx(last), timeout=1000)
    seconds = time.monotonic() - started
    assert 5 < len(cursor) <= seconds * 60 + 2
    assert len(hover) <= seconds * 60 + 2
    assert count > len(cursor) * 2
    QApplication.sendEvent(view, QEvent(QEvent.Type.Leave))
    qtbot.waitUntil(lambda: math.isnan(cursor[-1][1]) and math.isnan(hover[-1][0]), timeout=1000)


def test_a_polygon_is_drawn_by_clicks_and_ended_by_a_double_click(qtbot, view):
    view.set_tool("roi")
    places = [(100, 100), (300, 110), (280, 300)]
    for place in places:
        QTest.mouseClick(view, LEFT, PLAIN, QPoint(*place))
    with qtbot.waitSignal(view.roiDrawn) as told:
        QTest.mouseDClick(view, LEFT, PLAIN, QPoint(*places[-1]))
    assert np.allclose(told.args[0], [view.viewport.to_map(*p) for p in places])
    assert view.roi == told.args[0]
    assert not view._drawing.active


def test_enter_ends_backspace_takes_back_and_escape_forgets(qtbot, view):
    view.set_tool("roi")
    for place in [(100, 100), (300, 110)]:
        QTest.mouseClick(view, LEFT, PLAIN, QPoint(*place))
    with qtbot.assertNotEmitted(view.roiDrawn):
        QTest.keyClick(view, Qt.Key.Key_Return)
    assert len(view._drawing.vertices) == 2, "two vertices enclose nothing: the drawing goes on"
    for place in [(280, 300), (5, 5)]:
        QTest.mouseClick(view, LEFT, PLAIN, QPoint(*place))
    QTest.keyClick(view, Qt.Key.Key_Backspace)
    with qtbot.waitSignal(view.roiDrawn) as told:
        QTest.keyClick(view, Qt.Key.Key_Return)
    assert len(told.args[0]) == 3
    QTest.mouseClick(view, LEFT, PLAIN, QPoint(50, 50))
    QTest.keyClick(view, Qt.Key.Key_Escape)
    assert not view._drawing.active
    assert len(view.roi) == 3, "the region of interest that was there stays"


def test_shift_drags_a_rectangle(qtbot, view):
    view.set_tool("roi")
    with qtbot.waitSignal(view.roiDrawn) as told:
        drag(view, LEFT, (100, 100), (200, 160), SHIFT)
    left_top, right_bottom = view.viewport.to_map(100, 100), view.viewport.to_map(200, 160)
    assert np.allclose(told.args[0][0], left_top)
    assert np.allclose(told.args[0][2], right_bottom)
    assert len(told.args[0]) == 4
    with qtbot.assertNotEmitted(view.roiDrawn):
        drag(view, LEFT, (100, 100), (100, 100), SHIFT)


def test_vertices_stay_in_their_place_when_the_map_moves(qtbot, view):
    view.set_tool("roi")
    expected = []
    for place in [(100, 100), (300, 110), (280, 300)]:
        expected.append(view.viewport.to_map(*place))
        QTest.mouseClick(view, LEFT, PLAIN, QPoint(*place))
        view.zoom_by(1.1, (250, 150))
    with qtbot.waitSignal(view.roiDrawn) as told:
        QTest.keyClick(view, Qt.Key.Key_Enter)
    assert np.allclose(told.args[0], expected)


def test_the_region_of_interest_shows(qtbot, view):
    wait_settled(qtbot, view)
    plain = view.grab_image()
    view.set_roi([view.viewport.to_map(*p) for p in [(200, 100), (400, 100), (400, 300), (200, 300)]])
    drawn = view.grab_image()
    assert drawn.pixelColor(250, 150) != plain.pixelColor(250, 150)
    assert drawn.pixelColor(150, 150) == plain.pixelColor(150, 150)
    view.set_roi(None)
    assert view.grab_image() == plain


def test_outlines_follow_the_grid_and_do_not_repaint_the_layers(qtbot, view):
    wait_settled(qtbot, view)
    view.grab()
    ring = np.array([(100, 100), (300, 100), (300, 250), (100, 250), (100, 100)], float)
    painted = []
    original = view._compositor.paint
    view._compositor.paint = lambda *args: painted.append(1) or original(*args)
    view.set_outline([ring], QColor(255, 255, 0))
    view.set_outline([ring + 400], kind="hovered")
    image = view.grab_image()
    assert not painted
    x, y = (round(v) for v in view.viewport.to_screen(*(NORTH_UP @ (200, 100))))
    assert image.pixelColor(x, y).getRgb()[:3] == pytest.approx((255, 255, 0), abs=40)
    x, y = (round(v) for v in view.viewport.to_screen(*(NORTH_UP @ (600, 500))))
    assert max(min(image.pixelColor(x, y + dy).getRgb()[:3]) for dy in (-1, 0, 1)) > 150
    view.set_outline(None)
    view.set_outline(None, kind="hovered")
    x, y = (round(v) for v in view.viewport.to_screen(*(NORTH_UP @ (200, 100))))
    assert view.grab_image().pixelColor(x, y).getRgb()[:3] == (255, 0, 0)


def test_places_are_forgotten_with_their_map(qtbot, view):
    view.set_roi([(0, 0), (1, 0), (1, 1)])
    view.set_outline([np.array([(0, 0), (9, 0), (9, 9), (0, 0)], float)])
    view.layers.clear()
    assert view.roi is None
    assert view._outline.rings == ()


def test_a_wrong_tool_is_refused(view):
    with pytest.raises(ValueError, match="no map tool 'hammer'"):
        view.set_tool("hammer")


def test_the_ground_length_of_a_pixel_is_told(qtbot, view):
    told = []
    view.viewChanged.connect(told.append)
    view.set_view(*(NORTH_UP @ (512, 384)), 10.0)
    assert told[-1] == pytest.approx(10.0, rel=1e-3)
    assert view.units_per_px == told[-1]
    view.zoom_by(2)
    assert told[-1] == pytest.approx(5.0, rel=1e-3)


def test_degrees_are_told_in_metres(qtbot):
    view = MapView()
    qtbot.addWidget(view)
    view.set_grid(make_grid(100, 100, Affine(0.01, 0, 10, 0, -0.01, 60.5), CRS.from_epsg(4326)))
    view.set_view(10.5, 60.0, 0.01)
    assert view.units_per_px == pytest.approx(557.9, rel=2e-3)  # 0.01 degrees of longitude at 60 degrees north


def test_drops_are_left_to_the_window_around_the_map(view):
    assert not view.acceptDrops()


def test_resizing_keeps_everything_shown_until_the_user_moves(qtbot, view):
    view.resize(900, 300)
    left, top = view.viewport.to_screen(*(NORTH_UP @ (0, 0)))
    right, bottom = view.viewport.to_screen(*(NORTH_UP @ (1024, 768)))
    assert left >= 0
    assert top >= 0
    assert right <= 900
    assert bottom <= 300
    view.set_view(*(NORTH_UP @ (300, 300)), 5.0)
    view.resize(500, 500)
    assert (view.viewport.x, view.viewport.y, view.viewport.scale) == (*(NORTH_UP @ (300, 300)), 5.0)
