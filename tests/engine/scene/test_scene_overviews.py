"""Overviews: as rasterio builds them, while other threads go on, and can be cancelled."""

import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError

from engine.errors import CancelledError
from engine.scene import overviews
from engine.scene.overviews import build_overviews


def _write(path: Path, width: int, height: int) -> None:
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8", "tiled": True,
        "blockxsize": 256, "blockysize": 256, "compress": "deflate", "crs": "EPSG:32632",
        "transform": rasterio.Affine(4, 0, 500_000, 0, -4, 5_300_000),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.random.default_rng(0).integers(0, 5, (height, width), np.uint8), 1)


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    path = tmp_path / "r\u00e4ster.tif"
    _write(path, 2048, 1536)
    return path


def levels(path: Path) -> list[np.ndarray]:
    with rasterio.open(path) as file:
        factors = file.overviews(1)
    found = []
    for index in range(len(factors)):
        with rasterio.open(path, overview_level=index) as file:
            found.append(file.read(1))
    return found


@pytest.mark.parametrize("resampling", [Resampling.nearest, Resampling.mode, Resampling.average])
def test_same_as_rasterios(raster: Path, resampling: Resampling, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = raster.with_name("theirs.tif")
    theirs.write_bytes(raster.read_bytes())
    build_overviews(raster, (2, 4), resampling)
    monkeypatch.setattr(overviews, "_gdal", lambda: None)
    build_overviews(theirs, (2, 4), resampling)
    found, expected = levels(raster), levels(theirs)
    assert [level.shape for level in found] == [(768, 1024), (384, 512)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_other_threads_go_on(tmp_path: Path) -> None:
    if overviews._gdal() is None:
        pytest.skip("GDAL's functions are out of reach here")
    path = tmp_path / "large.tif"
    _write(path, 4096, 4096)
    turns = 0
    ended = threading.Event()

    def count() -> None:
        nonlocal turns
        while not ended.wait(0.001):
            turns += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = turns
        build_overviews(path, (2, 4, 8), Resampling.mode)
        during = turns - before
    finally:
        ended.set()
        thread.join()
    assert during > 5  # with the lock held there are two at most: on the way in and on the way out


def test_cancel_and_impossible(raster: Path, tmp_path: Path) -> None:
    if overviews._gdal() is not None:
        with pytest.raises(CancelledError):
            build_overviews(raster, (2,), Resampling.nearest, lambda: True)
    with pytest.raises(RasterioIOError):
        build_overviews(tmp_path / "none.tif", (2,), Resampling.nearest)
    with rasterio.open(raster) as file:
        assert file.read(1).max() == 4
    build_overviews(raster, (), Resampling.nearest)
