"""The end of a run: regions settled, maps and tables written, names given, ``analysis.json`` last.

Guarantees: maps come from the journal alone; nothing bears a final name before it is whole; cancelling or failing
here leaves the journal, so that the next call does this part again and no window. Importing this module does not
import torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import AnalysisError
from engine.inference.events import Event, Finished
from engine.inference.info import AnalysisInfo
from engine.inference.plan import WindowPlan
from engine.inference.rasters import CLASSES, CONFIDENCE, REGIONS, MapKind, write_map
from engine.inference.rowfile import RowDamagedError
from engine.inference.store import RunStore, read_strip, writing
from engine.inference.tasks import Cancel, Report, run_lanes
from engine.inference.writer import ClassAreas
from engine.models.card import ModelCard
from engine.regions.builder import RegionBuilder
from engine.regions.result import RegionResult
from engine.scene import Grid

_POLL_S = 0.05


def finish_run(
    store: RunStore,
    plan: WindowPlan,
    grid: Grid,
    card: ModelCard,
    builder: RegionBuilder,
    areas: ClassAreas,
    cancel: Cancel,
    began: float,
) -> Iterator[Event]:
    """Turn a complete journal into a finished analysis.

    Args:
        store: The run's folder.
        plan: The windows.
        grid: The analysis grid.
        card: The model's card.
        builder: The region builder, fed with all rows.
        areas: The classes, counted over all rows.
        cancel: Asked whether to stop.
        began: When the run began, by the monotonic clock.

    Yields:
        Progress of the stages, then :class:`Finished`.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    seconds = {"windows": time.monotonic() - began, "regions": 0.0, "polygons": 0.0, "rasters": 0.0}
    tags = _tags(store.info)
    settled: Queue[RegionResult] = Queue(1)
    counts: list[int] = []

    def regions_lane(report: Report, stop: Cancel) -> None:
        with _timed(seconds, "regions"):
            report("regions", 0.0)
            result = builder.finish(lambda share: report("regions", share), stop)
            report("regions", 1.0)
        counts.append(result.count)
        settled.put(result)
        with _timed(seconds, "polygons"), writing(store.path):
            report("polygons", 0.0)
            result.write_parquet(store.partial / "regions.parquet", lambda share: report("polygons", share), stop)
            report("polygons", 1.0)

    def maps_lane(report: Report, stop: Cancel) -> None:
        def draw(index: int, name: str, kind: MapKind, rows: Iterable[npt.NDArray[Any]]) -> None:
            with _timed(seconds, "rasters"):
                write_map(
                    store.partial / f"{name}.tif",
                    grid,
                    kind,
                    rows,
                    classes=card.classes if kind is CLASSES else (),
                    tags=tags,
                    progress=lambda share: report("rasters", (index + share) / 3),
                    cancel=stop,
                )

        draw(0, "classes", CLASSES, _strips(store, plan, "classes"))
        draw(1, "confidence", CONFIDENCE, _strips(store, plan, "confidence"))
        while True:
            if stop():
                return
            try:
                result = settled.get(timeout=_POLL_S)
                break
            except Empty:
                continue
        draw(2, "regions", REGIONS, (labels for _, labels in result.rows()))

    yield from run_lanes((regions_lane, maps_lane), cancel)
    for name in ("classes.tif", "classes.tif.aux.xml", "confidence.tif", "regions.tif", "regions.parquet"):
        store.publish(name)
    store.publish_info(store.info.model_copy(update={"class_shares": areas.shares(), "regions": counts[0]}))
    yield Finished(store.path, counts[0], time.monotonic() - began, seconds)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[stage] += time.monotonic() - began


def _strips(store: RunStore, plan: WindowPlan, name: str) -> Iterator[npt.NDArray[Any]]:
    for row in range(plan.rows):
        try:
            yield np.asarray(read_strip(store.row(row), name, plan.width))
        except RowDamagedError as error:
            raise AnalysisError(
                f"the journal of the run is damaged: {error}", where=store.path, remedy="Run again: the row is redone."
            ) from error


def _tags(info: AnalysisInfo) -> dict[str, str]:
    return {
        "TIFFTAG_SOFTWARE": f"{info.program} {info.program_version}",
        "MODEL": info.model.name,
        "MODEL_SHA256": info.model.sha256,
        "SCENE": info.scene.name,
    }
