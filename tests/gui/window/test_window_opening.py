"""Opening scenes and analyses: by call, drop and list of recent files; what cannot be opened is said, without harm."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QMenu
from window_parts import WAIT_MS, dialogs, write_scene


def drop(window, *paths):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(
        QPointF(50, 50), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    window.dropEvent(event)


def test_an_empty_window_says_what_to_do(window):
    assert window.welcome.isVisible()
    assert "Drop a satellite scene" in window.welcome.hint.accessibleName()
    for hint in (window.layers_panel.hint, window.legend.hint, window.inspector.hint):
        assert hint.isVisible()
        assert hint.accessibleName()
    assert not window.commands["run"].isEnabled()
    assert not window.commands["export"].isEnabled()
    assert "Open a scene" in window.analysis_panel.status.text()


def test_a_scene_appears_with_title_layer_and_result_folder(opened, scene_path):
    assert opened.windowTitle().startswith("scene")
    assert not opened.welcome.isVisible()
    assert opened.layers_panel.list.count() == 1
    assert opened.analysis_panel.out_dir.text() == str(scene_path.parent / "scene_analysis")
    assert opened.commands["run"].isEnabled()
    assert "EPSG:32632" in opened.places.xy.text()
    assert opened.places.scale.text().startswith("1:")


def test_status_bar_shows_the_place_under_the_cursor(opened):
    opened.places.show_place(600_100.0, 5_299_900.0)
    assert "600100.0" in opened.places.xy.text()
    assert "47.8" in opened.places.lonlat.text()
    assert "N" in opened.places.lonlat.text()
    opened.places.show_place(float("nan"), float("nan"))
    assert opened.places.lonlat.text() == ""


def test_dropping_a_file_opens_it(window, qtbot, scene_path):
    drop(window, scene_path)
    qtbot.waitUntil(lambda: window.workspace.scene is not None, timeout=WAIT_MS)
    assert window.session.recent == [str(scene_path)]


def test_dropping_tiles_together_opens_one_scene(window, qtbot, tmp_path):
    one = write_scene(tmp_path / "a.tif")
    two = write_scene(tmp_path / "b.tif", origin=(600_000.0 + 320 * 4, 5_300_000.0), seed=2)
    drop(window, one, two)
    qtbot.waitUntil(lambda: window.workspace.scene is not None, timeout=WAIT_MS)
    assert window.workspace.scene.scene.width == 640


def test_dropping_a_checkpoint_offers_the_model(window, qtbot, tiny_model, tmp_path):
    copy = tmp_path / "other.safetensors"
    copy.write_bytes(tiny_model.read_bytes())
    drop(window, copy)
    qtbot.waitUntil(lambda: str(window.analysis_panel.chosen.path) == str(copy), timeout=WAIT_MS)


def bad_text(folder):
    path = folder / "text.tif"
    path.write_text("this is no raster")
    return path


def bad_truncated(folder):
    path = write_scene(folder / "cut.tif")
    path.write_bytes(path.read_bytes()[:300])
    return path


def bad_missing(folder):
    return folder / "missing.tif"


def bad_empty_folder(folder):
    path = folder / "nothing"
    path.mkdir()
    return path


@pytest.mark.parametrize("make", [bad_text, bad_truncated, bad_missing, bad_empty_folder])
def test_what_cannot_be_opened_is_said_in_a_sentence_and_the_window_stays(opened, qtbot, tmp_path, make):
    path = make(tmp_path)
    opened.opener.open([str(path)])
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    box = dialogs()[0]
    assert box.text().endswith(".")
    assert path.name in box.text() + box.informativeText()
    assert len(box.informativeText().splitlines()) >= 3, "where and remedy, each a paragraph"
    assert not box.detailedText(), "a user's mistake is no fault of the program"
    assert opened.isVisible()
    assert opened.workspace.scene.scene.name == "scene"
    assert str(path) not in opened.session.recent


def test_a_damaged_checkpoint_is_refused_and_the_models_stay(window, qtbot, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x80\x04pickled")
    window.catalogue.add_model(str(path))
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert "broken" in dialogs()[0].informativeText()
    qtbot.waitUntil(lambda: not window.jobs.active, timeout=WAIT_MS)
    assert window.analysis_panel.chosen.name == "tiny"


def test_a_scene_without_crs_opens_with_a_warning(window, qtbot, tmp_path):
    path = tmp_path / "plain.tif"
    with rasterio.open(path, "w", driver="GTiff", width=80, height=60, count=3, dtype="uint8") as file:
        file.write(np.full((3, 60, 80), 90, np.uint8))
    window.opener.open([str(path)])
    qtbot.waitUntil(lambda: window.workspace.scene is not None, timeout=WAIT_MS)
    assert window.messages.isVisible()
    assert any("place on Earth" in text or "CRS" in text or "reference" in text for text in window.messages.texts)
    window.places.show_place(10.0, 20.0)
    assert window.places.lonlat.text() == ""
    assert window.places.scale.text() == ""


def test_a_scene_in_another_crs_takes_the_place_of_what_was_open(opened, qtbot, tmp_path):
    other = write_scene(tmp_path / "other.tif", crs="EPSG:32633")
    opened.opener.open([str(other)])
    qtbot.waitUntil(lambda: opened.workspace.scene.scene.name == "other", timeout=WAIT_MS)
    assert len(opened.map.layers) == 1
    assert any("was closed" in text for text in opened.messages.texts)


def test_a_scene_in_the_same_crs_is_added(opened, qtbot, tmp_path):
    other = write_scene(tmp_path / "other.tif", origin=(610_000.0, 5_300_000.0))
    opened.opener.open([str(other)])
    qtbot.waitUntil(lambda: len(opened.workspace.scenes) == 2, timeout=WAIT_MS)
    assert opened.workspace.scene.scene.name == "other"
    opened.layers_panel.select(opened.workspace.scenes[0].layer)
    assert opened.workspace.scene.scene.name == "scene"


def test_opening_the_same_scene_twice_keeps_one(opened, qtbot, scene_path):
    with qtbot.waitSignal(opened.opener.opened, timeout=WAIT_MS):
        opened.opener.open([str(scene_path)])
    assert len(opened.map.layers) == 1


def test_recent_files_open_again(opened, qtbot, scene_path):
    opened.workspace.close_all()
    assert opened.workspace.scene is None
    assert opened.welcome.isVisible()
    menu = QMenu(opened)
    opened.opener.fill_recent(menu)
    menu.actions()[0].trigger()
    qtbot.waitUntil(lambda: opened.workspace.scene is not None, timeout=WAIT_MS)


def test_an_analysis_reopens_with_its_scene(analysed, qtbot, tmp_path):
    analysed.workspace.close_all()
    drop(analysed, tmp_path / "result")
    qtbot.waitUntil(lambda: analysed.workspace.analysis is not None, timeout=WAIT_MS)
    assert analysed.workspace.analysis.complete
    assert analysed.workspace.analysis.scene is analysed.workspace.scene
    assert [layer.name for layer in analysed.map.layers] == ["scene", "Confidence", "Classes", "Regions"]
    qtbot.waitUntil(lambda: analysed.legend.table.topLevelItemCount() == 3, timeout=WAIT_MS)


def test_an_analysis_whose_scene_is_gone_opens_without_it(analysed, qtbot, tmp_path, scene_path):
    analysed.workspace.close_all()
    scene_path.unlink()
    analysed.opener.open_analysis(str(tmp_path / "result"))
    qtbot.waitUntil(lambda: analysed.workspace.analysis is not None, timeout=WAIT_MS)
    assert analysed.workspace.scene is None
    assert any("without its scene" in text for text in analysed.messages.texts)


def test_a_newer_analysis_is_refused(window, qtbot, tmp_path):
    folder = tmp_path / "future"
    folder.mkdir()
    (folder / "analysis.json").write_text('{"schema_version": 99}')
    window.opener.open([str(folder)])
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert "99" in dialogs()[0].text()
    assert "Update" in dialogs()[0].informativeText()


def test_closing_a_layer_closes_its_scene(opened):
    opened.layers_panel.select(opened.workspace.scene.layer)
    opened.commands["close_layer"].trigger()
    assert opened.workspace.empty
    assert not opened.commands["run"].isEnabled()


def test_bands_and_contrast_change_the_picture_only(opened, qtbot):
    layer = opened.workspace.scene.layer
    opened.display.show_bands(layer, (4, 1, 2), (1.0, 99.0))
    qtbot.waitUntil(lambda: layer.bands == (4, 1, 2), timeout=WAIT_MS)
    assert layer.stretch is not None
    opened.display.ask(layer)
    qtbot.waitUntil(lambda: opened.display.dialog is not None, timeout=WAIT_MS)
    dialog = opened.display.dialog
    assert [box.currentData() for box in dialog.channels] == [4, 1, 2]
    assert (dialog.low.value(), dialog.high.value()) == (1.0, 99.0)
    dialog.reject()
