"""Benchmarks run alone: what measures ratios or memory wants no other tests beside it.

A ratio of two times can be spoilt by another program that wakes up in the middle of one of them; a property that is
lost stays lost. So a benchmark that fails is measured again, twice at most.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, so that ``-m benchmark`` names it and ``-m 'not benchmark'`` leaves it out."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.benchmark)
            item.add_marker(pytest.mark.flaky(reruns=2))
