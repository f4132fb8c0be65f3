"""Outlines: what is left out of a path must not show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPolygonF
from scipy.ndimage import binary_dilation

from rs_viewer.map.outlines import path_of
from rs_viewer.map.viewport import Affine2

WIDTH, HEIGHT = 120, 80
IDENTITY = Affine2(1, 0, 0, 0, 1, 0)


def drawn(path):
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_Grayscale8)
    image.fill(0)
    painter = QPainter(image)
    painter.setPen(QColor(255, 255, 255))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPath(path)
    painter.end()
    return np.frombuffer(image.constBits(), np.uint8).reshape(HEIGHT, image.bytesPerLine())[:, :WIDTH].copy()


places = st.tuples(st.integers(-60, 60), st.integers(-60, 60))


@given(st.lists(places, min_size=3, max_size=12, unique=True), st.integers(1, 20))
@settings(deadline=None)
def test_a_thinned_path_looks_like_the_whole_one(corners, zoom):
    ring = np.array([*corners, corners[0]], float)
    to_screen = Affine2(zoom, 0, 30.25, 0, zoom, 20.25)
    whole = QPainterPath()
    whole.addPolygon(QPolygonF([QPointF(*to_screen(*p)) for p in ring.tolist()]))
    whole.closeSubpath()
    thinned, expected = drawn(path_of([ring], to_screen, WIDTH, HEIGHT)) > 0, drawn(whole) > 0
    inside = np.s_[2:-2, 2:-2]
    assert not (thinned & ~binary_dilation(expected, np.ones((3, 3))))[inside].any()
    assert not (expected & ~binary_dilation(thinned, np.ones((3, 3))))[inside].any()


def test_vertices_on_one_pixel_are_left_out():
    turn = np.linspace(0, 2 * np.pi, 100_000)
    ring = np.stack([60 + 30 * np.cos(turn), 40 + 30 * np.sin(turn)], axis=1)
    assert path_of([ring], IDENTITY, WIDTH, HEIGHT).elementCount() < 400


def test_vertices_far_off_the_screen_are_left_out():
    turn = np.linspace(0, 2 * np.pi, 100_000)
    ring = np.stack([50_000 * np.cos(turn) + 50_000, 50_000 * np.sin(turn)], axis=1)  # passes the corner at (0, 0)
    path = path_of([ring], IDENTITY, WIDTH, HEIGHT)
    assert 2 < path.elementCount() < 700
    assert drawn(path)[0:5].any()


def test_a_region_smaller_than_a_pixel_still_shows():
    ring = np.array([(50, 30), (50.2, 30), (50.2, 30.2), (50, 30.2), (50, 30)])
    assert drawn(path_of([ring], IDENTITY, WIDTH, HEIGHT))[28:33, 48:53].any()


@pytest.mark.parametrize("rings", [[], [np.zeros((0, 2))], [np.zeros((1, 2))]])
def test_nothing_to_outline_gives_an_empty_path(rings):
    assert path_of(rings, IDENTITY, WIDTH, HEIGHT).isEmpty()
