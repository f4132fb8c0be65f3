"""How the published models were used: window, overlap, scaling and classes, which weights alone do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.models.card import Scaling

GID5_CLASSES = (
    ("Built-up", "#0000ff"),
    ("Farmland", "#00ffff"),
    ("Forest", "#00ff00"),
    ("Meadow", "#ffff00"),
    ("Water", "#6689f9"),
)
POTSDAM_CLASSES = (
    ("Impervious surfaces", "#ffffff"),
    ("Building", "#0000ff"),
    ("Low vegetation", "#00ffff"),
    ("Tree", "#00ff00"),
    ("Car", "#ffff00"),
)
CHANGE_CLASSES = (("Unchanged", "#404040"), ("Changed", "#ff4000"))

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LEMEVIT_SCENES = ("lemevit_tiny", "lemevit_small", "lemevit_base", "lemevit_small_v2", "lemevit_tiny_v2", "vit_tiny")
_LEMEVIT_SIZES = ("tiny", "small", "base")
CONVERTIBLE = (
    "hook_classifier",
    "hook_segmenter",
    "patch_classifier",
    "patch_segmenter",
    *_LEMEVIT_SCENES,
    *(f"upernet_lemevit_{size}" for size in _LEMEVIT_SIZES),
    *(f"bit_lemevit_{size}" for size in _LEMEVIT_SIZES),
)
"""Architectures for which there are published weights, or a published way to make them."""


@dataclass(frozen=True, slots=True)
class PublishedUse:
    """How a published model was used.

    Attributes:
        task: The card's task.
        window_px: Edge of the images it was trained on.
        overlap_px: Overlap of its windows.
        token_count: Tokens of such an image.
        classes: Names and colours of the classes, where the count tells which they are.
        normalised: Whether images were normalised, or taken as stored.
    """

    task: str
    window_px: int
    overlap_px: int
    token_count: int
    classes: tuple[tuple[str, str], ...] = ()
    normalised: bool = True

    def scaling(self, bands: int) -> Scaling:
        """The scaling, ImageNet's for three bands."""
        low, high = (0.0,) * bands, (255.0,) * bands
        if not self.normalised:
            return Scaling(divisor=1, mean=low, std=(1.0,) * bands, low=low, high=high)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if bands == 3 else ((0.5,) * bands, (0.25,) * bands)
        return Scaling(divisor=255, mean=mean, std=std, low=low, high=high)


def published_use(name: str, config: Mapping[str, Any]) -> PublishedUse:
    """How the architecture of this name was used; ``config`` is its whole configuration."""
    if name.startswith("bit_"):
        return PublishedUse("change", 256, 0, 2 * int(config["semantic_tokens"]), CHANGE_CLASSES, normalised=False)
    if name.startswith("upernet_"):
        return PublishedUse("segmentation", 512, 128, int(config["token_count"]), POTSDAM_CLASSES)
    if name in _LEMEVIT_SCENES:
        tokens = 49 if name == "vit_tiny" else int(config["token_count"])
        return PublishedUse("classification", 224, 0, tokens)
    edge = int(config["image_size"])
    tokens = int(config["token_count"]) if "token_count" in config else (edge // int(config["patch_size"])) ** 2
    if name.endswith("segmenter"):
        return PublishedUse("segmentation", edge, edge // 4, tokens, GID5_CLASSES)
    return PublishedUse("classification", edge, 0, tokens)
