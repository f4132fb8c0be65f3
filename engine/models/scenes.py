"""Scene classification of single pictures: the size a classifier sees them at, and its answer.

Guarantees: training measures, the command line and every other caller show a picture to a model in the same way: the
shorter side resized to the card's window (bicubic, smoothed), nothing cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import OptionError
from engine.models.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class SceneScore:
    """A class and how sure the model is of it.

    Attributes:
        name: The class.
        code: Its code.
        score: Softmax of the logits, 0 to 1.
    """

    name: str
    code: int
    score: float


def fit_scene(stored: Tensor, short_px: int, highest: float) -> Tensor:
    """Bring a picture to the size a classifier sees it at.

    Args:
        stored: ``[C, H, W]`` stored values.
        short_px: What the shorter side becomes; the other keeps the proportion.
        highest: Stored values lie between 0 and this; what bicubic resizing throws beyond is clipped.

    Returns:
        ``[C, h, w]`` float32 in stored values.
    """
    height, width = stored.shape[-2:]
    picture = stored.float()
    if min(height, width) == short_px:
        return picture
    size = (short_px, short_px * width // height) if height <= width else (short_px * height // width, short_px)
    resized = F.interpolate(picture[None], size, mode="bicubic", align_corners=False, antialias=True)[0]
    return resized.clamp(0, highest)


def classify(model: LoadedModel, stored: Tensor, top: int = 5) -> list[SceneScore]:
    """What kind of scene a picture shows.

    Args:
        model: A scene classifier.
        stored: ``[C, H, W]`` stored values in the card's bands.
        top: How many of the likeliest classes to return.

    Returns:
        The likeliest classes, best first.

    Raises:
        OptionError: The model classifies no scenes, or the picture has other bands.
    """
    card = model.card
    if card.task != "classification":
        raise OptionError(f"the model {card.name!r} is for {card.task}", remedy="Choose one for classification.")
    if stored.ndim != 3 or stored.shape[0] != len(card.bands):
        raise OptionError(
            f"the picture has {stored.shape[0]} bands, {card.name!r} sees {len(card.bands)}: {', '.join(card.bands)}"
        )
    picture = fit_scene(stored, card.window_px, card.scaling.divisor)
    chances = model(model.normalise(picture[None].to(model.device))).logits[0].softmax(dim=0).cpu()
    best = torch.topk(chances, min(top, len(card.classes)))
    return [
        SceneScore(card.classes[code].name, code, score)
        for code, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
