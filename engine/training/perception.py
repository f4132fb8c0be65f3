"""What a model perceives in a picture: the token of each pixel, and each token's attention.

Guarantees: the same for every tokenizer that returns :class:`~engine.tokenizers.base.Tokens`; the token map is the
argmax of the assignment, never of a map scaled for show; nothing depends on what else is in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput
from engine.models.scenes import fit_scene


@dataclass(frozen=True, slots=True)
class Perceived:
    """What a model sees in one picture.

    Attributes:
        shown: ``[C, h, w]`` stored values as the model saw them.
        token_map: ``[h, w]`` token of each pixel.
        attention: ``[N, rows, cols]`` each token's attention as the method publishes it, mean over heads; the
            assignment where it publishes none.
    """

    shown: np.ndarray
    token_map: np.ndarray
    attention: np.ndarray

    @property
    def count(self) -> int:
        """Tokens ``N``."""
        return int(self.attention.shape[0])


def perceive(model: LoadedModel, stored: Tensor) -> Perceived:
    """Show a picture to a model.

    Args:
        model: The model.
        stored: ``[C, H, W]`` stored values in the card's bands and range.
    """
    shown = fit_scene(stored, model.card.window_px, model.card.scaling.divisor) if _is_scene(model) else stored
    with torch.inference_mode():
        output = model(model.normalise(shown[None].to(model.device)), attention=True)
    return Perceived(
        shown.cpu().numpy(),
        token_maps(output, shown.shape[-2], shown.shape[-1])[0].cpu().numpy(),
        output.tokens.looks[0].float().cpu().numpy(),
    )


def token_maps(output: TokenOutput, height: int, width: int) -> Tensor:
    """Token of each pixel ``[B, height, width]``."""
    if output.logits.ndim == 4:
        return output.at_pixels(height, width).assignment.argmax(dim=1)
    claims = output.tokens.assignment.float()
    return F.interpolate(claims, (height, width), mode="bilinear", align_corners=False).argmax(dim=1)


def _is_scene(model: LoadedModel) -> bool:
    return model.card.task == "classification"
