"""Whole runs with models whose right answer is known."""

import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inference_fakes import ConstantModel, PlainBuilder, PointwiseModel, loaded, make_card, smooth_noise, write_scene

from engine.errors import DeviceWarning
from engine.inference import AnalysisOptions, analyse, open_analysis, pipeline, preparing
from engine.inference.events import Finished, Started, StripWritten, WarningRaised, WindowDone
from engine.scene import Scene


@pytest.fixture
def plain_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "RegionBuilder", PlainBuilder)


def run(scene_path, model, out, **options):
    with Scene.open(scene_path) as scene:
        return list(analyse(scene, model, out, AnalysisOptions(device="cpu", **options)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    window=st.integers(16, 48),
    share=st.floats(0, 0.95),
    batch=st.integers(1, 5),
)
def test_constant_model_gives_constant_map(
    tmp_path_factory, plain_regions, width, height, window, share, batch
) -> None:
    folder = tmp_path_factory.mktemp("constant")
    path = write_scene(folder / "scene.tif", np.full((3, height, width), 100, np.uint8))
    logits = (0.3, 1.1, 1.1000001)
    card = make_card(window=window, overlap=0)
    run(path, loaded(ConstantModel(logits), card), folder / "out", overlap_px=int(share * window), batch=batch)
    with open_analysis(folder / "out") as analysis:
        classes, confidence = analysis.read("classes"), analysis.read("confidence")
    assert classes.shape == (height, width)
    assert np.unique(classes).tolist() == [2]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.unique(confidence).tolist() == [round(100 * expected[2])]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 120), height=st.integers(1, 120), overlap=st.integers(0, 31), batch=st.integers(1, 5))
def test_pointwise_model_stitched_equals_whole(tmp_path_factory, plain_regions, width, height, overlap, batch) -> None:
    folder = tmp_path_factory.mktemp("pointwise")
    path = write_scene(folder / "scene.tif", smooth_noise((3, height, width), seed=width))
    model = loaded(PointwiseModel(), make_card(window=32, overlap=0))
    run(path, model, folder / "windows", overlap_px=overlap, batch=batch)
    run(path, model, folder / "whole", window_px=128, overlap_px=0)
    for layer in ("classes", "confidence"):
        with open_analysis(folder / "windows") as one, open_analysis(folder / "whole") as other:
            np.testing.assert_array_equal(one.read(layer), other.read(layer))


def test_nodata_is_skipped_and_never_a_class(tmp_path: Path, plain_regions) -> None:
    data = smooth_noise((3, 96, 160))
    data[:, :, :70] = 0
    data[:, 40:50, 100:130] = 0
    path = write_scene(tmp_path / "scene.tif", data, nodata=0)
    module = ConstantModel((0.0, 2.0, 1.0))
    events = run(path, loaded(module, make_card()), tmp_path / "out")
    classes = open_analysis(tmp_path / "out").read("classes")
    np.testing.assert_array_equal(classes == 255, (data == 0).all(axis=0))
    assert set(np.unique(classes)) == {1, 255}
    started = next(e for e in events if isinstance(e, Started))
    last = [e for e in events if isinstance(e, WindowDone)][-1]
    assert last.windows_done == last.windows == started.windows
    assert 0 < run_count(events, tmp_path, path) < started.windows


def run_count(events, tmp_path, path) -> int:
    """Windows that reached the model, counted by a builder that keeps them."""
    kept = []

    class Keeping(PlainBuilder):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "RegionBuilder", Keeping)
        run(path, loaded(ConstantModel((0.0, 2.0, 1.0)), make_card()), tmp_path / "counted")
    for window in kept[0].windows:
        assert (window.token_map != 255).any()
    return len(kept[0].windows)


def test_gaps_do_not_change_a_pointwise_answer(tmp_path: Path, plain_regions) -> None:
    data = smooth_noise((3, 100, 100))
    gap = np.zeros((100, 100), bool)
    gap[20:60, 10:45] = True
    holed = np.where(gap, 0, data)
    model = loaded(PointwiseModel(), make_card())
    run(write_scene(tmp_path / "full.tif", data), model, tmp_path / "full")
    run(write_scene(tmp_path / "holed.tif", holed, nodata=0), model, tmp_path / "holed")
    full, part = (open_analysis(tmp_path / n).read("classes") for n in ("full", "holed"))
    np.testing.assert_array_equal(part, np.where(gap, 255, full))


def test_a_scene_without_data_gives_an_empty_analysis(tmp_path: Path, plain_regions) -> None:
    path = write_scene(tmp_path / "scene.tif", np.zeros((3, 70, 50), np.uint8), nodata=0)
    module = ConstantModel((1.0, 0.0))
    events = run(path, loaded(module, make_card(classes=2)), tmp_path / "out")
    assert isinstance(events[-1], Finished)
    analysis = open_analysis(tmp_path / "out")
    assert np.unique(analysis.read("classes")).tolist() == [255]
    assert np.unique(analysis.read("confidence")).tolist() == [0]
    assert [share.pixels for share in analysis.class_shares()] == [0, 0]


def test_region_of_interest_limits_work_and_result(tmp_path: Path, plain_regions) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 200, 300)))
    x0, y0 = 500_000, 5_300_000
    ring = [(x0 + 4 * c, y0 - 4 * r) for c, r in ((100, 50), (180, 50), (180, 120), (100, 120), (100, 50))]
    roi = {"geometry": {"type": "Polygon", "coordinates": [ring]}, "crs": "EPSG:32632"}
    model = loaded(PointwiseModel(), make_card())
    everything = run(path, model, tmp_path / "all")
    some = run(path, model, tmp_path / "roi", roi=roi)
    inside = np.zeros((200, 300), bool)
    inside[50:120, 100:180] = True
    whole = open_analysis(tmp_path / "all").read("classes")
    np.testing.assert_array_equal(open_analysis(tmp_path / "roi").read("classes"), np.where(inside, whole, 255))
    assert some[0].windows < everything[0].windows / 3


def test_strips_can_be_read_as_they_are_announced(tmp_path: Path, plain_regions) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 150, 90)))
    seen = {}
    with Scene.open(path) as scene:
        for event in analyse(scene, loaded(PointwiseModel(), make_card()), tmp_path / "out"):
            if isinstance(event, StripWritten) and event.row_stop < 150:
                partial = open_analysis(tmp_path / "out")
                assert not partial.complete
                classes = partial.read("classes")
                seen[event.row_stop] = classes[: event.row_stop].copy()
                thin = partial.read("classes", out_shape=(15, 9))
                assert (thin[: event.row_stop // 10 - 1] != 255).all()
                assert (partial.read("regions")[: event.row_stop] == 1).all()
    final = open_analysis(tmp_path / "out").read("classes")
    assert len(seen) > 3
    for stop, rows in seen.items():
        np.testing.assert_array_equal(rows, final[:stop])


def test_leaving_the_loop_ends_all_threads(tmp_path: Path, plain_regions) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 300, 300)))
    before = set(threading.enumerate())
    with Scene.open(path) as scene:
        for event in analyse(scene, loaded(PointwiseModel(), make_card()), tmp_path / "out"):
            if isinstance(event, WindowDone) and event.windows_done > 20:
                break
    assert set(threading.enumerate()) == before


def test_final_files(tmp_path: Path, plain_regions) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 700, 1200)))
    run(path, loaded(PointwiseModel(), make_card(window=128, overlap=32)), tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == [
        "analysis.json", "classes.tif", "classes.tif.aux.xml", "confidence.tif", "regions.parquet", "regions.tif",
    ]  # fmt: skip
    with rasterio.open(tmp_path / "out" / "classes.tif") as classes:
        assert classes.nodata == 255
        assert classes.colormap(1)[1] == (40, 128, 64, 255)
        assert classes.colormap(1)[255][3] == 0
        assert classes.overviews(1) == [2, 4]
        assert classes.crs.to_epsg() == 32632
    shares = open_analysis(tmp_path / "out").class_shares()
    assert sum(s.pixels for s in shares) == 700 * 1200
    assert sum(s.area_m2 for s in shares) == pytest.approx(700 * 1200 * 16, rel=2e-3)
    assert sum(s.share for s in shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("precision", "fast", "warned"), [("bfloat16", False, 1), ("bfloat16", True, 0), ("float32", False, 0)]
)
def test_a_processor_without_bfloat16_says_what_that_costs(
    tmp_path, plain_regions, monkeypatch, precision, fast, warned
) -> None:
    monkeypatch.setattr(preparing, "has_fast_bfloat16", lambda device: fast)
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 40, 40)))
    events = run(path, loaded(PointwiseModel(), make_card(window=32, overlap=0)), tmp_path / "out", precision=precision)
    said = [e.warning for e in events if isinstance(e, WarningRaised)]
    assert sum(isinstance(w, DeviceWarning) and "bfloat16" in w.message for w in said) == warned
