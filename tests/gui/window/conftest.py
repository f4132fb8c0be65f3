"""A real window on tiny scenes with an untrained model, isolated from the user's settings and folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QSettings, QStandardPaths
from window_parts import WAIT_MS, dismiss_dialogs, place, write_scene


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """An untrained checkpoint with five classes and a window of 64 pixels."""
    import torch

    from engine.models import create, save_checkpoint
    from engine.models.card import CardClass, ModelCard, Scaling

    torch.manual_seed(3)
    config = {
        "num_classes": 3,
        "in_channels": 3,
        "token_count": 4,
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "key_dim": 8,
        "rounds": 1,
        "stem_width": 8,
        "widths": (8, 12, 16),
        "depths": (1, 1, 1),
    }
    card = ModelCard(
        name="tiny",
        title="Tiny and untrained",
        architecture="hook_competitive_segmenter",
        config=config,
        task="segmentation",
        classes=(
            CardClass(name="land", color="#a0c864"),
            CardClass(name="town", color="#c83232"),
            CardClass(name="water", color="#3264e6"),
        ),
        bands=("red", "green", "blue"),
        scaling=Scaling(
            dtype="uint8", divisor=255, mean=(0.4,) * 3, std=(0.2,) * 3, low=(10.0,) * 3, high=(220.0,) * 3
        ),
        window_px=64,
        overlap_px=16,
        gsd_m=4.0,
        gsd_range_m=(2.0, 8.0),
        token_count=4,
        data="none",
        metrics={"validation": {"miou": 0.5, "iou": {"water": 0.6}}},
        licence="CC0-1.0",
        source="made by a test",
    )
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_checkpoint(path, create("hook_competitive_segmenter", **config), card)
    return path


@pytest.fixture
def scene_path(tmp_path) -> Path:
    """A tiny scene."""
    return write_scene(tmp_path / "scene.tif")


@pytest.fixture
def settings_path(tmp_path) -> Path:
    """Where this test's settings live."""
    return tmp_path / "settings.ini"


@pytest.fixture
def make_window(qapp, qtbot, settings_path, tiny_model, tmp_path, monkeypatch):
    """Makes windows that know the tiny model; all are closed, whatever happens."""
    from rs_viewer.main_window import MainWindow
    from rs_viewer.session import Session
    from rs_viewer.theme import Theme

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    made = []

    def make(*, models=True):
        theme = Theme(qapp, "light")
        session = Session(QSettings(str(settings_path), QSettings.Format.IniFormat))
        window = MainWindow(session, theme, (str(tiny_model),) if models else ())
        window.resize(1200, 800)
        window.show()
        made.append((window, theme))
        return window

    yield make
    for window, theme in made:
        dismiss_dialogs()
        window.runs.cancel()
        for job in window.jobs.active:
            job.asks_on_close = False
        window.close()
        qtbot.waitUntil(lambda w=window: not w.isVisible(), timeout=WAIT_MS)
        theme.deleteLater()
        window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def window(make_window, qtbot):
    """A window that knows its models and devices."""
    made = make_window()
    qtbot.waitUntil(lambda: made.catalogue.known, timeout=WAIT_MS)
    return made


@pytest.fixture
def opened(window, qtbot, scene_path):
    """A window with the tiny scene open."""
    window.opener.open([str(scene_path)])
    qtbot.waitUntil(lambda: window.workspace.scene is not None, timeout=WAIT_MS)
    return window


@pytest.fixture
def analysed(opened, qtbot, tmp_path):
    """A window with a finished analysis of the tiny scene."""
    opened.analysis_panel.set_out_dir(str(tmp_path / "result"))
    with qtbot.waitSignal(opened.runs.finished, timeout=WAIT_MS):
        opened.runs.start()
    qtbot.waitUntil(lambda: not opened.jobs.active, timeout=WAIT_MS)
    return opened


@pytest.fixture
def inspected(analysed, qtbot):
    """A window with a region in the inspector."""
    with qtbot.waitSignal(analysed.inspection.shown, timeout=WAIT_MS):
        analysed.map.clicked.emit(*place(analysed, 40.5, 50.5))
    return analysed


@pytest.fixture(autouse=True)
def _test_paths():
    QStandardPaths.setTestModeEnabled(True)
    yield
    QStandardPaths.setTestModeEnabled(False)
