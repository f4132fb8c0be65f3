"""What rotated geometry costs, beside shapely and beside the quadratic definition. Prints ratios of processor time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "models"))

from rotated_boxes import random_boxes, shapely_iou

from engine.models.rotated.align import rotated_roi_align
from engine.models.rotated.overlap import matched_iou, pairwise_iou
from engine.models.rotated.suppression import suppress


def seconds(work: Callable[[], object], times: int = 3) -> float:
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def test_overlap_beside_shapely() -> None:
    a, b = random_boxes(20_000, 1).float(), random_boxes(20_000, 2).float()
    ours, theirs = seconds(lambda: matched_iou(a, b)), seconds(lambda: shapely_iou(a, b), 1)
    print(f"\noverlap of 20,000 pairs: {ours * 1e3:.0f} ms, shapely {theirs * 1e3:.0f} ms: ratio {theirs / ours:.1f}")
    assert abs(matched_iou(a, b).double().numpy() - shapely_iou(a, b)).max() < 1e-4


def test_suppression_beside_its_definition() -> None:
    boxes = random_boxes(1500, 3, extent=1000, largest=60).float()
    scores = torch.rand(1500, generator=torch.Generator().manual_seed(0))

    def quadratic() -> list[int]:
        order = scores.argsort(descending=True)
        overlap = pairwise_iou(boxes[order], boxes[order]) > 0.1
        kept: list[int] = []
        for place in range(len(order)):
            if not bool(overlap[place, kept].any()):
                kept.append(place)
        return order[kept].tolist()

    assert suppress(boxes, scores, 0.1).tolist() == quadratic()
    ours, loop = seconds(lambda: suppress(boxes, scores, 0.1)), seconds(quadratic, 1)
    many = random_boxes(20_000, 4, extent=10_000, largest=60).float()
    large = seconds(lambda: suppress(many, torch.rand(20_000), 0.1), 1)
    print(f"\nsuppression of 1,500 boxes: {ours * 1e3:.1f} ms, the loop {loop * 1e3:.1f} ms: ratio {loop / ours:.1f}; ")
    print(f"of 20,000: {large * 1e3:.0f} ms")


def test_rotated_align_of_a_whole_image() -> None:
    maps = [torch.randn(1, 256, n, n).contiguous(memory_format=torch.channels_last) for n in (256, 128, 64, 32)]
    boxes = random_boxes(1000, 5, extent=1000, largest=120).float()
    levels, images = torch.arange(1000) % 4, torch.zeros(1000, dtype=torch.long)
    found = rotated_roi_align(maps, (4, 8, 16, 32), boxes, images, levels)
    spent = seconds(lambda: rotated_roi_align(maps, (4, 8, 16, 32), boxes, images, levels), 1)
    dense = seconds(lambda: torch.nn.functional.conv2d(maps[1], torch.ones(256, 256, 3, 3), padding=1), 1)
    print(f"\nRoI align of 1,000 boxes: {spent * 1e3:.0f} ms, a 3 x 3 convolution at stride 8 {dense * 1e3:.0f} ms")
    one = rotated_roi_align(maps, (4, 8, 16, 32), boxes[7:8], images[7:8], levels[7:8])
    torch.testing.assert_close(found[7:8], one)
