"""What is said before a run."""

from pathlib import Path

import numpy as np
import pytest
from inference_fakes import make_card, smooth_noise, write_scene

from engine.errors import BandError, GroundResolutionWarning, OptionError, RadiometryWarning, SceneError
from engine.inference import AnalysisOptions, check_run
from engine.models.card import Scaling
from engine.scene import Scene


def check(path: Path, card=None, **options):
    with Scene.open(path) as scene:
        return check_run(scene, card or make_card(), AnalysisOptions(**options))


def kinds(found) -> list[str]:
    return [type(warning).__name__ for warning in found.warnings]


def test_a_scene_like_the_training_data_needs_no_word(tmp_path) -> None:
    found = check(write_scene(tmp_path / "a.tif", smooth_noise((4, 60, 80))))
    assert found.warnings == ()
    assert (found.gsd_m, found.bands, found.scaling) == (None, (1, 2, 3), None)
    assert (found.plan.width, found.plan.height) == (80, 60)


@pytest.mark.parametrize(("scene_gsd", "target"), [(0.5, 1.0), (30.0, 10.0), (9.9, None), (1.0, None)])
def test_auto_resamples_to_the_near_end_of_the_range(tmp_path, scene_gsd, target) -> None:
    found = check(write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)), gsd_m=scene_gsd))
    assert found.gsd_m == target
    if target is None:
        assert found.warnings == ()
    else:
        assert kinds(found) == ["GroundResolutionWarning"]
        assert found.plan.width == pytest.approx(80 * scene_gsd / target, abs=1)


def test_a_scene_far_too_coarse_is_not_enlarged(tmp_path) -> None:
    found = check(write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)), gsd_m=300.0))
    assert found.gsd_m is None
    assert "too coarse" in found.warnings[0].message


def test_native_keeps_pixels_and_warns(tmp_path) -> None:
    found = check(write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)), gsd_m=30.0), gsd="native")
    assert found.gsd_m is None
    assert "30 m" in found.warnings[0].message
    assert isinstance(found.warnings[0], GroundResolutionWarning)


def test_model_and_metres(tmp_path) -> None:
    path = write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)), gsd_m=2.0)
    assert check(path, gsd="model").plan.width == 40
    assert check(path, gsd=8).plan.width == 20
    with pytest.raises(OptionError, match="impossible"):
        check(path, gsd=-1)


def test_a_scene_without_crs_is_taken_as_it_is(tmp_path) -> None:
    path = write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)), crs=None)
    assert "GroundResolutionWarning" in kinds(check(path))
    with pytest.raises(OptionError, match="how large its pixels are"):
        check(path, gsd="model")


def test_bands_by_hand(tmp_path) -> None:
    path = write_scene(tmp_path / "a.tif", smooth_noise((4, 60, 80)))
    assert check(path, bands=(4, 1, 2)).bands == (4, 1, 2)
    with pytest.raises(BandError, match="takes 3"):
        check(path, bands=(1, 2))
    with pytest.raises(BandError, match="no band 7"):
        check(path, bands=(1, 2, 7))


def test_one_band_where_three_are_needed(tmp_path) -> None:
    with pytest.raises(BandError):
        check(write_scene(tmp_path / "a.tif", smooth_noise((1, 60, 80))))


def test_another_data_type_is_mapped_by_one_line_a_band(tmp_path) -> None:
    data = smooth_noise((3, 200, 300)).astype(np.uint16) * 13 + 700
    found = check(write_scene(tmp_path / "a.tif", data))
    assert kinds(found) == ["RadiometryWarning"]
    scaling = found.scaling
    for band in range(3):
        low, high = np.percentile(data[band], (2, 98))
        assert scaling.low[band] == pytest.approx(low)
        assert low * scaling.gain[band] + scaling.offset[band] == pytest.approx(10)
        assert high * scaling.gain[band] + scaling.offset[band] == pytest.approx(240)
    assert scaling.clip == (0, 255)


def test_a_flat_band_maps_to_the_middle(tmp_path) -> None:
    found = check(write_scene(tmp_path / "a.tif", np.full((3, 50, 50), 7000, np.uint16)))
    assert found.scaling.gain == (0.0, 0.0, 0.0)
    assert found.scaling.offset == (125.0, 125.0, 125.0)


def test_values_far_from_the_training_data_are_said_but_not_changed(tmp_path) -> None:
    card = make_card()
    dark = card.scaling.model_copy(update={"low": (200.0,) * 3, "high": (210.0,) * 3})
    card = card.model_copy(update={"scaling": Scaling.model_validate(dark.model_dump())})
    found = check(write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80))), card)
    assert found.scaling is None
    assert [type(w) for w in found.warnings] == [RadiometryWarning]


def test_overlap_follows_the_window(tmp_path) -> None:
    path = write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)))
    assert check(path, window_px=64).plan.overlap_px == 16
    assert check(path, window_px=64, overlap_px=3).plan.overlap_px == 3
    with pytest.raises(OptionError, match="overlap"):
        check(path, window_px=16, overlap_px=16)


def test_models_of_pairs_are_refused(tmp_path) -> None:
    path = write_scene(tmp_path / "a.tif", smooth_noise((3, 60, 80)))
    with pytest.raises(OptionError, match="compares two scenes"):
        check(path, make_card(task="change"))


@pytest.mark.parametrize("dtype", ["complex_int16", "complex64"])
def test_complex_values_are_refused_in_a_sentence(tmp_path, dtype) -> None:
    import rasterio

    path = tmp_path / "slc.tif"
    with rasterio.open(path, "w", driver="GTiff", width=20, height=20, count=1, dtype=dtype):
        pass
    with pytest.raises(SceneError, match="magnitude"):
        check(path, bands=(1, 1, 1))
