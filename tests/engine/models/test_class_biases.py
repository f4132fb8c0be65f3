"""Offsets of class biases move the logits of pixels and of tokens alike, or are refused."""

import pytest
import torch

from engine.errors import OptionError
from engine.models import create
from engine.models.output import ClassBiased

COMPETITIVE = {"token_count": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "key_dim": 8, "stem_width": 4,
               "widths": (8, 8, 8), "depths": (1, 1, 1)}  # fmt: skip
GATHERED = {"embed_dim": 16, "depth": 4, "num_heads": 2, "dense_channels": (4, 4, 8, 8), "head_dim": 8,
            "image_size": 32}  # fmt: skip
UPERNET = {"depths": (1, 1, 1, 1, 1), "widths": (16, 16, 32, 32, 32), "head_dim": 16, "token_count": 4, "channels": 8,
           "auxiliary_channels": 8, "token_head": True}  # fmt: skip
MODELS = {
    "hook_competitive_segmenter": COMPETITIVE,
    "patch_segmenter": GATHERED,
    "unet_segmenter": {"widths": (4, 8)},
    "upernet_lemevit_tiny": UPERNET,
}


@pytest.mark.parametrize("name", MODELS)
def test_offsets_reach_pixels_and_tokens_alike(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, num_classes=3, **MODELS[name]).eval()
    assert isinstance(model, ClassBiased)
    images, offsets = torch.rand(2, 3, 64, 64), torch.tensor([0.5, -1.0, 0.25])
    with torch.inference_mode():
        before = model(images)
    with torch.no_grad():
        for bias in model.class_biases():
            bias.add_(offsets)
    with torch.inference_mode():
        after = model(images)
    for one, other, shape in (
        (before.logits, after.logits, (1, 3, 1, 1)),
        (before.logits_at(64, 64), after.logits_at(64, 64), (1, 3, 1, 1)),
        (before.token_logits, after.token_logits, (1, 1, 3)),
    ):
        if one is not None:
            assert torch.allclose(other, one + offsets.view(shape), atol=1e-5)


def test_tokens_that_do_not_share_out_pixels_are_refused() -> None:
    model = create("hook_competitive_segmenter", num_classes=3, **COMPETITIVE, assignment="published")
    with pytest.raises(OptionError, match="logit_adjustment"):
        model.class_biases()
