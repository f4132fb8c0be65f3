"""Two scenes from the command line: change, info, export, training and evaluation of a model."""

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


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    code = left.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of change that was never taught: it calls something changed here and there."""
    torch.manual_seed(3)
    module = create("bit_lemevit_tiny", num_classes=2).eval()
    card: dict[str, Any] = {
        "name": "untaught", "title": "Untaught", "architecture": "bit_lemevit_tiny", "config": {"num_classes": 2},
        "task": "change", "bands": ("red", "green", "blue"),
        "classes": ({"name": "unchanged", "color": "#d9d9d9"}, {"name": "changed", "color": "#ff0000"}),
        "scaling": {"divisor": 255, "mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3},
        "window_px": 64, "overlap_px": 16, "token_count": 8, "data": "none", "metrics": {}, "licence": "none",
        "source": "tests",
    }  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "untaught.safetensors"
    save_checkpoint(path, module, ModelCard.model_validate(card))
    return path


def write(path: Path, seed: int, left: float = 691600) -> Path:
    rng = np.random.default_rng(seed)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": 100, "height": 80, "count": 3, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": Affine(0.5, 0, left, 0, -0.5, 5334760), "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(rng.integers(0, 255, (3, 80, 100), dtype=np.uint8))
    return path


def test_change_info_and_export(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    before, after = write(tmp_path / "old.tif", 1), write(tmp_path / "new.tif", 2, 691605)
    out = tmp_path / "out"
    words = ("change", before, after, "--out", out, "--model", checkpoint, "--device", "cpu", "--min-change-m2", "0")
    assert run(*words, "--threshold", "0.05") == 0
    said = capsys.readouterr()
    assert "Only the overlap is compared, 90 x 80 pixels" in said.err
    assert "changes in" in said.out
    assert run("info", out) == 0
    text = capsys.readouterr().out
    assert "analysis of old" in " ".join(text.split())
    assert "and later new" in " ".join(text.split())
    assert run("info", out, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["resolved"]["min_score"] == 0.05
    with rasterio.open(out / "change.tif") as file:
        changed = int((file.read(1) == 1).sum())
    assert changed > 0
    assert run("export", out, "--to", tmp_path / "changes.gpkg") == 0
    table = gpd.read_file(tmp_path / "changes.gpkg")
    assert len(table) == facts["regions"] > 0
    assert table["pixels"].sum() == changed
    assert {"score", "area_m2", "perimeter_m"} <= set(table.columns)
    assert run("export", out, "--to", tmp_path / "changes.tif") == 0
    assert run("export", out, "--to", tmp_path / "score.tif", "--layer", "confidence") == 0
    with rasterio.open(tmp_path / "score.tif") as file:
        assert file.read(1).max() <= 100
    assert run(*words, "--threshold", "0.2") == 2
    assert "something else" in capsys.readouterr().err


def test_what_cannot_be_compared_is_said(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    before, far = write(tmp_path / "old.tif", 1), write(tmp_path / "far.tif", 2, 700_000)
    assert run("change", before, far, "--out", tmp_path / "out", "--model", checkpoint) == 2
    assert "do not overlap" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run("analyse", before, "--out", tmp_path / "out", "--model", checkpoint, "--device", "cpu") == 2
    assert "rs-engine change BEFORE AFTER" in capsys.readouterr().err


def test_events_are_json_lines(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    before = write(tmp_path / "old.tif", 1)
    words = ("change", before, before, "--out", tmp_path / "out", "--model", checkpoint, "--device", "cpu", "--json")
    assert run(*words) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "started"
    assert events[-1]["event"] == "finished"
