"""What a model costs and how fast it runs: parameters, multiply-accumulates, images a second, memory.

Multiply-accumulates are counted by :mod:`engine.models.cost` on one real pass of the model as it was built, for one
image. Speed is that of the forward pass as inference runs it (norms folded, arranged for the device), after warming up:
the median over batches. Guarantees: any architecture by name, with fresh weights and the published number of classes
and image size, any shipped model, any checkpoint; the model that comes in is not changed.
"""

from __future__ import annotations

import inspect
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import DeviceError, ModelNotFoundError, OptionError
from engine.models.catalog import find_model
from engine.models.checkpoint import load_checkpoint
from engine.models.cost import count_image
from engine.models.folding import fold_batch_norms
from engine.models.ready import Precision, arrange
from engine.models.registry import architecture_class, architectures, create, full_config

WARM_BATCHES = 3
LEAST_BATCHES = 5
TIMED_S = 5.0
_CLASSES = 5
"""Classes of architectures that need to be told: those of Potsdam, for which UperNet's figures are published."""
_SIZES_PX = (("oriented_rcnn_", 1024), ("upernet_", 512), ("bit_", 256), ("hook_segmenter", 512), ("", 224))
"""Published image sizes by the beginning of an architecture's name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure.

    Attributes:
        name: Its name.
        architecture: Its architecture.
        module: The model as built, in evaluation mode.
        bands: Bands of an image.
        classes: Classes, None where it has none.
        size_px: Edge of the images it is meant for.
        images: Images that one call takes: two for models of change.
    """

    name: str
    architecture: str
    module: nn.Module
    bands: int
    classes: int | None
    size_px: int
    images: int


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured.

    Attributes:
        model: Name of the model.
        architecture: Its architecture.
        classes: Classes, None where it has none.
        parameters: Numbers that can be learned, and those held frozen.
        gmac: Multiply-accumulates of convolutions and linear layers for one image (or pair), in 10^9.
        gmac_with_attention: The same with the products of attention.
        size_px: Edge of the images.
        batch: Images (or pairs) a call.
        per_s: Images (or pairs) a second, by the median batch.
        per_s_slowest: By the slowest batch.
        per_s_fastest: By the fastest.
        batches: Batches timed.
        unit: ``images`` or ``pairs``.
        memory_bytes: Peak memory: what torch allocated on an accelerator, of the whole process on a processor; None
            where the system does not tell.
        device: Where it ran.
        precision: Its arithmetic.
        compiled: Whether torch compiled it.
        threads: Threads on a processor.
    """

    model: str
    architecture: str
    classes: int | None
    parameters: int
    gmac: float
    gmac_with_attention: float
    size_px: int
    batch: int
    per_s: float
    per_s_slowest: float
    per_s_fastest: float
    batches: int
    unit: str
    memory_bytes: int | None
    device: str
    precision: Precision
    compiled: bool
    threads: int


def find_subject(name_or_path: str | Path, classes: int | None = None) -> Subject:
    """An architecture by name, a shipped model, or a checkpoint.

    Args:
        name_or_path: Its name or file.
        classes: Classes of an architecture; None takes the published number.

    Raises:
        ModelNotFoundError: There is nothing of this name.
        OptionError: The number of classes is fixed, or impossible.
    """
    if str(name_or_path) not in architectures():
        if classes is not None:
            raise OptionError("a checkpoint's classes are fixed", remedy="Leave the number of classes out.")
        try:
            module, card = load_checkpoint(find_model(name_or_path).path)
        except ModelNotFoundError as error:
            known = f"{error.remedy} Architectures are {', '.join(architectures())}."
            raise ModelNotFoundError(error.what, where=error.where, remedy=known) from error
        found, size_px = len(card.classes), card.window_px
        return Subject(card.name, card.architecture, module.eval(), len(card.bands), found, size_px, _inputs(module))
    name = str(name_or_path)
    if classes is not None and classes < 1:
        raise OptionError(f"a model of {classes} classes is impossible", remedy="Give a number above 0.")
    parameters = inspect.signature(architecture_class(name)).parameters
    asked: dict[str, int] = {}
    if classes is not None or (
        "num_classes" in parameters and parameters["num_classes"].default is inspect.Parameter.empty
    ):
        asked["num_classes"] = classes or _CLASSES
    config = full_config(name, asked)
    with torch.random.fork_rng(devices=[]):
        module = create(name, **asked).eval()
    size_px = int(config.get("image_size") or next(size for start, size in _SIZES_PX if name.startswith(start)))
    return Subject(name, name, module, int(config["in_channels"]), config.get("num_classes"), size_px, _inputs(module))


def run_benchmark(
    subject: Subject,
    *,
    device: torch.device | str = "cpu",
    batch: int = 8,
    size_px: int | None = None,
    precision: Precision = "float32",
    compiled: bool = False,
    timed_s: float = TIMED_S,
    progress: Callable[[str], None] | None = None,
) -> Benchmark:
    """Measure a model.

    Args:
        subject: The model.
        device: Where it runs.
        batch: Images (or pairs) a call.
        size_px: Edge of the images; None takes the subject's.
        precision: Arithmetic inside the model.
        compiled: Whether torch compiles the model first.
        timed_s: Seconds to time batches for; at least five batches are timed.
        progress: Told what is being done.

    Raises:
        OptionError: A number is impossible.
        DeviceError: The device is not there, has too little memory, or cannot compile.
    """
    tell = progress or (lambda _: None)
    edge, target = size_px or subject.size_px, torch.device(device)
    if batch < 1 or edge < 1:
        raise OptionError(f"a batch of {batch} images of {edge} pixels is impossible", remedy="Give numbers above 0.")
    tell(f"counting one pass over {edge} pixels")
    macs = count_image(subject.module, subject.bands, edge, subject.images)
    tell("warming up")
    try:
        module = arrange(fold_batch_norms(subject.module)[0], target, precision)
        run: Callable[..., object] = torch.compile(module) if compiled else module
        images = _images(subject, batch, edge, target)
        if target.type == "cuda":
            torch.cuda.reset_peak_memory_stats(target)
        times = _time(run, images, target, precision, timed_s)
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"the device's memory does not hold a batch of {batch} images of {edge} pixels",
            where=str(target),
            remedy="Use a smaller batch.",
        ) from error
    except (RuntimeError, AssertionError) as error:
        first = str(error).partition("\n")[0]
        raise DeviceError(
            f"the model cannot be {'compiled' if compiled else 'run'} there: {first}",
            where=str(target),
            remedy="Leave compiling out, or choose the device cpu." if compiled else "Choose another device or size.",
        ) from error
    return Benchmark(
        model=subject.name,
        architecture=subject.architecture,
        classes=subject.classes,
        parameters=sum(parameter.numel() for parameter in subject.module.parameters()),
        gmac=macs.layers / 1e9,
        gmac_with_attention=macs.total / 1e9,
        size_px=edge,
        batch=batch,
        per_s=batch / statistics.median(times),
        per_s_slowest=batch / max(times),
        per_s_fastest=batch / min(times),
        batches=len(times),
        unit="images" if subject.images == 1 else "pairs",
        memory_bytes=torch.cuda.max_memory_allocated(target) if target.type == "cuda" else peak_memory_bytes(),
        device=str(target),
        precision=precision,
        compiled=compiled,
        threads=torch.get_num_threads(),
    )


def peak_memory_bytes() -> int | None:
    """The most memory this process has held; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


def _time(
    run: Callable[..., object], images: list[Tensor], device: torch.device, precision: Precision, timed_s: float
) -> list[float]:
    times: list[float] = []
    half = precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for _ in range(WARM_BATCHES):
            run(*images)
        _wait(device)
        started = time.perf_counter()
        while len(times) < LEAST_BATCHES or time.perf_counter() - started < timed_s:
            begun = time.perf_counter()
            run(*images)
            _wait(device)
            times.append(time.perf_counter() - begun)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _images(subject: Subject, batch: int, edge: int, device: torch.device) -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    shape = (batch, subject.bands, edge, edge)
    made = [torch.randn(shape, generator=draws) for _ in range(subject.images)]
    return [images.to(device).contiguous(memory_format=torch.channels_last) for images in made]


def _inputs(module: nn.Module) -> int:
    """Images that one call of a module takes."""
    parameters = inspect.signature(module.forward).parameters.values()
    return sum(parameter.default is parameter.empty for parameter in parameters)
