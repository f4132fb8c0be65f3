"""Analyses of cells in the window: maps, legend, hover, the likeliest classes of a place, tokens, export, a run."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from window_parts import WAIT_MS, place

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "inference"))

CODES = np.array([[0, 1, 2, 3], [4, 5, 6, 0], [1, 3, 5, 2]])


@pytest.fixture
def classifier():
    from recognition_fakes import classifier

    return classifier()


@pytest.fixture
def blocks_path(tmp_path) -> Path:
    from recognition_fakes import write_blocks

    return write_blocks(tmp_path / "blocks.tif", CODES)


@pytest.fixture
def known(window, classifier, tmp_path, monkeypatch):
    """The window knows the classifier."""
    from engine.models.catalog import ModelInfo

    monkeypatch.setattr(type(window.room), "load", lambda self, path: classifier)
    window.analysis_panel.show_models([ModelInfo("fake", tmp_path / "fake.safetensors", classifier.card)])
    return window


@pytest.fixture
def recognised(known, qtbot, tmp_path, classifier, blocks_path):
    """A window with an analysis of twelve cells."""
    from recognition_fakes import recognise

    recognise(blocks_path, classifier, tmp_path / "blocks_analysis")
    known.opener.open([str(tmp_path / "blocks_analysis")])
    qtbot.waitUntil(lambda: known.workspace.analysis is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not known.jobs.active, timeout=WAIT_MS)
    return known


def rows(tree) -> list[list[str]]:
    items = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount())]
    return [[item.text(column) for column in range(3)] for item in items]


def inspect(window, qtbot, col: float, row: float) -> None:
    with qtbot.waitSignal(window.cells.shown, timeout=WAIT_MS):
        window.map.clicked.emit(*place(window, col, row))


def test_an_analysis_of_cells_opens_with_its_maps_and_legend(recognised):
    assert [layer.name for layer in recognised.map.layers] == ["blocks", "Confidence", "Classes"]
    assert recognised.workspace.pointed == "cells"
    assert rows(recognised.legend.table)[1][:2] == ["class 1", "16.7 %"]
    assert len(rows(recognised.legend.table)) == 7


def test_a_click_shows_the_likeliest_classes_as_bars(recognised, qtbot):
    inspect(recognised, qtbot, 70, 40)
    cell = recognised.workspace.analysis.analysis.cells().set_index("window").loc[6]
    page = recognised.inspector.cell
    assert recognised.inspector.currentWidget() is page
    assert page.heading.text() == cell["class"] == "class 6"
    shown = [(name.text(), bar.share, share.text()) for name, bar, share in page.bars.rows]
    for rank, (name, share, text) in zip(("", "_2", "_3", "_4", "_5"), shown, strict=True):
        assert name == cell[f"class{rank}"]
        assert share == pytest.approx(cell[f"score{rank}"], rel=1e-5)
        assert text.endswith("%")
    texts = {label: field.text() for label, field in page.fields.items()}
    assert texts["Valid"] == "100 %"
    assert texts["Area"].endswith("ha")
    assert texts["Pixels"] == "32 by 32"
    assert texts["Centre"].count("°") == 2
    assert recognised.commands["clear_inspection"].isEnabled()
    recognised.commands["clear_inspection"].trigger()
    assert recognised.inspector.currentWidget() is recognised.inspector.hint


def test_hovering_outlines_the_cell_and_leaving_removes_it(recognised, qtbot, monkeypatch):
    outlines = []
    monkeypatch.setattr(
        recognised.map, "set_outline", lambda rings, *args, **kw: outlines.append((rings, kw.get("kind")))
    )
    recognised.map.hovered.emit(*place(recognised, 70, 40))
    qtbot.waitUntil(lambda: bool(outlines), timeout=WAIT_MS)
    rings, kind = outlines[0]
    assert kind == "hovered"
    assert rings[0].min(axis=0).tolist() == [64, 32]
    assert rings[0].max(axis=0).tolist() == [96, 64]
    recognised.map.hovered.emit(*place(recognised, 80, 50))
    qtbot.waitUntil(lambda: not recognised.jobs.active, timeout=WAIT_MS)
    assert len(outlines) == 1, "the same cell is not drawn again"
    recognised.map.hovered.emit(math.nan, math.nan)
    assert outlines[-1] == (None, "hovered")


def test_tokens_of_the_cell_lie_over_the_map_one_at_a_time(recognised, qtbot):
    inspect(recognised, qtbot, 70, 40)
    section = recognised.inspector.cell.tokens
    names = [layer.name for layer in recognised.map.layers]
    assert section.button.isEnabled()
    section.button.setChecked(True)
    qtbot.waitUntil(lambda: len(recognised.map.layers) == len(names) + 1, timeout=WAIT_MS)
    captions = [section.sheet.item(row).text() for row in range(section.sheet.count())]
    assert captions[0] == "Token map"
    assert [caption.split(":")[0] for caption in captions[1:]] == ["0", "1", "2", "3"]
    assert recognised.map.layers[len(names)].name == "Tokens of the window"
    assert recognised.map.layers[len(names)].box == (64, 32, 96, 64)
    section.sheet.setCurrentRow(3)
    qtbot.waitUntil(lambda: recognised.map.layers[-1].name == "Attention of token 2", timeout=WAIT_MS)
    assert len(recognised.map.layers) == len(names) + 1
    inspect(recognised, qtbot, 10, 10)
    assert [layer.name for layer in recognised.map.layers] == names
    assert not section.button.isChecked()
    section.button.setChecked(True)
    qtbot.waitUntil(lambda: len(recognised.map.layers) == len(names) + 1, timeout=WAIT_MS)
    recognised.commands["clear_inspection"].trigger()
    assert [layer.name for layer in recognised.map.layers] == names


def test_tokens_say_why_they_are_not_there_without_the_scene(recognised, qtbot):
    recognised.workspace.close_layer(recognised.workspace.scene.layer)
    inspect(recognised, qtbot, 70, 40)
    button = recognised.inspector.cell.tokens.button
    assert not button.isEnabled()
    assert "scene" in button.toolTip()


def test_a_click_off_the_scene_says_so(recognised, qtbot):
    with qtbot.waitSignal(recognised.cells.told, timeout=WAIT_MS) as told:
        recognised.map.clicked.emit(*place(recognised, -50, 10))
    assert "no cell" in told.args[0]
    assert not recognised.inspector.occupied


def test_what_needs_regions_is_off_and_says_why(recognised, qtbot):
    inspect(recognised, qtbot, 70, 40)
    action = recognised.commands["find_similar"]
    assert not action.isEnabled()
    assert "cells" in action.toolTip()


def test_cells_are_exported_with_their_ranking(recognised, qtbot, tmp_path):
    recognised.commands["export"].trigger()
    qtbot.waitUntil(lambda: recognised.exporter.dialog is not None, timeout=WAIT_MS)
    dialog = recognised.exporter.dialog
    assert [dialog.layer.itemData(row) for row in range(dialog.layer.count())] == ["cells", "classes", "confidence"]
    assert dialog.path.text().endswith("blocks_cells.gpkg")
    assert not dialog.simplify_px.isVisible()
    dialog.path.setText(str(tmp_path / "found.gpkg"))
    dialog.export.click()
    qtbot.waitUntil(lambda: "is written" in dialog.status.text(), timeout=WAIT_MS)
    dialog.reject()
    written = gpd.read_file(tmp_path / "found.gpkg", layer="cells")
    assert len(written) == 12
    assert "class_5" in written


def test_a_run_shows_progress_and_its_cells(known, qtbot, tmp_path, blocks_path, monkeypatch):
    known.opener.open([str(blocks_path)])
    qtbot.waitUntil(lambda: known.workspace.scene is not None, timeout=WAIT_MS)
    known.analysis_panel.set_out_dir(str(tmp_path / "run"))
    said = []
    monkeypatch.setattr(known.analysis_panel, "show_progress", lambda share, text: said.append((share, text)))
    with qtbot.waitSignal(known.runs.finished, timeout=WAIT_MS):
        known.runs.start()
    qtbot.waitUntil(lambda: not known.jobs.active, timeout=WAIT_MS)
    assert any("windows" in text for _, text in said)
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert known.analysis_panel.status.text().startswith("12 cells in")
    assert known.workspace.analysis.complete
    assert {row[0] for row in rows(known.legend.table)} == {f"class {k}" for k in range(7)}


def test_rows_of_a_growing_analysis_can_be_inspected(known, qtbot, tmp_path, classifier, blocks_path):
    from engine.inference import AnalysisOptions, analyse
    from engine.inference.events import StripWritten
    from engine.scene import Scene

    out = tmp_path / "growing"
    with Scene.open(blocks_path) as scene:
        for event in analyse(scene, classifier, out, AnalysisOptions(device="cpu")):
            if isinstance(event, StripWritten):
                break
    known.opener.open_analysis(str(out))
    qtbot.waitUntil(lambda: known.workspace.analysis is not None, timeout=WAIT_MS)
    assert not known.workspace.analysis.complete
    inspect(known, qtbot, 40, 10)
    assert known.inspector.cell.heading.text() == "class 1"
    with qtbot.waitSignal(known.cells.told, timeout=WAIT_MS) as told:
        known.map.clicked.emit(*place(known, 40, 90))
    assert "no cell here yet" in told.args[0]
    assert not known.commands["export"].isEnabled()


def test_closing_the_analysis_empties_inspector_and_legend(recognised, qtbot):
    inspect(recognised, qtbot, 70, 40)
    recognised.layers_panel.select(recognised.workspace.analysis.main_layer)
    recognised.commands["close_layer"].trigger()
    assert [layer.name for layer in recognised.map.layers] == ["blocks"]
    assert not recognised.inspector.occupied
    assert recognised.legend.currentWidget() is recognised.legend.hint


def test_a_card_of_many_classes_shows_some_and_tells_all(window):
    from recognition_fakes import classifier_card

    from engine.models.card import CardClass

    view, card = window.analysis_panel.card, classifier_card()
    view.show_card(card)
    assert "more" not in view.classes.text()
    classes = tuple(CardClass(name=f"class {code}", color="#808080") for code in range(40))
    view.show_card(card.model_copy(update={"classes": classes}))
    assert "and\u00a028\u00a0more" in view.classes.text()
    assert view.classes.toolTip().endswith("class 39")


def test_a_resolution_that_does_not_fit_is_said_beside_the_run_button(known, qtbot, tmp_path):
    from recognition_fakes import write_blocks

    known.opener.open([str(write_blocks(tmp_path / "fine.tif", CODES, gsd_m=0.5))])
    notice = known.analysis_panel.notice
    qtbot.waitUntil(lambda: "resampled to 4 m" in notice.label.text(), timeout=WAIT_MS)
    assert notice.isVisibleTo(known.analysis_panel)
    assert notice.parentWidget() is known.analysis_panel.run.parentWidget() is known.analysis_panel
