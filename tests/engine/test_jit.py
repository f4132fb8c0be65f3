"""Kernels compile as they are asked to."""

import numba
import numpy as np
import pytest

from engine.jit import widest_vectors

_widest_vectors = widest_vectors()


def doubled(values):
    for i in range(values.size):
        values[i] *= np.float32(2)


def doubled_wide(values):
    _widest_vectors()
    for i in range(values.size):
        values[i] *= np.float32(2)


@pytest.mark.parametrize("function", [doubled, doubled_wide])
def test_kernels_that_ask_for_them_get_the_widest_vectors(function):
    compiled, values = numba.njit(function), np.arange(40, dtype=np.float32)
    compiled(values)
    np.testing.assert_array_equal(values, 2 * np.arange(40))
    (code,) = compiled.inspect_llvm().values()
    assert ('"prefer-vector-width"="512"' in code) == (function is doubled_wide)
