"""Runs of a scene classifier: cells, maps, events, interruption, nodata, resolution, what the folder says."""

import threading
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from inference_fakes import make_card, write_scene
from recognition_fakes import STEP, classifier, classifier_card, recognise, write_blocks

from engine.errors import AnalysisError, CancelledError, GroundResolutionWarning, OptionError
from engine.inference import AnalysisOptions, analyse, check_run, open_analysis
from engine.inference.events import Finished, StageChanged, Started, StripWritten, WindowDone
from engine.inference.plan import WindowPlan
from engine.inference.recognition.cells import CellPlan
from engine.models.card import CardClass
from engine.scene import Scene

CODES = np.array([[0, 1, 2, 3], [4, 5, 6, 0], [1, 3, 5, 2]])


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    return write_blocks(tmp_path / "scene.tif", CODES)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(16, 90).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 1))),
)
def test_cells_cover_the_grid_once_and_lie_in_their_windows(width: int, height: int, sizes: tuple[int, int]) -> None:
    plan = WindowPlan(width, height, *sizes)
    cells = CellPlan(plan)
    for edges, starts, length in (
        (cells.col_edges, plan.col_starts, width),
        (cells.row_edges, plan.row_starts, height),
    ):
        assert (edges[0], edges[-1]) == (0, length)
        assert (np.diff(edges) > 0).all()
        for begin, end, start in zip(edges, edges[1:], starts, strict=False):
            assert start <= begin
            assert end <= min(length, start + plan.window_px)
    boxes = cells.boxes(np.arange(plan.rows * plan.cols))
    assert ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() == width * height
    assert cells.window_at(width - 1, height - 1) == plan.rows * plan.cols - 1
    assert cells.window_at(width, 0) is None


def test_events_files_and_numbers(blocks: Path, tmp_path: Path) -> None:
    events = recognise(blocks, classifier(), tmp_path / "out", batch=3)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert (events[-1].cells, events[-1].regions, events[-1].detections) == (12, 0, None)
    assert events[0].windows == 12
    done = [e for e in events if isinstance(e, WindowDone)]
    assert done[-1].windows_done == done[-1].windows == 12
    assert [e.fraction for e in events if isinstance(e, StageChanged) and e.stage == "cells"][-1] == 1
    assert [(e.row_start, e.row_stop) for e in events if isinstance(e, StripWritten)] == [(0, 32), (32, 64), (64, 96)]
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["analysis.json", "cells.parquet", "classes.tif", "classes.tif.aux.xml", "confidence.tif"]
    analysis = open_analysis(tmp_path / "out")
    assert (analysis.kind, analysis.info.cells) == ("classification", 12)
    shares = {s.name: s.pixels for s in analysis.class_shares()}
    assert shares == {f"class {k}": 32 * 32 * int((k == CODES).sum()) for k in range(7)}


def test_each_cell_bears_the_class_of_its_window(blocks: Path, tmp_path: Path) -> None:
    recognise(blocks, classifier(), tmp_path / "out")
    analysis = open_analysis(tmp_path / "out")
    np.testing.assert_array_equal(analysis.read("classes"), CODES.repeat(32, 0).repeat(32, 1))
    with rasterio.open(tmp_path / "out" / "classes.tif") as file:
        assert file.colormap(1)[2] == (0x50, 0x80, 0x40, 255)
        assert file.tags(1)["CLASS_2"] == "class 2"
    table = analysis.cells()
    assert table.crs.to_epsg() == 32632
    assert table["class_code"].tolist() == CODES.ravel().tolist()
    assert table["class"].tolist() == [f"class {k}" for k in CODES.ravel()]
    ranked = table[["score", "score_2", "score_3", "score_4", "score_5"]].to_numpy()
    assert (np.diff(ranked, axis=1) <= 0).all()
    logits = -np.abs(STEP * CODES.ravel()[:, None] - STEP * np.arange(7)) / 4
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ranked, -np.sort(-chances, axis=1)[:, :5], rtol=1e-5)
    np.testing.assert_array_equal(
        analysis.read("confidence")[::32, ::32].ravel(), np.rint(100 * chances.max(axis=1)).astype(np.uint8)
    )
    assert set(table["valid_share"]) == {1.0}
    np.testing.assert_allclose(table["area_m2"], 128 * 128, rtol=2e-3)
    bounds = table.geometry.bounds.to_numpy()
    np.testing.assert_allclose(bounds[5], [500_128, 5_299_744, 500_256, 5_299_872])
    assert table.geometry.iloc[0].exterior.is_ccw


def test_a_place_tells_its_cell(blocks: Path, tmp_path: Path) -> None:
    recognise(blocks, classifier(), tmp_path / "out")
    analysis = open_analysis(tmp_path / "out")
    cell = analysis.cell_at(70.5, 40.0)
    assert cell is not None
    assert (cell.window, cell.box, cell.codes[0], cell.valid_share) == (6, (64, 32, 96, 64), 6, 1.0)
    assert len(cell.codes) == len(cell.scores) == 5
    assert analysis.cell_at(-1, 0) is None
    assert analysis.cell_at(0, 96) is None


def test_few_classes_have_few_ranks(tmp_path: Path) -> None:
    path = write_blocks(tmp_path / "scene.tif", CODES[:1, :2])
    recognise(path, classifier(classes=2), tmp_path / "out")
    table = open_analysis(tmp_path / "out").cells()
    assert "score_2" in table
    assert "score_3" not in table
    np.testing.assert_allclose(table["score"] + table["score_2"], 1, rtol=1e-6)


@pytest.mark.parametrize("overlap", [12, 24])
def test_overlapping_windows_make_smaller_cells(tmp_path: Path, overlap: int) -> None:
    path = write_blocks(tmp_path / "scene.tif", CODES)
    recognise(path, classifier(), tmp_path / "out", overlap_px=overlap)
    analysis = open_analysis(tmp_path / "out")
    table, drawn = analysis.cells(), analysis.read("classes")
    plan = analysis.plan
    assert len(table) == plan.rows * plan.cols > 12
    values = STEP * CODES.repeat(32, 0).repeat(32, 1)
    for _, cell in table.iterrows():
        seen = plan.window(cell.window)
        mean = values[seen.row : seen.row + 32, seen.col : seen.col + 32].mean()
        assert abs(STEP * cell.class_code - mean) <= STEP / 2 + 1e-6
        patch = drawn[cell.row : cell.row + cell.height_px, cell.col : cell.col + cell.width_px]
        assert (patch == cell.class_code).all()


def test_a_scene_that_no_window_fits_exactly(tmp_path: Path) -> None:
    data = np.full((3, 70, 50), 20, np.uint8)
    recognise(write_scene(tmp_path / "scene.tif", data), classifier(), tmp_path / "out")
    analysis = open_analysis(tmp_path / "out")
    assert (analysis.read("classes") == 2).all()
    assert analysis.cells()[["width_px", "height_px"]].prod(axis=1).sum() == 70 * 50
    small = write_scene(tmp_path / "small.tif", data[:, :20, :18])
    recognise(small, classifier(), tmp_path / "one")
    (cell,) = open_analysis(tmp_path / "one").cells().itertuples()
    assert (cell.width_px, cell.height_px, cell.class_code) == (18, 20, 2)


def test_nodata_bears_no_class_and_empty_cells_are_left_out(tmp_path: Path) -> None:
    values = (STEP * CODES).astype(np.uint8).repeat(32, 0).repeat(32, 1) + 1
    values[:32, :32] = 0
    values[40:48, 64:96] = 0
    path = write_scene(tmp_path / "scene.tif", np.stack([values] * 3), nodata=0)
    events = recognise(path, classifier(), tmp_path / "out")
    assert events[-1].cells == 11
    analysis = open_analysis(tmp_path / "out")
    table = analysis.cells()
    assert table["window"].tolist() == list(range(1, 12))
    assert table["cell_id"].tolist() == list(range(1, 12))
    assert table.set_index("window")["valid_share"][6] == pytest.approx(0.75)
    assert ((analysis.read("classes") == 255) == (values == 0)).all()
    assert ((analysis.read("confidence") == 0) == (values == 0)).all()
    assert analysis.cell_at(3, 3) is None


def test_a_region_of_interest_limits_the_cells(blocks: Path, tmp_path: Path) -> None:
    ring = [(500_000 + 4 * c, 5_300_000 - 4 * r) for c, r in ((40, 40), (100, 40), (100, 70), (40, 70), (40, 40))]
    roi = {"geometry": {"type": "Polygon", "coordinates": [ring]}, "crs": "EPSG:32632"}
    recognise(blocks, classifier(), tmp_path / "out", roi=roi)
    analysis = open_analysis(tmp_path / "out")
    assert analysis.cells()["window"].tolist() == [5, 6, 7, 9, 10, 11]
    drawn = analysis.read("classes")
    inside = np.zeros_like(drawn, bool)
    inside[40:70, 40:100] = True
    assert ((drawn != 255) == inside).all()


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("overlap", [0, 20])
def test_an_interrupted_run_goes_on_to_the_same_bytes(blocks: Path, tmp_path: Path, overlap: int) -> None:
    model = classifier(overlap=overlap)
    recognise(blocks, model, tmp_path / "whole")
    before = set(threading.enumerate())
    with Scene.open(blocks) as scene:
        for event in analyse(scene, model, tmp_path / "out", AnalysisOptions(device="cpu")):
            if isinstance(event, StripWritten) and event.row_start > 0:
                break
    assert set(threading.enumerate()) == before
    growing = open_analysis(tmp_path / "out")
    assert not growing.complete
    whole = open_analysis(tmp_path / "whole")
    top = growing.plan.row_starts[1]
    np.testing.assert_array_equal(growing.read("classes")[:top], whole.read("classes")[:top])
    assert growing.cell_at(3, 3) == whole.cell_at(3, 3)
    assert growing.cell_at(3, 95) is None
    assert sum(share.pixels for share in growing.class_shares()) > 0
    with pytest.raises(AnalysisError, match="complete"):
        growing.cells()
    again = recognise(blocks, model, tmp_path / "out")
    assert again[0].windows_done > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert growing.cell_at(3, 95) == whole.cell_at(3, 95)
    third = recognise(blocks, model, tmp_path / "out")
    assert [type(e) for e in third] == [Started, Finished]
    assert third[-1].cells == again[-1].cells
    with pytest.raises(AnalysisError, match="overlap_px"):
        recognise(blocks, model, tmp_path / "out", overlap_px=4)


def test_cancel_keeps_what_is_done(blocks: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 12

    with Scene.open(blocks) as scene:
        events = analyse(scene, classifier(), tmp_path / "out", AnalysisOptions(device="cpu", batch=1), cancel=cancel)
        with pytest.raises(CancelledError, match="go on"):
            list(events)
    assert recognise(blocks, classifier(), tmp_path / "out", batch=1)[-1].cells == 12


def test_it_says_what_it_does_not_hold(blocks: Path, tmp_path: Path) -> None:
    recognise(blocks, classifier(), tmp_path / "out")
    analysis = open_analysis(tmp_path / "out")
    for ask in (lambda: analysis.read("regions"), lambda: analysis.region_table, analysis.regions):
        with pytest.raises(AnalysisError, match="holds no regions"):
            ask()
    with pytest.raises(AnalysisError, match="no objects"):
        analysis.detections()


def test_a_missing_table_is_an_error_with_a_remedy(blocks: Path, tmp_path: Path) -> None:
    recognise(blocks, classifier(), tmp_path / "out")
    (tmp_path / "out" / "cells.parquet").write_bytes(b"nothing")
    with pytest.raises(AnalysisError, match="Run the analysis again"):
        open_analysis(tmp_path / "out").cell_at(3, 3)
    with pytest.raises(AnalysisError, match="table of cells"):
        open_analysis(tmp_path / "out").cells()


@pytest.mark.parametrize(("gsd_m", "expected", "warns"), [(4.0, None, False), (2.0, 4.0, False), (0.5, 4.0, True)])
def test_windows_show_as_much_ground_as_the_pictures_did(
    tmp_path: Path, gsd_m: float, expected: float | None, warns: bool
) -> None:
    path = write_scene(tmp_path / "scene.tif", np.full((3, 64, 64), 20, np.uint8), gsd_m=gsd_m)
    with Scene.open(path) as scene:
        run = check_run(scene, classifier_card(), AnalysisOptions())
        assert run.gsd_m == expected
        assert (
            any(isinstance(w, GroundResolutionWarning) and "resampled to 4 m" in str(w) for w in run.warnings) == warns
        )
        assert check_run(scene, classifier_card(), AnalysisOptions(gsd="native")).gsd_m is None
        segmenter = make_card(scaling=classifier_card().scaling, gsd_range_m=(1.0, 10.0))
        assert check_run(scene, segmenter, AnalysisOptions()).gsd_m == (1.0 if warns else None)


def test_a_resampled_scene_has_cells_of_the_models_size(tmp_path: Path) -> None:
    path = write_blocks(tmp_path / "scene.tif", CODES, edge=64, gsd_m=2.0)
    recognise(path, classifier(), tmp_path / "out")
    table = open_analysis(tmp_path / "out").cells()
    np.testing.assert_allclose(table["area_m2"], 128 * 128, rtol=2e-3)
    assert table["class_code"].tolist() == CODES.ravel().tolist()


def test_more_classes_than_a_map_can_hold_are_refused(blocks: Path, tmp_path: Path) -> None:
    classes = tuple(CardClass(name=f"class {code}", color="#808080") for code in range(255))
    many = classifier_card().model_copy(update={"classes": classes})
    with Scene.open(blocks) as scene, pytest.raises(OptionError, match="254 classes"):
        check_run(scene, many, AnalysisOptions())


def test_without_a_crs_cells_lie_in_pixels(tmp_path: Path) -> None:
    path = write_blocks(tmp_path / "scene.tif", CODES, crs=None)
    recognise(path, classifier(), tmp_path / "out")
    plain = gpd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert plain.crs is None
    assert plain["area_m2"].isna().all()
    assert plain["x"].iloc[0] == pytest.approx(500_000 + 4 * 16)
