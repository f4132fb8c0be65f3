"""How many processor threads a run may take beside a window that must stay awake."""

from __future__ import annotations

import os

import torch


def leave_a_core_free() -> None:
    """Use one processor thread less than there are cores where there are more than two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > 2:
        torch.set_num_threads(max(min(torch.get_num_threads(), cores - 1), 1))
