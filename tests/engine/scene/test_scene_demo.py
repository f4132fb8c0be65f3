import numpy as np
import pytest
import rasterio
from rasterio.enums import MaskFlags

from engine.errors import OptionError, OutputError
from engine.scene import Scene
from engine.scene.demo import CLASSES, demo_arrays, make_demo_scene


@pytest.fixture(scope="module")
def demo():
    return demo_arrays(640, 3)


def test_the_same_seed_paints_the_same_scene_and_another_seed_another():
    image, truth = demo_arrays((120, 160), 5)
    again, truth_again = demo_arrays((120, 160), 5)
    assert image.shape == (4, 120, 160)
    assert truth.shape == (120, 160)
    assert (image == again).all()
    assert (truth == truth_again).all()
    assert (demo_arrays((120, 160), 6)[0] != image).any()


def test_scenes_hold_all_classes(demo):
    counts = sum(np.bincount(demo_arrays(256, seed)[1].ravel(), minlength=5) for seed in range(6))
    assert len(counts) == len(CLASSES)
    assert (counts / counts.sum() > 0.02).all()


def test_classes_look_as_they_do_in_real_imagery(demo):
    image, truth = demo
    red, green, _, nir = image.astype(float)
    ndvi = (nir - red) / (nir + red)
    assert ndvi[truth == 4].mean() < -0.1 if (truth == 4).any() else True
    assert ndvi[truth == 2].mean() > 0.25
    assert green[truth == 2].mean() < green[truth == 3].mean()
    assert image[:3, truth == 2].mean() < 80
    assert image[:3, truth == 0].std() > 30


@pytest.mark.parametrize("size", [32, 33, (40, 300)])
def test_any_size_works(size):
    image, truth = demo_arrays(size, 1)
    assert image.shape[1:] == truth.shape
    assert truth.max() <= 4


def test_too_small_is_refused():
    with pytest.raises(OptionError):
        demo_arrays(8, 1)


def test_files_are_scenes_with_overviews_names_and_palette(tmp_path):
    made = make_demo_scene(tmp_path / "new", size_px=600, seed=4)
    image, truth = demo_arrays(600, 4)
    with Scene.open(made.scene_path) as scene:
        assert [band.name for band in scene.bands] == ["red", "green", "blue", "nir"]
        assert scene.band_indices(["nir", "red"]) == (4, 1)
        assert scene.overviews == (2, 4)
        assert scene.gsd_m == pytest.approx(4, rel=1e-3)
        assert not scene.warnings
        assert (scene.read().data == image).all()
    with rasterio.open(made.truth_path) as file:
        assert (file.read(1) == truth).all()
        assert file.colormap(1)[4] == (0x32, 0x6E, 0xEB, 255)
        assert MaskFlags.all_valid in file.mask_flag_enums[0]
    before = made.scene_path.stat().st_mtime_ns
    assert make_demo_scene(tmp_path / "new", size_px=600, seed=4) == made
    assert made.scene_path.stat().st_mtime_ns == before
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted([made.scene_path.name, made.truth_path.name])


def test_a_folder_that_cannot_be_made_has_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        make_demo_scene(tmp_path / "file" / "sub", size_px=64)
