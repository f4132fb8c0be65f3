"""Keep memory that a training step gives back for the next step, instead of returning it to the system.

The C library on Linux asks the system anew for every large block, which comes back zeroed page by page: a quarter of
the time of a step on large maps. A training wants the same blocks again at once. Guarantees: settings of the user's
own (the environment variables of the library) stay in force; other systems and libraries are left alone.
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The C library's numbers for what may be set (``malloc.h``)."""

LARGEST = 2**31 - 1
"""What the library takes as a number at most."""


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed, for the whole process; returns whether it will."""
    set_by_user = any(
        os.environ.get(name) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    )
    if platform.libc_ver()[0] != "glibc" or set_by_user:
        return False
    library = ctypes.CDLL(None)
    kept = [library.mallopt(name, value) for name, value in ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, LARGEST))]
    return all(kept)
