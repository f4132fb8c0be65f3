"""Where tokens looked: each token's attention over its window and the window's token map, computed again when asked.

Guarantees: the window is run exactly as in the analysis (same pixels, bands and scaling), so what is seen belongs to
the analysis's regions and cells; maps cover the window's part of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from engine.errors import AnalysisError
from engine.inference.analysis import Analysis
from engine.inference.blend import token_map
from engine.inference.reader import cut_window
from engine.inference.refine import refine_assignment
from engine.inference.stage import BatchStage
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput
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


@dataclass(frozen=True, slots=True)
class WindowTokens:
    """What a model perceived in one window.

    Attributes:
        window: The window on the analysis grid.
        pixels: ``[C, h, w]`` of the model's bands, as the scene stores them.
        token_map: ``[h, w]`` token of each pixel.
        looks: ``[N, rows, cols]`` float32 attention of each token as the method publishes it (mean over heads), its
            claims where it publishes none; on the model's own cells, over the whole window.
        window_px: Edge of the whole window; at the scene's end less of it lies on the grid.
    """

    window: Window
    pixels: npt.NDArray[np.generic]
    token_map: npt.NDArray[np.int32]
    looks: npt.NDArray[np.float32]
    window_px: int

    @property
    def count(self) -> int:
        """Tokens ``N``."""
        return len(self.looks)

    def at_pixels(self, token: int) -> npt.NDArray[np.float32]:
        """Attention of a token at the pixels of the window's part of the grid, ``[h, w]``."""
        return _at_pixels(torch.from_numpy(self.looks[token]), self.window_px, self.window)


def window_tokens(scene: Scene, model: LoadedModel, analysis: Analysis, window: int) -> WindowTokens:
    """Compute what the model perceives in a window of an analysis.

    Args:
        scene: The scene that was analysed.
        model: The model that ran, on any device.
        analysis: The analysis.
        window: Number of the window.

    Raises:
        AnalysisError: Scene or model are not those of the analysis.
    """
    output, seen, place, pixels = _run(scene, model, analysis, window)
    edge = analysis.info.resolved.window_px
    with torch.inference_mode():
        if output.logits.ndim == 4 and output.upsample is not None:
            claims = output.at_pixels(edge, edge).assignment
        elif output.logits.ndim == 4:
            claims = refine_assignment(output.tokens.assignment, seen)
        else:
            claims = F.interpolate(output.tokens.assignment.float(), (edge, edge), mode="bilinear", align_corners=False)
        numbers = token_map(claims)[0, : place.height, : place.width].cpu().numpy().astype(np.int32)
        looks = output.tokens.looks[0].float().cpu().numpy()
    return WindowTokens(place, pixels, numbers, looks, edge)


def token_attention(scene: Scene, model: LoadedModel, analysis: Analysis, region_id: int) -> AttentionMap:
    """Compute the claim of the token that a region came from.

    Args:
        scene: The scene that was analysed.
        model: The model that ran, on any device.
        analysis: The finished analysis.
        region_id: The region.

    Raises:
        AnalysisError: There is no such region, or scene or model are not those of the analysis.
    """
    region = analysis.region(region_id)
    if region.window < 0 or region.token_index < 0:
        raise AnalysisError(
            f"region {region_id} came from no token", where=analysis.path, remedy="Choose another region."
        )
    output, _, place, _ = _run(scene, model, analysis, region.window)
    with torch.inference_mode():
        claim = output.tokens.assignment[0, region.token_index].float().cpu()
    values = _at_pixels(claim, analysis.info.resolved.window_px, place)
    peak = float(values.max())
    values = np.clip(values / peak if peak > 1 else values, 0, 1)
    return AttentionMap(place, np.asarray(values, np.float32), region.token_index)


def _run(
    scene: Scene, model: LoadedModel, analysis: Analysis, number: int
) -> tuple[TokenOutput, torch.Tensor, Window, npt.NDArray[np.generic]]:
    """Output for a window, the normalised image, where it lies, and its stored pixels."""
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
    place = analysis.plan.window(number)
    window = Window(place.col, place.row, place.width, place.height)
    raster = resampled.read(window, bands=resolved.bands)
    valid = raster.valid
    if raster.data.dtype.kind == "f":
        valid = valid & np.isfinite(raster.data).all(axis=0)
    pixels = cut_window(raster.data, valid, resolved.window_px)
    images = BatchStage[None](model, resolved.scaling, resolved.window_px).images(pixels[None])
    return model(images, attention=True), images, window, pixels[:, : place.height, : place.width]


def _at_pixels(values: torch.Tensor, edge: int, window: Window) -> npt.NDArray[np.float32]:
    """Values ``[rows, cols]`` of a whole window at the pixels of its part of the grid."""
    drawn = F.interpolate(values[None, None].float(), (edge, edge), mode="bilinear", align_corners=False)
    part = drawn[0, 0, : int(window.height), : int(window.width)]
    return np.asarray(part.numpy(), np.float32)
