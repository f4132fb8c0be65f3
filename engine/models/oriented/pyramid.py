"""Feature pyramid (Lin et al. 2017, section 3): maps of one width at falling resolutions, each aware of those above.

Guarantees: any sizes of the maps that come in, odd ones too; the extra levels hold every second cell of the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Brings backbone maps to one width from the top down.

    Args:
        in_channels: Channels of the backbone's maps, finest first.
        channels: Channels of every level.
        levels: Levels in all; those beyond the backbone's maps are thinned out from the last.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        for conv in (*self.lateral, *self.output):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Levels ``[B, C, h, w]``, finest first."""
        inner = [lateral(level) for lateral, level in zip(self.lateral, maps, strict=True)]
        for index in range(len(inner) - 1, 0, -1):
            inner[index - 1] = inner[index - 1] + F.interpolate(inner[index], inner[index - 1].shape[2:])
        levels = [output(level) for output, level in zip(self.output, inner, strict=True)]
        while len(levels) < self.levels:
            levels.append(F.max_pool2d(levels[-1], 1, stride=2))
        return levels
