"""Runs the last steps of a run side by side in threads and reports how far they are, as a generator.

Guarantees: an error of any lane is raised to the caller after all lanes have ended; leaving the generator or
cancelling ends them too; no thread outlives it; progress of a stage never goes backwards. Importing this module
does not import torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Queue

from engine.errors import CancelledError
from engine.inference.events import StageChanged

Report = Callable[[str, float], None]
"""Told the name of a stage and the share of it that is done."""
Cancel = Callable[[], bool]
Lane = Callable[[Report, Cancel], None]

_POLL_S = 0.05
_LEAST_STEP = 0.01


def run_lanes(lanes: Sequence[Lane], cancel: Cancel) -> Iterator[StageChanged]:
    """Run lanes, each in a thread of its own.

    Args:
        lanes: What to do; each is told to stop through its second argument, also when another one fails.
        cancel: Asked in the caller's thread whether to stop.

    Yields:
        Progress, in steps of a percent and always at a stage's begin and end.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    stop = threading.Event()
    reports: Queue[StageChanged | None] = Queue()
    errors: list[BaseException] = []

    def work(lane: Lane) -> None:
        last: dict[str, float] = {}

        def report(stage: str, share: float) -> None:
            before = last.get(stage, -1.0)
            share = min(share, 1.0)
            if share >= before + _LEAST_STEP or (share == 1.0 and before < 1.0):
                last[stage] = share
                reports.put(StageChanged(stage, share))

        try:
            lane(report, stop.is_set)
        except BaseException as error:
            errors.append(error)
            stop.set()
        finally:
            reports.put(None)

    threads = [threading.Thread(target=work, args=(lane,), name="rs-finish", daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    try:
        ended = 0
        while ended < len(threads):
            if cancel():
                stop.set()
            try:
                event = reports.get(timeout=_POLL_S)
            except Empty:
                continue
            if event is None:
                ended += 1
            else:
                yield event
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for error in errors:
        if not isinstance(error, CancelledError):
            raise error
    if errors or cancel():
        raise CancelledError("the run was cancelled", remedy="Run again with the same options to finish it.")
