"""Compiled kernels: loops over pixels in machine code, where whole-array steps would pass over memory many times.

Kernels are plain functions on arrays, compiled by numba when they are first called and kept in numba's cache: beside
the module, or in the user's cache folder where that cannot be written to, or for this process alone where neither
can. They run without the interpreter's lock, so threads use all cores.

A kernel's helpers live in its own file: numba looks only there for changes that make what it kept stale. Importing
this module does not import numba; decorating a kernel does, so modules of kernels are imported by those that run
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Products and sums may be fused and divisions by one number turned into products; numbers that are not numbers
    # stay so, and sums keep their order.
    "fastmath": {"contract", "arcp", "nsz"},
}


def kernel(function: F) -> F:
    """Compile a function on its first call.

    Args:
        function: Takes numbers and arrays; uses what numba knows.
    """
    import numba

    try:
        compiled: F = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder of the cache can be written to
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled
