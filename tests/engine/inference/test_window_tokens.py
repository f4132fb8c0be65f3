"""Tokens of one window, seen again: the token map of the run, each token's attention as its method publishes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from inference_fakes import PointwiseModel, loaded, make_card, smooth_noise, write_scene

from engine.errors import AnalysisError
from engine.inference import AnalysisOptions, analyse, open_analysis, window_tokens
from engine.inference.analysis import Analysis
from engine.models.loaded import LoadedModel
from engine.models.registry import create
from engine.scene import Scene

SMALL: dict[str, Any] = {"depths": (1, 1, 1, 1, 1), "widths": (32, 32, 32, 32, 32), "token_count": 5}


def meta_model(name: str, task: str, **config: Any) -> LoadedModel:
    torch.manual_seed(2)
    module = create(name, num_classes=3, **SMALL, **config).eval()
    return loaded(module, make_card(window=48, overlap=0, task=task, token_count=5))


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("land") / "scene.tif", smooth_noise((3, 60, 110)))


def run(path: Path, model: LoadedModel, out: Path) -> Analysis:
    with Scene.open(path) as scene:
        list(analyse(scene, model, out, AnalysisOptions(device="cpu")))
    return open_analysis(out)


def test_meta_tokens_of_a_cell(scene_path: Path, tmp_path: Path) -> None:
    model = meta_model("lemevit_tiny", "classification")
    analysis = run(scene_path, model, tmp_path / "out")
    cell = analysis.cell_at(80, 50)
    assert cell is not None
    with Scene.open(scene_path) as scene:
        seen = window_tokens(scene, model, analysis, cell.window)
        stored = scene.read(seen.window, bands=(1, 2, 3)).data
    assert (seen.window.col_off, seen.window.row_off, seen.window.width, seen.window.height) == (62, 12, 48, 48)
    np.testing.assert_array_equal(seen.pixels, stored)
    assert seen.count == 5
    assert seen.looks.shape == (5, 6, 6)  # one cell for 8 x 8 pixels
    np.testing.assert_allclose(seen.looks.sum(axis=(1, 2)), 1, rtol=1e-4)
    drawn = np.stack([seen.at_pixels(token) for token in range(5)])
    np.testing.assert_array_equal(seen.token_map, drawn.argmax(axis=0))
    with torch.inference_mode():
        images = model.normalise(torch.from_numpy(stored)[None])
        weights = model.module(images, attention=True).tokens.attention
    np.testing.assert_allclose(seen.looks, weights.mean(dim=1).view(5, 6, 6).numpy(), atol=1e-6)


def test_meta_tokens_that_say_their_class_show_the_published_attention(scene_path: Path, tmp_path: Path) -> None:
    """Regions come from claims, a distribution over tokens; what is shown is where each token looks."""
    model = meta_model("upernet_lemevit_tiny", "segmentation", token_head=True, channels=8, auxiliary_channels=8)
    analysis = run(scene_path, model, tmp_path / "out")
    with Scene.open(scene_path) as scene:
        seen = window_tokens(scene, model, analysis, 0)
    np.testing.assert_allclose(seen.looks.sum(axis=(1, 2)), 1, rtol=1e-4)
    claims = torch.from_numpy(seen.looks / seen.looks.sum(axis=0))[None]
    plain = F.interpolate(claims, (48, 48), mode="bilinear", align_corners=False)[0].argmax(dim=0).numpy()
    assert (seen.token_map == plain).mean() > 0.5  # drawn along the image's edges
    assert seen.token_map.max() < 5


def test_the_token_map_is_that_of_the_run(scene_path: Path, tmp_path: Path) -> None:
    model = loaded(PointwiseModel(), make_card(window=48, overlap=0))
    analysis = run(scene_path, model, tmp_path / "out")
    checked = 0
    with Scene.open(scene_path) as scene:
        for region_id in analysis.regions().index:
            region = analysis.region(region_id)
            seen = window_tokens(scene, model, analysis, region.window)
            inside = analysis.read("regions", seen.window) == region_id
            if region.token_index >= 0 and inside.sum() > 100:
                assert np.bincount(seen.token_map[inside]).argmax() == region.token_index
                checked += 1
    assert checked > 2


def test_a_window_over_the_scenes_end_shows_what_lies_on_it(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "small.tif", smooth_noise((3, 30, 40)))
    model = meta_model("lemevit_tiny", "classification")
    analysis = run(path, model, tmp_path / "out")
    with Scene.open(path) as scene:
        seen = window_tokens(scene, model, analysis, 0)
    assert seen.token_map.shape == seen.at_pixels(2).shape == (30, 40)
    assert seen.looks.shape == (5, 6, 6)
    assert seen.pixels.shape == (3, 30, 40)


def test_another_model_or_scene_is_refused(scene_path: Path, tmp_path: Path) -> None:
    model = meta_model("lemevit_tiny", "classification")
    analysis = run(scene_path, model, tmp_path / "out")
    other = LoadedModel(model.module, model.card, "9" * 64)
    with Scene.open(scene_path) as scene, pytest.raises(AnalysisError, match="another model"):
        window_tokens(scene, other, analysis, 0)
    small = write_scene(tmp_path / "small.tif", smooth_noise((3, 30, 40)))
    with Scene.open(small) as scene, pytest.raises(AnalysisError, match="another scene"):
        window_tokens(scene, model, analysis, 0)
