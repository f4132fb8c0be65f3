"""Pointing at regions: hover, click, similar regions, attention, clearing."""

from __future__ import annotations

import numpy as np
from window_parts import WAIT_MS, place

from rs_viewer import format as fmt


def test_a_click_opens_the_region_under_it(inspected):
    analysis = inspected.workspace.analysis.analysis
    region_id = int(analysis.read("regions")[50, 40])
    region = analysis.region(region_id)
    inspector = inspected.inspector
    assert inspector.region.region_id == region_id
    assert inspector.heading.text() == region.class_name
    assert inspector.fields["pixels"].text().startswith(fmt.count(region.pixels))
    assert inspector.fields["area"].text().endswith(("m²", "ha", "km²"))
    assert inspector.fields["place"].text().count("°") == 2
    spectrum = dict(inspector.spectrum.curves)["region"]
    assert spectrum.names == ("red", "green", "blue", "nir")
    assert np.allclose(spectrum.means, region.means)
    assert inspected.commands["find_similar"].isEnabled()


def test_a_click_beside_the_scene_finds_nothing(analysed, qtbot):
    with qtbot.waitSignal(analysed.inspection.told, timeout=WAIT_MS):
        analysed.map.clicked.emit(*place(analysed, -50, -50))
    assert analysed.inspector.region is None


def test_a_click_before_any_run_says_what_to_do(opened, qtbot):
    with qtbot.waitSignal(opened.inspection.told, timeout=WAIT_MS) as told:
        opened.map.clicked.emit(600_100.0, 5_299_900.0)
    assert "run a model first" in told.args[0]


def test_hovering_outlines_the_region_and_leaving_removes_it(analysed, qtbot, monkeypatch):
    outlines = []
    monkeypatch.setattr(
        analysed.map, "set_outline", lambda rings, *args, **kw: outlines.append((rings, kw.get("kind")))
    )
    analysed.map.hovered.emit(*place(analysed, 40.5, 50.5))
    qtbot.waitUntil(lambda: bool(outlines), timeout=WAIT_MS)
    rings, kind = outlines[-1]
    assert kind == "hovered"
    assert len(rings[0]) >= 4
    count = len(outlines)
    analysed.map.hovered.emit(*place(analysed, 40.6, 50.6))
    qtbot.waitUntil(lambda: not analysed.jobs.active, timeout=WAIT_MS)
    assert len(outlines) == count, "the same region is not read and drawn again"
    analysed.map.hovered.emit(float("nan"), float("nan"))
    assert outlines[-1] == (None, "hovered")


def test_similar_regions_are_listed_highlighted_and_can_be_visited(inspected, qtbot):
    inspector = inspected.inspector
    first = inspector.region.region_id
    inspected.commands["find_similar"].trigger()
    qtbot.waitUntil(lambda: inspector.list.topLevelItemCount() > 0, timeout=WAIT_MS)
    layer = inspected.workspace.analysis.layers["regions"]
    strengths = layer.highlights
    assert strengths[first] == 1.0
    assert len(strengths) == inspector.list.topLevelItemCount() + 1
    assert all(0 < value <= 1 for value in strengths.values())
    distances = [float(inspector.list.topLevelItem(row).text(2)) for row in range(inspector.list.topLevelItemCount())]
    assert distances == sorted(distances)
    item = inspector.list.topLevelItem(0)
    with qtbot.waitSignal(inspected.inspection.shown, timeout=WAIT_MS):
        inspector.list.itemActivated.emit(item, 0)
    assert inspector.region.region_id != first
    assert inspector.list.topLevelItemCount() > 0, "the list stays while one goes through it"
    assert layer.highlights == strengths


def test_attention_lies_over_the_map_until_it_is_switched_off(inspected, qtbot):
    names = [layer.name for layer in inspected.map.layers]
    assert inspected.inspector.attention.isEnabled()
    inspected.inspector.attention.setChecked(True)
    qtbot.waitUntil(lambda: len(inspected.map.layers) == len(names) + 1, timeout=WAIT_MS)
    assert inspected.map.layers[len(names)].name.startswith("Attention")
    inspected.inspector.attention.setChecked(False)
    assert [layer.name for layer in inspected.map.layers] == names


def test_clear_puts_everything_away(inspected, qtbot):
    inspected.inspector.attention.setChecked(True)
    qtbot.waitUntil(lambda: len(inspected.map.layers) == 5, timeout=WAIT_MS)
    inspected.commands["clear_inspection"].trigger()
    assert inspected.inspector.region is None
    assert inspected.inspector.currentWidget() is inspected.inspector.hint
    assert len(inspected.map.layers) == 4
    assert not inspected.workspace.analysis.layers["regions"].highlights


def test_attention_says_why_it_is_not_there_without_the_scene(analysed, qtbot):
    analysed.workspace.close_layer(analysed.workspace.scene.layer)
    with qtbot.waitSignal(analysed.inspection.shown, timeout=WAIT_MS):
        analysed.inspection.show_id(1)
    assert not analysed.inspector.attention.isEnabled()
    assert "scene" in analysed.inspector.attention.toolTip()


def test_closing_the_analysis_empties_inspector_and_legend(inspected):
    inspected.layers_panel.select(inspected.workspace.analysis.layers["classes"])
    inspected.commands["close_layer"].trigger()
    assert inspected.inspector.region is None
    assert inspected.legend.currentWidget() is inspected.legend.hint
    assert [layer.name for layer in inspected.map.layers] == ["scene"]
