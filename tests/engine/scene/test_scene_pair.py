"""Two scenes on one grid: what is shared is what is compared, pixel by pixel where pixels agree."""

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_rasters import PLACE, UTM, numbers, write

from engine.errors import OptionError, PairError, PairWarning
from engine.scene import Scene, Window, pair_scenes


def scene(path, data, **where):
    return Scene.open(write(path, data, **where))


def said(pair):
    return [w.message for w in pair.warnings if isinstance(w, PairWarning)]


def test_equal_grids_are_read_as_stored(tmp_path):
    one, two = numbers(seed=1), numbers(seed=2)
    pair = pair_scenes(scene(tmp_path / "a.tif", one), scene(tmp_path / "b.tif", two))
    raster = pair.read()
    assert np.array_equal(raster.data, np.concatenate((one, two)))
    assert raster.valid.all()
    assert pair.grid == pair.before.grid
    assert said(pair) == []
    assert [band.index for band in pair.bands] == list(range(1, 7))
    assert pair.bands[0].name.startswith("before_")
    assert pair.bands[-1].name.startswith("after_")
    assert pair.band_indices(("red", "blue")) == (1, 3, 4, 6)


@settings(max_examples=25, deadline=None)
@given(dx=st.integers(-70, 70), dy=st.integers(-60, 60))
def test_scenes_shifted_by_whole_pixels_share_their_overlap_exactly(tmp_path_factory, dx, dy):
    folder = tmp_path_factory.mktemp("pair")
    ground = numbers(1, 300, 300, seed=3)
    rows, cols = slice(100, 200), slice(100, 220)
    one = ground[:, rows, cols]
    two = ground[:, 100 + dy : 200 + dy, 100 + dx : 220 + dx]
    pair = pair_scenes(
        scene(folder / "a.tif", one), scene(folder / "b.tif", two, transform=PLACE @ Affine.translation(dx, dy))
    )
    assert pair.grid.shape == (100 - abs(dy), 120 - abs(dx))
    raster = pair.read()
    assert raster.valid.all()
    assert np.array_equal(raster.data[0], raster.data[1])
    top, left = max(dy, 0), max(dx, 0)
    assert np.array_equal(raster.data[0], one[0, top : top + pair.height, left : left + pair.width])
    assert (len(said(pair)) == 1) == bool(dx or dy)


def test_the_coarser_scene_gives_the_pixels(tmp_path):
    fine, coarse = numbers(1, 120, 160, seed=4), numbers(1, 60, 80, seed=5)
    wide = PLACE @ Affine.scale(2)
    for first, second in ((0, 1), (1, 0)):
        scenes = [scene(tmp_path / "f.tif", fine), scene(tmp_path / "c.tif", coarse, transform=wide)]
        pair = pair_scenes(scenes[first], scenes[second])
        assert pair.grid.shape == (60, 80)
        data = pair.read().data
        assert np.array_equal(data[second], coarse[0])
        mean = fine[0].astype(float).reshape(60, 2, 80, 2).mean(axis=(1, 3))
        assert np.abs(data[first] - mean).max() <= 0.5
        assert "compared at 20 m" in " ".join(said(pair))


def test_another_crs_is_brought_to_the_firsts(tmp_path):
    """A smooth picture of map positions looks the same through both CRSs."""
    rows, cols = np.mgrid[:200, :240] + 0.5
    x, y = 500_000 + 10 * cols, 5_300_000 - 10 * rows
    picture = lambda x, y: 1000 + 500 * np.sin((x - 500_000) / 300) + 400 * np.cos((y - 5_300_000) / 250)  # noqa: E731
    way = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    west, north = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(500_500, 5_299_600)
    place = Affine(0.0001, 0, west, 0, -0.00008, north)
    lon, lat = (np.arange(190) + 0.5) * place.a + west, (np.arange(180) + 0.5) * place.e + north
    there = picture(*way.transform(*np.meshgrid(lon, lat)))
    pair = pair_scenes(
        scene(tmp_path / "a.tif", picture(x, y).astype("uint16")),
        scene(tmp_path / "b.tif", there.astype("uint16"), transform=place, crs="EPSG:4326"),
    )
    assert pair.crs == pair.before.crs
    raster = pair.read()
    assert 0.9 < raster.valid.mean() <= 1
    difference = raster.data[0].astype(float) - raster.data[1].astype(float)
    assert np.abs(difference[raster.valid]).max() < 6
    whole = pair.read(Window(0, 0, pair.width, pair.height))
    for col, row in ((0, 0), (37, 51), (64, 32)):
        part = pair.read(Window(col, row, 60, 70))
        assert np.array_equal(part.data, whole.data[:, row : row + 70, col : col + 60])
        assert np.array_equal(part.valid, whole.valid[row : row + 70, col : col + 60])
    assert "EPSG:4326" in said(pair)[0]


def test_nodata_of_either_is_nodata(tmp_path):
    one, two = numbers(1, seed=6), numbers(1, seed=7)
    one[:, :10], two[:, :, :5] = 0, 0
    pair = pair_scenes(scene(tmp_path / "a.tif", one, nodata=0), scene(tmp_path / "b.tif", two, nodata=0))
    raster = pair.read()
    expected = np.ones(raster.valid.shape, bool)
    expected[:10], expected[:, :5] = False, False
    assert np.array_equal(raster.valid, expected)
    assert (raster.data[:, ~expected] == 0).all()


def test_a_mirrored_second_scene_lies_where_it_says(tmp_path):
    one = numbers(1, seed=8)
    south_up = Affine(10, 0, 500_000, 0, 10, 5_300_000 - 10 * one.shape[1])
    pair = pair_scenes(scene(tmp_path / "a.tif", one), scene(tmp_path / "b.tif", one[:, ::-1], transform=south_up))
    data = pair.read().data
    assert np.array_equal(data[0], data[1])


def test_bands_and_shapes_of_a_read(tmp_path):
    one, two = numbers(seed=1), numbers(seed=2)
    pair = pair_scenes(scene(tmp_path / "a.tif", one), scene(tmp_path / "b.tif", two))
    assert np.array_equal(pair.read(bands=(5, 1)).data, np.stack((two[1], one[0])))
    small = pair.read(bands=(4,), out_shape=(20, 25))
    assert small.data.shape == (1, 20, 25)
    assert np.abs(small.data[0] - two[0].astype(float).reshape(20, 2, 25, 2).mean(axis=(1, 3))).max() <= 0.5
    assert pair.at_gsd(20).grid.shape == (20, 25)
    with pytest.raises(OptionError):
        pair.at_gsd(0)


def test_pairs_that_do_not_fit_are_refused(tmp_path):
    here = scene(tmp_path / "a.tif", numbers())
    far = PLACE @ Affine.translation(1000, 0)
    near = PLACE @ Affine.translation(40, 0)
    cases = [
        (here, scene(tmp_path / "b.tif", numbers(), transform=far), "do not overlap"),
        (here, scene(tmp_path / "c.tif", numbers(), transform=near), "share only 10 x 40 pixels"),
        (here, scene(tmp_path / "d.tif", numbers(rows=41), crs=None), "differ in size"),
        (here, scene(tmp_path / "e.tif", numbers(), crs="IAU_2015:49900", transform=Affine(0.001, 0, 0, 0, -0.001, 0)),
         "different planets"),
    ]  # fmt: skip
    for before, after, text in cases:
        with pytest.raises(PairError, match=text):
            pair_scenes(before, after)


def test_without_a_crs_pixels_lie_on_pixels(tmp_path):
    one, two = numbers(seed=1), numbers(seed=2)
    here, nowhere = (
        scene(tmp_path / "a.tif", one),
        scene(tmp_path / "b.tif", two, crs=None, transform=Affine.identity()),
    )
    for pair, unknown in ((pair_scenes(here, nowhere), True), (pair_scenes(nowhere, here), True)):
        assert unknown == bool(said(pair))
        assert np.array_equal(pair.read().data[:3], one if pair.before is here else two)
        assert np.array_equal(pair.read().data[3:], two if pair.before is here else one)
    with pytest.raises(PairError, match="no coordinate reference system"):
        pair_scenes(nowhere, nowhere).at_gsd(5)
