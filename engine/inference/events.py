"""Typed events of a run: the only thing the window, the command line and the tests see of it.

Guarantees: a run yields exactly one :class:`Started` first and, unless it raises, one :class:`Finished` last;
progress never goes backwards; events hold plain Python and numpy values, never tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineWarning


@dataclass(frozen=True, slots=True)
class Started:
    """The run is about to begin.

    Attributes:
        windows: Windows of the whole plan that hold data or have not been looked at yet.
        windows_done: Of those, how many an earlier, interrupted run has already done.
        width_px: Width of the analysis grid.
        height_px: Height of the analysis grid.
        device: What the model runs on, in words.
        out_dir: The analysis folder.
    """

    windows: int
    windows_done: int
    width_px: int
    height_px: int
    device: str
    out_dir: Path


@dataclass(frozen=True, slots=True)
class WindowDone:
    """A batch of windows went through the model.

    Attributes:
        windows_done: Windows done so far, skipped and resumed ones included.
        windows: Windows of the plan.
        windows_per_s: Rate over the last seconds.
        seconds_left: Estimate for the rest of the windows, None before there is one.
    """

    windows_done: int
    windows: int
    windows_per_s: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class StripWritten:
    """Rows of the maps are final and on disk (``Analysis.read`` gives them); for a detector, their windows are done.

    Attributes:
        row_start: First row, in pixels of the analysis grid.
        row_stop: One past the last row.
    """

    row_start: int
    row_stop: int


@dataclass(frozen=True, slots=True)
class StageChanged:
    """Work after windows: ``regions``, ``polygons``, ``rasters``; a detector's ``objects``; a classifier's ``cells``.

    Attributes:
        stage: Name of the stage.
        fraction: Share of the stage that is done, 0 to 1.
    """

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class WarningRaised:
    """Something the user should know that stops nothing."""

    warning: EngineWarning


@dataclass(frozen=True, slots=True)
class Finished:
    """The analysis is complete on disk.

    Attributes:
        out_dir: The analysis folder.
        regions: Number of regions, 0 where the model draws none.
        seconds: Wall time of this run.
        seconds_by_stage: Wall time by stage: ``windows``, and those of :class:`StageChanged`.
        detections: Number of objects, None for models that are no detectors.
        cells: Number of cells, None for models that are no scene classifiers.
    """

    out_dir: Path
    regions: int
    seconds: float
    seconds_by_stage: dict[str, float]
    detections: int | None = None
    cells: int | None = None


Event = Started | WindowDone | StripWritten | StageChanged | WarningRaised | Finished
