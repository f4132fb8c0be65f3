import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from scene_rasters import PLACE, numbers, write

from engine.errors import BandError, OptionError, SceneError
from engine.scene import Scene, Window
from engine.scene.resample import axis, resample


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    data = numbers(3, 70, 90)
    path = write(tmp_path_factory.mktemp("plain") / "plain.tif", data, tiled=True, blockxsize=16, blockysize=16)
    with Scene.open(path) as scene:
        yield scene, data


windows = st.builds(Window, st.integers(-40, 100), st.integers(-40, 80), st.integers(1, 60), st.integers(1, 60))


@settings(max_examples=60, deadline=None)
@given(window=windows)
def test_any_window_reads_what_is_there_and_nothing_else(plain, window):
    scene, data = plain
    padded = np.zeros((3, 70 + 200, 90 + 200), np.uint8)
    padded[:, 100:170, 100:190] = data
    inside = np.zeros(padded.shape[1:], bool)
    inside[100:170, 100:190] = True
    place = np.s_[100 + window.row_off : 100 + window.row_off + window.height, 100 + window.col_off :][:2]
    columns = slice(100 + window.col_off, 100 + window.col_off + window.width)
    raster = scene.read(window)
    assert (raster.data == padded[:, place[0], columns]).all()
    assert (raster.valid == inside[place[0], columns]).all()
    assert raster.transform @ (0, 0) == pytest.approx(scene.transform @ (window.col_off, window.row_off))


def test_bands_come_in_the_order_asked_for(plain):
    scene, data = plain
    raster = scene.read(Window(3, 4, 5, 6), bands=(3, 1))
    assert (raster.data == data[[2, 0], 4:10, 3:8]).all()
    assert [band.index for band in raster.bands] == [3, 1]


@pytest.mark.parametrize("bands", [(0,), (4,), ()])
def test_bands_that_are_not_there_are_refused(plain, bands):
    with pytest.raises(BandError):
        plain[0].read(bands=bands)


def test_empty_shapes_are_refused(plain):
    with pytest.raises(OptionError):
        plain[0].read(out_shape=(0, 5))


@settings(max_examples=40, deadline=None)
@given(
    factor=st.sampled_from([1.5, 2.0, 2.7, 4.0, 0.5, 0.3]),
    cut=st.integers(1, 18),
    how=st.sampled_from(["average", "bilinear", "nearest"]),
)
def test_pieces_at_any_scale_make_the_whole(plain, factor, cut, how):
    scene, _ = plain
    whole = scene.read(Window(-10, 5, 20 * factor, 20 * factor), out_shape=(20, 20), resampling=how)
    left = scene.read(Window(-10, 5, cut * factor, 20 * factor), out_shape=(20, cut), resampling=how)
    right = scene.read(
        Window(-10 + cut * factor, 5, (20 - cut) * factor, 20 * factor), out_shape=(20, 20 - cut), resampling=how
    )
    assert (np.concatenate([left.data, right.data], axis=2) == whole.data).all()
    assert (np.concatenate([left.valid, right.valid], axis=1) == whole.valid).all()


@settings(max_examples=30, deadline=None)
@given(gsd=st.sampled_from([4.0, 7.3, 10.0, 13.0, 20.0, 31.7]), row=st.integers(0, 60), col=st.integers(0, 60))
def test_pieces_of_a_scene_at_another_resolution_make_the_whole(plain, gsd, row, col):
    with plain[0].at_gsd(gsd) as view:
        whole = view.read()
        window = Window(min(col, view.width - 1), min(row, view.height - 1), 9, 7)
        part = view.read(window)
        inner = part.data[:, : view.height - window.row_off, : view.width - window.col_off]
        expected = whole.data[:, window.row_off : window.row_off + 7, window.col_off : window.col_off + 9]
        assert (inner == expected).all()
        assert part.valid.sum() == expected[0].size


def test_at_gsd_covers_the_same_ground_with_square_pixels(tmp_path):
    path = write(
        tmp_path / "a.tif", numbers(1, 60, 60), crs="EPSG:4326", transform=rasterio.Affine(0.001, 0, 10, 0, -0.001, 60)
    )
    with Scene.open(path) as scene:
        view = scene.at_gsd(150.0)
        assert view.grid.bounds == pytest.approx(scene.grid.bounds)
        assert view.gsd_m == pytest.approx(150, rel=0.02)
        ground = view.grid.ground([view.height / 2], [view.width / 2])
        assert ground.dx_m[0] == pytest.approx(ground.dy_m[0], rel=0.03)
        assert view.read().data.shape == (1, view.height, view.width)
        assert view.at_gsd(111).width == scene.at_gsd(111).width


def test_averages_are_means_of_the_valid_pixels_only(tmp_path):
    data = np.array([[[10, 20, 0, 0], [30, 40, 0, 7]]], np.uint8)
    with Scene.open(write(tmp_path / "a.tif", data, nodata=0)) as scene:
        raster = scene.read(out_shape=(1, 2))
        assert raster.data.tolist() == [[[25, 7]]]
        assert raster.valid.all()


@settings(max_examples=60, deadline=None)
@given(
    value=st.integers(1, 65535),
    step=st.floats(0.2, 6),
    offset=st.floats(-3, 8),
    n=st.integers(1, 12),
    how=st.sampled_from(["average", "bilinear"]),
)
def test_a_constant_stays_constant(value, step, offset, n, how):
    block = np.full((1, 10, 10), value, np.uint16)
    edges = offset + np.arange(n + 1) * step
    ax = axis(edges, 10, how)
    data, valid = resample(lambda c, r, w, h: (block[:, r : r + h, c : c + w], None), ax, ax, 1, np.uint16, how)
    assert set(np.unique(data[0][valid])) <= {value}
    assert (data[0][~valid] == 0).all()


def test_the_best_overview_is_read(tmp_path):
    data = np.zeros((1, 64, 64), np.uint8)
    data[:, ::2, ::2] = 200  # the mean is 50; overviews made by nearest neighbour hold 200 or 0 only
    path = write(tmp_path / "a.tif", data, overviews=(2, 4), tiled=True, blockxsize=16, blockysize=16)
    with Scene.open(path) as scene:
        assert scene.overviews == (2, 4)
        assert set(np.unique(scene.read(out_shape=(32, 32)).data)) <= {0, 200}
        assert np.unique(scene.at_gsd(20).read().data) == [50]


def test_integer_nodata_needs_all_bands_even_unread_ones(tmp_path):
    data = np.array([[[0, 0, 5]], [[0, 9, 5]]], np.uint8)
    with Scene.open(write(tmp_path / "a.tif", data, nodata=0)) as scene:
        assert scene.read().valid.tolist() == [[False, True, True]]
        assert scene.read(bands=(1,)).valid.tolist() == [[False, True, True]]


def test_unmistakable_nodata_needs_one_band(tmp_path):
    data = np.array([[[-9999, 1, 5]], [[-9999, -9999, 5]]], np.int16)
    with Scene.open(write(tmp_path / "a.tif", data, nodata=-9999)) as scene:
        raster = scene.read()
        assert raster.valid.tolist() == [[False, False, True]]
        assert (raster.data[:, ~raster.valid] == 0).all()


def test_nan_is_missing_whether_declared_or_not(tmp_path):
    data = np.array([[[np.nan, 1.5, np.inf, -7.0]]], np.float32)
    for name, nodata in (("a", None), ("b", float("nan")), ("c", -7.0)):
        with Scene.open(write(tmp_path / f"{name}.tif", data, nodata=nodata)) as scene:
            assert scene.read().valid.tolist() == [[False, True, False, nodata != -7.0]]
            assert np.isfinite(scene.read(out_shape=(1, 2)).data).all()
            json.dumps(scene.describe(), allow_nan=False)


def test_nodata_that_the_type_cannot_hold_is_no_nodata(tmp_path):
    path = write(tmp_path / "a.vrt.tif", numbers(1))
    text = f'<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><NoDataValue>-9999</NoDataValue><SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'  # noqa: E501
    (tmp_path / "a.vrt").write_text(text)
    with Scene.open(tmp_path / "a.vrt") as scene:
        assert scene.nodata is None
        assert scene.read().valid.all()


def test_alpha_is_a_mask_and_no_band_unless_named_as_one(tmp_path):
    data = numbers(4)
    data[3] = 0
    data[3, :, 5:] = 255
    path = write(tmp_path / "a.tif", data, photometric="rgb", alpha="yes")
    with Scene.open(path) as scene:
        assert len(scene.bands) == 3
        valid = scene.read().valid
        assert not valid[:, :5].any()
        assert valid[:, 5:].all()
    with Scene.open(path, roles={"nir": 4}) as scene:
        assert scene.band_indices(["nir"]) == (4,)
        assert scene.read().valid.all()


def test_internal_masks_are_used(tmp_path):
    path = tmp_path / "a.tif"
    inside = np.zeros((40, 50), bool)
    inside[10:30, 20:] = True
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=50, height=40, count=3, dtype="uint8", crs="EPSG:32632", transform=PLACE
        ) as file,
    ):
        file.write(numbers())
        file.write_mask(inside)
    with Scene.open(path) as scene:
        assert (scene.read().valid == inside).all()


def test_palettes_become_colours_and_their_codes_are_never_averaged(tmp_path):
    codes = np.array([[1, 3], [1, 0]], np.uint8)
    path = write(tmp_path / "a.tif", codes, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (9, 9, 9, 255), 1: (200, 0, 0, 255), 2: (0, 200, 0, 255), 3: (0, 0, 100, 255)})
        file.colorinterp = [ColorInterp.palette]
    with Scene.open(path) as scene:
        assert [band.role for band in scene.bands] == ["red", "green", "blue"]
        assert scene.dtype == "uint8"
        raster = scene.read()
        assert raster.data[:, 0, 1].tolist() == [0, 0, 100]
        assert raster.valid.tolist() == [[True, True], [True, False]]
        assert scene.read(out_shape=(1, 1)).data[:, 0, 0].tolist() == [133, 0, 33]


def test_threads_read_side_by_side(plain):
    scene, data = plain

    def check(i):
        row, col = i * 7 % 50, i * 13 % 70
        return (scene.read(Window(col, row, 20, 20)).data == data[:, row : row + 20, col : col + 20]).all()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(400)))


def test_complex_data_are_described_but_not_read(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 4, 5), np.complex64))
    with Scene.open(path) as scene:
        assert json.loads(json.dumps(scene.describe()))["dtype"] == "complex64"
        with pytest.raises(SceneError, match="DERIVED_SUBDATASET:AMPLITUDE"):
            scene.read()
    with Scene.open(f"DERIVED_SUBDATASET:AMPLITUDE:{path}") as scene:
        assert (scene.read().data == 1).all()


def test_one_pixel_and_one_column(tmp_path):
    for name, shape in (("pixel", (1, 1, 1)), ("column", (1, 30, 1))):
        with Scene.open(write(tmp_path / f"{name}.tif", np.full(shape, 7, np.uint8))) as scene:
            assert (scene.read().data == 7).all()
            raster = scene.read(Window(-2, -2, 8, 40), out_shape=(3, 2))
            assert raster.data.max() == 7
            assert scene.at_gsd(100).read().data.max() == 7


def test_south_up_and_rotated_grids_are_kept(tmp_path):
    for name, transform in (
        ("south", rasterio.Affine(10, 0, 0, 0, 10, 0)),
        ("turned", rasterio.Affine(8, 3, 0, 3, -8, 0)),
    ):
        data = numbers()
        with Scene.open(write(tmp_path / f"{name}.tif", data, transform=transform)) as scene:
            assert scene.transform == transform
            assert (scene.read(Window(2, 3, 4, 5)).data == data[:, 3:8, 2:6]).all()


def test_reads_after_close_still_work_and_leave_nothing_open(plain, tmp_path):
    data = numbers()
    scene = Scene.open(write(tmp_path / "a.tif", data))
    scene.read()
    scene.close()
    assert (scene.read().data == data).all()
    assert not scene._levels[0]._pool._free
