"""The engine: opens scenes, runs tokenizer models over them, keeps and exports what they see. Never imports Qt.

The public names below are loaded on first use, so ``import engine`` is fast and does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.errors import EngineError, EngineWarning
    from engine.export import export
    from engine.inference import analyse
    from engine.inference.analysis import Analysis, open_analysis
    from engine.inference.options import AnalysisOptions
    from engine.models.card import ModelCard
    from engine.models.catalog import list_models
    from engine.models.loaded import LoadedModel, load_model
    from engine.scene import Band, Grid, Raster, Scene, ScenePair, Window, open_scene, pair_scenes

__version__ = "0.1.0"

_HOMES = {
    "Analysis": "engine.inference.analysis",
    "AnalysisOptions": "engine.inference.options",
    "Band": "engine.scene",
    "EngineError": "engine.errors",
    "EngineWarning": "engine.errors",
    "Grid": "engine.scene",
    "LoadedModel": "engine.models.loaded",
    "ModelCard": "engine.models.card",
    "Raster": "engine.scene",
    "Scene": "engine.scene",
    "ScenePair": "engine.scene",
    "Window": "engine.scene",
    "analyse": "engine.inference",
    "list_models": "engine.models.catalog",
    "load_model": "engine.models.loaded",
    "open_analysis": "engine.inference.analysis",
    "open_scene": "engine.scene",
    "pair_scenes": "engine.scene",
}

__all__ = [
    "Analysis",
    "AnalysisOptions",
    "Band",
    "EngineError",
    "EngineWarning",
    "Grid",
    "LoadedModel",
    "ModelCard",
    "Raster",
    "Scene",
    "ScenePair",
    "Window",
    "analyse",
    "export",
    "list_models",
    "load_model",
    "open_analysis",
    "open_scene",
    "pair_scenes",
]


def __getattr__(name: str) -> Any:
    if name == "export":  # the package of this name can be called, so that both uses of it work
        return import_module("engine.export")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
