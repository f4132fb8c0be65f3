"""What holds for the whole window: commands declared once, names for screen readers, keyboard, layout, session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray, QSettings, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QScrollBar,
)
from window_parts import WAIT_MS

from engine.resources import resources_dir
from rs_viewer.actions import MENUS, SEPARATOR, SPECS, SUBMENUS, TOOLBAR
from rs_viewer.session import Session


def test_every_command_is_in_a_menu_and_every_menu_entry_is_a_command():
    keys = {spec.key for spec in SPECS}
    shown = {key for _, entries in MENUS for key in entries if key != SEPARATOR} - set(SUBMENUS)
    in_submenus = {"scheme_system", "scheme_light", "scheme_dark"}
    assert shown | in_submenus == keys
    assert set(TOOLBAR) - {SEPARATOR} <= keys


def test_shortcuts_and_mnemonics_are_not_given_twice():
    keys = [spec.shortcut for spec in SPECS if spec.shortcut]
    assert len(keys) == len(set(keys))
    assert all(not QKeySequence(key).isEmpty() for key in keys)
    by_key = {spec.key: spec.text for spec in SPECS} | SUBMENUS
    for title, entries in MENUS:
        letters = [by_key[key].split("&")[1][0].lower() for key in entries if key != SEPARATOR]
        assert len(letters) == len(set(letters)), title


def test_every_icon_exists_and_takes_the_palettes_colour():
    for spec in SPECS:
        if spec.icon:
            text = (resources_dir() / "icons" / f"{spec.icon}.svg").read_text()
            assert "currentColor" in text
    for file in Path("rs_viewer").rglob("*.py"):
        assert "qtawesome" not in file.read_text()


def test_tooltips_name_the_keys_and_what_happens(window):
    for spec in SPECS:
        action = window.commands[spec.key]
        assert spec.tip in action.toolTip()
        assert action.statusTip() == spec.tip
        if spec.shortcut:
            assert action.shortcut().toString(QKeySequence.SequenceFormat.NativeText) in action.toolTip()


def test_every_control_has_a_name_for_screen_readers(analysed):
    analysed.analysis_panel.section.button.setChecked(True)
    kinds = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractSlider, QAbstractItemView)
    nameless = []
    for kind in kinds:
        for widget in analysed.findChildren(kind):
            inner = isinstance(widget.parent(), QComboBox | QAbstractSpinBox | QAbstractItemView)
            inner = inner or widget.objectName().startswith("qt_")
            if inner or not widget.isVisibleTo(analysed) or isinstance(widget, QScrollBar):
                continue
            text = widget.text() if isinstance(widget, QAbstractButton) else ""
            if not widget.accessibleName() and not text:
                nameless.append(f"{type(widget).__name__} {widget.objectName()} in {type(widget.parent()).__name__}")
    assert nameless == []


def test_the_keyboard_reaches_map_panels_and_toolbar(opened):
    focusable = {
        type(w).__name__
        for w in opened.findChildren(object)
        if hasattr(w, "focusPolicy") and w.isVisible() and w.focusPolicy() & Qt.FocusPolicy.TabFocus
    }
    assert {"MapView", "_List", "QSlider", "QComboBox", "QLineEdit", "QPushButton", "QToolButton"} <= focusable


def test_tools_are_one_of_three(window):
    for key, tool in (("tool_inspect", "inspect"), ("tool_roi", "roi"), ("tool_pan", "pan")):
        window.commands[key].trigger()
        assert window.map.tool == tool
        assert window.commands[key].isChecked()


def test_map_only_hides_all_panels_and_brings_back_those_that_were_shown(window):
    window.docks["legend"].hide()
    window.commands["map_only"].trigger()
    assert all(window.docks[key].isHidden() for key in ("layers", "legend", "analysis", "inspector"))
    window.commands["map_only"].trigger()
    assert window.docks["legend"].isHidden()
    assert not window.docks["layers"].isHidden()


def test_reset_layout_brings_everything_back(window):
    window.docks["legend"].hide()
    window.docks["inspector"].setFloating(True)
    window.commands["reset_layout"].trigger()
    assert not window.docks["legend"].isHidden()
    assert not window.docks["inspector"].isFloating()


def test_the_scheme_changes_at_once_and_is_remembered(window):
    light = window.palette().window().color().name()
    window.commands["scheme_dark"].trigger()
    assert window.theme.dark
    assert window.palette().window().color().name() != light
    assert window.session.scheme == "dark"
    window.commands["scheme_light"].trigger()
    assert window.palette().window().color().name() == light


def test_text_is_readable_in_both_schemes():
    from rs_viewer.theme import DARK, LIGHT

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for scheme in (LIGHT, DARK):
        for ground in (scheme.window, scheme.base, scheme.raised):
            assert contrast(scheme.text, ground) >= 7
            assert contrast(scheme.muted, ground) >= 4.5
        assert contrast(scheme.on_accent, scheme.accent) >= 4.5
        assert contrast(scheme.on_warning, scheme.warning) >= 4.5


def test_layers_panel_mirrors_the_stack(analysed):
    panel, stack = analysed.layers_panel, analysed.map.layers
    names = [panel.list.item(row).text() for row in range(panel.list.count())]
    assert names == ["Regions", "Classes", "Confidence", "scene"]
    panel.select(stack[3])
    analysed.commands["layer_down"].trigger()
    assert [layer.name for layer in stack] == ["scene", "Confidence", "Regions", "Classes"]
    assert panel.layer.name == "Regions"
    panel.slider.setValue(30)
    assert panel.layer.opacity == pytest.approx(0.3)
    panel.list.item(1).setCheckState(Qt.CheckState.Unchecked)
    assert not panel.layer.visible
    stack.set_visible(panel.layer, True)
    assert panel.list.item(1).checkState() == Qt.CheckState.Checked
    menu = panel.make_menu()
    fill = next(action for action in menu.actions() if "Fill" in action.text())
    fill.trigger()
    assert panel.layer.style == "fill"
    menu.deleteLater()


def test_the_session_restores_model_layout_and_recent_files(make_window, qtbot, settings_path, scene_path):
    first = make_window(models=False)
    first.opener.open([str(scene_path)])
    qtbot.waitUntil(lambda: first.workspace.scene is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: first.catalogue.known, timeout=WAIT_MS)
    first.docks["legend"].hide()
    first.resize(1010, 730)
    first.close()
    qtbot.waitUntil(lambda: not first.isVisible(), timeout=WAIT_MS)
    session = Session(QSettings(str(settings_path), QSettings.Format.IniFormat))
    assert session.recent == [str(scene_path)]
    second = make_window(models=False)
    assert second.docks["legend"].isHidden()
    assert not second.docks["layers"].isHidden()
    second.docks["legend"].show()


def test_settings_of_another_version_are_left_alone(tmp_path):
    path = str(tmp_path / "s.ini")
    settings = QSettings(path, QSettings.Format.IniFormat)
    settings.setValue("version", 999)
    settings.setValue("recent", ["/a"])
    session = Session(settings)
    assert session.recent == []
    session.add_recent("/b")
    session.add_recent("/c")
    session.add_recent("/b")
    assert session.recent == ["/b", "/c"]
    session.save_window(QByteArray(b"g"), QByteArray(b"l"))
    assert session.layout == QByteArray(b"l")


def test_banners_are_not_repeated_and_can_be_put_away(window):
    window.messages.warn("One.")
    window.messages.warn("Two.")
    window.messages.warn("One.")
    assert window.messages.texts == ["Two.", "One."]
    pressed = []
    window.messages.tell("Three.", "Do", lambda: pressed.append(1))
    assert window.messages.isVisible()
    window.messages.clear()
    assert not window.messages.isVisible()


def test_the_card_is_shown_with_all_a_user_asks_for(window):
    text = window.analysis_panel.card.facts.text()
    for part in ("4 m (2 to 8 m)", "red, green, blue", "64 px", "0.500", "CC0-1.0", "water 0.600"):
        assert part in text, part
    assert "land" in window.analysis_panel.card.classes.text()


def test_the_device_is_shown_before_any_run(window):
    assert window.places.device.text() == window.analysis_panel.device.chosen.label
    assert window.places.device.toolTip()


def test_options_left_on_automatic_stay_out_of_the_run(opened):
    options = opened.runs.options(opened.analysis_panel.wish)
    assert json.loads(options.model_dump_json(exclude_defaults=True)) in ({}, {"device": "cpu"})
    opened.analysis_panel.options.window_px.setValue(96)
    opened.analysis_panel.options.overlap_px.setValue(0)
    opened.analysis_panel.options.resolution.setCurrentIndex(3)
    opened.analysis_panel.options.metres.setValue(5.0)
    options = opened.runs.options(opened.analysis_panel.wish)
    assert (options.window_px, options.overlap_px, options.gsd) == (96, 0, 5.0)
