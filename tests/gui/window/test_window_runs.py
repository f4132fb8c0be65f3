"""Runs from the window: live maps, progress, cancel and resume, refusals, closing while something runs."""

from __future__ import annotations

import filecmp
import sys
import threading

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QMessageBox
from window_parts import WAIT_MS, dialogs, write_scene

from engine.inference.events import Started, StripWritten, WindowDone
from rs_viewer import folders, tasks


@pytest.fixture
def tall(window, qtbot, tmp_path):
    """A scene with enough rows of windows to be caught running."""
    path = write_scene(tmp_path / "tall.tif", size=(1600, 256))
    window.opener.open([str(path)])
    qtbot.waitUntil(lambda: window.workspace.scene is not None, timeout=WAIT_MS)
    window.analysis_panel.set_out_dir(str(tmp_path / "result"))
    return window


def start_and_wait_for_a_strip(window, qtbot):
    strips = []
    window.runs.start()
    job = window.runs.job
    job.reported.connect(lambda event: strips.append(event) if isinstance(event, StripWritten) else None)
    qtbot.waitUntil(lambda: bool(strips) or not job.active, timeout=WAIT_MS)
    assert job.active, "the run was over before it could be watched"
    return job


def test_what_runs_import_is_imported_soon_after_the_start(make_window, qtbot):
    made = make_window()
    with qtbot.waitSignal(made.catalogue.warm, timeout=WAIT_MS):
        pass
    assert set(tasks.WANTED_SOON) <= set(sys.modules)


def test_a_run_ends_with_maps_legend_and_news(opened, qtbot, tmp_path):
    events = []
    opened.analysis_panel.set_out_dir(str(tmp_path / "result"))
    with qtbot.waitSignal(opened.runs.finished, timeout=WAIT_MS) as finished:
        opened.runs.start()
        opened.runs.job.reported.connect(events.append)
        assert opened.analysis_panel.cancel.isVisible()
        assert not opened.analysis_panel.run.isEnabled()
        assert opened.commands["cancel"].isEnabled()
    assert isinstance(events[0], Started)
    assert any(isinstance(event, WindowDone) for event in events)
    assert any(isinstance(event, StripWritten) for event in events)
    assert [layer.name for layer in opened.map.layers] == ["scene", "Confidence", "Classes", "Regions"]
    assert opened.workspace.analysis.complete
    qtbot.waitUntil(lambda: opened.legend.table.topLevelItemCount() == 3, timeout=WAIT_MS)
    names = [opened.legend.table.topLevelItem(row).text(0) for row in range(3)]
    assert names == ["land", "town", "water"]
    assert any(f"{finished.args[0].regions} regions" in text for text in opened.messages.texts)
    assert opened.commands["export"].isEnabled()
    assert opened.commands["tool_inspect"].isChecked()
    assert not opened.analysis_panel.cancel.isVisible()
    assert (tmp_path / "result" / "analysis.json").is_file()


def test_maps_grow_on_the_screen_while_the_run_goes_on(tall, qtbot):
    job = start_and_wait_for_a_strip(tall, qtbot)
    qtbot.waitUntil(lambda: tall.workspace.analysis is not None or not job.active, timeout=WAIT_MS)
    live = tall.workspace.analysis
    assert live is not None
    assert (live.analysis.read("classes")[0] < 3).all()
    tall.runs.cancel()
    qtbot.waitUntil(lambda: not job.active, timeout=WAIT_MS)


def test_cancelled_work_is_kept_offered_and_resumed_to_the_same_bytes(tall, qtbot, tmp_path):
    job = start_and_wait_for_a_strip(tall, qtbot)
    with qtbot.waitSignal(tall.runs.stopped, timeout=WAIT_MS):
        tall.runs.cancel()
    assert not job.active
    assert "kept" in tall.analysis_panel.status.text()
    panel = tall.analysis_panel
    qtbot.waitUntil(lambda: panel.resume.isVisible(), timeout=WAIT_MS)
    assert not panel.run.isVisible()
    assert "interrupted" in panel.resume_notice.label.text()
    with qtbot.waitSignal(tall.runs.finished, timeout=WAIT_MS):
        panel.resume.click()
    qtbot.waitUntil(lambda: not tall.jobs.active, timeout=WAIT_MS)
    assert not panel.resume.isVisible()
    panel.set_out_dir(str(tmp_path / "again"))
    with qtbot.waitSignal(tall.runs.finished, timeout=WAIT_MS):
        tall.runs.start()
    for name in ("classes.tif", "confidence.tif", "regions.tif", "regions.parquet"):
        assert filecmp.cmp(tmp_path / "result" / name, tmp_path / "again" / name, shallow=False), name


def test_a_finished_folder_is_never_overwritten_by_run(analysed, qtbot, tmp_path):
    before = (tmp_path / "result" / "analysis.json").read_bytes()
    with qtbot.waitSignal(analysed.runs.finished, timeout=WAIT_MS):
        analysed.runs.start()
    assert analysed.runs.out_dir == str(tmp_path / "result-2")
    assert (tmp_path / "result" / "analysis.json").read_bytes() == before
    assert len(analysed.workspace.analyses) == 2


def test_closing_the_scene_does_not_disturb_its_run(tall, qtbot, tmp_path):
    start_and_wait_for_a_strip(tall, qtbot)
    tall.workspace.close_all()
    with qtbot.waitSignal(tall.runs.finished, timeout=WAIT_MS):
        pass
    assert (tmp_path / "result" / "analysis.json").is_file()


def test_a_drawn_area_limits_the_run(opened, qtbot, tmp_path):
    opened.analysis_panel.set_out_dir(str(tmp_path / "result"))
    opened.map.roiDrawn.emit([(600_000.0, 5_300_000.0), (600_400.0, 5_300_000.0), (600_000.0, 5_299_500.0)])
    assert opened.analysis_panel.area.currentData() == "drawn"
    with qtbot.waitSignal(opened.runs.finished, timeout=WAIT_MS):
        opened.runs.start()
    classes = opened.workspace.analysis.analysis.read("classes")
    assert (classes[:, -100:] == 255).all()
    assert (classes[0, :90] != 255).all()


def test_an_area_outside_the_scene_is_said_before_the_run(opened, qtbot):
    opened.map.roiDrawn.emit([(0.0, 0.0), (100.0, 0.0), (0.0, 100.0)])
    notice = opened.analysis_panel.notice
    qtbot.waitUntil(lambda: "outside the scene" in notice.label.text(), timeout=WAIT_MS)
    assert notice.isVisible()
    opened.runs.start()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert "outside the scene" in dialogs()[0].text()


def test_the_area_shown_by_the_map_is_a_polygon_in_its_crs(opened):
    opened.analysis_panel.set_area("view")
    roi = opened.runs.options(opened.analysis_panel.wish).roi
    assert roi["crs"] == "EPSG:32632"
    assert len(roi["geometry"]["coordinates"][0]) == 5


def test_an_area_that_was_never_drawn_is_refused(opened, qtbot):
    opened.analysis_panel.set_area("drawn")
    opened.runs.start()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert not opened.runs.running


def test_an_area_file_that_does_not_exist_is_said(opened, qtbot, tmp_path):
    opened.analysis_panel.areaFileRequested.emit(str(tmp_path / "none.geojson"))
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert opened.analysis_panel.area.currentData() == "scene"


def test_a_scene_far_from_the_models_resolution_is_said_before_the_run(window, qtbot, tmp_path):
    import rasterio
    from rasterio.transform import from_origin

    path = write_scene(tmp_path / "coarse.tif")
    with rasterio.open(path, "r+") as file:
        file.transform = from_origin(600_000.0, 5_300_000.0, 30.0, 30.0)
    window.opener.open([str(path)])
    notice = window.analysis_panel.notice
    qtbot.waitUntil(lambda: "30 m" in notice.label.text(), timeout=WAIT_MS)
    assert notice.isVisible()


def test_a_scene_with_too_few_bands_is_refused_before_the_run(window, qtbot, tmp_path):
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    path = tmp_path / "one.tif"
    profile = {"driver": "GTiff", "width": 90, "height": 70, "count": 1, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=from_origin(6e5, 53e5, 4, 4), **profile) as file:
        file.write(np.full((1, 70, 90), 50, np.uint8))
    window.opener.open([str(path)])
    notice = window.analysis_panel.notice
    qtbot.waitUntil(lambda: "band" in notice.label.text(), timeout=WAIT_MS)


def test_an_output_path_through_a_file_is_refused(opened, qtbot, tmp_path):
    (tmp_path / "file").write_text("")
    opened.analysis_panel.set_out_dir(str(tmp_path / "file" / "result"))
    opened.runs.start()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert "folder" in dialogs()[0].text()
    assert not opened.runs.running
    assert opened.workspace.scene is not None


def test_an_interrupted_analysis_that_is_opened_offers_to_go_on(tall, qtbot, tmp_path):
    start_and_wait_for_a_strip(tall, qtbot)
    with qtbot.waitSignal(tall.runs.stopped, timeout=WAIT_MS):
        tall.runs.cancel()
    tall.workspace.close_all()
    tall.opener.open([str(tmp_path / "result")])
    qtbot.waitUntil(lambda: tall.analysis_panel.resume.isVisible(), timeout=WAIT_MS)
    assert tall.analysis_panel.out_dir.text() == str(tmp_path / "result")
    assert not tall.workspace.analysis.complete
    assert not tall.commands["export"].isEnabled()
    with qtbot.waitSignal(tall.runs.finished, timeout=WAIT_MS):
        tall.analysis_panel.overwrite.click()
    assert tall.workspace.analysis.complete


def test_results_go_beside_the_scene_or_to_the_documents(tmp_path):
    documents = tmp_path / "documents"
    scene = write_scene(tmp_path / "scene.tif")
    assert folders.default_out_dir([str(scene)], documents) == str(tmp_path / "scene_analysis")
    web = "https://example.org/data/image.tif"
    assert folders.default_out_dir([web], documents) == str(documents / "RS Viewer" / "image_analysis")
    assert folders.free_out_dir(tmp_path / "new") == str(tmp_path / "new")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "analysis.json").write_text("{}")
    assert folders.free_out_dir(tmp_path / "done") == str(tmp_path / "done-2")


def answer_close_question(button_text):
    def press():
        for box in dialogs():
            if box.objectName() == "close-question":
                next(b for b in box.buttons() if b.text() == button_text).click()
                return
        QTimer.singleShot(20, press)

    QTimer.singleShot(20, press)


def test_closing_during_a_run_asks_and_may_be_called_off(tall, qtbot):
    job = start_and_wait_for_a_strip(tall, qtbot)
    answer_close_question("Keep Working")
    assert tall.close() is False
    assert tall.isVisible()
    assert not job.cancel_requested


def test_closing_during_a_run_cancels_waits_and_keeps_what_is_done(tall, qtbot, tmp_path):
    job = start_and_wait_for_a_strip(tall, qtbot)
    answer_close_question("Cancel and Close")
    assert tall.close() is False, "the window waits for the work"
    assert job.cancel_requested
    qtbot.waitUntil(lambda: not tall.isVisible(), timeout=WAIT_MS)
    assert not job.active
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("files")]
    assert (tmp_path / "result" / ".partial").is_dir()
    assert not (tmp_path / "result" / "classes.tif").exists()


def test_a_fault_of_the_program_is_shown_with_details_and_the_window_stays(opened, qtbot, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("made by a test")

    monkeypatch.setattr(tasks, "run_analysis", broken)
    opened.runs.start()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    box = dialogs()[0]
    assert "ZeroDivisionError" in box.text()
    assert "Traceback" in box.detailedText()
    assert box.icon() == QMessageBox.Icon.Critical
    assert opened.commands["run"].isEnabled()
