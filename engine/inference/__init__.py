"""Scene + model -> analysis: window plan, pipeline, blending, the store on disk.

Importing this package imports no torch: names that need it are fetched when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy_names

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis, open_analysis
    from engine.inference.attention import AttentionMap, WindowTokens, token_attention, window_tokens
    from engine.inference.check import RunCheck, check_run
    from engine.inference.device import DeviceInfo, choose_device, list_devices
    from engine.inference.info import AnalysisInfo, ClassShare
    from engine.inference.options import AnalysisOptions
    from engine.inference.pipeline import analyse

__all__ = [
    "Analysis",
    "AnalysisInfo",
    "AnalysisOptions",
    "AttentionMap",
    "ClassShare",
    "DeviceInfo",
    "RunCheck",
    "WindowTokens",
    "analyse",
    "check_run",
    "choose_device",
    "list_devices",
    "open_analysis",
    "token_attention",
    "window_tokens",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "analysis": ("Analysis", "open_analysis"),
        "attention": ("AttentionMap", "WindowTokens", "token_attention", "window_tokens"),
        "check": ("RunCheck", "check_run"),
        "device": ("DeviceInfo", "choose_device", "list_devices"),
        "info": ("AnalysisInfo", "ClassShare"),
        "options": ("AnalysisOptions",),
        "pipeline": ("analyse",),
    },
)
