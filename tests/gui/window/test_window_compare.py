"""Comparing two scenes in the window: the dialog, the run, its layers, the inspector, reopening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from window_parts import WAIT_MS, dialogs, place, write_scene

from engine.errors import CheckpointError
from engine.models import catalog
from rs_viewer import tasks
from rs_viewer.jobs import Context


@pytest.fixture(scope="session")
def change_model(tmp_path_factory) -> Path:
    """A model of change that was never taught, so unsure that a low threshold makes it find something."""
    import torch

    from engine.models import create, save_checkpoint
    from engine.models.card import ModelCard

    torch.manual_seed(3)
    config = {"num_classes": 2, "decoder_depth": 1}
    card = {
        "name": "untaught", "title": "Untaught change", "architecture": "bit_lemevit_tiny", "config": config,
        "task": "change", "bands": ("red", "green", "blue"),
        "classes": ({"name": "unchanged", "color": "#d9d9d9"}, {"name": "changed", "color": "#e31a1c"}),
        "scaling": {"divisor": 255, "mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3},
        "window_px": 64, "overlap_px": 16, "token_count": 8, "data": "none", "metrics": {}, "licence": "none",
        "source": "tests",
    }  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "untaught.safetensors"
    save_checkpoint(path, create("bit_lemevit_tiny", **config), ModelCard.model_validate(card))
    return path


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """Two dates, the later one shifted by ten pixels."""
    before = write_scene(tmp_path / "before.tif", size=(96, 128), seed=1)
    return before, write_scene(tmp_path / "after.tif", size=(96, 128), seed=2, origin=(600_040.0, 5_300_000.0))


def ask(window, qtbot):
    """The dialog, open."""
    window.commands["compare"].trigger()
    qtbot.waitUntil(lambda: window.comparisons.dialog is not None, timeout=WAIT_MS)
    return window.comparisons.dialog


def fill(dialog, qtbot, pair, model, threshold=0.05):
    """Fill in everything with files that are not open."""
    dialog.choose_scene(dialog.before, (str(pair[0]),))
    dialog.choose_scene(dialog.after, (str(pair[1]),))
    dialog.modelFileRequested.emit(str(model))
    qtbot.waitUntil(lambda: dialog.chosen is not None and dialog.chosen.path == model, timeout=WAIT_MS)
    dialog.threshold.setValue(threshold)


@pytest.fixture
def compared(window, qtbot, pair, change_model):
    """A window with a finished comparison."""
    dialog = ask(window, qtbot)
    fill(dialog, qtbot, pair, change_model)
    with qtbot.waitSignal(window.runs.finished, timeout=WAIT_MS):
        dialog.start.click()
    qtbot.waitUntil(lambda: not window.jobs.active, timeout=WAIT_MS)
    return window


@pytest.fixture
def no_change_model(monkeypatch):
    """An installation without the shipped model of change."""
    monkeypatch.setattr(
        catalog, "list_models", lambda found=catalog.list_models: [m for m in found() if m.card.task != "change"]
    )


@pytest.mark.usefixtures("no_change_model")
def test_without_a_model_the_dialog_says_how_to_get_one(window, qtbot):
    dialog = ask(window, qtbot)
    assert "lemevit-changes" in dialog.notice.label.text()
    assert not dialog.start.isEnabled()
    dialog.reject()
    qtbot.waitUntil(lambda: window.comparisons.dialog is None, timeout=WAIT_MS)


def test_open_scenes_are_offered_and_what_is_known_is_said(window, qtbot, pair, change_model):
    for number, path in enumerate(pair, 1):
        window.opener.open([str(path)])
        qtbot.waitUntil(lambda n=number: len(window.workspace.scenes) == n, timeout=WAIT_MS)
    dialog = ask(window, qtbot)
    assert dialog.scenes == ((str(pair[0]),), (str(pair[1]),))
    assert dialog.out_dir.text() == str(pair[0].with_name("before_after_changes"))
    dialog.modelFileRequested.emit(str(change_model))
    qtbot.waitUntil(lambda: "118 x 96 pixels" in dialog.notice.label.text(), timeout=WAIT_MS)
    assert dialog.start.isEnabled()
    dialog.swap.click()
    assert dialog.scenes == ((str(pair[1]),), (str(pair[0]),))
    assert dialog.out_dir.text() == str(pair[0].with_name("after_before_changes"))


def test_scenes_that_do_not_fit_are_refused_in_the_dialog(window, qtbot, pair, change_model, tmp_path):
    far = write_scene(tmp_path / "far.tif", size=(96, 128), origin=(700_000.0, 5_300_000.0))
    dialog = ask(window, qtbot)
    fill(dialog, qtbot, (pair[0], far), change_model)
    qtbot.waitUntil(lambda: "do not overlap" in dialog.notice.label.text(), timeout=WAIT_MS)
    assert not dialog.start.isEnabled()
    dialog.choose_scene(dialog.after, (str(pair[1]),))
    qtbot.waitUntil(lambda: "118 x 96 pixels" in dialog.notice.label.text(), timeout=WAIT_MS)
    assert dialog.start.isEnabled()


def test_other_models_are_no_models_of_change(window, qtbot, tiny_model):
    dialog = ask(window, qtbot)
    dialog.modelFileRequested.emit(str(tiny_model))
    qtbot.waitUntil(lambda: bool(dialogs()), timeout=WAIT_MS)
    assert "does not compare scenes" in dialogs()[0].text() + dialogs()[0].informativeText()
    with pytest.raises(CheckpointError):
        tasks.find_change_model(Context(None, lambda *_: None), str(tiny_model))  # type: ignore[arg-type]


def test_a_comparison_is_on_the_map_with_both_scenes(compared, pair):
    assert {item.scene.name for item in compared.workspace.scenes} == {"before", "after"}
    item = compared.workspace.analysis
    assert item.analysis.kind == "change"
    assert item.scene.scene.name == "before"
    assert {layer.name for layer in item.layers.values()} == {
        "Changes", "Probability of change", "Outlines of changes",
    }  # fmt: skip
    assert item.analysis.grid.shape == (96, 118)
    assert compared.legend.table.topLevelItemCount() == 2
    assert "change" in compared.analysis_panel.status.text()
    assert compared.commands["export"].isEnabled()


def test_unchanged_pixels_are_not_painted(compared):
    layer = compared.workspace.analysis.layers["classes"]
    table = layer._make_source().table
    assert table[0] == 0
    assert table[1] != 0


def test_a_change_can_be_inspected(compared, qtbot):
    analysis = compared.workspace.analysis.analysis
    rows, cols = np.nonzero(analysis.read("regions"))
    assert rows.size
    with qtbot.waitSignal(compared.inspection.shown, timeout=WAIT_MS):
        compared.map.clicked.emit(*place(compared, cols[0] + 0.5, rows[0] + 0.5))
    page = compared.inspector.facts
    assert compared.inspector.currentWidget() is page
    region = analysis.region(analysis.region_id_at(cols[0], rows[0]))
    assert f"{100 * region.confidence:.0f}" in page.fields["Score"].text()
    assert "→" in page.fields["Red"].text()
    assert {"Area", "Perimeter", "Centroid"} <= set(page.fields)
    assert not compared.commands["find_similar"].isEnabled()


def test_a_comparison_is_reopened_with_both_scenes(compared, qtbot):
    path = compared.workspace.analysis.path
    compared.workspace.close_all()
    compared.opener.open_analysis(str(path))
    qtbot.waitUntil(lambda: compared.workspace.analysis is not None, timeout=WAIT_MS)
    assert [item.scene.name for item in compared.workspace.scenes] == ["before", "after"]
    assert compared.workspace.analysis.scene.scene.name == "before"


def test_scenes_of_one_name_are_told_apart_when_compared_and_when_reopened(window, qtbot, pair, change_model):
    same = [path.parent / folder / "place.tif" for path, folder in zip(pair, ("A", "B"), strict=True)]
    for path, wanted in zip(pair, same, strict=True):
        wanted.parent.mkdir()
        path.rename(wanted)
    dialog = ask(window, qtbot)
    fill(dialog, qtbot, same, change_model)
    with qtbot.waitSignal(window.runs.finished, timeout=WAIT_MS):
        dialog.start.click()
    qtbot.waitUntil(lambda: not window.jobs.active, timeout=WAIT_MS)
    names = {"place (earlier)", "place (later)"}
    assert {item.layer.name for item in window.workspace.scenes} == names
    path = window.workspace.analysis.path
    window.workspace.close_all()
    window.opener.open([str(path)])
    qtbot.waitUntil(lambda: window.workspace.analysis is not None, timeout=WAIT_MS)
    assert {item.layer.name for item in window.workspace.scenes} == names


def test_an_interrupted_comparison_goes_on(window, qtbot, pair, change_model):
    """Cancelled after its first strip, resumed from the analysis panel with both scenes."""
    from engine.inference.options import AnalysisOptions
    from engine.inference.pipeline import analyse
    from engine.models.loaded import load_model
    from engine.scene import Scene, pair_scenes

    out = pair[0].with_name("cut")
    scenes = [Scene.open(path) for path in pair]
    run = analyse(pair_scenes(*scenes), load_model(change_model), out, AnalysisOptions(device="cpu", min_score=0.05))
    for event in run:
        if type(event).__name__ == "StripWritten":
            break
    run.close()
    window.catalogue.add_model(str(change_model))
    qtbot.waitUntil(lambda: window.analysis_panel.chosen.card.task == "change", timeout=WAIT_MS)
    window.opener.open([str(out)])
    qtbot.waitUntil(lambda: not window.analysis_panel.resume.isHidden(), timeout=WAIT_MS)
    with qtbot.waitSignal(window.runs.finished, timeout=WAIT_MS):
        window.analysis_panel.resume.click()
    assert window.workspace.analysis.complete
    with rasterio.open(out / "change.tif") as file:
        assert file.shape == (96, 118)


def test_a_later_scene_in_another_crs_is_compared_but_not_on_the_map(window, qtbot, pair, change_model, tmp_path):
    from rasterio.warp import calculate_default_transform, reproject

    elsewhere = tmp_path / "elsewhere.tif"
    with rasterio.open(pair[1]) as file:
        place_there, width, height = calculate_default_transform(
            file.crs, "EPSG:32633", file.width, file.height, *file.bounds
        )
        profile = {**file.profile, "crs": "EPSG:32633", "transform": place_there, "width": width, "height": height}
        with rasterio.open(elsewhere, "w", **profile | {"nodata": 0}) as made:
            made.descriptions = file.descriptions
            for band in range(1, 5):
                reproject(rasterio.band(file, band), rasterio.band(made, band))
    said = []
    window.comparisons.told.connect(said.append)
    dialog = ask(window, qtbot)
    fill(dialog, qtbot, (pair[0], elsewhere), change_model)
    qtbot.waitUntil(lambda: "EPSG:32633" in dialog.notice.label.text(), timeout=WAIT_MS)
    with qtbot.waitSignal(window.runs.finished, timeout=WAIT_MS):
        dialog.start.click()
    assert [item.scene.name for item in window.workspace.scenes] == ["before"]
    assert "another coordinate system" in said[0]
    assert window.workspace.analysis.analysis.grid.crs == window.workspace.scenes[0].scene.crs
    table = window.workspace.analysis.analysis.read("classes")
    assert (table != 255).mean() > 0.8
