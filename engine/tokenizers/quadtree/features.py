"""The feature scorer: a patch is worth cutting if a network would see it otherwise once it is blurred.

For each size the image is shrunk so far that a patch of that size keeps ``min_size`` pixels, grown again, and put
through a network beside the sharp image; how far the features differ is the importance. Published with ShuffleNetV2
x0.5 (``shufflenet.load_shufflenet``); any network that turns images into a map of features will do, and is named on
the scores. Images must be normalised as the network wants them.

Guarantees: without gradient; memory is that of two passes of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.quadtree.layout import image_layout
from engine.tokenizers.quadtree.scores import Scores, check_valid, hide_empty, importance_scores

FeatureError = Literal["mse", "cosine"]


class FeatureBased:
    """Importance as the change of features under blur.

    Args:
        network: Images ``[B, C, H, W]`` to features ``[B, D, h, w]``; a module is used as it is, put it into
            evaluation mode.
        network_name: What it is called on the scores.
        error: ``mse``, the mean squared difference; or ``cosine``, minus the cosine.
        high_res_fraction: Share of the image's edge that counts as sharp; below 1 saves time. At 0.5 the first blur is
            the sharp image itself, so all patches of twice the smallest size tie.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        network_name: str,
        *,
        error: FeatureError = "mse",
        high_res_fraction: float = 1.0,
    ) -> None:
        if error not in get_args(FeatureError):
            raise OptionError(f"there is no feature error {error!r}", remedy="Use mse or cosine.")
        if not 0 < high_res_fraction <= 1:
            raise OptionError(f"high_res_fraction is {high_res_fraction}", remedy="Use a share above 0, up to 1.")
        self.network = network
        self.network_name = network_name
        self.error = error
        self.high_res_fraction = high_res_fraction

    @property
    def name(self) -> str:
        """What it is, with the name of the network."""
        return f"features of {self.network_name}"

    @torch.no_grad()
    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images (see ``Scorer``).

        Raises:
            OptionError: The features are coarser than the patches of twice the smallest size, or no map.
        """
        layout = image_layout(images, min_size, max_size)
        maps = self.importance(images, len(layout.sizes) - 1, valid=valid)
        return Scores(hide_empty(importance_scores(maps, layout), layout, valid), self.name)

    @torch.no_grad()
    def importance(self, images: Tensor, halvings: int, *, valid: Tensor | None = None) -> Tensor:
        """The maps themselves, ``[B, halvings, h, w]``: how features change when the image is halved 1, 2, … times.

        Raises:
            OptionError: The network is not ready, or gives no map.
        """
        if valid is not None:
            check_valid(valid, images)
            images = _fill(images, valid)
        if isinstance(self.network, nn.Module) and self.network.training:
            raise OptionError("the feature network is in training mode", remedy="Call its eval() first.")
        edges = tuple(images.shape[-2:])
        sharp_size = tuple(max(1, int(edge * self.high_res_fraction)) for edge in edges)
        sharp = self._features(_resize(images, sharp_size))
        errors = []
        for halving in range(1, halvings + 1):
            small = _resize(images, tuple(max(1, int(edge / 2**halving)) for edge in edges))
            errors.append(self._difference(self._features(_resize(small, sharp_size)), sharp))
        maps = torch.stack(errors, dim=1) if errors else sharp[:, :0]
        if sharp_size != edges:  # as if the whole image had gone through
            whole = tuple(
                round(cells * edge / part) for cells, edge, part in zip(maps.shape[-2:], edges, sharp_size, strict=True)
            )
            maps = _resize(maps, whole)
        if valid is not None:
            shares = F.adaptive_avg_pool2d(valid[:, None].to(maps.dtype), (maps.shape[2], maps.shape[3]))
            maps = maps * shares
        return maps

    def _features(self, images: Tensor) -> Tensor:
        features = self.network(images)
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise OptionError(
                f"{self.network_name} gives no map of features",
                remedy="It must return [images, channels, rows, columns].",
            )
        return features

    def _difference(self, blurred: Tensor, sharp: Tensor) -> Tensor:
        if self.error == "mse":
            return (blurred - sharp).square().mean(dim=1)
        return -F.cosine_similarity(blurred, sharp, dim=1)


def _resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, list(size), mode="bilinear", align_corners=False)


def _fill(images: Tensor, valid: Tensor) -> Tensor:
    """Images whose pixels without data have the mean of the others, so that a network meets no cliff there."""
    flags = valid[:, None]
    kept = torch.where(flags, images, 0.0)
    mean = kept.sum(dim=(2, 3), keepdim=True) / flags.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return torch.where(flags, images, mean)
