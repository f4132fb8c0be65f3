"""What running models and inspecting regions both work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from rs_viewer.jobs import Jobs
    from rs_viewer.map.view import MapView
    from rs_viewer.panels.analysis import AnalysisPanel
    from rs_viewer.tasks import DeviceRoom
    from rs_viewer.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of the window.

    Attributes:
        jobs: Where work runs.
        room: Models that are loaded.
        workspace: Scenes and analyses that are open.
        map: The map.
        panel: Chooses model, device and options.
    """

    jobs: Jobs
    room: DeviceRoom
    workspace: Workspace
    map: MapView
    panel: AnalysisPanel


def single_shot(parent: QObject, interval_ms: int, slot: Callable[[], None]) -> QTimer:
    """A timer that calls ``slot`` once, some time after the last start."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(interval_ms)
    timer.timeout.connect(slot)
    return timer
