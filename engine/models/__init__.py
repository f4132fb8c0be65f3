"""Models: tokenizer + backbone + head for a task, their cards, the registry and checkpoints.

Importing this package imports no torch: names that need it are fetched when first used. ``create``, ``from_reference``
and ``load_model`` are the three ways to a model: by architecture, by the authors' weights, by checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy_names

if TYPE_CHECKING:
    from engine.models.card import CardClass, ModelCard, Scaling
    from engine.models.catalog import ModelInfo, find_model, list_models
    from engine.models.checkpoint import load_checkpoint, read_card, save_checkpoint
    from engine.models.cost import Macs, count_macs
    from engine.models.loaded import LoadedModel, load_model
    from engine.models.output import PixelMaps, TokenOutput
    from engine.models.registry import architectures, create, from_reference, register

__all__ = [
    "CardClass",
    "LoadedModel",
    "Macs",
    "ModelCard",
    "ModelInfo",
    "PixelMaps",
    "Scaling",
    "TokenOutput",
    "architectures",
    "count_macs",
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "card": ("CardClass", "ModelCard", "Scaling"),
        "catalog": ("ModelInfo", "find_model", "list_models"),
        "checkpoint": ("load_checkpoint", "read_card", "save_checkpoint"),
        "cost": ("Macs", "count_macs"),
        "loaded": ("LoadedModel", "load_model"),
        "output": ("PixelMaps", "TokenOutput"),
        "registry": ("architectures", "create", "from_reference", "register"),
    },
)
