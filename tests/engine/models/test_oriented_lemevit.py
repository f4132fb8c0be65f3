"""Oriented R-CNN on LeMeViT: its published size, its place in the registry, small sizes."""

import pytest
import torch

from engine.models import create
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
