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
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function on its first call; it gives the same numbers on every processor.

    Args:
        function: Takes numbers and arrays; uses what numba knows.
    """
    return _compiled(function, False)


def fused_kernel(function: F) -> F:
    """As :func:`kernel`, with products and sums fused and divisions by one number turned into products.

    Last digits depend on the processor. What is not a number stays so, and sums keep their order.
    """
    return _compiled(function, {"contract", "arcp", "nsz"})


def widest_vectors() -> Callable[[], None]:
    """What a kernel calls, anywhere in its body, to be given the widest vectors there are.

    Compilers keep to half of AVX-512, lest a processor slow down for it. Where the work around is matrix products,
    which use all of it, the half is lost.
    """
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def prefer_widest(typing_context: Any) -> Any:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            # As the set would, did it know attributes that are strings.
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
            return context.get_dummy_value()

        return types.void(), write

    return cast("Callable[[], None]", prefer_widest)


def _compiled(function: F, fastmath: bool | set[str]) -> F:
    import numba

    def compiled(cache: bool) -> F:
        found: F = numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath, cache=cache)
        return found

    try:
        return compiled(cache=True)
    except RuntimeError:  # no folder of the cache can be written to
        return compiled(cache=False)
