"""Depths, widths and kinds of the published LeMeViT variants.

``vit_tiny`` is the authors' own baseline: standard blocks alone, whose meta tokens never look at the image.
"""

from __future__ import annotations

from typing import Any

_DUAL = ("C", "D", "D", "S", "S")

VARIANTS: dict[str, dict[str, Any]] = {
    "lemevit_tiny": {"depths": (1, 2, 2, 8, 2), "widths": (64, 64, 128, 192, 320), "kinds": _DUAL},
    "lemevit_small": {"depths": (1, 2, 2, 6, 2), "widths": (96, 96, 192, 320, 384), "kinds": _DUAL},
    "lemevit_base": {"depths": (2, 4, 4, 18, 4), "widths": (96, 96, 192, 384, 512), "kinds": _DUAL},
    "lemevit_small_v2": {
        "depths": (1, 2, 2, 8, 2),
        "widths": (64, 64, 128, 256, 512),
        "kinds": _DUAL,
        "mlp_ratio": 3,
    },
    "lemevit_tiny_v2": {
        "depths": (2, 2, 2, 4, 2),
        "widths": (96, 96, 192, 320, 384),
        "kinds": ("C", "D2", "D2", "S", "S"),
    },
    "vit_tiny": {"depths": (2, 2, 4, 2), "widths": (96, 192, 320, 384), "kinds": ("S", "S", "S", "S")},
}
"""Configuration of each variant by name; what is not named is the default of the class that takes it."""
