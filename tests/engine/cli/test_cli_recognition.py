"""A scene classifier from the command line: analyse a scene, info, export, what is said about its resolution."""

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

SMALL = {"num_classes": 6, "depths": (1, 1, 1, 1, 1), "widths": (32, 32, 32, 32, 32), "token_count": 4}


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    code = left.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeMeViT that was never taught."""
    torch.manual_seed(3)
    card: dict[str, Any] = {
        "name": "untaught", "title": "Untaught", "architecture": "lemevit_tiny", "config": SMALL,
        "task": "classification", "bands": ("red", "green", "blue"), "gsd_m": 0.6, "gsd_range_m": (0.3, 1.2),
        "classes": tuple({"name": f"place {k}", "color": f"#{40 * k:02x}4020"} for k in range(6)),
        "scaling": {"divisor": 255, "mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3},
        "window_px": 48, "overlap_px": 0, "token_count": 4, "data": "none", "metrics": {}, "licence": "none",
        "source": "tests",
    }  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "untaught.safetensors"
    save_checkpoint(path, create("lemevit_tiny", **SMALL).eval(), ModelCard.model_validate(card))
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": 140, "height": 100, "count": 3, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": Affine(0.6, 0, 691600, 0, -0.6, 5334760), "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(tmp_path / "town.tif", "w", **profile) as file:
        file.write(rng.integers(0, 255, (3, 100, 140), dtype=np.uint8))
    return tmp_path / "town.tif"


def test_analyse_info_and_export(scene: Path, checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert run("analyse", scene, "--out", out, "--model", checkpoint, "--device", "cpu") == 0
    said = capsys.readouterr()
    assert "9 cells in " in said.out
    assert "resampled" not in said.err
    assert run("info", out) == 0
    told = capsys.readouterr().out
    assert "cells       9" in told
    assert "place" in told
    for suffix in (".gpkg", ".geojson", ".fgb", ".parquet", ".tif"):
        assert run("export", out, "--to", tmp_path / f"found{suffix}") == 0
    found = gpd.read_file(tmp_path / "found.geojson")
    assert len(found) == 9
    assert {"class", "score", "class_5", "score_5", "valid_share"} <= set(found.columns)


def test_a_card_of_another_resolution_is_said_before_the_run(
    scene: Path, checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ("analyse", scene, "--model", checkpoint, "--device", "cpu")
    with rasterio.open(scene, "r+") as file:
        file.transform = Affine(0.1, 0, 691600, 0, -0.1, 5334760)
    assert run(*words, "--out", tmp_path / "fine", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events][:2] == ["started", "warning"]
    assert "resampled to 0.6 m" in events[1]["message"]
    assert (events[-1]["event"], events[-1]["cells"]) == ("finished", 1)
    assert run(*words, "--out", tmp_path / "native", "--gsd", "native", "--overlap", "24") == 0
    assert "20 cells" in capsys.readouterr().out
