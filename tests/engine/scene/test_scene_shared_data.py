"""Every real raster that is at hand opens, is described and is read."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.errors import GeolocationWarning, SceneError
from engine.scene import Scene, Window, percentile_stretch, to_rgba

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
RASTERS = sorted(p for p in (DATA / "geotiff").glob("*") if p.suffix.lower() in (".tif", ".tiff"))
ALL_MISSING = {"all-nodata.tif", "inverted_lat.tif"}

pytestmark = pytest.mark.skipif(not RASTERS, reason="the shared rasters are not here")


@pytest.mark.parametrize("path", RASTERS, ids=lambda p: p.name)
def test_real_rasters_open_and_read(path):
    with Scene.open(path) as scene:
        json.dumps([scene.describe(), scene.identity()], allow_nan=False)
        if path.name == "slc.tif":
            with pytest.raises(SceneError, match="complex"):
                scene.read()
            return
        factor = max(1, max(scene.width, scene.height) / 256)
        shape = max(1, round(scene.height / factor)), max(1, round(scene.width / factor))
        bands = scene.rgb_indices()
        thumbnail = scene.read(bands=bands, out_shape=shape)
        assert thumbnail.valid.any() == (path.name not in ALL_MISSING)
        assert to_rgba(thumbnail, percentile_stretch(scene, bands)).shape == (*shape, 4)
        rng = np.random.default_rng(0)
        for _ in range(3):
            window = Window(int(rng.integers(-64, scene.width)), int(rng.integers(-64, scene.height)), 128, 128)
            raster = scene.read(window)
            assert raster.data.shape == (len(scene.bands), 128, 128)
            assert np.isfinite(raster.data).all()


def test_landsat_files_make_a_stack():
    with Scene.open(sorted((DATA / "geotiff").glob("LT5*_B?.TIF"))) as scene:
        assert scene.rgb_indices() == (3, 2, 1)
        assert scene.band_indices(["nir", "swir1", "swir2", "thermal"]) == (4, 5, 7, 6)


def test_overlapping_tiles_make_a_mosaic():
    with Scene.open([DATA / "geotiff/mosaic_cog1.tif", DATA / "geotiff/mosaic_cog2.tif"]) as scene:
        assert scene.overviews == (2, 4)
        assert scene.read(out_shape=(200, 300)).valid.mean() > 0.7


@pytest.mark.parametrize("name", ["cog_gcps.tif", "test_rpcs.tif"])
def test_placed_rasters_show_their_picture(name):
    import rasterio

    with Scene.open(DATA / "geotiff" / name) as scene, rasterio.open(DATA / "geotiff" / name) as file:
        raster = scene.read()
        assert any(isinstance(w, GeolocationWarning) for w in scene.warnings)
        stored = file.read(1)
        stored = stored[stored > 0].astype(float)
        seen = raster.data[0][raster.valid].astype(float)
        assert seen.mean() == pytest.approx(stored.mean(), rel=0.1)
        assert seen.std() == pytest.approx(stored.std(), rel=0.25)


def test_the_folder_as_a_whole_is_no_scene():
    with pytest.raises(SceneError, match=r"mosaic|do not belong to one raster"):
        Scene.open(DATA / "geotiff")
