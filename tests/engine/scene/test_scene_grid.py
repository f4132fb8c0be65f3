import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from rasterio.crs import CRS

from engine.errors import SceneError
from engine.scene import Grid, Window

GEOD = Geod(ellps="WGS84")


def areas(grid):
    rows, cols = np.mgrid[0 : grid.height, 0 : grid.width] + 0.5
    return grid.ground(rows, cols)


def outline_area(grid, steps=200):
    t = np.linspace(0, 1, steps, endpoint=False)
    w, h, o = grid.width, grid.height, np.zeros_like(t)
    cols = np.concatenate([t * w, o + w, (1 - t) * w, o])
    rows = np.concatenate([o, t * h, o + h, (1 - t) * h])
    return abs(GEOD.polygon_area_perimeter(*grid.lonlat(cols, rows))[0])


@pytest.mark.parametrize(
    ("crs", "transform", "size"),
    [
        ("EPSG:32632", Affine(10, 0, 300_000, 0, -10, 5_300_000), (300, 200)),
        ("EPSG:4326", Affine(0.01, 0, 10, 0, -0.02, 62), (120, 90)),
        ("EPSG:3857", Affine(200, 0, 1_000_000, 0, -200, 8_000_000), (400, 300)),
        ("EPSG:3857", Affine(20_000, 0, -2_000_000, 0, -20_000, 10_000_000), (200, 900)),
        ("EPSG:32632", Affine(8, 3, 500_000, 3, -8, 5_300_000), (100, 150)),
        ("EPSG:4326", Affine(0.5, 0, -30, 0, 0.5, -60), (60, 60)),
        ("EPSG:3035", Affine(100, 0, 3_000_000, 0, -100, 2_500_000), (500, 500)),
        ("EPSG:2263", Affine(30, 0, 980_000, 0, -30, 200_000), (100, 100)),
    ],
)
def test_pixel_areas_add_up_to_the_geodesic_area(crs, transform, size):
    grid = Grid(*size, transform, CRS.from_string(crs))
    assert areas(grid).area_m2.sum() == pytest.approx(outline_area(grid), rel=3e-4)


def test_steps_are_geodesic_lengths_and_gsd_is_their_mean():
    grid = Grid(100, 80, Affine(0.001, 0, 20, 0, -0.001, 60.04), CRS.from_epsg(4326))
    ground = grid.ground([40.5], [50.5])
    lon, lat = grid.lonlat([50, 51, 50.5, 50.5], [40.5, 40.5, 40, 41])
    assert ground.dx_m[0] == pytest.approx(GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2], rel=1e-5)
    assert ground.dy_m[0] == pytest.approx(GEOD.inv(lon[2], lat[2], lon[3], lat[3])[2], rel=1e-5)
    assert grid.gsd_m == pytest.approx(np.sqrt(ground.dx_m[0] * ground.dy_m[0]), rel=1e-3)


def test_another_planet_is_measured_on_its_own_ellipsoid():
    mars = CRS.from_wkt(
        'PROJCS["Equirectangular MARS",GEOGCS["GCS_MARS",DATUM["D_MARS",SPHEROID["MARS",3396190,0]],'
        'PRIMEM["Reference",0],'
        'UNIT["degree",0.0174532925199433]],PROJECTION["Equirectangular"],PARAMETER["latitude_of_origin",0],'
        'PARAMETER["central_meridian",0],PARAMETER["standard_parallel_1",0],PARAMETER["false_easting",0],'
        'PARAMETER["false_northing",0],UNIT["metre",1]]'
    )
    degree_m = np.pi * 3396190 / 180
    grid = Grid(10, 10, Affine(100, 0, 20 * degree_m, 0, -100, 60 * degree_m), mars)
    assert not grid.is_earth
    lon, lat = grid.lonlat(0, 0)
    assert (float(lon), float(lat)) == pytest.approx((20, 60), abs=1e-6)
    ground = grid.ground([0], [0])
    assert ground.dx_m[0] == pytest.approx(50, rel=1e-4)
    assert ground.dy_m[0] == pytest.approx(100, rel=1e-4)


def test_without_crs_units_are_kept_and_places_are_refused():
    grid = Grid(4, 3, Affine(2, 0, 0, 0, -3, 0), None)
    assert grid.gsd_m is None
    assert grid.lonlat_bounds is None
    assert grid.ground([0.5], [0.5]).area_m2[0] == 6
    with pytest.raises(SceneError, match="no coordinate reference system"):
        grid.lonlat(0, 0)


def test_bounds_across_the_antimeridian_have_west_greater_than_east():
    west, _, east, _ = Grid(100, 100, Affine(1000, 0, 750_000, 0, -1000, 8_000_000), CRS.from_epsg(32760)).lonlat_bounds
    assert 178 < west < 180
    assert -180 < east < -179


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(-1e5, 1e5),
    st.floats(-1e5, 1e5),
    st.floats(-100, 300),
    st.floats(-100, 300),
)
def test_pixels_and_map_positions_are_inverse(b, d, c, f, col, row):
    grid = Grid(10, 10, Affine(30, b, c, d, -30, f), None)
    back = grid.colrow(*grid.xy(col, row))
    assert np.allclose(back, (col, row), atol=1e-6)


def test_window_transform_starts_at_the_window():
    grid = Grid(50, 50, Affine(8, 3, 100, 3, -8, 200), None)
    assert grid.window_transform(Window(7, 9, 5, 5)) @ (0, 0) == pytest.approx(grid.transform @ (7, 9))
