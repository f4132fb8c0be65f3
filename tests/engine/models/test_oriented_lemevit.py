"""Oriented R-CNN on LeMeViT: its published size, its place in the registry, small sizes."""

from pathlib import Path

import pytest
import torch

from engine.models import create, load_model, save_checkpoint
from engine.models.card import ModelCard
from engine.models.detection import Detector
from engine.models.oriented.lemevit import OrientedLemevit
from engine.models.registry import full_config

SMALL = {"pyramid_channels": 16, "hidden": 32, "grid": 3, "proposals": 50}


@pytest.mark.parametrize(("size", "parameters"), [("tiny", 25_370_474), ("small", 33_145_418)])
def test_parameters_are_the_published_ones(size: str, parameters: int) -> None:
    model = create(f"oriented_rcnn_lemevit_{size}")
    assert isinstance(model, OrientedLemevit)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_name_stands_for_its_body() -> None:
    for size in ("tiny", "small", "base"):
        assert full_config(f"oriented_rcnn_lemevit_{size}", {})["body"] == f"lemevit_{size}"


def test_a_small_one_finds_boxes_in_images_of_any_size() -> None:
    torch.manual_seed(0)
    model = create("oriented_rcnn_lemevit_tiny", num_classes=3, in_channels=4, min_score=0.0, max_objects=5, **SMALL)
    assert isinstance(model, Detector)
    found = model.eval()(torch.randn(2, 4, 70, 101))
    assert [part.boxes.shape for part in found] == [(5, 5), (5, 5)]
    assert all(bool(part.boxes.isfinite().all()) for part in found)


def test_what_no_map_needs_stays_frozen() -> None:
    model = create("oriented_rcnn_lemevit_tiny", num_classes=2, **SMALL).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.partition(".")[0] for name in frozen} == {"backbone", "extra_norms"}
    assert not any(part.training for part in model.backbone.modules() if isinstance(part, torch.nn.BatchNorm2d))


def test_a_checkpoint_comes_back_as_a_detector_that_says_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = create("oriented_rcnn_lemevit_tiny", num_classes=2, min_score=0.0, **SMALL).eval()
    colours = ({"name": "ship", "color": "#ff0000"}, {"name": "plane", "color": "#00ff00"})
    rgb = {"mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3}
    card = ModelCard(
        name="tiny-detector", title="Tiny", architecture="oriented_rcnn_lemevit_tiny",
        config={"num_classes": 2, "min_score": 0.0, **SMALL}, task="detection", classes=colours,
        bands=("red", "green", "blue"), scaling={"divisor": 255, **rgb}, window_px=64, overlap_px=16, min_score=0.3,
        token_count=16, data="none", metrics={}, licence="none", source="tests",
    )  # fmt: skip
    save_checkpoint(tmp_path / "tiny.safetensors", module, card)
    loaded = load_model(tmp_path / "tiny.safetensors")
    assert loaded.card.min_score == 0.3
    images = torch.randn(1, 3, 64, 64)
    before, after = module.detect(images)[0], loaded.detect(images.contiguous(memory_format=torch.channels_last))[0]
    torch.testing.assert_close(after.scores[:20], before.scores[:20], atol=1e-4, rtol=1e-3)
    with pytest.raises(TypeError, match="not TokenOutput"):
        loaded(images)
