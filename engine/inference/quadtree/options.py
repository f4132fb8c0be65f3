"""Options of a scene's quadtree: one frozen object that the window, the command line and saved scores share.

Importing this module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from engine.scene import Scene

ScorerName = Literal["blur", "bands", "random", "features", "gradcam"]

SCORERS: dict[ScorerName, str] = {
    "blur": "what shrinking a patch would lose in red, green and blue, as shown on the screen",
    "bands": "the same for all bands, each standardised by median and quartiles (for more than three bands, 16 bits)",
    "random": "chance, for comparison",
    "features": "what shrinking changes in the features of a network (ShuffleNetV2 weights, or a model)",
    "gradcam": "what speaks for a class in a model (Grad-CAM)",
}
"""The scorers and what they look at."""


class _Scoring(BaseModel):
    """How to score the patches of a scene.

    Attributes:
        scorer: One of ``SCORERS``.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels, ``min_size`` times a power of two.
        seed: Of the random scorer.
        weights: File with torchvision's weights of shufflenet_v2_x0_5, for ``features``.
        model: Name or path of a model, for ``gradcam`` and, where no weights are given, ``features``.
        layer: Module of the model whose output is the map of features; None finds one.
        class_index: Class that ``gradcam`` speaks for; None is the most likely one of each pixel or window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scorer: ScorerName = "blur"
    min_size: int = Field(default=16, ge=1)
    max_size: int = Field(default=512, ge=1)
    seed: int = 0
    weights: str | None = None
    model: str | None = None
    layer: str | None = None
    class_index: int | None = Field(default=None, ge=0)


class QuadtreeOptions(_Scoring):
    """How to score the patches of a scene.

    Attributes:
        window_px: Edge of the windows that networks see; None takes the model's, or 512.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    """

    window_px: int | None = Field(default=None, ge=32)
    device: str = "auto"


class PatchOptions(_Scoring):
    """Patches of a quadtree as the regions of an analysis; ``features`` and ``gradcam`` ask its model by default.

    Attributes:
        tokens: Patches in the whole region of interest; None lets the scene decide.
    """

    tokens: int | None = Field(default=None, ge=1)

    def scoring(self, device: str) -> QuadtreeOptions:
        """How to score the scene, on a device."""
        return QuadtreeOptions(**self.model_dump(exclude={"tokens"}), device=device)


def score_facts(scene: Scene, options: QuadtreeOptions) -> dict[str, Any]:
    """What scores depend on, in plain types; the device is no part of it."""
    return {"scene": scene.identity(), "options": options.model_dump(mode="json", exclude={"device"})}
