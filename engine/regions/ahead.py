"""Makes items in a thread of its own, a few ahead of whoever takes them.

Guarantees: items come in order; an error is raised where the items are taken; no thread outlives the generator.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1


def made_ahead(items: Iterable[T], queued: int = 2) -> Generator[T]:
    """Iterate over ``items`` in another thread.

    Args:
        items: Taken in that thread alone.
        queued: How many may wait.
    """
    queue: Queue[tuple[T] | BaseException | None] = Queue(queued)
    stop = threading.Event()

    def give(item: tuple[T] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                queue.put(item, timeout=_POLL_S)
                return
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                give((item,))
                if stop.is_set():
                    return
            give(None)
        except BaseException as error:
            give(error)

    thread = threading.Thread(target=work, name="rs-ahead", daemon=True)
    thread.start()
    try:
        while (found := queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        stop.set()
        thread.join()
