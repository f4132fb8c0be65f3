"""Colours of patch sizes, the same in figures and in the style of exported files."""

from __future__ import annotations

import numpy as np

_STOPS = ("#ffe94d", "#ffa53a", "#ff5f6d", "#e05cff", "#7f8cff", "#4fd0ff")
"""From the smallest patch on, all bright enough for dark ground."""


def level_colours(count: int) -> list[str]:
    """Colours ``#rrggbb`` of ``count`` levels, the smallest patch first."""
    if count <= len(_STOPS):
        return list(_STOPS[:count])
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in _STOPS], dtype=float)
    at = np.linspace(0, len(stops) - 1, count)
    mixed = np.stack([np.interp(at, np.arange(len(stops)), part) for part in stops.T], axis=1)
    return ["#" + "".join(f"{round(value):02x}" for value in row) for row in mixed.tolist()]
