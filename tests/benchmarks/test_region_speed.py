"""What regions and polygons cost beside the model, and that their memory follows the scene's width. Prints ratios."""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "regions"))

from regions_fakes import build, kinds_map, permuted_windows, picture

from engine.inference.plan import WindowPlan

WINDOW, OVERLAP = 256, 64


def seen_by_windows(kinds):
    plan = WindowPlan(kinds.shape[1], kinds.shape[0], WINDOW, OVERLAP)
    return plan, [permuted_windows(kinds, plan, row, shift=2, speckle=0.002) for row in range(plan.rows)]


def model_seconds_a_window(windows=3):
    import torch

    from engine.models import registry

    model = registry.create("hook_competitive_segmenter", num_classes=5).eval()
    images = torch.rand(1, 3, WINDOW, WINDOW)
    with torch.inference_mode():
        model(images).at_pixels(WINDOW, WINDOW)
        began = time.process_time()
        for _ in range(windows):
            model(images).at_pixels(WINDOW, WINDOW)
    return (time.process_time() - began) / windows


def test_regions_and_polygons_cost_less_than_the_model(tmp_path):
    kinds = kinds_map(1216, 1408, kinds=8, scale=16)
    image = picture(kinds)
    plan, rows = seen_by_windows(kinds)
    build(tmp_path / "warm", kinds, image, rows, plan)
    began = time.process_time()
    result = build(tmp_path / "work", kinds, image, rows, plan)
    regions = (time.process_time() - began) / (plan.rows * plan.cols)
    began = time.process_time()
    result.write_parquet(tmp_path / "regions.parquet")
    polygons = (time.process_time() - began) / (plan.rows * plan.cols)
    model = model_seconds_a_window()
    ratio = (regions + polygons) / model
    print(
        f"\nregions {regions * 1e3:.1f} ms, polygons and table {polygons * 1e3:.1f} ms, model {model * 1e3:.0f} ms of"
        f" processor a window ({result.count} regions): ratio {ratio:.3f}"
    )
    assert ratio < 0.5


def test_memory_follows_the_width(tmp_path):
    kinds = np.tile(kinds_map(640, 1024, kinds=6, scale=14), (7, 1))
    growing, whole, regions = [], [], []
    for height in (1024, 4096):  # whole numbers of strides
        part = kinds[:height]
        image = picture(part)
        plan, rows = seen_by_windows(part)
        tracemalloc.start()
        result = build(
            tmp_path / str(height),
            part,
            image,
            rows,
            plan,
            settled=lambda: growing.append(tracemalloc.get_traced_memory()[1]),
        )
        whole.append(tracemalloc.get_traced_memory()[1])
        regions.append(result.count)
        tracemalloc.stop()
    ratio = growing[1] / growing[0]
    extra = (whole[1] - whole[0]) / (regions[1] - regions[0])
    print(
        f"\npeak of the region builder {growing[0] / 2**20:.1f} MiB, four times as high: ratio {ratio:.2f};"
        f" at the end {extra:.0f} bytes more for each region more"
    )
    assert ratio < 1.15
    assert extra < 2048
