import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.models.scenes import fit_scene
from engine.training.classification.mixing import erase, mix, soft_targets
from engine.training.classification.recipe import SceneAugmentation
from engine.training.classification.samples import augmented
from engine.training.transforms import colour_jitter, crop_box, gaussian_blur, shift_hue


@given(st.integers(0, 10_000), st.integers(8, 300), st.integers(8, 300))
def test_crops_lie_inside_and_have_an_allowed_shape(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    top, left, h, w = crop_box(rng, height, width, (0.08, 1.0), (3 / 4, 4 / 3))
    assert 0 < h <= height - top
    assert 0 < w <= width - left
    assert (w + 1) / max(1, h - 1) >= 3 / 4
    assert (w - 1) / (h + 1) <= 4 / 3


def test_crops_cover_the_asked_for_areas() -> None:
    rng = np.random.default_rng(0)
    shares = [h * w / 1e4 for _, _, h, w in (crop_box(rng, 100, 100, (0.2, 0.5), (1.0, 1.0)) for _ in range(300))]
    assert 0.18 < min(shares) < 0.23
    assert 0.47 < max(shares) < 0.52
    assert np.mean(shares) == pytest.approx(0.35, abs=0.02)


def test_blur_is_the_gaussian_of_its_kernel() -> None:
    image = torch.zeros(2, 21, 21)
    image[:, 10, 10] = 1
    blurred = gaussian_blur(image, (5, 9), 1.5)
    across = torch.exp(-0.5 * (torch.arange(5.0) - 2) ** 2 / 1.5**2)
    down = torch.exp(-0.5 * (torch.arange(9.0) - 4) ** 2 / 1.5**2)
    expected = torch.outer(down / down.sum(), across / across.sum())
    assert torch.allclose(blurred[0, 6:15, 8:13], expected, atol=1e-6)
    assert float(blurred.sum()) == pytest.approx(2.0, rel=1e-5)
    assert torch.allclose(gaussian_blur(torch.full((3, 16, 16), 0.3), (5, 9), 0.1), torch.tensor(0.3))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-0.5, 0.5))
def test_hue_turns_as_in_the_standard_library(red: float, green: float, blue: float, share: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) < 1e-3:
        return  # grey has no hue
    expected = colorsys.hsv_to_rgb((hue + share) % 1, saturation, value)
    found = shift_hue(torch.tensor([red, green, blue], dtype=torch.float64)[:, None, None], share).flatten()
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_jitter_stays_in_range_and_within_its_shares() -> None:
    image = torch.full((3, 4, 4), 0.5)
    levels = [float(colour_jitter(np.random.default_rng(i), image, 0.2, 0, 0, 0).mean()) for i in range(200)]
    assert 0.4 <= min(levels) < 0.42
    assert 0.58 < max(levels) <= 0.6
    bands4 = torch.rand(4, 8, 8)
    out = colour_jitter(np.random.default_rng(0), bands4, 0.4, 0.4, 0.4, 0.2)
    assert out.shape == bands4.shape
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_augmented_samples_have_one_size_whatever_the_picture() -> None:
    how = SceneAugmentation(size_px=48, turn=True, vertical_flip=0.5, blur=1.0, hue=0.1, brightness=0.2)
    for size in ((3, 64, 64), (3, 50, 90), (5, 40, 33)):
        sample = augmented(np.random.default_rng(1), torch.rand(size), how)
        assert sample.shape == (size[0], 48, 48)
        assert 0 <= float(sample.min()) <= float(sample.max()) <= 1


def test_soft_targets_are_distributions() -> None:
    targets = soft_targets(torch.tensor([2, 0]), 4, 0.1)
    assert targets[0].tolist() == pytest.approx([0.025, 0.025, 0.925, 0.025])
    assert targets.sum(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_shares_images_and_targets_alike(kind: str) -> None:
    # Sample i is constant i, so the mean of the mixed image tells the share that the targets must have.
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 16, 16).contiguous()
    targets = torch.eye(2)
    how = SceneAugmentation.model_validate({kind: 1.0})
    shares = set()
    for seed in range(20):
        mixed, wanted = mix(np.random.default_rng(seed), images, targets, how)
        assert torch.allclose(mixed.mean(dim=(1, 2, 3)), wanted[:, 1], atol=1e-5)
        assert torch.allclose(wanted.sum(dim=1), torch.ones(2))
        shares.add(round(float(wanted[0, 0]), 3))
    assert len(shares) > 10
    off = how.model_copy(update={"mix": 0.0})
    assert mix(np.random.default_rng(0), images, targets, off)[0] is images


def test_erasing_replaces_boxes_of_some_samples() -> None:
    images = torch.full((200, 3, 20, 20), 9.0)
    erased = erase(np.random.default_rng(0), images, 0.25, (0.1, 0.2))
    changed = (erased != 9.0).flatten(1).float().mean(dim=1)
    assert 0.15 < float((changed > 0).float().mean()) < 0.35
    assert float(changed[changed > 0].min()) > 0.08
    assert float(changed.max()) < 0.23
    assert erase(np.random.default_rng(0), images, 0.0, (0.1, 0.2)) is images


def test_a_scene_is_fitted_by_its_shorter_side_and_stays_in_range() -> None:
    stored = torch.zeros(3, 100, 150, dtype=torch.uint8)
    stored[:, ::2] = 255
    fitted = fit_scene(stored, 64, 255.0)
    assert fitted.shape == (3, 64, 96)
    assert float(fitted.min()) >= 0
    assert float(fitted.max()) <= 255
    assert torch.equal(fit_scene(stored, 100, 255.0), stored.float())
