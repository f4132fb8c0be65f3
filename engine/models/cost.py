"""What a model costs to run: multiply-accumulates of its layers, and of its attention.

Guarantees: counted on a real pass, so for the sizes and the parts that are really used; a layer that computes its
function in fewer products than the written-out form tells the written-out ones, so that figures compare with published
ones; elementwise work, norms and resizing are not counted, as usual.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates.

    Attributes:
        layers: Of convolutions and linear layers.
        products: Of attention: scores and mixtures.
    """

    layers: int = 0
    products: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.layers + self.products

    def __add__(self, other: Macs) -> Macs:
        return Macs(self.layers + other.layers, self.products + other.products)


@runtime_checkable
class WrittenOut(Protocol):
    """A module that computes its function in fewer products than its written-out form."""

    def written_out_macs(self, *inputs: Any) -> tuple[int, int]:
        """Multiply-accumulates of layers and of products, as written out, for these inputs of ``forward``."""


@torch.inference_mode()
def count_macs(module: nn.Module, *inputs: Tensor) -> Macs:
    """Count one pass of a module, in the mode it is in.

    Args:
        module: The module.
        inputs: What it takes; for one image's cost, a batch of one. Nothing is computed for tensors and modules of the
            device ``meta``.
    """
    counter = _Counter()
    handles = []
    for part in module.modules():
        if isinstance(part, WrittenOut):
            handles.append(part.register_forward_pre_hook(counter.enter))
            handles.append(part.register_forward_hook(counter.leave, always_call=True))
    try:
        with counter:
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return counter.macs


def count_image(module: nn.Module, bands: int, edge_px: int, images: int = 1) -> Macs:
    """Count what one square image costs a module, in the mode it is in.

    Nothing is computed where the pass can do without values; models whose work hangs on what they see (detectors, whose
    proposals do) look at an image of zeros.

    Args:
        module: The module; it is not changed.
        bands: Bands of the image.
        edge_px: Its edge.
        images: Images that one call takes: two for models of change.
    """
    shape = (1, bands, edge_px, edge_px)
    try:
        return count_macs(copy.deepcopy(module).to("meta"), *(torch.empty(shape, device="meta") for _ in range(images)))
    except (NotImplementedError, RuntimeError):  # it needs values; what is truly wrong fails again here, and is told
        return count_macs(module, *(torch.zeros(shape) for _ in range(images)))


class _Counter(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.macs = Macs()
        self._inside = 0

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, WrittenOut) and self._inside == 0:
            self.macs += Macs(*module.written_out_macs(*inputs))
        self._inside += 1

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._inside -= 1

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = _COUNTS.get(getattr(func, "__name__", ""))
        if count is not None and self._inside == 0:
            self.macs += count(result, *args)
        return result


def _linear(out: Tensor, x: Tensor, weight: Tensor, *_: Any) -> Macs:
    return Macs(layers=out.numel() * weight.shape[-1])


def _conv(out: Tensor, x: Tensor, weight: Tensor, *_: Any) -> Macs:
    return Macs(layers=out.numel() * math.prod(weight.shape[1:]))


def _conv_transpose(out: Tensor, x: Tensor, weight: Tensor, *_: Any) -> Macs:
    return Macs(layers=x.numel() * math.prod(weight.shape[1:]))


def _attention(out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Macs:
    pairs = math.prod(out.shape[:-1]) * k.shape[-2]
    return Macs(products=pairs * (q.shape[-1] + v.shape[-1]))


def _matmul(out: Tensor, a: Tensor, b: Tensor, *_: Any) -> Macs:
    return Macs(products=out.numel() * a.shape[-1])


def _added_matmul(out: Tensor, added: Tensor, a: Tensor, b: Tensor, *_: Any) -> Macs:
    return Macs(products=out.numel() * a.shape[-1])


def _added_layer(out: Tensor, bias: Tensor, x: Tensor, weight: Tensor, *_: Any) -> Macs:
    """A linear layer that adds to what is there already."""
    return Macs(layers=out.numel() * x.shape[-1])


def _einsum(out: Tensor, equation: str, *operands: Tensor) -> Macs:
    names = equation.replace(" ", "").partition("->")[0].split(",")
    sizes = {
        name: size for word, x in zip(names, operands, strict=True) for name, size in zip(word, x.shape, strict=True)
    }
    return Macs(products=math.prod(sizes.values()))


_COUNTS: dict[str, Callable[..., Macs]] = {
    "linear": _linear,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv_transpose2d": _conv_transpose,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("matmul", "__matmul__", "bmm", "mm"), _matmul),
    "baddbmm": _added_matmul,
    "addmm": _added_layer,
    "einsum": _einsum,
}
