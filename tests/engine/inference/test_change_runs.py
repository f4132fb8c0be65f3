"""Two scenes through a model of change: maps, polygons, resuming, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from change_fakes import bytes_of, change_model, patches, run_all, two_dates
from inference_fakes import PointwiseModel, loaded, make_card, write_scene
from scipy import ndimage

from engine.errors import AnalysisError, CancelledError, OptionError, PairWarning
from engine.inference.analysis import open_analysis
from engine.inference.events import Finished, Started, StripWritten, WarningRaised
from engine.inference.options import AnalysisOptions
from engine.inference.pipeline import analyse
from engine.scene import Scene, pair_scenes

EVERY = AnalysisOptions(device="cpu", min_region_m2=0)


def make_pair(folder, before, after, **how):
    return pair_scenes(
        Scene.open(write_scene(folder / "before.tif", before, **how)),
        Scene.open(write_scene(folder / "after.tif", after, **how)),
    )


def moved(path, cols, rows):
    """Move a raster by whole pixels."""
    with rasterio.open(path, "r+") as file:
        file.transform = file.transform @ Affine.translation(cols, rows)
    return path


def test_equal_scenes_have_not_changed(tmp_path):
    before, _ = two_dates(patches((70, 90)))
    events = run_all(analyse(make_pair(tmp_path, before, before), change_model(), tmp_path / "out", EVERY))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].regions == 0
    analysis = open_analysis(tmp_path / "out")
    assert (analysis.read("classes") == 0).all()
    assert (analysis.read("regions") == 0).all()
    assert len(analysis.regions()) == 0
    assert {share.name: share.share for share in analysis.class_shares()} == {"unchanged": 1.0, "changed": 0.0}


def test_changes_become_polygons_of_the_very_pixels(tmp_path):
    changed = patches((101, 143))
    before, after = two_dates(changed)
    events = run_all(analyse(make_pair(tmp_path, before, after), change_model(), tmp_path / "out", EVERY))
    analysis = open_analysis(tmp_path / "out")
    assert analysis.kind == "change"
    assert sum(isinstance(event, StripWritten) for event in events) == analysis.plan.rows > 2
    assert np.array_equal(analysis.read("classes") == 1, changed)
    labels, count = ndimage.label(changed)
    table = analysis.regions()
    assert events[-1].regions == len(table) == count > 5
    regions, score = analysis.read("regions"), analysis.read("confidence")
    assert np.array_equal(regions > 0, changed)
    for region_id, row in table.iterrows():
        mine = regions == region_id
        assert len(np.unique(labels[mine])) == 1
        assert row["pixels"] == mine.sum()
        assert row["area_m2"] == pytest.approx(16 * mine.sum(), rel=2e-3)
        assert row["score"] == pytest.approx(score[mine].mean() / 100, abs=1e-9)
        assert row.geometry.area == pytest.approx(16 * mine.sum())
        assert row["class"] == "changed"
        assert row["mean_after_red"] - row["mean_before_red"] == pytest.approx(100)
    assert {"perimeter_m", "lon", "lat"} <= set(table.columns)
    assert "confidence" not in table.columns
    region = analysis.region(1)
    assert region.confidence == pytest.approx(table.loc[1, "score"])
    assert region.token_index == -1


def test_the_folder_says_what_it_holds(tmp_path):
    before, after = two_dates(patches((60, 60)))
    run_all(analyse(make_pair(tmp_path, before, after), change_model(min_score=0.7), tmp_path / "out", EVERY))
    names = set(bytes_of(tmp_path / "out"))
    assert names == {
        "analysis.json", "change.tif", "change.tif.aux.xml", "score.tif", "regions.tif", "regions.parquet",
    }  # fmt: skip
    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        assert file.nodata == 255
        assert file.colormap(1)[1][:3] == (0xE3, 0x1A, 0x1C)
        assert file.tags()["SCENE"] == "before"
        assert file.tags()["SCENE_AFTER"] == "after"
    facts = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert facts["scene"]["name"] == "before"
    assert facts["after"]["name"] == "after"
    assert facts["resolved"]["min_score"] == 0.7
    assert facts["resolved"]["bands"] == [1, 2, 3, 4, 5, 6]


def test_only_the_overlap_is_compared(tmp_path):
    changed = patches((140, 160), seed=3)
    before, after = two_dates(changed)
    one = write_scene(tmp_path / "before.tif", before[:, :100, :120])
    two = moved(write_scene(tmp_path / "after.tif", after[:, 30:, 50:]), 50, 30)
    pair = pair_scenes(Scene.open(one), Scene.open(two))
    events = run_all(analyse(pair, change_model(), tmp_path / "out", EVERY))
    said = [event.warning for event in events if isinstance(event, WarningRaised)]
    assert any(isinstance(warning, PairWarning) and "70 x 70 pixels" in warning.message for warning in said)
    analysis = open_analysis(tmp_path / "out")
    assert analysis.grid.shape == (70, 70)
    assert np.array_equal(analysis.read("classes") == 1, changed[30:100, 50:120])


def test_no_data_of_either_date_is_no_data(tmp_path):
    changed = patches((80, 80), seed=4)
    before, after = two_dates(changed)
    before[:, :20], after[:, :, 60:] = 0, 0
    pair = make_pair(tmp_path, before, after, nodata=0)
    run_all(analyse(pair, change_model(), tmp_path / "out", EVERY))
    classes = open_analysis(tmp_path / "out").read("classes")
    assert (classes[:20] == 255).all()
    assert (classes[:, 60:] == 255).all()
    assert np.array_equal(classes[20:, :60] == 1, changed[20:, :60])


def test_a_resumed_run_ends_in_the_same_bytes(tmp_path):
    changed = patches((150, 80), seed=5)
    before, after = two_dates(changed)
    pair = make_pair(tmp_path, before, after)
    whole = tmp_path / "whole"
    run_all(analyse(pair, change_model(), whole, EVERY))
    for stop_after in (1, 3):
        out = tmp_path / f"cut{stop_after}"
        strips = 0
        run = analyse(pair, change_model(), out, EVERY)
        for event in run:
            strips += isinstance(event, StripWritten)
            if strips == stop_after:
                break
        run.close()
        growing = open_analysis(out)
        assert not growing.complete
        assert (growing.read("classes") != 255).any()
        run_all(analyse(pair, change_model(), out, EVERY))
        assert bytes_of(out) == bytes_of(whole)
    with pytest.raises(CancelledError):
        run_all(analyse(pair, change_model(), tmp_path / "never", EVERY, cancel=lambda: True))


def test_another_later_scene_is_another_analysis(tmp_path):
    before, after = two_dates(patches((60, 60)))
    pair = make_pair(tmp_path, before, after)
    run_all(analyse(pair, change_model(), tmp_path / "out", EVERY))
    other = write_scene(tmp_path / "other.tif", before)
    with pytest.raises(AnalysisError, match="something else"):
        run_all(analyse(pair_scenes(pair.before, Scene.open(other)), change_model(), tmp_path / "out", EVERY))


def test_the_threshold_decides_and_the_score_stays(tmp_path):
    """A ramp of differences: the higher the threshold, the fewer pixels; the score does not depend on it."""
    before = np.full((3, 48, 200), 20, np.uint8)
    after = before + np.arange(200, dtype=np.uint8)[None, None]
    pair = make_pair(tmp_path, before, after)
    maps = {}
    for least in (0.2, 0.5, 0.9):
        out = tmp_path / str(least)
        run_all(analyse(pair, change_model(), out, EVERY.model_copy(update={"min_score": least})))
        with open_analysis(out) as analysis:
            maps[least] = analysis.read("classes") == 1, analysis.read("confidence")
    scores = [score for _, score in maps.values()]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[1], scores[2])
    expected = 100 / (1 + np.exp(-8 * (np.arange(200) / 255 - 0.25)))
    assert np.abs(scores[0] - np.clip(expected, 1, 100)).max() <= 1.01
    for least, (changed, score) in maps.items():
        assert np.array_equal(changed, score >= round(100 * least))


def test_small_changes_stay_on_the_map_and_get_no_polygon(tmp_path):
    changed = np.zeros((64, 64), bool)
    changed[5:8, 5:8] = changed[30:40, 30:40] = True
    before, after = two_dates(changed)
    run_all(
        analyse(make_pair(tmp_path, before, after), change_model(), tmp_path / "out", AnalysisOptions(device="cpu"))
    )
    analysis = open_analysis(tmp_path / "out")
    assert np.array_equal(analysis.read("classes") == 1, changed)
    assert analysis.regions()["pixels"].tolist() == [100]
    assert (analysis.read("regions") > 0).sum() == 100


def test_each_date_is_scaled_by_its_own_values(tmp_path):
    """A later scene of 16 bits is brought to the card's range; the earlier one is taken as it is."""
    changed = np.zeros((64, 64), bool)
    changed[20:40, 20:44] = True
    ramp = np.broadcast_to(np.linspace(30, 220, 64), (3, 64, 64)).astype(np.uint8)
    shift = np.where(changed, np.where(ramp > 125, -90, 90), 0)
    after = ((ramp + shift).astype(np.uint16)) * 200 + 1000
    pair = pair_scenes(
        Scene.open(write_scene(tmp_path / "a.tif", ramp)), Scene.open(write_scene(tmp_path / "b.tif", after))
    )
    events = run_all(analyse(pair, change_model(), tmp_path / "out", EVERY))
    assert any("b stores uint16" in e.warning.message for e in events if isinstance(e, WarningRaised))
    analysis = open_analysis(tmp_path / "out")
    assert analysis.info.resolved.scaling.gain[:3] == (1.0, 1.0, 1.0)
    found = analysis.read("classes") == 1
    assert (found == changed).mean() > 0.97


def test_models_get_as_many_scenes_as_they_look_at(tmp_path):
    before, after = two_dates(patches((60, 60)))
    pair = make_pair(tmp_path, before, after)
    with pytest.raises(OptionError, match="compares two scenes"):
        run_all(analyse(pair.before, change_model(), tmp_path / "out", EVERY))
    with pytest.raises(OptionError, match="looks at one scene"):
        run_all(analyse(pair, loaded(PointwiseModel(), make_card()), tmp_path / "out", EVERY))
