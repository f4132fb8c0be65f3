"""Freed memory is kept for the next step where the C library is asked, and the user's own settings are respected."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from engine.training.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def step():
    return sum(float(torch.ones(64 << 20, dtype=torch.uint8)[0]) for _ in range(10))
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(what: str, **environment: str) -> tuple[str, int]:
    kept, count = subprocess.run(
        [sys.executable, "-c", FAULTS, what],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    ).stdout.split()
    return kept, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_pages_of_freed_blocks_are_not_asked_for_again() -> None:
    kept, few = _faults("keep")
    _, many = _faults("plain")
    assert kept == "True"
    assert few < many / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_settings_of_the_user_stay() -> None:
    assert _faults("keep", MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"
