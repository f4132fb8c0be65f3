"""The program itself: command line, start-up, the demo without a screen, the last net for exceptions."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtGui import QImage
from window_parts import WAIT_MS, dialogs

from engine.scene.demo import CLASSES
from rs_viewer import app
from rs_viewer.demo import Agreement, codes_of

ROOT = Path(__file__).parents[3]


def bare_environment(home):
    keep = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS")
    found = {key: os.environ[key] for key in keep if key in os.environ}
    return found | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}


def viewer(home, *arguments):
    command = [sys.executable, "-m", "rs_viewer.app", *map(str, arguments)]
    return subprocess.run(
        command, env=bare_environment(home), cwd=home, capture_output=True, text=True, timeout=290, check=False
    )


def test_demo_without_a_screen_saves_the_window_and_prints_the_agreement(tmp_path, tiny_model):
    picture = tmp_path / "new" / "window.png"
    done = viewer(tmp_path, "demo", "--screenshot", picture, "--size", 256, "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (1600, 1000)
    colours = {image.pixelColor(x, y).name() for x in range(300, 1200, 7) for y in range(120, 950, 7)}
    assert len(colours) > 50, "the map is on the picture"
    for word in ("Scene:", "Analysis:", "pixels right", "mean IoU", "forest", "In all:"):
        assert word in done.stdout
    assert "Traceback" not in done.stderr


def test_demo_with_an_unknown_model_says_so_and_leaves(tmp_path):
    done = viewer(tmp_path, "demo", "--screenshot", tmp_path / "x.png", "--size", 64, "--model", "nobody")
    assert done.returncode == 1
    assert "nobody is not installed" in done.stderr
    assert not (tmp_path / "x.png").exists()


def test_without_a_display_the_window_says_what_works_instead(tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert app.main([]) == 1
    assert "rs-engine" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["--version"]])
def test_help_and_version_need_no_display(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        app.main(arguments)
    assert left.value.code == 0
    assert "rs-viewer" in capsys.readouterr().out


def test_the_window_is_imported_without_torch_and_tables():
    code = (
        "import sys, rs_viewer.main_window\n"
        "heavy = {'torch', 'numba', 'geopandas', 'pandas', 'pyarrow', 'skimage', 'scipy', 'pyqtgraph'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_window_is_up_and_idle_without_pyqtgraph(tmp_path):
    code = (
        "import sys, time\n"
        "from PySide6.QtCore import QSettings\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from rs_viewer.main_window import MainWindow\n"
        "from rs_viewer.session import Session\n"
        "from rs_viewer.theme import Theme\n"
        "application = QApplication([])\n"
        "settings = QSettings(sys.argv[1], QSettings.Format.IniFormat)\n"
        "window = MainWindow(Session(settings), Theme(application, 'light'))\n"
        "window.show()\n"
        "end = time.monotonic() + 100\n"
        "while (window.jobs.active or not window.catalogue.known) and time.monotonic() < end:\n"
        "    application.processEvents()\n"
        "    time.sleep(0.002)\n"
        "assert window.catalogue.known\n"
        "loaded = [name for name in sys.modules if name.startswith('pyqtgraph')]\n"
        "window.close()\n"
        "sys.exit(', '.join(loaded) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "settings.ini")],
        env=bare_environment(tmp_path) | {"QT_QPA_PLATFORM": "offscreen"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_window_has_its_turns_while_the_plot_is_imported(tmp_path):
    code = (
        "import sys\n"
        "from PySide6.QtCore import QTimer\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from rs_viewer.panels.spectrum import SpectrumPanel\n"
        "application = QApplication([])\n"
        "panel, turns = SpectrumPanel(), []\n"
        "timer = QTimer()\n"
        "timer.timeout.connect(lambda: turns.append(len(sys.modules)))\n"
        "timer.start(0)\n"
        "panel.load_plot()\n"
        "assert panel.plot is not None\n"
        "inside = [count for count in set(turns) if turns[0] < count < len(sys.modules)]\n"
        "sys.exit(0 if len(inside) >= 4 else f'{len(turns)} turns, {len(inside)} during the import')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=bare_environment(tmp_path) | {"QT_QPA_PLATFORM": "offscreen"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_exception_in_any_thread_reaches_a_dialog(window, qtbot, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    app.install_hooks(window)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=WAIT_MS)
    assert "ZeroDivisionError" in dialogs()[0].text()
    assert window.isVisible()


def test_truth_codes_come_back_from_palette_colours():
    import numpy as np

    colors = [color for _, color in CLASSES]
    rgb = np.array([[int(c[i : i + 2], 16) for c in (*colors, "#010203")] for i in (1, 3, 5)], np.uint8)[:, None, :]
    assert codes_of(rgb, colors).tolist() == [[*range(len(colors)), len(colors)]]


def test_agreement_is_written_as_a_table():
    table = Agreement(0.5, {"water": 1.0, "forest": 0.5}, 1).table()
    assert "pixels right   50.0 %" in table
    assert "mean IoU       75.0 %" in table
