"""How good a model's regions are: purity, boundary recall and seams, beside SLIC superpixels.

Tiles are laid out as georeferenced scenes and analysed through the same pipeline a user runs. Guarantees: every tile
lies in exactly one scene, in an order that depends on the tiles' names alone; SLIC is given as many segments as it
needs for the model's purity, so both are compared at equal quality and at equal number.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from engine.errors import TrainingError
from engine.inference import analyse, open_analysis
from engine.inference.options import AnalysisOptions
from engine.models.loaded import LoadedModel
from engine.regions.quality import Quality, SeamShare, measure, seam_share, slic_areas, slic_segments_for, window_lines
from engine.scene import open_scene
from engine.training.data import Measured
from engine.training.report import Extra
from engine.training.segmentation.samples import MeasuredTiles
from engine.training.segmentation.tiles import IGNORE, Tile

SCENE_TILES = 5
"""Tiles along an edge of a laid-out scene."""

_CRS = "EPSG:32650"
_ORIGIN_M = (500_000.0, 3_400_000.0)


def evaluate_regions(model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None) -> Extra:
    """Measure regions on tiles laid out as scenes.

    Args:
        model: The model.
        samples: Labelled tiles; those of the most frequent size are laid out, the others left out.
        progress: Called with the share done.

    Returns:
        ``model`` and ``slic`` with purity, boundary recall (2 pixels) and regions a megapixel; for the model also the
        share of region border on window lines over chance; for SLIC also the segments it needs for the model's purity.

    Raises:
        TrainingError: There are too few tiles for one scene.
    """
    layouts = _laid_out(samples)
    ours, slic_same, seams, needed = Quality(0, 0, 0, 0, 0), Quality(0, 0, 0, 0, 0), SeamShare(0, 0, 0, 0), 0
    for number, (image, truth) in enumerate(layouts):
        labels, quality, seam = _measured(model, image, truth)
        ours += quality
        seams += seam
        count = int(labels.max())
        slic_same += measure(slic_areas(image, count), truth, IGNORE)

        def with_slic(segments: int, image: np.ndarray = image, truth: np.ndarray = truth) -> Quality:
            return measure(slic_areas(image, segments), truth, IGNORE)

        needed += slic_segments_for(quality.purity, with_slic, 4 * count)
        if progress is not None:
            progress((number + 1) / len(layouts))
    megapixels = sum(truth.size for _, truth in layouts) / 1e6
    figures = {
        "scenes": len(layouts),
        "megapixels": round(megapixels, 2),
        "model": {**_figures(ours, megapixels), "window_line_ratio": round(seams.ratio, 4)},
        "slic": {
            **_figures(slic_same, megapixels),
            "regions_for_model_purity": needed,
            "regions_per_mpx_for_model_purity": round(needed / megapixels, 1),
        },
    }
    return Extra(figures, "Regions on the tiles laid out as scenes", ("figure", "model", "SLIC"), _rows(figures))


def region_figures(
    model: LoadedModel, samples: Measured, progress: Callable[[float], None] | None = None
) -> dict[str, float]:
    """Purity, boundary recall and number of a model's regions alone, as :func:`evaluate_regions` measures them."""
    layouts = _laid_out(samples)
    ours = Quality(0, 0, 0, 0, 0)
    for number, (image, truth) in enumerate(layouts):
        ours += _measured(model, image, truth)[1]
        if progress is not None:
            progress((number + 1) / len(layouts))
    figures = _figures(ours, sum(truth.size for _, truth in layouts) / 1e6)
    return {name: figures[name] for name in ("purity", "boundary_recall_2px", "regions_per_mpx")}


def _laid_out(samples: Measured) -> list[tuple[np.ndarray, np.ndarray]]:
    assert isinstance(samples, MeasuredTiles)
    tiles = [tile for group in samples.sets for tile in group]
    layouts = list(_layouts(tiles))
    if not layouts:
        raise TrainingError(
            f"{len(tiles)} tiles are too few for a scene of {SCENE_TILES} x {SCENE_TILES}",
            remedy="Leave the regions out.",
        )
    return layouts


def _measured(model: LoadedModel, image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, Quality, SeamShare]:
    """Regions of a laid-out scene, how good they are, and how much of their border lies on window lines."""
    tile_px = (truth.shape[0] // SCENE_TILES, truth.shape[1] // SCENE_TILES)
    with tempfile.TemporaryDirectory() as folder:
        labels, lines_x, lines_y = _regions_of(model, image, tile_px, Path(folder))
    return labels, measure(labels, truth, IGNORE), seam_share(labels, lines_x, lines_y)


def _rows(figures: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    ours, slic = figures["model"], figures["slic"]
    shared = (
        ("purity", "purity"),
        ("regions_per_mpx", "regions a megapixel"),
        ("boundary_recall_2px", "boundary recall (2 px)"),
    )
    return (
        *((title, f"{ours[key]:.3f}", f"{slic[key]:.3f}") for key, title in shared),
        ("regions a megapixel at the model's purity", "", f"{slic['regions_per_mpx_for_model_purity']}"),
        ("boundary on window lines / chance", f"{ours['window_line_ratio']:.3f}", "-"),
    )


def _figures(quality: Quality, megapixels: float) -> dict[str, Any]:
    return {
        "purity": round(quality.purity, 4),
        "boundary_recall_2px": round(quality.boundary_recall, 4),
        "regions": quality.regions,
        "regions_per_mpx": round(quality.regions / megapixels, 1),
    }


def _layouts(tiles: list[Tile]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    shapes = [tile.labels.shape for tile in tiles]
    if not shapes:
        return
    common = max(set(shapes), key=shapes.count)
    chosen = sorted((t for t in tiles if t.labels.shape == common), key=lambda t: hashlib.md5(t.name.encode()).digest())
    each = SCENE_TILES * SCENE_TILES
    for start in range(0, len(chosen) - each + 1, each):
        group = chosen[start : start + each]
        rows = [group[r * SCENE_TILES : (r + 1) * SCENE_TILES] for r in range(SCENE_TILES)]
        image = np.concatenate([np.concatenate([t.image for t in row], axis=2) for row in rows], axis=1)
        truth = np.concatenate([np.concatenate([t.labels for t in row], axis=1) for row in rows], axis=0)
        yield image, truth


def _regions_of(
    model: LoadedModel, image: np.ndarray, tile_px: tuple[int, int], folder: Path
) -> tuple[np.ndarray, list[int], list[int]]:
    path = folder / "scene.tif"
    gsd_m = model.card.gsd_m or 1.0
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=image.shape[2],
        height=image.shape[1],
        count=image.shape[0],
        dtype=image.dtype,
        crs=_CRS,
        transform=Affine.translation(*_ORIGIN_M) @ Affine.scale(gsd_m, -gsd_m),
        tiled=True,
    ) as file:
        file.write(image)
    options = AnalysisOptions(bands=tuple(range(1, image.shape[0] + 1)), gsd="native")
    with open_scene(path) as scene:
        for _ in analyse(scene, model, folder / "analysis", options):
            continue
    with open_analysis(folder / "analysis") as analysis:
        plan, labels = analysis.plan, analysis.read("regions")
    height, width = labels.shape
    lines_x = window_lines(plan.col_starts, plan.window_px, width)
    lines_y = window_lines(plan.row_starts, plan.window_px, height)
    # Where a line falls on the edge of a tile there is a true border: it says nothing about windows.
    return labels, [x for x in lines_x if x % tile_px[1]], [y for y in lines_y if y % tile_px[0]]
