"""Tiny scenes of three kinds: dark, bright and striped, in a folder for each."""

from pathlib import Path

import numpy as np
import rasterio

KINDS = ("dark", "bright", "striped")

RECIPE = """
name: tiny-scenes
task: classification
architecture: hook_classifier
config:
  {image_size: 32, seed_dim: 16, token_count: 4, embed_dim: 16, depth: 1, num_heads: 2, stem_widths: [4, 8, 8],
   seed_heads: 2}
classes: [dark, bright, striped]
bands: [red, green, blue]
data:
  - {kind: folders, folder: scenes, split: {rule: md5, validation: [0, 1, 2]}}
augmentation: {size_px: 32, scale: [0.4, 1.0]}
optimisation:
  {epochs: 2, batch: 8, warmup_steps: 1, loader_workers: 0, precision: 32-true, learning_rate: 0.01, ema_decay: null}
card:
  {title: Tiny, description: Three kinds., window_px: 32, overlap_px: 0, data: Generated., licence: Apache-2.0,
   source: Test.}
"""


def write_scenes(root: Path, each: int = 14) -> Path:
    """Write ``each`` pictures of each kind below ``root/scenes``; some are not square."""
    rng = np.random.default_rng(0)
    for kind in KINDS:
        folder = root / "scenes" / kind
        folder.mkdir(parents=True)
        for number in range(each):
            width = 40 if number % 5 else 48
            image = np.full((3, 40, width), {"dark": 40, "bright": 200, "striped": 120}[kind], np.uint8)
            if kind == "striped":
                image[:, ::4] = 30
                image[:, 1::4] = 30
            image += rng.integers(0, 20, image.shape, dtype=np.uint8)
            profile = {"driver": "PNG", "width": width, "height": 40, "count": 3, "dtype": "uint8"}
            with rasterio.open(folder / f"{kind}{number:02d}.png", "w", **profile) as file:
                file.write(image)
    return root
