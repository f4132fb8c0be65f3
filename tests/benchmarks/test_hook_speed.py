"""HOOK's arithmetic rate against that of a matrix product, and its forms and Patch Embed side by side.

Run as it is, this takes the published models on an image of 256 pixels; ``HOOK_BENCHMARK_FULL=1`` takes one of 512, as
published.
"""

import os
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from engine.models import create
from engine.models.cost import count_macs
from engine.models.folding import fold_batch_norms
from engine.models.ready import Precision, arrange

FULL = os.environ.get("HOOK_BENCHMARK_FULL") == "1"
EDGE = 512 if FULL else 256
ROUNDS = 5 if FULL else 3
TARGET = 0.9
LEAST = 0.5
"""What a busy machine must reach."""
PRODUCT = 4096 if FULL else 2048


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processor time means nothing where threads wait for one another
    yield
    torch.set_num_threads(threads)


def take_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least processor time of some functions that take turns."""
    seconds: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            began = time.process_time()
            function()
            took = time.process_time() - began
            if turn:  # the first is for warming up
                seconds[name] = min(took, seconds.get(name, took))
    return seconds


def ready(module: nn.Module, precision: Precision = "float32") -> nn.Module:
    return arrange(fold_batch_norms(module)[0], torch.device("cpu"), precision)


def live(module: nn.Module) -> nn.Module:
    """Statistics as training leaves them, so that folding has something to fold."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.mark.timeout(1800)
def test_rate_of_hook_and_its_forms(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    names = ("hook_segmenter", "hook_linear_segmenter", "patch_segmenter")
    image = torch.rand(1, 3, EDGE, EDGE)
    published = live(create("hook_segmenter", num_classes=5, image_size=EDGE))
    models = {name: ready(live(create(name, num_classes=5, image_size=EDGE))) for name in names[1:]}
    models["hook_segmenter"] = ready(published)
    with torch.device("meta"):
        gmac = {
            name: count_macs(create(name, num_classes=5, image_size=EDGE).eval(), torch.empty(image.shape)).total / 1e9
            for name in names
        }
    half = ready(published, "bfloat16")
    a, b, out = torch.rand(PRODUCT, PRODUCT), torch.rand(PRODUCT, PRODUCT), torch.empty(PRODUCT, PRODUCT)

    def in_half() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = half(image).logits
        return logits.float()

    with torch.inference_mode():
        exact = published(image).logits
        error = float((models["hook_segmenter"](image).logits - exact).abs().max() / exact.abs().max())
        rough = in_half()
        off = float((rough - exact).abs().max() / exact.abs().max())
        same = float((rough.argmax(1) == exact.argmax(1)).float().mean())
        turns: dict[str, Callable[[], object]] = {"product": lambda: torch.mm(a, b, out=out)}
        turns |= {name: lambda model=model: model(image) for name, model in models.items()}
        turns["as built"] = lambda: published(image)
        turns["bfloat16"] = in_half
        seconds = take_turns(turns, ROUNDS)
    product = PRODUCT**3 / 1e9
    rate = {name: gmac[name] / seconds[name] / (product / seconds["product"]) for name in names}
    of_published = {name: seconds["hook_segmenter"] / seconds[name] for name in seconds}
    linear = "hook_linear_segmenter"
    of_patches = seconds["patch_segmenter"] / seconds[linear]
    with capsys.disabled():
        print(f"\n{EDGE} pixels, one thread; a matrix product runs at {2 * product / seconds['product']:.0f} GFLOP/s")
        for name in names:
            print(
                f"{name:22s} {gmac[name]:7.1f} GMAC {seconds[name]:7.2f} s "
                f"{2 * gmac[name] / seconds[name]:5.0f} GFLOP/s, {rate[name]:.2f} of the product's rate; "
                f"{of_published[name]:.1f} times as fast as the published HOOK"
            )
        print(
            f"published HOOK: target {TARGET}; as built it takes {1 / of_published['as built']:.2f} of that time; made "
            f"ready it differs by {error:.1e}; in bfloat16 it is {of_published['bfloat16']:.1f} times as fast and "
            f"differs by {off:.1e} of the largest logit, {same:.4f} of the argmax are the same"
        )
        print(
            f"linear HOOK: {of_published[linear]:.1f} times as fast as the published (target 4), "
            f"{of_patches:.2f} times as fast as Patch Embed (target 1)"
        )
    assert error <= 1e-5
    assert off <= 0.1
    assert rate["hook_segmenter"] >= LEAST
    assert of_published[linear] >= (2 if FULL else 1)
