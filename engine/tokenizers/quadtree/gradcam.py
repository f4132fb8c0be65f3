"""The oracle: importance from a model that already knows the answer (Grad-CAM, Selvaraju et al. 2017, section 3).

The gradient of a class's logit with respect to a map of features, averaged over the map, weighs its channels; what of
the weighted sum is positive speaks for the class. The publication compares against such an oracle without releasing it.
Works with any model that gives logits: of scenes ``[B, K]``, or of pixels ``[B, K, h, w]``, whose logits are summed.

Guarantees: the model is left as it was, gradients and hooks included.
"""

from __future__ import annotations

from threading import get_ident

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from engine.errors import OptionError
from engine.tokenizers.quadtree.layout import image_layout
from engine.tokenizers.quadtree.scores import Scores, hide_empty, importance_scores


class GradCam:
    """Importance as what speaks for a class in a model's features.

    Args:
        model: Images ``[B, C, H, W]`` to logits, or to an object with ``logits``.
        model_name: What it is called on the scores.
        layer: Name of the module whose output is the map of features; None takes the last in the order of work
            with a map that the logits depend on, the logits themselves left out.
        class_index: The class; None takes the most likely one of each image (of each pixel, for logits of pixels).
        channels_last: Whether the layer's map is ``[B, h, w, D]`` and not ``[B, D, h, w]``.
    """

    def __init__(
        self,
        model: nn.Module,
        model_name: str,
        *,
        layer: str | None = None,
        class_index: int | None = None,
        channels_last: bool = False,
    ) -> None:
        known = dict(model.named_modules())
        if layer is not None and layer not in known:
            raise OptionError(f"{model_name} has no layer {layer!r}", remedy=f"Try {', '.join(list(known)[1:6])}, …")
        self.model = model
        self.model_name = model_name
        self.layer = layer
        self.class_index = class_index
        self.channels_last = channels_last

    @property
    def name(self) -> str:
        """What it is, with the name of the model."""
        asked = "" if self.class_index is None else f", class {self.class_index}"
        return f"Grad-CAM of {self.model_name}{asked}"

    def __call__(self, images: Tensor, min_size: int, max_size: int, *, valid: Tensor | None = None) -> Scores:
        """Score the patches of images (see ``Scorer``).

        Raises:
            OptionError: The model has no such class or no usable map, or the map is coarser than the patches of twice
                the smallest size.
        """
        layout = image_layout(images, min_size, max_size)
        found = importance_scores(self.importance(images), layout)
        return Scores(hide_empty(found, layout, valid), self.name)

    def importance(self, images: Tensor) -> Tensor:
        """The map itself, ``[B, h, w]``, not negative."""
        with torch.inference_mode(False), torch.enable_grad():
            watched = images.detach().clone().requires_grad_()
            logits, maps = self._watch(watched)
            target = self._target(logits)
            for features in reversed(maps):
                (gradient,) = torch.autograd.grad(target, features, retain_graph=True, allow_unused=True)
                if gradient is not None:
                    break
            else:
                raise OptionError(
                    f"no map of features in {self.model_name} leads to its logits", remedy="Name a layer that has one."
                )
        space = (1, 2) if self.channels_last else (2, 3)
        weights = gradient.mean(dim=space, keepdim=True)
        return (weights * features.detach()).sum(dim=3 if self.channels_last else 1).clamp_min(0)

    def _watch(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the maps of features on the way to them."""
        maps: list[Tensor] = []
        thread = get_ident()  # another one may be looking through the same model

        def keep(module: nn.Module, inputs: object, output: object) -> None:
            if get_ident() != thread:
                return
            if isinstance(output, Tensor) and output.ndim == 4 and output.requires_grad and min(output.shape[2:]) > 1:
                maps.append(output)

        handles: list[RemovableHandle] = []
        watched = dict(self.model.named_modules())
        for name, module in watched.items():
            if name == self.layer if self.layer is not None else not list(module.children()):
                handles.append(module.register_forward_hook(keep))
        try:
            output = self.model(images)
        finally:
            for handle in handles:
                handle.remove()
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.ndim not in (2, 4):
            raise OptionError(
                f"{self.model_name} gives no logits", remedy="It must return them, or an object with them."
            )
        return logits, [one for one in maps if one is not logits]

    def _target(self, logits: Tensor) -> Tensor:
        classes = logits.shape[1]
        if self.class_index is None:
            return logits.amax(dim=1).sum()
        if not 0 <= self.class_index < classes:
            raise OptionError(f"{self.model_name} has no class {self.class_index}", remedy=f"Use 0 to {classes - 1}.")
        return logits[:, self.class_index].sum()
