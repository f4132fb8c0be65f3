"""Draws token borders where the image has its edges, for models that answer on a coarse grid only.

A guided filter (He, Sun and Tang 2013, with the colour guide of section 3.1 and the coarse evaluation of He and Sun
2015): around each cell the assignment is a linear function of the image, fitted on the coarse grid over small
boxes; the coefficients are averaged, resized and applied to the image's own pixels. Everything is box filters and
small solves on the device.

Guarantees: a constant assignment stays constant; output has the image's size; cost is linear in pixels and tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_RADIUS_CELLS = 1
_EPSILON = 0.02
"""Ridge in units of the window's own variance: edges much weaker than the scene's contrast do not move borders."""
_GUIDE_BANDS = 4


def refine_assignment(assignment: Tensor, image: Tensor) -> Tensor:
    """Refine coarse token claims by the image.

    Args:
        assignment: ``[B, N, h, w]`` on the model's grid.
        image: ``[B, C, H, W]`` as the model saw it.

    Returns:
        Claims ``[B, N, H, W]``.
    """
    tokens, rows, cols = assignment.shape[1:]
    size = image.shape[-2:]
    guide = image[:, :_GUIDE_BANDS].float()
    mean = guide.mean(dim=(2, 3), keepdim=True)
    spread = guide.std(dim=(2, 3), keepdim=True, unbiased=False).clamp_min(1e-6)
    guide = (guide - mean) / spread
    coarse = F.adaptive_avg_pool2d(guide, (rows, cols))
    claims = assignment.float()
    bands = coarse.shape[1]

    mean_i = _box(coarse)
    mean_p = _box(claims)
    outer = (coarse[:, :, None] * coarse[:, None, :]).flatten(1, 2)
    cov_ii = _box(outer).view(-1, bands, bands, rows, cols) - mean_i[:, :, None] * mean_i[:, None, :]
    cross = (coarse[:, :, None] * claims[:, None, :]).flatten(1, 2)
    cov_ip = _box(cross).view(-1, bands, tokens, rows, cols) - mean_i[:, :, None] * mean_p[:, None, :]

    ridge = _EPSILON * torch.eye(bands, device=image.device)
    left = cov_ii.permute(0, 3, 4, 1, 2) + ridge
    right = cov_ip.permute(0, 3, 4, 1, 2)
    slope = torch.linalg.solve(left, right).permute(0, 3, 4, 1, 2)
    offset = mean_p - (slope * mean_i[:, :, None]).sum(dim=1)
    slope, offset = _box(slope.flatten(1, 2)), _box(offset)

    refined = F.interpolate(offset, size, mode="bilinear", align_corners=False)
    slope = slope.view(-1, bands, tokens, rows, cols)
    for band in range(bands):
        drawn = F.interpolate(slope[:, band], size, mode="bilinear", align_corners=False)
        refined = torch.addcmul(refined, drawn, guide[:, band, None])
    return refined


def _box(values: Tensor) -> Tensor:
    """Mean over a small square; cells beyond the edge are left out of it."""
    edge = 2 * _RADIUS_CELLS + 1
    return F.avg_pool2d(values, edge, stride=1, padding=_RADIUS_CELLS, count_include_pad=False)
