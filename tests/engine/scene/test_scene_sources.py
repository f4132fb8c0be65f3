import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from scene_rasters import PLACE, numbers, write

from engine.errors import GeolocationWarning, NoCrsWarning, NoOverviewWarning, SceneError
from engine.scene import Scene, Window


def shifted(cols, rows, transform=PLACE):
    return transform @ rasterio.Affine.translation(cols, rows)


@pytest.fixture
def tiles(tmp_path):
    whole = numbers(3, 40, 60, seed=3)
    for i in range(2):
        for j in range(3):
            part = whole[:, i * 20 : i * 20 + 20, j * 20 : j * 20 + 20]
            write(tmp_path / f"tile_{i}_{j}.tif", part, transform=shifted(j * 20, i * 20), photometric="rgb")
    return tmp_path, whole


def test_a_folder_of_tiles_is_one_scene(tiles):
    folder, whole = tiles
    with Scene.open(folder) as scene:
        assert (scene.height, scene.width) == (40, 60)
        assert (scene.read().data == whole).all()
        assert scene.read().valid.all()
        assert scene.transform == PLACE
        assert len(scene.sources) == 6
        assert not scene.warnings
        json.dumps([scene.describe(), scene.identity()], allow_nan=False)


def test_holes_between_tiles_are_invalid(tiles):
    folder, whole = tiles
    (folder / "tile_0_1.tif").unlink()
    with Scene.open(folder) as scene:
        raster = scene.read()
        assert not raster.valid[:20, 20:40].any()
        assert raster.valid.sum() == 40 * 60 - 400
        assert (raster.data[:, 20:] == whole[:, 20:]).all()


def test_missing_pixels_of_the_upper_tile_let_the_lower_show(tmp_path):
    lower = write(tmp_path / "a.tif", np.full((1, 10, 10), 5, np.uint8), nodata=0)
    data = np.full((1, 10, 10), 9, np.uint8)
    data[:, :5] = 0
    upper = write(tmp_path / "b.tif", data, nodata=0, transform=shifted(4, 0))
    with Scene.open([lower, upper]) as scene:
        raster = scene.read()
        assert raster.data[0, 0].tolist() == [5] * 10 + [0] * 4
        assert raster.data[0, 9].tolist() == [5] * 4 + [9] * 10
        assert raster.valid[0].tolist() == [True] * 10 + [False] * 4


def test_missing_floats_of_a_mosaic_stay_missing(tmp_path):
    data = np.array([[[1.5, np.nan, 2.5]]], np.float32)
    a = write(tmp_path / "a.tif", data, nodata=float("nan"))
    b = write(tmp_path / "b.tif", data + 1, nodata=float("nan"), transform=shifted(4, 0))
    with Scene.open([a, b]) as scene:
        raster = scene.read()
        assert raster.valid.tolist() == [[True, False, True, False, True, False, True]]
        assert raster.data[0, 0].tolist() == [1.5, 0, 2.5, 0, 2.5, 0, 3.5]


def test_a_folder_that_gdal_takes_for_a_raster_is_one(tmp_path):
    data = numbers(1)
    with rasterio.open(tmp_path / "cube", "w", driver="Zarr", width=50, height=40, count=1, dtype="uint8") as file:
        file.write(data)
    with Scene.open(tmp_path / "cube") as scene:
        assert (scene.read().data == data).all()


def test_tiles_a_fraction_of_a_pixel_off_are_joined_and_say_so(tmp_path):
    a = write(tmp_path / "a.tif", numbers(1, 10, 10))
    b = write(tmp_path / "b.tif", numbers(1, 10, 10), transform=shifted(10.3, 0.2) @ rasterio.Affine.scale(1.00001))
    with Scene.open([a, b]) as scene:
        assert scene.width == 20
        assert any(isinstance(w, GeolocationWarning) for w in scene.warnings)


def test_overviews_that_all_tiles_have_are_used(tmp_path):
    whole = np.zeros((1, 32, 64), np.uint8)
    whole[:, ::2, ::2] = 200
    files = [
        write(tmp_path / f"{i}.tif", whole[:, :, i * 32 : i * 32 + 32], transform=shifted(i * 32, 0), overviews=(2,))
        for i in range(2)
    ]
    with Scene.open(files) as scene:
        assert scene.overviews == (2,)
        assert set(np.unique(scene.read(out_shape=(16, 32)).data)) <= {0, 200}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crs": "EPSG:32633"}, "CRS"),
        ({"data": numbers(2, 10, 10)}, "bands"),
        ({"data": numbers(1, 10, 10, "uint16")}, "data type"),
        ({"transform": shifted(10, 0) @ rasterio.Affine.scale(2)}, "pixels of"),
    ],
)
def test_tiles_that_do_not_match_are_refused_by_name(tmp_path, change, words):
    a = write(tmp_path / "a.tif", numbers(1, 10, 10))
    options = {"transform": shifted(10, 0)} | change
    b = write(tmp_path / "other.tif", options.pop("data", numbers(1, 10, 10)), **options)
    with pytest.raises(SceneError, match=rf"{words}.*other\.tif"):
        Scene.open([a, b])


def test_one_band_a_file_is_a_stack_with_roles_from_the_names(tmp_path):
    data = numbers(4, 12, 15)
    for i in (1, 2, 3, 4):
        write(tmp_path / f"LC08_L2SP_1_B{i + 1 if i < 4 else 10}.tif", data[i - 1])
    with Scene.open(tmp_path) as scene:
        assert [band.role for band in scene.bands] == ["blue", "green", "red", "thermal"]
        assert scene.rgb_indices() == (3, 2, 1)
        assert (scene.read().data == data).all()


def test_coarser_bands_of_a_stack_are_repeated_on_the_finest_grid(tmp_path):
    fine, coarse = numbers(1, 20, 20), numbers(1, 10, 10, seed=1)
    write(tmp_path / "S2A_B02_10m.tif", fine)
    write(tmp_path / "S2A_B11_20m.tif", coarse, transform=PLACE @ rasterio.Affine.scale(2))
    with Scene.open(tmp_path) as scene:
        data = scene.read().data
        assert (data[0] == fine[0]).all()
        assert (data[1] == coarse[0].repeat(2, 0).repeat(2, 1)).all()
        assert any(isinstance(w, GeolocationWarning) for w in scene.warnings)


def test_threads_may_read_a_mosaic(tiles):
    from concurrent.futures import ThreadPoolExecutor

    folder, whole = tiles
    with Scene.open(folder) as scene, ThreadPoolExecutor(6) as pool:
        reads = pool.map(
            lambda i: (
                scene.read(Window(i % 40, i % 20, 20, 20)).data == whole[:, i % 20 : i % 20 + 20, i % 40 : i % 40 + 20]
            ).all(),
            range(200),
        )
        assert all(reads)


@pytest.fixture
def served(tiles, monkeypatch):
    """Address of a server of the tiles; a process of its own, for GDAL does not let go of the interpreter."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tiles[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            port = re.search(r"port (\d+)", server.stdout.readline())[1]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def test_a_raster_comes_over_http(tiles, served):
    with Scene.open(f"{served}/tile_0_0.tif") as scene:
        assert (scene.read().data == tiles[1][:, :20, :20]).all()
        json.dumps(scene.identity())
    with pytest.raises(SceneError, match="GDAL cannot open it"):
        Scene.open(f"{served}/nothing.tif")


def test_missing_files_text_and_emptiness_have_sentences(tmp_path):
    (tmp_path / "text.tif").write_text("I am no raster at all, whatever my name says.")
    (tmp_path / "nothing.tif").touch()
    (tmp_path / "broken.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("gone.tif", "no such file"),
        ("text.tif", "no raster in a format"),
        ("nothing.tif", "empty"),
        ("broken.tif", "damaged or incomplete"),
        ("empty", "holds no rasters"),
    ):
        with pytest.raises(SceneError, match=words) as caught:
            Scene.open(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.remedy
    for sources in ([], [tmp_path / "a", tmp_path / "a"]):
        with pytest.raises(SceneError):
            Scene.open(sources)


def test_a_truncated_tiff_says_where_and_what_to_do(tmp_path):
    path = write(tmp_path / "cut.tif", numbers(1, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    os.truncate(path, path.stat().st_size // 2)
    with Scene.open(path) as scene:
        scene.read(Window(0, 0, 64, 64))
        with pytest.raises(SceneError, match=r"rows 192 to 256.*cut\.tif.*download it again"):
            scene.read(Window(192, 192, 64, 64))
        scene.read(Window(0, 0, 64, 64))


def test_a_crs_can_be_named_and_a_wrong_one_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", numbers(), crs=None)
    with Scene.open(path) as scene:
        assert any(isinstance(w, NoCrsWarning) for w in scene.warnings)
        with pytest.raises(SceneError, match="metres"):
            scene.at_gsd(5)
    with Scene.open(path, crs="EPSG:32632") as scene:
        assert scene.gsd_m == pytest.approx(10, rel=1e-3)
        assert not any(isinstance(w, NoCrsWarning) for w in scene.warnings)
    with pytest.raises(SceneError, match="no coordinate reference system"):
        Scene.open(path, crs="EPSG:nonsense")


def test_pictures_without_a_place_lie_upright_below_the_origin(tmp_path):
    path = tmp_path / "a.png"
    with rasterio.open(path, "w", driver="PNG", width=50, height=40, count=3, dtype="uint8") as file:
        file.write(numbers())
    with Scene.open(path) as scene:
        assert scene.grid.bounds == (0, -40, 50, 0)
        assert (scene.read().data == numbers()).all()


def test_identity_changes_with_the_file_and_the_grid(tmp_path):
    path = write(tmp_path / "a.tif", numbers())
    with Scene.open(path) as scene:
        first = scene.identity()
        assert scene.at_gsd(20).identity() != first
    with Scene.open(path) as scene:
        assert scene.identity() == first
    write(path, numbers(seed=5))
    os.utime(path, ns=(1, 1))
    with Scene.open(path) as scene:
        assert scene.identity() != first


def test_large_rasters_without_overviews_warn(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 5000, "height": 4000, "count": 1, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=PLACE, tiled=True, **profile):
        pass
    with Scene.open(path) as scene:
        assert any(isinstance(w, NoOverviewWarning) for w in scene.warnings)
        assert scene.read(out_shape=(4, 5)).valid.all()


@pytest.fixture
def placed(tmp_path):
    """A raster placed by control points, 0.001 degrees a pixel, turned upside down."""
    data = np.zeros((1, 60, 80), np.uint8)
    data[0, :, :40] = 50
    data[0, :, 40:] = 200
    points = [
        GroundControlPoint(row=r, col=c, x=12 + c * 0.001, y=47 + r * 0.001) for r in (0, 30, 60) for c in (0, 40, 80)
    ]
    path = tmp_path / "gcps.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=80, height=60, count=1, dtype="uint8", gcps=points, crs="EPSG:4326"
    ) as file:
        file.write(data)
    return path


def test_control_points_put_a_raster_on_a_metric_grid(placed):
    with Scene.open(placed) as scene:
        assert scene.crs.to_epsg() == 32633
        assert any(isinstance(w, GeolocationWarning) for w in scene.warnings)
        west, south, east, north = scene.grid.lonlat_bounds
        assert (west, south, east, north) == pytest.approx((12, 47, 12.08, 47.06), abs=5e-3)
        raster = scene.read()
        for lon, value in ((12.01, 50), (12.07, 200)):
            import pyproj

            x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(lon, 47.03)
            col, row = scene.grid.colrow(x, y)
            assert raster.valid[int(row), int(col)]
            assert raster.data[0, int(row), int(col)] == value
        assert 0.9 < raster.valid.mean() < 1
        assert (raster.data[:, ~raster.valid] == 0).all()


def test_windows_of_a_placed_raster_make_the_whole(placed):
    with Scene.open(placed) as scene:
        whole, cut = scene.read(), scene.height // 3
        top, bottom = (
            scene.read(Window(0, 0, scene.width, cut)),
            scene.read(Window(0, cut, scene.width, scene.height - cut)),
        )
        assert (np.concatenate([top.data, bottom.data], axis=1) == whole.data).all()
        assert scene.read(out_shape=(20, 20)).valid.any()


def test_placed_rasters_cannot_be_tiles(placed, tmp_path):
    with pytest.raises(SceneError, match="control points"):
        Scene.open([placed, write(tmp_path / "a.tif", numbers(1))])
