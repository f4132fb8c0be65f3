"""Attention written out equals the fused kernel, forwards and backwards, and inference keeps to the kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.tokenizers import attend as module
from engine.tokenizers.attend import attend


def _vectors(queries: int, keys: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, rows, 16, requires_grad=True, dtype=dtype) for rows in (queries, keys, keys)]


@pytest.mark.parametrize("scale", [None, 0.1])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (9, 9), (4, 300)])
def test_written_out_attention_is_that_of_the_kernel(
    queries: int, keys: int, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = _vectors(queries, keys, torch.float64)
    F.scaled_dot_product_attention(*exact, scale=scale).square().sum().backward()
    monkeypatch.setattr(module, "_written_out", lambda *_: True)
    own = _vectors(queries, keys, torch.float64)
    attend(*own, scale).square().sum().backward()
    for a, b in zip(own, exact, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad)


def test_training_in_bfloat16_writes_out_short_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(*_: object, **__: object) -> Tensor:
        raise AssertionError("the fused kernel was asked")

    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    mixed = attend(*_vectors(9, 9, torch.bfloat16))
    assert mixed.dtype == torch.bfloat16
    with pytest.raises(AssertionError, match="fused kernel"):
        attend(*_vectors(600, 600, torch.bfloat16))
    with pytest.raises(AssertionError, match="fused kernel"):
        attend(*_vectors(9, 9, torch.float32))
    with torch.inference_mode(), pytest.raises(AssertionError, match="fused kernel"):
        attend(*_vectors(9, 9, torch.bfloat16))


def test_a_gradient_written_out_in_bfloat16_is_near_the_exact_one() -> None:
    rough, exact = _vectors(40, 50, torch.bfloat16), _vectors(40, 50, torch.float64)
    with torch.no_grad():
        for a, b in zip(exact, rough, strict=True):
            a.copy_(b.double())
    for vectors in (rough, exact):
        attend(*vectors).square().sum().backward()
    for a, b in zip(rough, exact, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad.double() - b.grad).norm() < 0.02 * b.grad.norm()
