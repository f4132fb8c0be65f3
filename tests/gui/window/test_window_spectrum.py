"""The inspector's spectrum: loading, pointing, comparing, copying, saving, and that nothing of it is left behind."""

from __future__ import annotations

import csv
import gc
import sys
from itertools import pairwise

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QContextMenuEvent, QGuiApplication, QImage, QPainter, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QMenu
from window_parts import WAIT_MS, dialogs

from rs_viewer.panels import spectrum as spectrum_module
from rs_viewer.panels.spectrum import REST_TEXT, WAIT_TEXT, SpectrumPanel
from rs_viewer.spectra import Spectrum
from rs_viewer.theme import DARK, LIGHT

RED = "#c83232"
NONE_SLACK = 500
"""References to None that other code may drop meanwhile. A fault drops one at every call and in the end aborts; that
the bindings keep a few at every paint does no harm."""


def spectrum(number=1, *, bands=4, color=RED, waves=False, means=None):
    rng = np.random.default_rng(number)
    return Spectrum(
        title=f"Region {number}, town",
        names=tuple(f"band{n}" for n in range(1, bands + 1)),
        wavelengths_nm=tuple(450.0 + 10 * n for n in range(bands)) if waves else None,
        means=tuple(float(v) for v in rng.uniform(10, 200, bands)) if means is None else means,
        stds=(4.0,) * bands,
        color=color,
    )


@pytest.fixture
def panel(qapp, qtbot):
    """A panel with its plot, shown by itself."""
    made = SpectrumPanel()
    qtbot.addWidget(made)
    made.load_plot()
    made.resize(360, 300)
    made.show()
    made.show_region(spectrum(), "town", ((50.0, 60.0, 70.0, 80.0), (1.0, 2.0, 3.0, 4.0)))
    qtbot.waitExposed(made)
    return made


@pytest.fixture
def plotted(inspected, qtbot):
    """A window with a region in the inspector and its plot in place."""
    qtbot.waitUntil(lambda: inspected.inspector.spectrum.plot is not None, timeout=WAIT_MS)
    return inspected


def shown_colours(widget):
    image = widget.grab().toImage()
    return {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}


def place_of(panel, index):
    band = panel.curves[0][1].bands()[index]
    plot = panel.plot
    return plot.mapFromScene(plot.box.mapViewToScene(QPointF(band.place, band.mean)))


# In the window --------------------------------------------------------------------------------------------------------


def test_a_region_is_drawn_beside_its_class(plotted):
    analysis, region = plotted.workspace.analysis.analysis, plotted.inspector.region
    curves = dict(plotted.inspector.spectrum.curves)
    assert np.allclose(curves["region"].means, region.means)
    table = analysis.region_table
    mine = table.column("class_code") == region.class_code
    expected = np.average(table.column("mean_red")[mine], weights=table.column("pixels")[mine])
    assert curves["class"].means[0] == pytest.approx(expected)
    assert curves["class"].title == f"All {region.class_name}"


def test_a_pinned_spectrum_stays_beside_the_next_regions_until_all_is_cleared(plotted, qtbot):
    panel = plotted.inspector.spectrum
    first = panel.curves[0][1]
    panel.pin_button.click()
    assert [kind for kind, _ in panel.curves] == ["region", "class"], "it is not drawn twice"
    other = 1 if plotted.inspector.region.region_id != 1 else 2
    with qtbot.waitSignal(plotted.inspection.shown, timeout=WAIT_MS):
        plotted.inspection.show_id(other)
    curves = dict(panel.curves)
    assert curves["pinned"] == first
    assert curves["region"].title.startswith(f"Region {other},")
    assert panel.rows["pinned"][1].text() == f"{first.title} (pinned)"
    assert panel.rows["pinned"][1].isVisible()
    plotted.commands["clear_inspection"].trigger()
    assert panel.curves == []
    assert not panel.pin.isChecked()


def test_spectra_are_saved_as_table_and_picture(plotted, qtbot, tmp_path, monkeypatch):
    panel = plotted.inspector.spectrum
    asked = []

    def choose(parent, title, proposed, kinds):
        asked.append(proposed)
        return str(tmp_path / f"chosen{len(asked)}"), kinds

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    panel.save_values.trigger()
    panel.save_picture.trigger()
    table, picture = tmp_path / "chosen1.csv", tmp_path / "chosen2.png"
    qtbot.waitUntil(lambda: table.is_file() and picture.is_file() and not plotted.jobs.active, timeout=WAIT_MS)
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["band", "red", "green", "blue", "nir"]
    assert float(rows[1][1]) == pytest.approx(plotted.inspector.region.means[0])
    assert not QImage(str(picture)).isNull()
    region = plotted.inspector.region
    assert [name.rsplit("/", 1)[1] for name in asked] == [
        f"spectrum-region-{region.region_id}-{region.class_name}.{kind}" for kind in ("csv", "png")
    ]


def test_a_table_that_cannot_be_written_is_said(plotted, qtbot, tmp_path, monkeypatch):
    target = str(tmp_path / "none" / "table.csv")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (target, ""))
    plotted.inspector.spectrum.save_values.trigger()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert "cannot be written" in dialogs()[0].text()


def test_the_scheme_changes_the_plot_at_once(plotted):
    plot = plotted.inspector.spectrum.plot
    plotted.commands["scheme_light"].trigger()
    assert {LIGHT.window, LIGHT.text} <= shown_colours(plot)
    plotted.commands["scheme_dark"].trigger()
    colours = shown_colours(plot)
    assert {DARK.window, DARK.text} <= colours
    assert LIGHT.window not in colours


# Before the plot is there ---------------------------------------------------------------------------------------------


def test_until_the_plot_is_there_its_place_says_so_and_values_can_be_copied(qapp, qtbot):
    panel = SpectrumPanel()
    qtbot.addWidget(panel)
    panel.show()
    panel.show_region(spectrum(), "town", None)
    assert panel._wait.isVisible()
    assert panel._wait.text() == WAIT_TEXT
    panel.copy_values.trigger()
    assert QGuiApplication.clipboard().text().startswith("band\tRegion 1, town: mean")
    panel.load_plot()
    assert panel.plot.isVisible()
    assert not panel._wait.isVisible()
    assert QColor(RED).name() in shown_colours(panel.plot)
    first = panel.plot
    panel.load_plot()
    assert panel.plot is first


def test_a_damaged_installation_is_said(qapp, qtbot, monkeypatch):
    def broken(*names):
        raise ImportError("made by a test")

    monkeypatch.setattr(spectrum_module, "import_in_steps", broken)
    panel = SpectrumPanel()
    qtbot.addWidget(panel)
    with pytest.raises(ImportError):
        panel.load_plot()
    assert "cannot be drawn" in panel._wait.text()


# Pointing -------------------------------------------------------------------------------------------------------------


def test_the_mouse_reads_every_spectrum_at_its_band(panel):
    panel.plot.clearFocus()
    for index in (0, 3, 1):
        QTest.mouseMove(panel.plot.viewport(), place_of(panel, index))
        assert panel.plot.band == index
        band = panel.curves[0][1].bands()[index]
        assert panel.reading.text() == f"band{index + 1}:  {band.text}"
        assert panel.rows["region"][2].text() == band.text
        assert panel.rows["class"][2].text() == f"{50 + 10 * index}.0 ± {index + 1}.00"
    QCoreApplication.sendEvent(panel.plot, QEvent(QEvent.Type.Leave))
    assert panel.plot.band == -1
    assert panel.reading.text() == REST_TEXT
    assert panel.rows["region"][2].text() == ""


def test_the_arrow_keys_go_from_band_to_band_and_tell_the_screen_reader(panel):
    plot = panel.plot
    assert plot.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert plot.accessibleName()
    whole = plot.accessibleDescription()
    assert all(f"band{n}" in whole for n in range(1, 5))
    seen = []
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_End, Qt.Key.Key_Right, Qt.Key.Key_Home):
        QTest.keyClick(plot, key)
        seen.append(plot.band)
    assert seen == [0, 1, 0, 3, 3, 0]
    said = plot.accessibleDescription()
    assert said.startswith("band1. Region 1, town: ")
    assert "plus or minus" in said
    assert "band2" not in said


def test_tab_goes_from_the_buttons_to_the_plot(panel):
    panel.activateWindow()
    panel.menu_button.setFocus()
    QTest.keyClick(panel.menu_button, Qt.Key.Key_Tab)
    assert panel.plot.hasFocus()
    panel.plot.point(1)
    panel.menu_button.setFocus()
    assert panel.plot.band == -1, "what the keyboard marked goes with it"


def test_wheel_drag_and_click_leave_the_plot_alone(panel):
    plot = panel.plot
    before = plot.box.viewRange()
    middle = QPointF(plot.rect().center())
    wheel = QWheelEvent(
        middle,
        plot.mapToGlobal(middle),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QCoreApplication.sendEvent(plot.viewport(), wheel)
    assert not wheel.isAccepted(), "the panel around it scrolls"
    QTest.mousePress(plot.viewport(), Qt.MouseButton.LeftButton, pos=place_of(panel, 0))
    QTest.mouseMove(plot.viewport(), place_of(panel, 2))
    QTest.mouseRelease(plot.viewport(), Qt.MouseButton.LeftButton, pos=place_of(panel, 2))
    assert plot.box.viewRange() == before


# What is drawn --------------------------------------------------------------------------------------------------------


def test_everything_lies_inside_the_box(panel):
    panel.show_region(spectrum(means=(5.0, 100.0, 50.0, 20.0)), "town", ((300.0,) * 4, (1.0,) * 4))
    (left, right), (low, high) = panel.plot.box.viewRange()
    assert left < 1 < 4 < right
    assert low < 1.0
    assert high > 300.0
    panel.with_class.trigger()
    assert panel.plot.box.viewRange()[1][1] < 150, "what is not drawn takes no room"


def test_bands_without_values_are_left_out_and_a_region_without_any_is_empty(panel):
    panel.show_region(spectrum(means=(5.0, np.nan, 50.0, 20.0)), "town", None)
    QTest.keyClick(panel.plot, Qt.Key.Key_End)
    assert panel.plot.band == 2
    assert panel.reading.text().startswith("band4:")
    panel.show_region(spectrum(means=(np.nan,) * 4), "town", None)
    QTest.keyClick(panel.plot, Qt.Key.Key_End)
    assert panel.plot.band == -1
    assert QColor(RED).name() not in shown_colours(panel.plot)


def test_a_scene_whose_bands_were_not_measured_shows_no_plot(panel):
    panel.show_region(spectrum(bands=0), "town", None)
    assert not panel.isVisible()
    panel.show_region(spectrum(), "town", None)
    assert panel.isVisible()


@pytest.mark.parametrize(("bands", "waves"), [(1, False), (4, False), (12, True), (60, False), (200, True)])
def test_labels_of_bands_do_not_overlap_and_stay_inside(qapp, panel, bands, waves):
    panel.show_region(spectrum(bands=bands, waves=waves), "town", None)
    QCoreApplication.processEvents()
    axis = panel.plot.names
    image = QImage(4, 4, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    _, _ticks, texts = axis.generateDrawSpecs(painter)
    painter.end()
    rects = sorted((rect for rect, _, text in texts if text), key=lambda rect: rect.left())
    assert rects
    assert all(one.right() < other.left() for one, other in pairwise(rects))
    inside = axis.mapRectFromScene(panel.plot.sceneRect())
    assert all(inside.left() <= rect.left() and rect.right() <= inside.right() for rect in rects)
    text = " ".join(text for _, _, text in texts)
    assert ("nm" in text) == (waves and bands > spectrum_module.MOST_MARKS)
    if not waves:
        assert text.startswith("b")


def test_a_picture_has_plot_and_key_and_nothing_that_is_pointed_at(panel):
    panel.activateWindow()
    panel.plot.setFocus()
    panel.plot.point(2)
    image = panel.picture()
    assert image.devicePixelRatio() >= 2
    assert image.width() >= 2 * panel.plot.width()
    colours = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    assert QColor(RED).name() in colours
    assert panel.palette().accent().color().name() not in colours
    assert panel.plot.band == -1
    panel.copy_picture.trigger()
    assert QGuiApplication.clipboard().image().size() == image.size()


def test_the_menu_opens_by_button_mouse_and_key_and_holds_everything(panel):
    names = [action.text().replace("&", "") for action in panel.menu.actions() if not action.isSeparator()]
    letters = [action.text().split("&")[1][0].lower() for action in panel.menu.actions() if not action.isSeparator()]
    assert len(names) == 6
    assert len(set(letters)) == 6
    for reason in (QContextMenuEvent.Reason.Mouse, QContextMenuEvent.Reason.Keyboard):
        place = QPoint(50, 50)
        QCoreApplication.sendEvent(
            panel.plot.viewport(), QContextMenuEvent(reason, place, panel.plot.mapToGlobal(place))
        )
        assert panel.menu.isVisible()
        panel.menu.close()
    assert panel.menu_button.menu() is panel.menu


# Nothing left behind --------------------------------------------------------------------------------------------------


def drawn_objects():
    return [thing for thing in gc.get_objects() if str(type(thing).__module__).startswith(("pyqtgraph", "rs_viewer"))]


def clean_up():
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QCoreApplication.processEvents()
        gc.collect()


def test_the_plot_makes_no_menus_or_windows_of_its_own(panel):
    mine = [panel, panel.menu]
    assert [w for w in QApplication.topLevelWidgets() if w not in mine and w.isWindow() and isinstance(w, QMenu)] == []
    assert panel.plot.findChildren(QMenu) == []
    assert panel.plot.box.menu is None


def test_panels_that_are_closed_leave_nothing(qapp):
    def live():
        panel = SpectrumPanel()
        panel.load_plot()
        panel.show()
        for number in range(5):
            panel.show_region(spectrum(number), "town", ((1.0,) * 4, (2.0,) * 4))
            panel.plot.point(number % 4)
            panel.pin.trigger()
            qapp.processEvents()
        panel.picture()
        panel.close()
        panel.deleteLater()

    live()
    clean_up()
    windows, things, nones = len(QApplication.topLevelWidgets()), len(drawn_objects()), sys.getrefcount(None)
    for _ in range(8):
        live()
    clean_up()
    assert len(QApplication.topLevelWidgets()) == windows
    assert len(drawn_objects()) == things
    if sys.version_info < (3, 12):  # None is immortal from 3.12 on
        assert sys.getrefcount(None) > nones - NONE_SLACK


def test_hundreds_of_regions_leave_nothing(qapp, panel):
    def visit(numbers):
        for number in numbers:
            panel.show_region(spectrum(number), "town", ((1.0,) * 4, (2.0,) * 4))
            panel.plot.point(number % 4)
            if number % 3 == 0:
                panel.pin.trigger()
            qapp.processEvents()
        panel.clear()
        clean_up()

    visit(range(30))
    items, things, nones = len(panel.plot.scene().items()), len(drawn_objects()), sys.getrefcount(None)
    windows = len(QApplication.topLevelWidgets())
    visit(range(300))
    assert len(panel.plot.scene().items()) == items
    assert len(drawn_objects()) <= things + 100, "points that pyqtgraph keeps for the last events"
    assert len(QApplication.topLevelWidgets()) == windows
    if sys.version_info < (3, 12):
        assert sys.getrefcount(None) > nones - NONE_SLACK
