"""Scene + model -> analysis: window plan, pipeline, blending, the store on disk.

Importing this package imports no torch: names that need it are fetched when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis, open_analysis
    from engine.inference.attention import AttentionMap, token_attention
    from engine.inference.check import RunCheck, check_run
    from engine.inference.device import DeviceInfo, choose_device, list_devices
    from engine.inference.info import AnalysisInfo, ClassShare
    from engine.inference.options import AnalysisOptions
    from engine.inference.pipeline import analyse

_HOMES = {
    "analysis": ("Analysis", "open_analysis"),
    "attention": ("AttentionMap", "token_attention"),
    "check": ("RunCheck", "check_run"),
    "device": ("DeviceInfo", "choose_device", "list_devices"),
    "info": ("AnalysisInfo", "ClassShare"),
    "options": ("AnalysisOptions",),
    "pipeline": ("analyse",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Analysis",
    "AnalysisInfo",
    "AnalysisOptions",
    "AttentionMap",
    "ClassShare",
    "DeviceInfo",
    "RunCheck",
    "analyse",
    "check_run",
    "choose_device",
    "list_devices",
    "open_analysis",
    "token_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
