"""The end of a run: regions settled, maps and tables written, names given, ``analysis.json`` last.

Guarantees: nothing bears a final name before it is whole; cancelling or failing
here leaves the journal, so that the next call does this part again and no window. Importing this module does not
import torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, Queue

from engine.inference.events import Event, Finished
from engine.inference.info import map_file
from engine.inference.maps import RowMaps, map_tags
from engine.inference.rasters import REGIONS, write_map
from engine.inference.store import RunStore, writing
from engine.inference.tasks import Cancel, Report, run_lanes
from engine.inference.writer import ClassAreas
from engine.regions.builder import RegionBuilder
from engine.regions.changes import ChangeBuilder
from engine.regions.patches import PatchBuilder
from engine.regions.result import RegionResult
from engine.scene import Grid

_POLL_S = 0.05
_FILES = ("regions.tif", "regions.parquet")
_OTHER_MAPS = 0.3
"""Share of the time for maps that those written along with the windows still take at the end."""


def finish_run(
    store: RunStore,
    grid: Grid,
    builder: RegionBuilder | PatchBuilder | ChangeBuilder,
    areas: ClassAreas,
    maps: RowMaps,
    cancel: Cancel,
    began: float,
) -> Iterator[Event]:
    """Turn a complete journal into a finished analysis.

    Args:
        store: The run's folder.
        grid: The analysis grid.
        builder: The region builder, fed with all rows.
        areas: The classes, counted over all rows.
        maps: The class and confidence maps, handed all rows.
        cancel: Asked whether to stop.
        began: When the run began, by the monotonic clock.

    Yields:
        Progress of the stages, then :class:`Finished`.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    seconds = {"windows": time.monotonic() - began, "regions": 0.0, "polygons": 0.0, "rasters": 0.0}
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
        with _timed(seconds, "rasters"):
            report("rasters", 0.0)
            maps.finish(stop)
        while True:
            if stop():
                return
            try:
                result = settled.get(timeout=_POLL_S)
                break
            except Empty:
                continue
        with _timed(seconds, "rasters"):
            write_map(
                store.partial / "regions.tif",
                grid,
                REGIONS,
                (labels for _, labels in result.rows()),
                tags=map_tags(store.info),
                progress=lambda share: report("rasters", _OTHER_MAPS + (1 - _OTHER_MAPS) * share),
                cancel=stop,
            )

    yield from run_lanes((regions_lane, maps_lane), cancel)
    drawn, certainty = (map_file(store.info.kind, layer) for layer in ("classes", "confidence"))
    files = (drawn, f"{drawn}.aux.xml", certainty, *_FILES)
    with ThreadPoolExecutor(len(files)) as pool:  # each waits for the disk
        list(pool.map(store.publish, files))
    store.publish_info(store.info.model_copy(update={"class_shares": areas.shares(), "regions": counts[0]}))
    yield Finished(store.path, counts[0], time.monotonic() - began, seconds)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[stage] += time.monotonic() - began
