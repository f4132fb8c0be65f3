"""Polygons: exact area, valid coverage, holes, streaming, simplification."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import shape

from engine.regions.polygons import coverage, simplify, trace_rows
from engine.regions.runs import map_runs


def connected(raster, none=-1):
    graph = map_runs(raster)
    _, area = graph.connect(graph.runs.take(raster), none)
    return np.repeat(area, graph.runs.lengths).reshape(raster.shape)


def last_rows(labels):
    last = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for row in range(labels.shape[0]):
        last[labels[row]] = row + 1
    return last


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.int8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(-1, 3)), st.integers(1, 5)
)
def test_polygons_are_their_pixels_and_streaming_changes_nothing(raster, strip):
    labels = connected(raster)
    ids, polygons = coverage(labels)
    pixels = np.bincount(labels.ravel())
    assert ids.tolist() == list(range(1, int(labels.max()) + 1))
    assert np.array_equal(shapely.area(polygons), pixels[1:])
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    found = {}
    strips = ((row, labels[row : row + strip]) for row in range(0, labels.shape[0], strip))
    for traced in trace_rows(strips, labels.shape[1], last_rows(labels)):
        found.update(zip(traced.label.tolist(), traced.polygons(), strict=True))
    assert sorted(found) == ids.tolist()
    for number, polygon in zip(ids.tolist(), polygons, strict=True):
        assert found[number].normalize().equals_exact(polygon.normalize(), 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_same_outlines_as_gdal_draws(seed):
    raster = np.random.default_rng(seed).integers(0, 3, (12, 15))
    labels = connected(raster)
    ids, polygons = coverage(labels)
    theirs = {int(v): shape(s) for s, v in rasterio.features.shapes(labels.astype(np.int32), connectivity=4) if v}
    assert sorted(theirs) == ids.tolist()
    assert all(theirs[int(i)].equals(polygon) for i, polygon in zip(ids, polygons, strict=True))


def test_holes_and_corner_contacts():
    labels = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]])
    _, (polygon,) = coverage(labels)
    assert polygon.is_valid
    assert len(polygon.interiors) == 2
    assert polygon.area == 14


def test_vertices_only_where_borders_turn_or_meet():
    labels = np.array([[1, 1, 1, 1], [2, 2, 3, 3]])
    _, polygons = coverage(labels)
    assert shapely.get_num_coordinates(polygons).tolist() == [6, 5, 5]
    assert shapely.coverage_is_valid(polygons)


def test_no_vertex_at_strip_borders():
    labels = np.ones((9, 3), np.int32)
    *_, traced = trace_rows(((row, labels[row : row + 2]) for row in range(0, 9, 2)), 3, np.array([0, 9]))
    assert shapely.get_num_coordinates(traced.polygons()).tolist() == [5]


def test_map_coordinates_run_counter_clockwise():
    _, (polygon,) = coverage(np.ones((2, 3), np.int32), Affine(10, 0, 100, 0, -10, 200))
    assert polygon.exterior.is_ccw
    assert polygon.bounds == (100, 180, 130, 200)


@pytest.mark.parametrize("tolerance", [1.5, 4.0])
def test_simplified_coverage_has_no_gaps(tolerance):
    rng = np.random.default_rng(3)
    from scipy.ndimage import gaussian_filter

    fields = np.stack([gaussian_filter(rng.standard_normal((120, 130)), 3) for _ in range(4)])
    labels = connected(fields.argmax(0))
    _, polygons = coverage(labels)
    simple = simplify(polygons, tolerance)
    assert shapely.coverage_is_valid(simple)
    assert shapely.get_num_coordinates(simple).sum() < 0.6 * shapely.get_num_coordinates(polygons).sum()
    assert shapely.union_all(simple).area == pytest.approx(shapely.area(simple).sum(), abs=1e-6)
    assert gpd.GeoSeries(simple).is_valid.all()
    assert simplify(polygons, 0.0)[0].equals_exact(polygons[0], 0)


def test_nothing_gives_nothing():
    ids, polygons = coverage(np.zeros((4, 5), np.int32))
    assert ids.size == 0
    assert polygons.size == 0
