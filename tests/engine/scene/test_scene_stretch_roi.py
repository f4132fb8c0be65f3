import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from scene_rasters import numbers, write

from engine.errors import OptionError, RoiError
from engine.scene import Grid, Roi, Scene, Stretch, Window, percentile_stretch, rasterize_roi, read_roi, to_rgba

GRID = Grid(100, 80, Affine(10, 0, 500_000, 0, -10, 5_300_000), CRS.from_epsg(32632))


def test_stretch_leaves_nodata_and_extremes_out(tmp_path):
    data = np.tile(np.arange(100, 200, dtype=np.uint16), (1, 100, 1))
    data[:, :10] = 60000
    data[0, 50, 50] = 9000
    with Scene.open(write(tmp_path / "a.tif", data, nodata=60000)) as scene:
        stretch = percentile_stretch(scene, (1,))
        assert stretch.low[0] == pytest.approx(102, abs=1)
        assert stretch.high[0] == pytest.approx(197, abs=1)
        rgba = to_rgba(scene.read(), stretch)
        assert (rgba[:10, :, 3] == 0).all()
        assert (rgba[10:, :, 3] == 255).all()
        assert rgba[60, 0].tolist() == [0, 0, 0, 255]
        assert rgba[60, 99].tolist() == [255, 255, 255, 255]


def test_stretch_of_one_value_shows_grey(tmp_path):
    with Scene.open(write(tmp_path / "a.tif", np.full((1, 5, 5), 9, np.uint8))) as scene:
        assert (to_rgba(scene.read(), percentile_stretch(scene, (1,)))[..., :3] == 128).all()


def test_all_nodata_is_transparent(tmp_path):
    with Scene.open(write(tmp_path / "a.tif", np.zeros((3, 5, 5), np.uint8), nodata=0)) as scene:
        assert (to_rgba(scene.read(), percentile_stretch(scene, (1, 2, 3))) == 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_brightness_rises_with_value(tmp_path, dtype):
    data = np.linspace(1, 120, 40).astype(dtype).reshape(1, 1, 40)
    with Scene.open(write(tmp_path / f"{dtype}.tif", data)) as scene:
        grey = to_rgba(scene.read(), Stretch((10.0,), (100.0,)))[0, :, 0].astype(int)
        assert (np.diff(grey) >= 0).all()
        assert (grey[0], grey[-1]) == (0, 255)


def test_two_bands_cannot_be_shown(tmp_path):
    with Scene.open(write(tmp_path / "a.tif", numbers(2))) as scene, pytest.raises(OptionError):
        to_rgba(scene.read(), Stretch((0.0, 0.0), (1.0, 1.0)))


def test_roi_in_another_crs_lies_where_it_should():
    lon, lat = GRID.lonlat([20, 60, 60, 20], [10, 10, 50, 50])
    roi = Roi.from_json(Roi(shapely.Polygon(np.column_stack([lon, lat])), "EPSG:4326").to_json())
    pixels = roi.on_grid(GRID)
    assert pixels.bounds == pytest.approx((20, 10, 60, 50), abs=0.02)
    assert rasterize_roi(pixels, Window(0, 0, 100, 80)).sum() == pytest.approx(1600, abs=45)


def test_roi_is_clipped_to_the_grid():
    roi = Roi(shapely.box(400_000, 5_299_500, 500_300, 5_400_000), "EPSG:32632")
    assert roi.on_grid(GRID).equals(shapely.box(0, 0, 30, 50))


@pytest.mark.parametrize(
    ("geometry", "crs", "words"),
    [
        (shapely.box(0, 0, 10, 10), "EPSG:32632", "outside the scene"),
        (shapely.box(-170, 0, -160, 10), "EPSG:4326", "outside the scene"),
        (shapely.box(500_000, 5_299_500, 500_300, 5_300_000), "", "has a CRS"),
        (shapely.box(500_000, 5_299_500, 500_300, 5_300_000), "EPSG:nonsense", "no coordinate reference system"),
    ],
)
def test_rois_that_miss_are_refused(geometry, crs, words):
    with pytest.raises(RoiError, match=words):
        Roi(geometry, crs).on_grid(GRID)


@pytest.mark.parametrize(
    "raw", [{}, {"geometry": {"type": "Point", "coordinates": [1, 2]}}, {"geometry": 5, "crs": ""}]
)
def test_broken_rois_are_refused(raw):
    with pytest.raises(RoiError):
        Roi.from_json(raw)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb"])
def test_roi_files(tmp_path, suffix):
    path = tmp_path / f"roi{suffix}"
    boxes = [shapely.box(10, 47, 10.1, 47.1), shapely.box(10.1, 47, 10.2, 47.1)]
    geopandas.GeoDataFrame(geometry=boxes, crs=4326).to_file(path)
    roi = read_roi(path)
    assert roi.geometry.equals(shapely.box(10, 47, 10.2, 47.1))
    assert CRS.from_user_input(roi.crs).to_epsg() == 4326


def test_roi_files_that_are_none(tmp_path):
    (tmp_path / "a.gpkg").write_text("no")
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=4326)
    points.to_file(tmp_path / "points.gpkg")
    for name in ("a.gpkg", "gone.gpkg", "points.gpkg"):
        with pytest.raises(RoiError, match=name):
            read_roi(tmp_path / name)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
def test_windows_of_a_roi_fit_together(col, row, width, height):
    shape = shapely.Point(40, 40).buffer(25)
    whole = rasterize_roi(shape, Window(0, 0, 100, 100))
    part = rasterize_roi(shape, Window(col, row, width, height))
    assert (part == whole[row : row + height, col : col + width]).all()
