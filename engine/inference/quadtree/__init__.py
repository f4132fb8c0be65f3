"""Quadtrees of whole scenes: scored once, selected at any budget, saved and opened again.

Importing this package imports no torch, and neither does opening a saved tree and selecting from it: names that need
it are fetched when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.inference.quadtree.file import open_quadtree, save_quadtree
    from engine.inference.quadtree.options import SCORERS, PatchOptions, QuadtreeOptions, score_facts
    from engine.inference.quadtree.scenes import score_scene
    from engine.inference.quadtree.tree import SceneQuadtree, Selection

_HOMES = {
    "file": ("open_quadtree", "save_quadtree"),
    "options": ("SCORERS", "PatchOptions", "QuadtreeOptions", "score_facts"),
    "scenes": ("score_scene",),
    "tree": ("SceneQuadtree", "Selection"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SCORERS",
    "PatchOptions",
    "QuadtreeOptions",
    "SceneQuadtree",
    "Selection",
    "open_quadtree",
    "save_quadtree",
    "score_facts",
    "score_scene",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
