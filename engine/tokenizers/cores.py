"""Work in independent pieces, a core for each: every thread computes alone, in its own cache.

Torch shares each operation among all cores and makes them wait for one another at its end. Where a computation falls
into pieces that need nothing of each other, a thread for each core runs whole pieces instead; nothing waits, not even
on a busy machine. Guarantees: every piece runs exactly once before the call returns; its first error is raised; the
number of threads torch uses elsewhere stays as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock, local
from typing import TypeVar

import torch

_Piece = TypeVar("_Piece")
_making = Lock()
_here = local()


def each(work: Callable[[_Piece], None], pieces: Sequence[_Piece]) -> None:
    """Run ``work`` on every piece, on as many cores as torch uses in this thread; no gradients are recorded.

    Args:
        work: Writes its result where the caller will find it.
        pieces: What tells the pieces apart; a single one runs in the calling thread, where torch shares it out, and so
            do those of a piece.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(pieces) < 2 or getattr(_here, "alone", False):
        with torch.no_grad():
            for piece in pieces:
                work(piece)
        return
    inference = torch.is_inference_mode_enabled()

    def alone(piece: _Piece) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(piece)

    with _making:
        pool = _pool(threads)
    for done in [pool.submit(alone, piece) for piece in pieces]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    together = Barrier(threads + 1)

    def begin() -> None:
        _here.alone = True
        torch.set_num_threads(1)
        torch.get_num_threads()  # from here on torch keeps to this thread's number
        together.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="core", initializer=begin)
    for _ in range(threads):  # a thread starts with a task each
        pool.submit(_nothing)
    together.wait()
    torch.set_num_threads(threads)  # new threads elsewhere take the number that was set last
    return pool


def _nothing() -> None:
    return None


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)
