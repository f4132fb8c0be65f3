"""Models: tokenizer + backbone + head for a task, their cards, the registry and checkpoints.

Importing this package imports no torch: names that need it are fetched when first used. ``create``, ``from_reference``
and ``load_model`` are the three ways to a model: by architecture, by the authors' weights, by checkpoint.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.models.card import CardClass, ModelCard, Scaling
    from engine.models.catalog import ModelInfo, find_model, list_models
    from engine.models.checkpoint import load_checkpoint, read_card, save_checkpoint
    from engine.models.loaded import LoadedModel, load_model
    from engine.models.output import PixelMaps, TokenOutput
    from engine.models.registry import architectures, create, from_reference, register

__all__ = [
    "CardClass",
    "LoadedModel",
    "ModelCard",
    "ModelInfo",
    "PixelMaps",
    "Scaling",
    "TokenOutput",
    "architectures",
    "create",
    "find_model",
    "from_reference",
    "list_models",
    "load_checkpoint",
    "load_model",
    "read_card",
    "register",
    "save_checkpoint",
]

_HOMES = {
    "card": ("CardClass", "ModelCard", "Scaling"),
    "catalog": ("ModelInfo", "find_model", "list_models"),
    "checkpoint": ("load_checkpoint", "read_card", "save_checkpoint"),
    "loaded": ("LoadedModel", "load_model"),
    "output": ("PixelMaps", "TokenOutput"),
    "registry": ("architectures", "create", "from_reference", "register"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
