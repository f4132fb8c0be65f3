"""What the model runs on: finds devices, tries them, says in words why one was chosen.

Guarantees: a device that is offered has run a small forward pass; falling back to the processor is never silent,
``DeviceInfo.reason`` tells why.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from engine.errors import DeviceError


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device that models can run on.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        name: What torch calls it, for example ``cuda:0``.
        label: What people call it, for example ``CUDA: NVIDIA H200``.
        reason: Why it was chosen, a sentence.
        memory_bytes: Memory of the device itself, None for the processor.
    """

    kind: Literal["cpu", "cuda"]
    name: str
    label: str
    reason: str
    memory_bytes: int | None

    @property
    def torch_device(self) -> torch.device:
        """The device as torch wants it."""
        return torch.device(self.name)


def choose_device(name: str = "auto") -> DeviceInfo:
    """Find the device for a run.

    Args:
        name: ``auto`` takes the first CUDA device that works, else the processor; ``cpu``, ``cuda`` and ``cuda:1``
            insist.

    Raises:
        DeviceError: The device that was asked for does not exist or fails its trial.
    """
    wanted = name.strip().lower()
    if wanted == "cpu":
        return _cpu("The processor was asked for.")
    if wanted == "auto":
        return _automatic()
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise DeviceError(
            f"there is no device called {name!r}", where="device", remedy="Use auto, cpu, cuda or cuda:0."
        )
    absent = _why_no_cuda()
    if absent is not None:
        raise DeviceError(f"CUDA cannot be used: {absent}", where=name, remedy="Use the device auto or cpu.")
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no CUDA device {index}, this machine has {torch.cuda.device_count()}",
            where=name,
            remedy="Use the device auto.",
        )
    fault = _trial(index)
    if fault is not None:
        raise DeviceError(f"the device fails a small trial: {fault}", where=name, remedy="Use the device cpu.")
    return _cuda(index, "It was asked for and passed a small trial.")


def list_devices() -> list[DeviceInfo]:
    """All devices that work, the one that ``auto`` takes first."""
    first = choose_device("auto")
    found = [first]
    if _why_no_cuda() is None:
        for index in range(torch.cuda.device_count()):
            if f"cuda:{index}" != first.name and _trial(index) is None:
                found.append(_cuda(index, "It passed a small trial."))
    if first.kind != "cpu":
        found.append(_cpu("It is always there."))
    return found


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether arithmetic in bfloat16 is at least as fast as in float32 there.

    Processors without instructions for it take several times as long where AVX-512 stands in for them, and some fifty
    times where nothing does.
    """
    if device.type != "cpu":
        return True
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (there and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    # oneDNN says yes to any AVX-512, which computes it in float32 with conversions on both sides.
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _automatic() -> DeviceInfo:
    absent = _why_no_cuda()
    if absent is not None:
        return _cpu(f"No graphics card is used: {absent}.")
    faults = []
    for index in range(torch.cuda.device_count()):
        fault = _trial(index)
        if fault is None:
            return _cuda(index, "It is a CUDA device and passed a small trial.")
        faults.append(f"{torch.cuda.get_device_name(index)} failed its trial ({fault})")
    return _cpu(f"No graphics card is used: {'; '.join(faults)}.")


def _why_no_cuda() -> str | None:
    if torch.version.cuda is None and torch.version.hip is None:
        return "this installation of PyTorch is built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device or driver"
    return None


def _trial(index: int) -> str | None:
    """Run a small convolution; None if it works, else what went wrong in one line."""
    try:
        device = torch.device("cuda", index)
        image = torch.ones(1, 3, 16, 16, device=device)
        kernel = torch.ones(4, 3, 3, 3, device=device)
        total = float(torch.nn.functional.conv2d(image, kernel).sum())
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]
    expected = 4 * 14 * 14 * 27
    return None if abs(total - expected) < 1 else f"it computed {total:g} where {expected} is right"


def _cuda(index: int, reason: str) -> DeviceInfo:
    properties = torch.cuda.get_device_properties(index)
    return DeviceInfo("cuda", f"cuda:{index}", f"CUDA: {properties.name}", reason, int(properties.total_memory))


def _cpu(reason: str) -> DeviceInfo:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return DeviceInfo("cpu", "cpu", f"CPU: {_processor_name()}, {cores} cores", reason, None)


def _processor_name() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "processor"
