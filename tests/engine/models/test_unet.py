"""The yardstick: a U-Net of any image size, whose cells pass for tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import OptionError
from engine.models import create

SMALL = create("unet_segmenter", num_classes=3, widths=(4, 6, 8)).eval()


def test_the_default_has_a_million_parameters():
    count = sum(p.numel() for p in create("unet_segmenter", num_classes=5).parameters())
    assert 0.9e6 < count < 1.1e6


@settings(max_examples=25)
@given(height=st.integers(1, 45), width=st.integers(1, 45))
def test_any_image_gets_a_class_and_a_cell_for_every_pixel(height, width):
    with torch.inference_mode():
        out = SMALL(torch.rand(2, 3, height, width))
    rows, cols = -(-height // 4), -(-width // 4)
    assert out.tokens.features.shape == (2, rows * cols, 8)
    assert out.tokens.token_map.flatten(1).tolist() == 2 * [list(range(rows * cols))]
    maps = out.at_pixels(height, width)
    assert maps.logits.shape == (2, 3, height, width)
    assert maps.assignment.shape == (2, rows * cols, height, width)


def test_an_image_that_fits_is_answered_pixel_by_pixel():
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        out = SMALL(image)
        wider = SMALL(torch.cat((image, image[..., -1:]), dim=3))
    assert torch.equal(out.logits_at(16, 24), out.logits)
    assert wider.logits_at(16, 25).shape == (1, 3, 16, 25)


def test_every_weight_is_reached():
    model = create("unet_segmenter", num_classes=3, widths=(4, 6))
    model(torch.rand(2, 3, 8, 8)).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_widths_that_make_no_u_are_refused():
    with pytest.raises(OptionError, match="widths"):
        create("unet_segmenter", num_classes=3, widths=(8,))
