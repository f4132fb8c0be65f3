import numpy as np
import pytest
import torch

from engine.training.classification import rand_augment as ra
from engine.training.classification.recipe import RandAugment


def _picture(bands: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0.2, 0.7, (bands, 24, 24)).astype(np.float32))


@pytest.mark.parametrize("operation", ra.OPERATIONS, ids=lambda o: o.__name__)
@pytest.mark.parametrize("bands", [3, 5])
def test_every_operation_keeps_the_shape_and_changes_the_picture(operation: object, bands: int) -> None:
    image = _picture(bands)
    out = operation(image, 0.9, 1.0)  # type: ignore[operator]
    assert out.shape == image.shape
    assert bool(out.isfinite().all())
    assert not torch.allclose(out, image, atol=1e-3)


_FROM_NOTHING = (
    "rotate",
    "shear_x",
    "shear_y",
    "shift_x",
    "shift_y",
    "saturation",
    "contrast",
    "brightness",
    "sharpness",
)


@pytest.mark.parametrize("name", _FROM_NOTHING)
def test_what_has_a_strength_does_nothing_at_none(name: str) -> None:
    image = _picture()
    assert torch.allclose(getattr(ra, name)(image, 0.0, 1.0), image, atol=1e-5)


def test_operations_do_what_they_say() -> None:
    image = _picture()
    assert torch.equal(ra.invert(image, 0.5, 1.0), 1 - image)
    stretched = ra.auto_contrast(image, 0.0, 1.0)
    assert stretched.amin((1, 2)).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert stretched.amax((1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    even = ra.equalise(image, 0.0, 1.0)[0].flatten().sort().values
    assert float((even - torch.linspace(0, 1, len(even))).abs().max()) < 0.05
    assert len(ra.posterise(image, 0.9, 1.0).unique()) <= 2
    assert float(ra.shift_x(image, 1.0, 1.0)[:, :, -5:].mean()) == pytest.approx(0.5, abs=0.01)  # what shows is grey
    turned = ra.rotate(image, 1.0, 1.0)
    assert torch.allclose(ra.rotate(turned, 1.0, -1.0)[:, 10:14, 10:14], image[:, 10:14, 10:14], atol=0.25)


def test_strength_and_number_follow_the_settings() -> None:
    image = _picture()
    off = RandAugment(chance=0.0)
    assert ra.rand_augmented(np.random.default_rng(0), image, off) is image
    one = [ra.rand_augmented(np.random.default_rng(seed), image, RandAugment()) for seed in range(30)]
    again = ra.rand_augmented(np.random.default_rng(7), image, RandAugment())
    assert torch.equal(one[7], again)
    assert all(0 <= float(out.min()) <= float(out.max()) <= 1 for out in one)
    untouched = sum(torch.equal(out, image) for out in one)
    assert 2 <= untouched <= 15  # both operations left out: a quarter of the time
