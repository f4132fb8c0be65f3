"""Rotated RoI align against plain loops, constants and ramps."""

import math

import numpy as np
import pytest
import torch
from rotated_boxes import random_boxes

from engine.models.rotated.align import rotated_roi_align
from engine.models.rotated.boxes import upright


def plain_align(image: np.ndarray, hull: list[float], size: int, samples: int, stride: float) -> np.ndarray:
    """Axis-aligned RoI align of one box ``left, top, right, bottom``, half-pixel aligned, in plain loops."""
    channels, height, width = image.shape
    left, top, right, bottom = (side / stride - 0.5 for side in hull)
    cell_w, cell_h = (right - left) / size, (bottom - top) / size
    out = np.zeros((channels, size, size))
    for row in range(size):
        for col in range(size):
            for i in range(samples):
                for j in range(samples):
                    y = top + (row + (i + 0.5) / samples) * cell_h
                    x = left + (col + (j + 0.5) / samples) * cell_w
                    if y < -1 or y > height or x < -1 or x > width:
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    r, c = int(y), int(x)
                    below, beside = min(r + 1, height - 1), min(c + 1, width - 1)
                    dy, dx = y - r, x - c
                    out[:, row, col] += (
                        (1 - dy) * ((1 - dx) * image[:, r, c] + dx * image[:, r, beside])
                        + dy * ((1 - dx) * image[:, below, c] + dx * image[:, below, beside])
                    ) / samples**2
    return out


def pyramid(batch: int = 2, channels: int = 5, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, channels, h, w, generator=generator, dtype=torch.float64) for h, w in ((24, 31), (12, 16))
    ]


@pytest.mark.parametrize(("size", "samples"), [(7, 2), (3, 1), (4, 3)])
def test_angle_zero_is_the_plain_one(size: int, samples: int) -> None:
    maps = pyramid()
    rng = np.random.default_rng(1)
    corner = rng.uniform(-15, 110, (40, 2))
    hulls = torch.from_numpy(np.column_stack((corner, corner + rng.uniform(1, 70, (40, 2)))))
    images, levels = torch.arange(40) % 2, torch.arange(40) // 20
    found = rotated_roi_align(maps, (4, 8), upright(hulls), images, levels, size=size, samples=samples)
    for roi in range(40):
        image = maps[levels[roi]][images[roi]].numpy()
        expected = plain_align(image, hulls[roi].tolist(), size, samples, 4 * 2.0 ** levels[roi].item())
        np.testing.assert_allclose(found[roi].numpy(), expected, atol=1e-10)


def test_constant_maps_give_constants() -> None:
    maps = [torch.full((1, 3, 40, 40), 2.5), torch.full((1, 3, 20, 20), -1.0)]
    boxes = random_boxes(200, 2, extent=60, largest=30).float() + torch.tensor([50.0, 50, 0, 0, 0])
    levels = torch.arange(200) % 2
    found = rotated_roi_align(maps, (4, 8), boxes, torch.zeros(200, dtype=torch.long), levels)
    expected = torch.where(levels == 0, 2.5, -1.0)[:, None, None, None].expand_as(found)
    torch.testing.assert_close(found, expected)


def test_a_ramp_is_read_where_the_turned_grid_lies() -> None:
    """Bilinear reading of a plane is exact, so each cell holds the plane at its own centre."""
    rows, cols = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    plane = torch.stack((cols + 0.5, rows + 0.5))[None]
    box = torch.tensor([[30.0, 33.0, 28.0, 14.0, math.radians(30)]])
    found = rotated_roi_align([plane], (1,), box, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))[0]
    steps = (torch.arange(7) + 0.5) / 7 - 0.5
    for row in range(7):
        for col in range(7):
            u, v = 28 * steps[col], 14 * steps[row]
            cos, sin = math.cos(math.radians(30)), math.sin(math.radians(30))
            expected = torch.tensor([30 + u * cos - v * sin, 33 + u * sin + v * cos])
            torch.testing.assert_close(found[:, row, col], expected, atol=1e-3, rtol=0)


def test_a_quarter_turn_of_image_and_box_changes_nothing() -> None:
    image = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    boxes = random_boxes(50, 4, extent=16, largest=12).float() + torch.tensor([8.0, 8, 0, 0, 0])
    none = torch.zeros(50, dtype=torch.long)
    before = rotated_roi_align([image], (1,), boxes, none, none)
    turned = boxes.clone()
    turned[:, 0], turned[:, 1] = 32 - boxes[:, 1], boxes[:, 0]
    turned[:, 4] += math.pi / 2
    after = rotated_roi_align([torch.rot90(image, -1, (2, 3))], (1,), turned, none, none)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_maps() -> None:
    maps = [torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)]
    boxes = torch.tensor([[10.0, 12.0, 14.0, 6.0, 0.4], [3.0, 3.0, 9.0, 5.0, -1.0]], dtype=torch.float64)
    none = torch.zeros(2, dtype=torch.long)
    assert torch.autograd.gradcheck(
        lambda m: rotated_roi_align([m], (4,), boxes, none, none, size=3, samples=2), maps, atol=1e-6
    )


def test_pieces_and_empty_lists_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = pyramid()
    boxes = random_boxes(30, 6, extent=100)
    images, levels = torch.arange(30) % 2, torch.arange(30) % 2
    whole = rotated_roi_align(maps, (4, 8), boxes, images, levels)
    monkeypatch.setattr("engine.models.rotated.align._MOST_WEIGHTS", 4 * 14**2 * 7)
    torch.testing.assert_close(rotated_roi_align(maps, (4, 8), boxes, images, levels), whole)
    none = images[:0]
    assert rotated_roi_align(maps, (4, 8), boxes[:0], none, none).shape == (0, 5, 7, 7)
