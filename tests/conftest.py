"""What all tests share.

Properties are checked without a stopwatch, for machines are noisy, and on the same examples at every run: a change is
judged by what it does, not by luck. ``HYPOTHESIS_PROFILE=search`` looks for new examples.
"""

import os

# Two processes of tests (pytest -n 2) share two cores: each keeps to one. Before anything imports torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
