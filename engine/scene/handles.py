"""Open dataset handles, lent to one reader at a time.

GDAL handles must not be used by two threads at once, and opening one costs far more than a small read. A pool opens
as many as there are readers at the same moment and keeps them; threads may come and go.
Guarantees: a handle is never shared; closing the pool closes every handle, those still lent as soon as they return.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# GDAL takes 5 % of the machine's memory for its block cache unless told otherwise: a scene's readers need far less.
os.environ.setdefault("GDAL_CACHEMAX", "96")
# A server that does not answer must give an error, not hang the reader for good.
os.environ.setdefault("GDAL_HTTP_CONNECTTIMEOUT", "10")
os.environ.setdefault("GDAL_HTTP_LOW_SPEED_TIME", "20")
os.environ.setdefault("GDAL_HTTP_LOW_SPEED_LIMIT", "1")


class HandlePool:
    """Handles of one dataset.

    Args:
        opener: Opens one more handle.
    """

    def __init__(self, opener: Callable[[], Any]) -> None:
        self._opener = opener
        self._free: list[Any] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """A handle for the duration of a ``with`` block."""
        with self._lock:
            handle = self._free.pop() if self._free else None
        if handle is None:
            handle = self._opener()
        try:
            yield handle
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._free.append(handle)
            if not keep:
                handle.close()

    def close(self) -> None:
        """Close the handles; later reads open new ones, which do not outlive them."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for handle in free:
            handle.close()
