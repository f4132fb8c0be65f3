"""The export dialog: what it offers, what it writes, what it refuses."""

from __future__ import annotations

import geopandas as gpd
import pytest
import rasterio
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog
from window_parts import WAIT_MS, dialogs


@pytest.fixture
def dialog(analysed, qtbot):
    analysed.commands["export"].trigger()
    qtbot.waitUntil(lambda: analysed.exporter.dialog is not None, timeout=WAIT_MS)
    made = analysed.exporter.dialog
    yield made
    if analysed.exporter.dialog is not None:
        analysed.exporter.dialog.reject()


def choose(box, data):
    box.setCurrentIndex(box.findData(data))


def test_formats_follow_the_layer_and_names_follow_the_format(dialog):
    assert dialog.path.text().endswith(".gpkg")
    assert [dialog.format.itemText(row).split("(")[-1].rstrip(")") for row in range(dialog.format.count())] == [
        ".gpkg",
        ".geojson",
        ".fgb",
        ".parquet",
    ] or dialog.format.count() >= 4
    choose(dialog.layer, "classes")
    assert dialog.path.text().endswith(".tif")
    assert not dialog.simplify_px.isVisible()
    choose(dialog.layer, "regions")
    assert dialog.simplify_px.isVisible()


def test_a_typed_suffix_chooses_the_format(dialog):
    dialog.path.setText("/somewhere/fields.geojson")
    dialog.path.textEdited.emit(dialog.path.text())
    assert "GeoJSON" in dialog.format.currentText()
    choose(dialog.layer, "classes")
    assert dialog.path.text() == "/somewhere/fields.tif"


def test_no_class_means_nothing_to_export(dialog):
    for row in range(dialog.classes.count()):
        dialog.classes.item(row).setCheckState(Qt.CheckState.Unchecked)
    assert not dialog.export.isEnabled()


def test_regions_of_chosen_classes_are_written(analysed, dialog, qtbot, tmp_path):
    shares = {item.name: item.share for item in analysed.workspace.analysis.analysis.class_shares()}
    keep = max(shares, key=shares.get)
    for row in range(dialog.classes.count()):
        item = dialog.classes.item(row)
        item.setCheckState(Qt.CheckState.Checked if item.text() == keep else Qt.CheckState.Unchecked)
    target = tmp_path / "some.gpkg"
    dialog.path.setText(str(target))
    dialog.export.click()
    assert not dialog.layer.isEnabled(), "nothing changes while it writes"
    qtbot.waitUntil(lambda: "is written" in dialog.status.text(), timeout=WAIT_MS)
    assert "Open the folder" in dialog.status.text()
    assert set(gpd.read_file(target)["class"]) == {keep}
    assert target.with_suffix(".qml").is_file()
    assert dialog.layer.isEnabled()


def test_a_class_map_is_written(dialog, qtbot, tmp_path):
    choose(dialog.layer, "classes")
    target = tmp_path / "classes.tif"
    dialog.path.setText(str(target))
    dialog.export.click()
    qtbot.waitUntil(lambda: "is written" in dialog.status.text(), timeout=WAIT_MS)
    with rasterio.open(target) as file:
        assert file.colormap(1)[0][:3] == (0xA0, 0xC8, 0x64)


def test_a_folder_that_does_not_exist_is_said_and_the_dialog_stays(dialog, qtbot, tmp_path):
    (tmp_path / "file").write_text("")
    dialog.path.setText(str(tmp_path / "file" / "out.gpkg"))
    dialog.export.click()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert dialogs()[0].informativeText()
    assert not dialogs()[0].detailedText()
    assert dialog.isVisible()
    assert dialog.export.isEnabled()


def test_the_map_is_saved_as_a_picture(analysed, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(tmp_path / "map"), ""))
    analysed.commands["save_picture"].trigger()
    qtbot.waitUntil(lambda: (tmp_path / "map.png").is_file() and not analysed.jobs.active, timeout=WAIT_MS)
    assert QImage(str(tmp_path / "map.png")).width() >= analysed.map.width()
