"""The quadtree as a layer: scoring with progress and cancel, the budget, pointing, colours, closing."""

from __future__ import annotations

import math
import threading

import geopandas as gpd
import numpy as np
import pytest
from window_parts import WAIT_MS

from engine.errors import CancelledError


def start(window, qtbot, smallest=8, largest=64):
    window.commands["quadtree"].trigger()
    dialog = window.quadtrees.dialog
    dialog.fields.smallest.setCurrentIndex(dialog.fields.smallest.findData(smallest))
    dialog.fields.largest.setCurrentIndex(dialog.fields.largest.findData(largest))
    dialog.start.click()
    return dialog


def settled(window) -> bool:
    tree = window.workspace.tree
    return tree is not None and tree.shown_tokens == tree.tokens and not window.jobs.active


@pytest.fixture
def treed(opened, qtbot):
    """A window with a quadtree of the tiny scene, its layer chosen."""
    start(opened, qtbot)
    qtbot.waitUntil(lambda: settled(opened), timeout=WAIT_MS)
    return opened


def at(tree, col: float, row: float) -> tuple[float, float]:
    x, y = tree.tree.grid.xy(col, row)
    return float(x), float(y)


def test_a_tree_comes_as_a_layer_with_its_patches_counted(treed):
    tree = treed.workspace.tree
    assert [layer.name for layer in treed.map.layers] == ["scene", "Quadtree"]
    assert treed.layers_panel.layer is tree.layer
    assert treed.quadtrees.dialog is None
    assert tree.layer.count == len(tree.selection) == len(tree.tree.select(tree.tokens))
    assert not treed.layers_panel.budget.isHidden()
    table = treed.legend.table
    assert [table.topLevelItem(row).text(0) for row in range(4)] == ["8 px", "16 px", "32 px", "64 px"]
    counted = [int(table.topLevelItem(row).text(1).replace("\u202f", "")) for row in range(4)]
    assert counted == np.bincount(tree.selection.levels, minlength=4).tolist()


def test_the_slider_reaches_every_budget_and_the_last_one_comes(treed, qtbot):
    tree, budget = treed.workspace.tree, treed.layers_panel.budget
    for step in (0, 200, 900, 400, 1000):
        budget.slider.setValue(step)
    qtbot.waitUntil(lambda: settled(treed), timeout=WAIT_MS)
    assert tree.shown_tokens == tree.tree.max_tokens
    assert tree.layer.count == tree.tree.max_tokens
    budget.slider.setValue(0)
    qtbot.waitUntil(lambda: settled(treed), timeout=WAIT_MS)
    assert tree.layer.count == tree.tree.min_tokens
    budget.number.setValue(60)
    qtbot.waitUntil(lambda: settled(treed), timeout=WAIT_MS)
    assert 58 <= tree.layer.count <= 60
    assert 0 < budget.slider.value() < 1000


def test_patches_cover_the_scene_and_end_with_it(treed):
    hulls = treed.workspace.tree.layer._hulls
    assert (hulls[:, 2] - hulls[:, 0]) @ (hulls[:, 3] - hulls[:, 1]) == 192 * 320


def test_pointing_outlines_a_patch_and_a_click_tells_about_it(treed, qtbot, monkeypatch):
    tree, outlines = treed.workspace.tree, []
    monkeypatch.setattr(treed.map, "set_outline", lambda rings, *args, **kw: outlines.append((rings, kw.get("kind"))))
    treed.map.hovered.emit(*at(tree, 100.5, 50.5))
    treed.map.hovered.emit(*at(tree, 100.6, 50.5))
    (rings, kind), number = outlines[0], tree.selection.patch_at(100.5, 50.5)
    assert len(outlines) == 1
    assert kind == "hovered"
    left, top, size = tree.selection.boxes[number]
    assert rings[0][0].tolist() == [left, top]
    treed.map.hovered.emit(math.nan, math.nan)
    assert outlines[-1][0] is None
    with qtbot.waitSignal(treed.quadtrees.shown, timeout=WAIT_MS):
        treed.map.clicked.emit(*at(tree, 100.5, 50.5))
    texts = {label: field.text() for label, field in treed.inspector.facts.fields.items()}
    assert treed.inspector.facts.heading.text() == f"{size} px patch"
    assert texts["Level"] == f"{tree.selection.levels[number]} of 0 to 3"
    assert texts["On the ground"] == f"{size * tree.tree.grid.gsd_m:.3g} m" or size * tree.tree.grid.gsd_m < 100
    assert float(texts["Score"]) == pytest.approx(float(tree.selection.scores[number]), rel=1e-2)
    assert texts["Looks at"] == tree.tree.scorer


def test_a_click_beside_the_scene_finds_no_patch(treed, qtbot):
    with qtbot.waitSignal(treed.quadtrees.told, timeout=WAIT_MS) as told:
        treed.map.clicked.emit(*at(treed.workspace.tree, -20, 5))
    assert "no patch" in told.args[0]


def test_patches_are_coloured_by_size_or_alike(treed):
    tree = treed.workspace.tree
    assert len({color.name() for color in tree.layer.colors}) == 4
    treed.layers_panel.budget.coloured.setChecked(False)
    assert len({color.name() for color in tree.layer.colors}) == 1


def test_another_chosen_layer_takes_pointing_and_legend_back(treed):
    treed.layers_panel.select(treed.workspace.scene.layer)
    assert treed.workspace.pointed == "regions"
    assert treed.layers_panel.budget.isHidden()
    assert treed.legend.currentWidget() is treed.legend.hint
    treed.layers_panel.select(treed.map.layers[1])
    assert treed.workspace.pointed == "patches"
    assert treed.legend.currentWidget() is treed.legend.table


def test_a_tree_outlives_its_scene_and_can_be_closed(treed, qtbot):
    tree = treed.workspace.tree
    treed.workspace.close_layer(treed.workspace.scene.layer)
    assert tree.scene is None
    treed.layers_panel.budget.slider.setValue(300)
    qtbot.waitUntil(lambda: settled(treed), timeout=WAIT_MS)
    treed.layers_panel.select(tree.layer)
    treed.commands["close_layer"].trigger()
    assert treed.workspace.empty
    assert len(treed.map.layers) == 0
    assert not treed.commands["quadtree"].isEnabled()


def test_scoring_shows_progress_and_can_be_cancelled(opened, qtbot, monkeypatch):
    begun = threading.Event()

    def endless(scene, options, *, progress, cancel):
        progress(0.25)
        begun.set()
        while not cancel():
            threading.Event().wait(0.005)
        raise CancelledError("scoring was cancelled")

    monkeypatch.setattr("engine.inference.quadtree.scenes.score_scene", endless)
    dialog = start(opened, qtbot)
    qtbot.waitUntil(lambda: begun.is_set() and dialog.progress.value() == 250, timeout=WAIT_MS)
    assert not dialog.start.isEnabled()
    dialog.close_button.click()
    qtbot.waitUntil(lambda: dialog.start.isEnabled(), timeout=WAIT_MS)
    assert "Cancelled" in dialog.status.text()
    assert opened.workspace.tree is None
    dialog.close_button.click()
    assert opened.quadtrees.dialog is None


def test_the_patches_on_the_map_are_exported(treed, qtbot, tmp_path, monkeypatch):
    target = tmp_path / "patches.gpkg"
    monkeypatch.setattr(
        "rs_viewer.quadtrees.QFileDialog.getSaveFileName", lambda *args: (str(target), "GeoPackage (*.gpkg)")
    )
    assert treed.commands["export"].isEnabled()
    with qtbot.waitSignal(treed.quadtrees.told, timeout=WAIT_MS) as told:
        treed.commands["export"].trigger()
    assert "patches.gpkg is written" in told.args[0]
    written = gpd.read_file(target, layer="patches")
    assert sorted(written["size_px"]) == sorted(treed.workspace.tree.selection.boxes[:, 2].tolist())


def test_sizes_that_do_not_go_together_cannot_be_asked_for(opened, qtbot):
    opened.commands["quadtree"].trigger()
    dialog = opened.quadtrees.dialog
    dialog.fields.smallest.setCurrentIndex(dialog.fields.smallest.findData(128))
    dialog.fields.largest.setCurrentIndex(dialog.fields.largest.findData(64))
    assert not dialog.start.isEnabled()
    assert "larger than" in dialog.status.text()
    dialog.reject()


def test_models_are_asked_by_name_and_class(opened, qtbot):
    opened.commands["quadtree"].trigger()
    dialog = opened.quadtrees.dialog
    fields = dialog.fields
    assert not fields.model.isVisibleTo(dialog)
    fields.scorer.setCurrentIndex(fields.scorer.findData("gradcam"))
    assert fields.model.isVisibleTo(dialog)
    fields.model.setCurrentIndex(fields.model.findText("Tiny and untrained"))
    names = [fields.class_index.itemText(row) for row in range(fields.class_index.count())]
    assert names == ["The likeliest everywhere", "Land", "Town", "Water"]
    fields.class_index.setCurrentIndex(3)
    fields.smallest.setCurrentIndex(fields.smallest.findData(8))
    fields.largest.setCurrentIndex(fields.largest.findData(64))
    dialog.start.click()
    qtbot.waitUntil(lambda: settled(opened), timeout=WAIT_MS)
    assert opened.workspace.tree.tree.scorer == "Grad-CAM of tiny, class 2"


def test_without_a_model_nothing_can_be_asked(opened):
    opened.analysis_panel.show_models([])
    opened.commands["quadtree"].trigger()
    dialog = opened.quadtrees.dialog
    dialog.fields.scorer.setCurrentIndex(dialog.fields.scorer.findData("features"))
    assert not dialog.start.isEnabled()
    assert "needs a model" in dialog.status.text()
    dialog.reject()


def test_another_budget_shows_the_patch_that_lies_there_now(treed, qtbot):
    tree = treed.workspace.tree
    with qtbot.waitSignal(treed.quadtrees.shown, timeout=WAIT_MS):
        treed.map.clicked.emit(*at(tree, 100.5, 50.5))
    treed.layers_panel.budget.slider.setValue(1000)
    qtbot.waitUntil(lambda: settled(treed), timeout=WAIT_MS)
    assert treed.inspector.facts.heading.text() == "8 px patch"
    treed.inspector.cleared.emit()
    treed.layers_panel.budget.slider.setValue(0)
    qtbot.waitUntil(lambda: settled(treed), timeout=WAIT_MS)
    assert not treed.inspector.occupied


def test_an_analysis_takes_patches_as_its_regions(opened, qtbot, tmp_path):
    options = opened.analysis_panel.options
    assert "quadtree" not in options.values()
    options.regions.setCurrentIndex(options.regions.findData("quadtree"))
    options.tokens.setValue(60)
    options.patches.smallest.setCurrentIndex(options.patches.smallest.findData(8))
    options.patches.largest.setCurrentIndex(options.patches.largest.findData(64))
    opened.analysis_panel.set_out_dir(str(tmp_path / "result"))
    with qtbot.waitSignal(opened.runs.finished, timeout=WAIT_MS):
        opened.runs.start()
    qtbot.waitUntil(lambda: not opened.jobs.active, timeout=WAIT_MS)
    analysis = opened.workspace.analysis.analysis
    assert analysis.info.options.quadtree.tokens == 60
    assert 58 <= analysis.info.regions <= 60
    with qtbot.waitSignal(opened.inspection.shown, timeout=WAIT_MS):
        opened.map.clicked.emit(*(float(v) for v in analysis.grid.xy(100.5, 50.5)))
    assert opened.inspector.region is not None
