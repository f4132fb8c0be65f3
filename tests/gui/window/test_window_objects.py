"""Analyses of objects in the window: boxes, counts, hover, inspection, export, a run, and what they do not offer."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import geopandas as gpd
import pytest
from window_parts import WAIT_MS, place

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "inference"))

BOXES = [
    (60.0, 40.0, 40.0, 10.0, math.radians(30)),
    (60.0, 40.0, 90.0, 60.0, 0.0),
    (200.0, 90.0, 12.0, 8.0, math.radians(-60)),
]
LABELS = [1, 0, 1]
WINDOW_PX = {"window": 192, "overlap": 96}


@pytest.fixture
def detector():
    from detection_fakes import detector

    return detector(BOXES, LABELS, **WINDOW_PX)


@pytest.fixture
def places_path(tmp_path) -> Path:
    from detection_fakes import write_places

    return write_places(tmp_path / "places.tif", 320, 192)


@pytest.fixture
def detected(window, qtbot, tmp_path, detector, places_path):
    """A window with an analysis of three objects, two of which lie over one another."""
    from detection_fakes import detect

    out = tmp_path / "places_analysis"
    detect(places_path, detector, out)
    window.opener.open([str(out)])
    qtbot.waitUntil(lambda: window.workspace.analysis is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: window.workspace.analysis.objects is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not window.jobs.active, timeout=WAIT_MS)
    return window


def rows(tree) -> list[list[str]]:
    items = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount())]
    return [[item.text(column) for column in range(3)] for item in items]


def test_an_analysis_of_objects_opens_with_its_boxes_and_counts(detected):
    assert [layer.name for layer in detected.map.layers] == ["places", "Objects"]
    layer = detected.workspace.analysis.main_layer
    assert layer.count == 3
    assert [color.name() for color in layer.colors] == [
        c.color for c in detected.workspace.analysis.analysis.card.classes
    ]
    assert [detected.legend.table.headerItem().text(column) for column in range(3)] == ["Class", "Objects", "Share"]
    assert [row[:2] for row in rows(detected.legend.table)] == [["class 0", "1"], ["class 1", "2"]]


def test_boxes_are_drawn_over_the_scene(detected, qtbot):
    layer = detected.workspace.analysis.main_layer
    qtbot.waitUntil(lambda: detected.map.is_settled, timeout=WAIT_MS)
    with_boxes = detected.map.grab_image()
    layer.visible = False
    assert detected.map.grab_image() != with_boxes


def test_a_click_opens_the_smallest_object_under_it(detected, qtbot):
    with qtbot.waitSignal(detected.objects.shown, timeout=WAIT_MS):
        detected.map.clicked.emit(*place(detected, 60, 40))
    table = detected.workspace.analysis.analysis.detections()
    truth = next(row for _, row in table.iterrows() if row["class"] == "class 1" and row["length_m"] > 100)
    page = detected.inspector.facts
    assert detected.inspector.currentWidget() is page
    texts = {label: field.text() for label, field in page.fields.items()}
    assert page.heading.text() == "class 1"
    assert texts["Score"] == f"{100 * truth['score']:.1f} %"
    assert texts["Angle"] == f"{truth['angle_deg']:.1f}° from north"
    assert texts["Length"] == f"{truth['length_m']:.0f} m"
    assert texts["Width"] == f"{truth['width_m']:.1f} m"
    assert texts["Area"] == f"{truth['length_m'] * truth['width_m']:,.0f} m²".replace(",", "\u202f")
    assert texts["Centre"].count("°") == 2
    assert texts["Object"] == f"{truth['detection_id']} of 3"
    detected.commands["clear_inspection"].trigger()
    assert detected.inspector.currentWidget() is detected.inspector.hint


def test_a_click_beside_all_objects_says_so(detected, qtbot):
    with qtbot.waitSignal(detected.objects.told, timeout=WAIT_MS) as told:
        detected.map.clicked.emit(*place(detected, 300, 10))
    assert "no object" in told.args[0]
    assert not detected.inspector.occupied


def test_hovering_outlines_the_object_and_leaving_removes_it(detected, monkeypatch):
    outlines = []
    monkeypatch.setattr(
        detected.map, "set_outline", lambda rings, *args, **kw: outlines.append((rings, kw.get("kind")))
    )
    detected.map.hovered.emit(*place(detected, 200, 90))
    detected.map.hovered.emit(*place(detected, 200.2, 90))
    assert len(outlines) == 1, "the same object is not drawn again"
    rings, kind = outlines[0]
    assert kind == "hovered"
    assert rings[0].shape == (5, 2)
    detected.map.hovered.emit(math.nan, math.nan)
    assert outlines[-1] == (None, "hovered")


def test_what_needs_regions_is_off_and_says_why(detected, qtbot):
    with qtbot.waitSignal(detected.objects.shown, timeout=WAIT_MS):
        detected.map.clicked.emit(*place(detected, 200, 90))
    action = detected.commands["find_similar"]
    assert not action.isEnabled()
    assert "Only regions can be compared" in action.toolTip()
    assert detected.commands["clear_inspection"].isEnabled()


def test_objects_are_exported_as_boxes(detected, qtbot, tmp_path):
    detected.commands["export"].trigger()
    qtbot.waitUntil(lambda: detected.exporter.dialog is not None, timeout=WAIT_MS)
    dialog = detected.exporter.dialog
    assert [dialog.layer.itemData(row) for row in range(dialog.layer.count())] == ["detections"]
    assert all(dialog._formats[dialog.format.itemData(row)].is_vector for row in range(dialog.format.count()))
    assert not dialog.simplify_px.isVisible()
    dialog.classes.item(0).setCheckState(dialog.classes.item(0).checkState().Unchecked)
    dialog.path.setText(str(tmp_path / "found.gpkg"))
    dialog.export.click()
    qtbot.waitUntil(lambda: "is written" in dialog.status.text(), timeout=WAIT_MS)
    dialog.reject()
    written = gpd.read_file(tmp_path / "found.gpkg", layer="detections")
    assert list(written["class"]) == ["class 1", "class 1"]


def test_a_run_of_a_detector_shows_progress_and_its_objects(
    window, qtbot, tmp_path, detector, places_path, monkeypatch
):
    from engine.models.catalog import ModelInfo

    window.opener.open([str(places_path)])
    qtbot.waitUntil(lambda: window.workspace.scene is not None, timeout=WAIT_MS)
    monkeypatch.setattr(type(window.room), "load", lambda self, path: detector)
    window.analysis_panel.show_models([ModelInfo("fake", tmp_path / "fake.safetensors", detector.card)])
    window.analysis_panel.set_out_dir(str(tmp_path / "run"))
    said = []
    monkeypatch.setattr(window.analysis_panel, "show_progress", lambda share, text: said.append((share, text)))
    with qtbot.waitSignal(window.runs.finished, timeout=WAIT_MS):
        window.runs.start()
    qtbot.waitUntil(lambda: window.workspace.analysis.objects is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not window.jobs.active, timeout=WAIT_MS)
    assert window.workspace.analysis.main_layer.count == 3
    assert any("windows" in text for _, text in said)
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert window.analysis_panel.status.text().startswith("3 objects in")
    assert [row[:2] for row in rows(window.legend.table)] == [["class 0", "1"], ["class 1", "2"]]


def test_rows_of_a_growing_analysis_are_shown_and_can_be_inspected(window, qtbot, tmp_path, detector, places_path):
    from engine.inference import AnalysisOptions, analyse
    from engine.inference.events import StripWritten
    from engine.scene import Scene

    out = tmp_path / "growing"
    with Scene.open(places_path) as scene:
        for event in analyse(scene, detector, out, AnalysisOptions(device="cpu")):
            if isinstance(event, StripWritten):
                break
    window.opener.open_analysis(str(out))
    qtbot.waitUntil(lambda: window.workspace.analysis is not None, timeout=WAIT_MS)
    item = window.workspace.analysis
    qtbot.waitUntil(lambda: item.objects is not None, timeout=WAIT_MS)
    assert not item.complete
    window.objects.grow(item)
    qtbot.waitUntil(lambda: not window.jobs.active, timeout=WAIT_MS)
    assert item.main_layer.count == len(item.analysis.objects())
    assert item.main_layer.count > 0
    with qtbot.waitSignal(window.objects.shown, timeout=WAIT_MS):
        window.map.clicked.emit(*place(window, 60, 40))
    assert not window.commands["export"].isEnabled()


def test_closing_the_analysis_takes_boxes_and_counts_away(detected):
    detected.layers_panel.select(detected.workspace.analysis.main_layer)
    detected.commands["close_layer"].trigger()
    assert [layer.name for layer in detected.map.layers] == ["places"]
    assert detected.legend.currentWidget() is detected.legend.hint
    assert detected.workspace.pointed == "regions"
