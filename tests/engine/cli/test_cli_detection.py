"""A detector from the command line: analyse, info, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from engine.cli.main import main
from engine.models import create, save_checkpoint
from engine.models.card import ModelCard

SMALL = {"num_classes": 2, "pyramid_channels": 8, "hidden": 16, "grid": 3, "proposals": 40, "max_objects": 10}


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    code = left.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that was never taught: it is sure of nothing, so it is asked for everything."""
    torch.manual_seed(3)
    module = create("oriented_rcnn_lemevit_tiny", min_score=0.0, **SMALL).eval()
    card: dict[str, Any] = {
        "name": "untaught", "title": "Untaught", "architecture": "oriented_rcnn_lemevit_tiny",
        "config": {"min_score": 0.0, **SMALL}, "task": "detection", "bands": ("red", "green", "blue"),
        "classes": ({"name": "ship", "color": "#ff0000"}, {"name": "plane", "color": "#00ff00"}),
        "scaling": {"divisor": 255, "mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3},
        "window_px": 64, "overlap_px": 16, "token_count": 16, "data": "none", "metrics": {}, "licence": "none",
        "source": "tests",
    }  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "untaught.safetensors"
    save_checkpoint(path, module, ModelCard.model_validate(card))
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": 100, "height": 80, "count": 3, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": Affine(0.5, 0, 691600, 0, -0.5, 5334760), "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(tmp_path / "harbour.tif", "w", **profile) as file:
        file.write(rng.integers(0, 255, (3, 80, 100), dtype=np.uint8))
    return tmp_path / "harbour.tif"


def test_analyse_info_and_export(scene: Path, checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert run("analyse", scene, "--out", out, "--model", checkpoint, "--device", "cpu") == 0
    said = capsys.readouterr().out
    count = len(gpd.read_parquet(out / "detections.parquet"))
    assert count > 0
    assert f"{count} objects in " in said
    assert run("info", out) == 0
    assert f"objects     {count}" in capsys.readouterr().out
    for suffix in (".gpkg", ".geojson", ".fgb", ".parquet"):
        assert run("export", out, "--to", tmp_path / f"found{suffix}") == 0
    found = gpd.read_file(tmp_path / "found.geojson")
    assert len(found) == count
    assert {"class", "score", "angle_deg"} <= set(found.columns)
    assert run("export", out, "--to", tmp_path / "found.tif") == 2
    assert "detections" in capsys.readouterr().err


def test_scores_can_be_asked_for_and_events_printed(scene: Path, checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    words = ("analyse", scene, "--model", checkpoint, "--device", "cpu", "--json")
    assert run(*words, "--out", tmp_path / "sure", "--min-score", "0.99") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "finished"
    assert events[-1]["detections"] == 0
    assert run(*words, "--out", tmp_path / "wrong", "--min-score", "1.5") == 2
    assert "--min-score 1.5" in capsys.readouterr().err
