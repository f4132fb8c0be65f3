"""The depth-wise convolution of our own gradient is the library's: outputs, gradients, precisions, odd sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.tokenizers import depthwise
from engine.tokenizers.depthwise import DepthwiseConv, weight_gradient


def _reference(own: DepthwiseConv) -> nn.Conv2d:
    conv = nn.Conv2d(
        own.in_channels, own.in_channels, own.kernel_size, padding=own.padding, groups=own.groups, bias=False
    )
    conv.load_state_dict(own.state_dict())
    return conv


def _gradients(conv: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    weight = next(conv.parameters())
    assert x.grad is not None
    assert weight.grad is not None
    return out.detach(), x.grad, weight.grad


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 7), (12, 5), (33, 20)])
@pytest.mark.parametrize(("channels", "kernel"), [(1, 5), (6, 7), (20, 7), (4, 3)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_outputs_and_gradients_are_the_librarys(
    size: tuple[int, int], channels: int, kernel: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    own = DepthwiseConv(channels, kernel)
    x = torch.randn(5, channels, *size).contiguous(memory_format=layout)
    for a, b in zip(_gradients(own, x), _gradients(_reference(own), x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_the_weights_gradient_is_nearer_the_exact_one_than_the_librarys() -> None:
    torch.manual_seed(0)
    own = DepthwiseConv(16, 7)
    x = torch.randn(8, 16, 20, 20)
    exact = _gradients(_reference(own), x)
    found = []
    for conv in (own, _reference(own)):
        conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out, towards_x, towards_weight = _gradients(conv, x)
        assert out.dtype == torch.bfloat16
        assert towards_x.dtype == towards_weight.dtype == torch.float32
        assert (towards_x - exact[1]).norm() < 0.01 * exact[1].norm()
        found.append(float((towards_weight - exact[2]).norm()))
    assert found[0] <= 1.05 * found[1]


def test_the_number_of_threads_changes_no_digit() -> None:
    torch.manual_seed(0)
    x, grad = torch.randn(9, 8, 11, 13), torch.randn(9, 8, 11, 13)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(weight_gradient(x, grad, 7))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_inference_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("the own gradient was set up")

    monkeypatch.setattr(depthwise._Convolve, "apply", refuse)
    own, x = DepthwiseConv(4, 7), torch.randn(1, 4, 9, 9)
    with torch.inference_mode():
        assert torch.equal(own(x), _reference(own)(x))
    with pytest.raises(AssertionError, match="own gradient"):
        own(x)
