"""Compute threads of a run on the processor: several batches at once, each by few cores.

One batch spread over all cores leaves them waiting for each other at every layer; several batches side by side do
not. On a graphics card batches run one after the other in the caller's thread.

Guarantees: answers come in the order of the batches; what a batch gives does not depend on the others; the caller's
own thread settings are as they were; :meth:`Workers.close` ends every thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_MOST_WORKERS = 4

T = TypeVar("T")


class Workers:
    """Threads that compute, or none.

    Args:
        device: Where the model runs.

    Attributes:
        count: How many there are.
        ahead: Pieces of work worth giving out before the first answer is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self.count = self.ahead = 0
        if device.type != "cpu":
            return
        cores = torch.get_num_threads()
        count = min(cores, _MOST_WORKERS)
        self.count = count
        self.ahead = 2 * count  # one in work and one waiting for each: none is idle while answers are dealt with
        # Torch keeps one number for all threads to come and each thread its own: the barrier makes sure that every
        # worker has taken its own before the common one is put back.
        settled = threading.Barrier(count + 1)

        def settle() -> None:
            torch.get_num_threads()
            torch.set_num_threads(max(1, cores // count))
            settled.wait()

        self._pool = ThreadPoolExecutor(count, thread_name_prefix="rs-compute", initializer=settle)
        for _ in range(count):
            self._pool.submit(int)
        settled.wait()
        torch.set_num_threads(cores)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Start some work; without threads of its own it is done when this returns."""
        if self._pool is not None:
            return self._pool.submit(work)
        future: Future[T] = Future()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Drop what has not begun and wait for the rest."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
