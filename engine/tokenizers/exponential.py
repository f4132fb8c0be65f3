"""Powers of two of a map and the sums of its columns, in one pass: the softmax of long attention on processors.

The nearest whole exponent goes into the bits of a polynomial in what is left of it (Cody and Waite's reduction; degree
5, through Chebyshev's nodes). Guarantees: each power within 3e-7 of itself for exponents of -125 to 125, which callers
see to; the sums add one row after the other; the interpreter's lock is not held.
"""

from __future__ import annotations

import numpy as np

from engine.jit import fused_kernel, widest_vectors

_C0, _C1, _C2, _C3, _C4, _C5 = (
    np.float32(c) for c in np.polynomial.Polynomial.cast(np.polynomial.Chebyshev.interpolate(np.exp2, 5, [-0.5, 0.5]))
)
_ROUNDER = np.float32(1.5 * 2**23)
"""Leaves the nearest whole number in the last bits of what it is added to."""

_widest_vectors = widest_vectors()


@fused_kernel
def powers_and_sums(exponents: np.ndarray, sums: np.ndarray) -> None:
    """Turn ``exponents`` ``[K, N]`` into powers in place, and add each column's sum to ``sums`` ``[N]``; float32."""
    _widest_vectors()
    for k in range(exponents.shape[0]):
        for n in range(exponents.shape[1]):
            exponent = exponents[k, n]
            rounded = np.float32(exponent + _ROUNDER)
            rest = exponent - (rounded - _ROUNDER)
            fraction = _C0 + rest * (_C1 + rest * (_C2 + rest * (_C3 + rest * (_C4 + rest * _C5))))
            bits = np.float32(fraction).view(np.int32) + np.int32(np.float32(rounded).view(np.int32) << np.int32(23))
            power = np.int32(bits).view(np.float32)
            exponents[k, n] = power
            sums[n] += power
