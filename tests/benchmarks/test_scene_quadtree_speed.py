"""Quadtrees of scenes: the cost of scoring against the plain definition, and of another budget. Prints ratios."""

from __future__ import annotations

import time

import numpy as np
import rasterio
import torch
from affine import Affine

from engine.inference.quadtree import QuadtreeOptions, SceneQuadtree, score_scene
from engine.scene import Scene
from engine.scene.grid import Grid
from engine.tokenizers.quadtree import PixelBlur

EDGE_PX = 2048
LARGE_PX, SMALL_PX = 16_384, 4096


def least_s(work, rounds=3):
    """Processor time: the least of some rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def test_scoring_a_scene_against_the_definition(tmp_path, capsys):
    data = np.random.default_rng(0).integers(0, 256, (3, EDGE_PX, EDGE_PX)).astype(np.uint8)
    profile = {"driver": "GTiff", "count": 3, "height": EDGE_PX, "width": EDGE_PX, "dtype": "uint8", "tiled": True}
    with rasterio.open(tmp_path / "scene.tif", "w", transform=Affine.scale(4, -4), **profile) as file:
        file.write(data)
    images = torch.from_numpy(data[None].astype(np.float32) / 255)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processor time means nothing where threads wait for one another
    try:
        with Scene.open(tmp_path / "scene.tif") as scene:
            score_scene(scene, QuadtreeOptions())  # compiles
            ours = least_s(lambda: score_scene(scene, QuadtreeOptions()))
            reading = least_s(scene.read)
        plain = least_s(lambda: PixelBlur(antialias=True)(images, 16, 512), rounds=2)
    finally:
        torch.set_num_threads(threads)
    with capsys.disabled():
        print(
            f"\nscoring {EDGE_PX} x {EDGE_PX}: {ours:.2f} s, {plain / ours:.1f} times as fast as the definition on an "
            f"image in memory; {ours / reading:.0f} times as long as reading alone"
        )
    assert plain / ours > 1.5


def tree_of(edge):
    rng = np.random.default_rng(0)
    scores = {size: -rng.random((edge // size, edge // size), dtype=np.float32) for size in (512, 256, 128, 64, 32)}
    grid = Grid(edge, edge, Affine.scale(10, -10), None)
    return SceneQuadtree(grid, 16, 512, scores, np.ones((edge // 16, edge // 16), bool), "chance").prepare()


def test_another_budget_costs_what_it_holds(capsys):
    large, small = tree_of(LARGE_PX), tree_of(SMALL_PX)
    lines = []
    for tokens in (4096, 40_000, large.max_tokens):
        took = least_s(lambda n=tokens: large.select(n).index)
        lines.append(f"{tokens} patches {1000 * took:.1f} ms")
    few = least_s(lambda: [large.select(4096) for _ in range(20)]) / least_s(
        lambda: [small.select(4096) for _ in range(20)]
    )
    with capsys.disabled():
        print(
            f"\n{LARGE_PX} x {LARGE_PX}, patches and index: {', '.join(lines)} (target 100 ms); 4096 patches cost "
            f"{few:.1f} times what they cost in {SMALL_PX} x {SMALL_PX}"
        )
    assert few < 8
