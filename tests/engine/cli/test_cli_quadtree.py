"""``rs-engine quadtree`` and its worked examples, from the shell to the file."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image

from engine.cli.main import main
from engine.errors import ModelNotFoundError
from engine.models import create
from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.catalog import DEFAULT_MODEL, find_model
from engine.models.checkpoint import save_checkpoint


@pytest.fixture
def scene(tmp_path):
    rng = np.random.default_rng(0)
    data = np.full((3, 96, 128), 80.0)
    data[:, :, 64:] += rng.normal(0, 30, (3, 96, 64))
    path = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 96, "width": 128, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=Affine(4, 0, 500_000, 0, -4, 5_300_000), **profile) as file:
        file.write(np.clip(data, 1, 255).astype(np.uint8))
    return path


def run(*words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code or 0


def test_a_scene_becomes_polygons(scene, tmp_path, capsys):
    out, kept = tmp_path / "out.gpkg", tmp_path / "scene.quadtree"
    words = ("quadtree", scene, "--min-size", 4, "--max-size", 32, "--scores", kept)
    assert run(*words, "--tokens", 150, "--out", out) == 0
    assert "150 patches by pixel blur" in capsys.readouterr().out
    table = geopandas.read_file(out, layer="patches")
    assert len(table) == 150
    assert (table[table["level"] == 0]["left_px"] >= 60).mean() > 0.9
    stamp = kept.stat().st_mtime_ns
    assert run(*words, "--tokens", 300, "--out", out, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["patches"] == 300
    assert sum(facts["by_size_px"].values()) == 300
    assert (facts["min_tokens"], facts["max_tokens"]) == (12, 768)
    assert kept.stat().st_mtime_ns == stamp
    assert run(*words, "--tokens", 300, "--out", out, "--scorer", "random") == 0
    assert "made anew" in capsys.readouterr().err
    assert kept.stat().st_mtime_ns != stamp


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--tokens", 5), "Use 12"),
        (("--tokens", 100, "--scorer", "taste"), "Use blur, bands, random, features, gradcam"),
        (("--tokens", 100, "--scorer", "gradcam"), "needs a model"),
        (("--tokens", 100, "--min-size", 5), "use 20 or 40"),
        (("--tokens", 100, "--min-size", 0), "--min-size 0 cannot be used"),
    ],
)
def test_what_cannot_work_is_said(scene, tmp_path, capsys, words, says):
    assert run("quadtree", scene, "--max-size", 32, "--min-size", 4, "--out", tmp_path / "out.fgb", *words) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("example", ["tokens", "implementations", "reverse", "scorers"])
def test_worked_examples_write_their_figure(scene, tmp_path, capsys, example):
    if example == "scorers":
        try:
            find_model(DEFAULT_MODEL)
        except ModelNotFoundError:
            pytest.skip("the shipped model is not there")
    out = tmp_path / f"{example}.png"
    assert run("quadtree-examples", example, scene, "--out", out, "--max-size", 32, "--min-size", 8) == 0
    said = capsys.readouterr().out
    assert str(out) in said
    if example == "implementations":
        assert "all four give the same boxes" in said
    with Image.open(out) as figure:
        assert figure.width > 1000
        assert len(figure.convert("RGB").getcolors(1 << 24)) > 100


def test_an_analysis_takes_patches_as_its_regions(scene, tmp_path, capsys):
    torch.manual_seed(0)
    config = {"image_size": 64, "embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "head_dim": 16,
              "dense_channels": (8, 8, 8, 8)}  # fmt: skip
    card = ModelCard(
        name="tiny", title="Tiny", architecture="patch_segmenter", config={"num_classes": 2, **config},
        task="segmentation", classes=tuple(CardClass(name=n, color="#102030") for n in "ab"),
        bands=("red", "green", "blue"),
        scaling=Scaling(divisor=255.0, mean=(0.4,) * 3, std=(0.2,) * 3, low=(10.0,) * 3, high=(240.0,) * 3),
        window_px=64, overlap_px=16, token_count=64, data="none", metrics={}, licence="Apache-2.0", source="tests",
    )  # fmt: skip
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, create("patch_segmenter", num_classes=2, **config), card)
    words = ("analyse", scene, "--out", tmp_path / "out", "--model", path, "--device", "cpu")
    assert run(*words, "--tokens", 60) == 2
    assert "Add --regions quadtree" in capsys.readouterr().err
    assert run(*words, "--regions", "quadtree", "--scorer", "taste") == 2
    assert "--scorer taste cannot be used" in capsys.readouterr().err
    assert run(*words, "--regions", "quadtree", "--scorer", "gradcam", "--tokens", 61,
               "--min-size", 4, "--max-size", 32) == 0  # fmt: skip
    assert "60 regions" in capsys.readouterr().out
    assert len(geopandas.read_parquet(tmp_path / "out" / "regions.parquet")) == 60
