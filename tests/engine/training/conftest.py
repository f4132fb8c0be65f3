"""Tiny labelled tiles: left half dark, right half bright, with an unlabelled seam."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

RECIPE = """
name: tiny
architecture: hook_competitive_segmenter
config:
  {token_count: 4, embed_dim: 16, depth: 1, num_heads: 2, key_dim: 8, stem_width: 4,
   widths: [8, 8, 8], depths: [1, 1, 1]}
classes:
  - {name: dark, color: "#000000"}
  - {name: bright, color: "#ffffff"}
bands: [red, green, blue]
data:
  - {kind: tiles, folder: tiny, labels: {1: 0, 2: 1}, split: {rule: md5, validation: [0, 1]}}
augmentation: [{kind: pieces, crop_px: 32}]
optimisation:
  ema_decay: 0.5
  steps: 4
  steps_per_epoch: 2
  batch: 2
  warmup_steps: 1
  loader_workers: 0
  precision: 32-true
  learning_rate: 0.01
card:
  title: Tiny
  description: Dark and bright.
  window_px: 32
  overlap_px: 8
  gsd_m: 1.0
  gsd_range_m: [0.5, 2.0]
  data: Generated.
  licence: Apache-2.0
  source: Test.
"""


@pytest.fixture(scope="session")
def tile_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    images, masks = root / "tiny" / "images", root / "tiny" / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        image = np.full((3, 40, 40), 60, np.uint8)
        image[:, :, 20:] = 190
        image += rng.integers(0, 20, image.shape, dtype=np.uint8)
        mask = np.full((1, 40, 40), 1, np.uint8)
        mask[:, :, 20:] = 2
        mask[:, :, 19:21] = 0
        for folder, suffix, data in ((images, "tif", image), (masks, "png", mask)):
            profile = {"driver": "GTiff" if suffix == "tif" else "PNG", "width": 40, "height": 40, "dtype": "uint8"}
            with rasterio.open(folder / f"t{number}.{suffix}", "w", count=len(data), **profile) as file:
                file.write(data)
    return root


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
