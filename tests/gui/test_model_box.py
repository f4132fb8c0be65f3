"""The list of models: one task after the other, and nothing lost while a file is looked for."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette, QStandardItem
from PySide6.QtWidgets import QFileDialog

from rs_viewer.panels.model_box import ModelBox


def model(name, task):
    return SimpleNamespace(name=name, path=Path("/models") / name, card=SimpleNamespace(title=name.upper(), task=task))


MODELS = [model("a", "segmentation"), model("b", "classification"), model("c", "segmentation"), model("d", "change")]


@pytest.fixture
def box(qtbot):
    made = ModelBox("Looking for models…")
    qtbot.addWidget(made)
    return made


def entries(box):
    """Texts of the list and whether they can be chosen."""
    return [
        (box.itemText(i), bool(box.model().index(i, 0).flags() & Qt.ItemFlag.ItemIsEnabled))
        for i in range(box.count())
        if box.itemText(i)
    ]


def pick(box, text):
    """What a user does."""
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


def test_models_stand_under_their_tasks(box):
    assert box.chosen is None
    box.show_models(MODELS, prefer="b")
    assert entries(box) == [
        ("A class for every pixel", False), ("A", True), ("C", True), ("The kind of scene, cell by cell", False),
        ("B", True), ("What changed between two scenes", False), ("D", True), ("Another checkpoint…", True),
    ]  # fmt: skip
    assert box.chosen is MODELS[1]
    box.show_models(MODELS, prefer="gone")
    assert box.chosen is MODELS[0]
    assert box.choose("/models/d")
    assert box.chosen is MODELS[3]
    assert not box.choose("nothing")
    assert box.chosen is MODELS[3]


def test_headings_follow_the_theme(box):
    box.show_models(MODELS)
    for colour in ("#123456", "#abcdef"):
        palette = box.palette()
        palette.setColor(QPalette.ColorRole.PlaceholderText, QColor(colour))
        box.setPalette(palette)
        assert box.itemData(0, Qt.ItemDataRole.ForegroundRole).color() == QColor(colour)
        assert box.itemData(1, Qt.ItemDataRole.ForegroundRole) is None


def test_no_row_is_held_that_qt_may_delete(box):
    """Qt deletes rows unseen; what Python holds of one would pass for the next thing at that address."""
    for _ in range(3):
        box.show_models(MODELS)
        box.setEnabled(False)
        box.setEnabled(True)
    assert not [thing for thing in gc.get_objects() if type(thing) is QStandardItem]


def test_one_task_needs_no_heading_and_none_is_said(box):
    box.show_models(MODELS[:1])
    assert entries(box) == [("A", True), ("Another checkpoint…", True)]
    box.show_models([], empty="None installed")
    assert entries(box) == [("None installed", True), ("Another checkpoint…", True)]
    assert box.chosen is None


@pytest.mark.parametrize("file", ["", "/models/new.safetensors"])
def test_looking_for_a_file_leaves_the_choice(box, qtbot, monkeypatch, file):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (file, ""))
    box.show_models(MODELS)
    with qtbot.waitSignal(box.modelChosen):
        pick(box, "C")
    asked = []
    box.fileRequested.connect(asked.append)
    pick(box, "Another checkpoint…")
    assert box.chosen is MODELS[2]
    assert asked == ([file] if file else [])
