"""While a run uses all cores, the window's event loop answers within 100 ms at the 99th percentile.

(On a machine so busy that a window beside other programs answers later than that: within four times as long.)

A timer asks to be called every few milliseconds; how late it is called is how late a click would be answered.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
import rasterio
from PySide6.QtCore import QCoreApplication, QElapsedTimer, QEvent, QSettings, Qt, QTimer
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from engine.models.catalog import DEFAULT_MODEL, list_models

PROBE_EVERY_MS = 5
LIMIT_MS = 100.0
SIZE_PX = (1536, 1536)
WAIT_MS = 240_000


class Probe:
    """Measures how late a timer fires."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._clock = QElapsedTimer()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(PROBE_EVERY_MS)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._clock.start()
        self._timer.start()

    def stop(self) -> np.ndarray:
        self._timer.stop()
        return np.asarray(self.late_ms)

    def _tick(self) -> None:
        self.late_ms.append(max(self._clock.nsecsElapsed() / 1e6 - PROBE_EVERY_MS, 0.0))
        self._clock.restart()


def beside_other_work(qapp, seconds=2.0):
    """How late (99th percentile, ms) the same loop answers while other programs keep all cores busy.

    What a machine gives any window under load: on one that runs much else, that is more than the limit.
    """
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    probe = Probe()
    try:
        probe.start()
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            qapp.processEvents()
            time.sleep(0.0005)
        return float(np.percentile(probe.stop(), 99))
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.fixture
def scene_path(tmp_path):
    """A scene with enough windows to keep all cores busy for a while."""
    rng = np.random.default_rng(5)
    height, width = SIZE_PX
    coarse = rng.integers(30, 200, (4, height // 24 + 1, width // 24 + 1)).astype(np.uint8)
    data = coarse.repeat(24, axis=1).repeat(24, axis=2)[:, :height, :width]
    data += rng.integers(0, 30, data.shape).astype(np.uint8)
    path = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 4, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=from_origin(6e5, 53e5, 4, 4), tiled=True, **profile) as file:
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
        file.write(data)
    return path


def test_the_event_loop_answers_while_a_run_uses_all_cores(qapp, qtbot, tmp_path, scene_path):
    from rs_viewer.main_window import MainWindow
    from rs_viewer.session import Session
    from rs_viewer.tasks import switch_interval
    from rs_viewer.theme import Theme

    if DEFAULT_MODEL not in {info.name for info in list_models()}:
        pytest.skip(f"the shipped model {DEFAULT_MODEL} is not there")
    switch_interval()
    theme = Theme(qapp, "light")
    window = MainWindow(Session(QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat)), theme)
    window.resize(1400, 900)
    window.show()
    qtbot.waitUntil(lambda: window.catalogue.known, timeout=WAIT_MS)
    window.opener.open([str(scene_path)])
    qtbot.waitUntil(lambda: window.workspace.scene is not None and window.map.is_settled, timeout=WAIT_MS)
    window.analysis_panel.set_out_dir(str(tmp_path / "result"))
    probe, ended = Probe(), []
    window.runs.finished.connect(ended.append)
    window.runs.failed.connect(ended.append)
    beside_ms = beside_other_work(qapp)
    window.runs.start()
    probe.start()
    begun = time.monotonic()
    while not ended and time.monotonic() - begun < WAIT_MS / 1000:
        qapp.processEvents()
        time.sleep(0.0005)
    late_ms = probe.stop()
    seconds = time.monotonic() - begun
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=WAIT_MS)
    theme.deleteLater()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert ended
    assert type(ended[0]).__name__ == "Finished"
    p50, p99, worst = np.percentile(late_ms, (50, 99, 100))
    print(
        f"\nevent loop during a run of {seconds:.1f} s: {len(late_ms)} answers, median {p50:.1f} ms late, "
        f"99th percentile {p99:.1f} ms, worst {worst:.1f} ms; beside other programs' work {beside_ms:.1f} ms"
    )
    assert p99 <= max(LIMIT_MS, 4 * beside_ms)
