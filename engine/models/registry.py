"""Architectures by name: one place that turns a name and a configuration into a module.

Guarantees: an unknown name or configuration key is an :class:`~engine.errors.EngineError` that says what was meant;
an architecture's code is imported when it is first asked for; a module made from the authors' weights holds exactly
those weights and is in evaluation mode.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from torch import Tensor, nn

from engine.errors import CheckpointError, ModelNotFoundError, OptionError
from engine.models.weights import unwrap

_BUILT_IN = {
    "bit_lemevit_base": "engine.models.bit:BitLemevit",
    "bit_lemevit_small": "engine.models.bit:BitLemevit",
    "bit_lemevit_tiny": "engine.models.bit:BitLemevit",
    "hook_classifier": "engine.models.hook:HookClassifier",
    "hook_competitive_classifier": "engine.models.hook_competitive:HookCompetitiveClassifier",
    "hook_competitive_segmenter": "engine.models.hook_competitive:HookCompetitiveSegmenter",
    "hook_linear_classifier": "engine.models.hook_linear:HookLinearClassifier",
    "hook_linear_segmenter": "engine.models.hook_linear:HookLinearSegmenter",
    "hook_segmenter": "engine.models.hook:HookSegmenter",
    "lemevit_base": "engine.models.lemevit:LemevitClassifier",
    "lemevit_base_dense": "engine.models.lemevit:LemevitDense",
    "lemevit_small": "engine.models.lemevit:LemevitClassifier",
    "lemevit_small_dense": "engine.models.lemevit:LemevitDense",
    "lemevit_small_v2": "engine.models.lemevit:LemevitClassifier",
    "lemevit_small_v2_dense": "engine.models.lemevit:LemevitDense",
    "lemevit_tiny": "engine.models.lemevit:LemevitClassifier",
    "lemevit_tiny_dense": "engine.models.lemevit:LemevitDense",
    "lemevit_tiny_v2": "engine.models.lemevit:LemevitClassifier",
    "lemevit_tiny_v2_dense": "engine.models.lemevit:LemevitDense",
    "oriented_rcnn_lemevit_base": "engine.models.oriented.lemevit:OrientedLemevit",
    "oriented_rcnn_lemevit_small": "engine.models.oriented.lemevit:OrientedLemevit",
    "oriented_rcnn_lemevit_tiny": "engine.models.oriented.lemevit:OrientedLemevit",
    "patch_classifier": "engine.models.patch:PatchClassifier",
    "patch_segmenter": "engine.models.patch:PatchSegmenter",
    "quadformer_classifier": "engine.models.quadformer:QuadformerClassifier",
    "quadformer_segmenter": "engine.models.quadformer:QuadformerSegmenter",
    "unet_segmenter": "engine.models.unet:UnetSegmenter",
    "upernet_lemevit_base": "engine.models.upernet:UperNetLemevit",
    "upernet_lemevit_small": "engine.models.upernet:UperNetLemevit",
    "upernet_lemevit_tiny": "engine.models.upernet:UperNetLemevit",
    "vanilla_vit_classifier": "engine.models.quadformer:VanillaVitClassifier",
    "vanilla_vit_segmenter": "engine.models.quadformer:VanillaVitSegmenter",
    "vit_tiny": "engine.models.lemevit:LemevitClassifier",
    "vit_tiny_dense": "engine.models.lemevit:LemevitDense",
}
"""A class may stand for several names: its ``PRESETS`` then holds each name's own defaults."""
_registered: dict[str, type[nn.Module]] = {}

_Module = TypeVar("_Module", bound=type[nn.Module])


def register(name: str) -> Callable[[_Module], _Module]:
    """Class decorator that makes a module class available as ``create(name, …)``."""

    def enter(cls: _Module) -> _Module:
        known = _registered.get(name)
        if name in _BUILT_IN or (known is not None and known.__qualname__ != cls.__qualname__):
            raise ValueError(f"the architecture name {name!r} is taken")
        _registered[name] = cls
        return cls

    return enter


def architectures() -> tuple[str, ...]:
    """Names of all architectures, sorted."""
    return tuple(sorted({*_BUILT_IN, *_registered}))


def architecture_class(name: str) -> type[nn.Module]:
    """The class behind an architecture's name.

    Raises:
        ModelNotFoundError: There is none of this name.
    """
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        cls: type[nn.Module] = getattr(import_module(module), attribute)
        return cls
    raise ModelNotFoundError(
        f"there is no architecture named {name!r}",
        remedy=f"{_meant(name, architectures())}Known are {', '.join(architectures())}.",
    )


def create(name: str, **config: Any) -> nn.Module:
    """Build a model with fresh weights.

    Args:
        name: Name of the architecture, see :func:`architectures`.
        config: Its configuration; what is left out takes the published value.

    Raises:
        ModelNotFoundError: There is no such architecture.
        OptionError: A configuration key is unknown, missing, or has a value that cannot work.
    """
    return architecture_class(name)(**full_config(name, config))


def full_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults of its architecture filled in, so that it outlives a change of defaults.

    Raises:
        ModelNotFoundError: There is no such architecture.
        OptionError: A configuration key is unknown or missing.
    """
    cls = architecture_class(name)
    parameters = inspect.signature(cls).parameters
    preset: Mapping[str, Any] = getattr(cls, "PRESETS", {}).get(name, {})
    for key in config:
        if key not in parameters:
            raise OptionError(
                f"{name} has no configuration key {key!r}",
                remedy=f"{_meant(key, tuple(parameters))}Keys are {', '.join(parameters)}.",
            )
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in config]
    if missing:
        raise OptionError(f"{name} needs {' and '.join(missing)}", remedy="Name it in the configuration.")
    return {key: config.get(key, preset.get(key, p.default)) for key, p in parameters.items()}


def from_reference(name: str, state_dict: Mapping[str, Any], **config: Any) -> nn.Module:
    """Build a model and load weights in the layout of the method's authors.

    A class whose layout needs more than other names has ``read_reference``, which returns our names and the
    configuration that the shapes tell, and ``unread``, which tells what may be missing because nothing reads it.

    Args:
        name: Name of the architecture.
        state_dict: The authors' state dict, or the checkpoint around it (``state_dict``, ``model``, …).
        config: The configuration the weights were made for, where they do not tell it themselves.

    Returns:
        The model in evaluation mode.

    Raises:
        CheckpointError: The weights are not for this architecture and configuration.
    """
    where = f"reference weights of {name}"
    weights = unwrap(state_dict)
    if not weights:
        raise CheckpointError("there are no weights", where=where, remedy="Give a state dict.")
    own, found = read_layout(name, weights)
    module = create(name, **(found | config))
    unread: Callable[[str], bool] | None = getattr(module, "unread", None)
    if unread is not None:
        own = {key: value for key, value in module.state_dict().items() if unread(key)} | own
    load_strict(module, own, where=where)
    return module.eval()


def read_layout(name: str, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Our names of tensors in the layout of a method's authors, and the configuration read off them, if any.

    Raises:
        ModelNotFoundError: There is no such architecture.
    """
    cls = architecture_class(name)
    read: Callable[..., tuple[dict[str, Tensor], dict[str, Any]]] | None = getattr(cls, "read_reference", None)
    if read is not None:
        return read(weights)
    rename: Callable[[str], str] = getattr(cls, "own_key", str)
    return {rename(key): value for key, value in weights.items()}, {}


def load_strict(module: nn.Module, state_dict: Mapping[str, Tensor], *, where: str) -> None:
    """Load weights after checking every one: none missing, none over, each of the right shape and kind, all finite.

    Raises:
        CheckpointError: Names the first tensors that do not fit; the module is unchanged.
    """
    own = module.state_dict()
    faults: list[str] = []
    faults += [f"{key} is missing" for key in own if key not in state_dict]
    faults += [f"{key} is unknown" for key in state_dict if key not in own]
    for key, value in state_dict.items():
        if key not in own:
            continue
        if value.shape != own[key].shape:
            faults.append(f"{key} has shape {list(value.shape)} and not {list(own[key].shape)}")
        elif value.is_floating_point() != own[key].is_floating_point():
            faults.append(f"{key} is {value.dtype} and not {own[key].dtype}")
        elif value.is_floating_point() and not bool(value.isfinite().all()):
            faults.append(f"{key} holds values that are not finite")
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        raise CheckpointError(
            f"the weights do not fit the architecture: {shown}",
            where=where,
            remedy="Use the architecture and configuration that the weights were made for.",
        )
    module.load_state_dict(dict(state_dict), strict=True)


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}? " if close else ""
