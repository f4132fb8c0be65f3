"""Images of any size for modules that want whole cells.

Guarantees: images that fit come back as they are; others grow right and below by repeating their edge.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(images: Tensor, edge: int) -> Tensor:
    """Images ``[B, C, H, W]`` with height and width rounded up to multiples of ``edge``."""
    below, right = -images.shape[2] % edge, -images.shape[3] % edge
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images
