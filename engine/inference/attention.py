"""Where a region's token looked: the claim of one token over its whole window, computed again when somebody asks.

Guarantees: the window is run exactly as in the analysis (same pixels, bands and scaling), so the map belongs to the
region's token; values lie in 0 to 1 and cover the window's part of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from engine.errors import AnalysisError
from engine.inference.analysis import Analysis
from engine.inference.reader import cut_window
from engine.inference.stage import DeviceStage
from engine.models.loaded import LoadedModel
from engine.scene import Scene, Window


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """How strongly a token claims each pixel of its window.

    Attributes:
        window: The window on the analysis grid.
        values: float32 ``[h, w]``, 0 to 1.
        token_index: Number of the token in its window.
    """

    window: Window
    values: npt.NDArray[np.float32]
    token_index: int


def token_attention(scene: Scene, model: LoadedModel, analysis: Analysis, region_id: int) -> AttentionMap:
    """Compute the attention of the token that a region came from.

    Args:
        scene: The scene that was analysed.
        model: The model that ran, on any device.
        analysis: The finished analysis.
        region_id: The region.

    Raises:
        AnalysisError: There is no such region, or scene or model are not those of the analysis.
    """
    info = analysis.info
    if model.sha256 != info.model.sha256:
        raise AnalysisError(
            f"the analysis was made with another model than this {model.name}",
            where=analysis.path,
            remedy=f"Load the model {info.model.name} of that run.",
        )
    resolved = info.resolved
    resampled = scene.at_gsd(resolved.gsd_m) if resolved.gsd_m is not None else scene
    if (resampled.width, resampled.height) != (analysis.grid.width, analysis.grid.height):
        raise AnalysisError(
            "the analysis was made of another scene", where=analysis.path, remedy=f"Open {info.scene.name}."
        )
    region = analysis.region(region_id)
    if region.window < 0 or region.token_index < 0:
        raise AnalysisError(
            f"region {region_id} came from no token", where=analysis.path, remedy="Choose another region."
        )
    place = analysis.plan.window(region.window)
    window = Window(place.col, place.row, place.width, place.height)
    raster = resampled.read(window, bands=resolved.bands)
    valid = raster.valid
    if raster.data.dtype.kind == "f":
        valid = valid & np.isfinite(raster.data).all(axis=0)
    pixels = cut_window(raster.data, valid, resolved.window_px)[None]
    stage = DeviceStage(model, resolved.scaling, resolved.window_px)
    with torch.inference_mode():
        output, _ = stage.output(pixels)
        claim = output.tokens.assignment[:1, region.token_index][:, None].float()
        size = (resolved.window_px, resolved.window_px)
        drawn = F.interpolate(claim, size, mode="bilinear", align_corners=False)[0, 0, : place.height, : place.width]
        peak = float(drawn.max())
        values = (drawn / peak if peak > 1 else drawn).clamp(0, 1).cpu().numpy()
    return AttentionMap(window, np.asarray(values, np.float32), region.token_index)
