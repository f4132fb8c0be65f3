"""Turn a downloaded, pickled checkpoint of a method's authors into one of ours.

Guarantees: the file is unpickled with ``torch.load(weights_only=True)``, which builds tensors and plain containers and
nothing else; HOOK's architecture is read off the tensors' shapes, LeMeViT's is that of its name; every tensor must fit;
what the file cannot say (heads, which blocks are decoded, the dense grid, the scaling) takes the published value unless
it is given, and the card says so.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import CardError, CheckpointError, OptionError
from engine.models.card import CardClass, ModelCard, Scaling, parse_card, spread_colour
from engine.models.checkpoint import is_pickle, save_checkpoint, sha256
from engine.models.published import CONVERTIBLE, PublishedUse, published_use
from engine.models.registry import from_reference, full_config, read_layout
from engine.models.vit import spread_layers
from engine.models.weights import unwrap
from engine.tokenizers.hook import STRIDE

_UNREADABLE = (
    pickle.UnpicklingError,
    SafetensorError,
    BadZipFile,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)


def convert(
    path: str | Path,
    model_name: str,
    out: str | Path,
    *,
    classes: Sequence[str | CardClass] | None = None,
    config: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write a checkpoint from a pickled state dict.

    Args:
        path: The file, as ``torch.save`` wrote it.
        model_name: Its architecture, one of :data:`engine.models.published.CONVERTIBLE`.
        out: The ``.safetensors`` file to write.
        classes: Names (or names with colours) of the classes in the order of the logits; None takes those of the
            published data where their number fits (GID-5, Potsdam, change) and numbers them otherwise.
        config: Configuration values that override what is read off the shapes.
        fields: Card fields that override the ones written here (``title``, ``gsd_m``, ``licence``, ...).

    Returns:
        The card of the new checkpoint.

    Raises:
        CheckpointError: The file is no state dict of this architecture, or holds more than tensors.
        CardError: ``fields`` do not make a valid card.
        OptionError: ``model_name``, ``config`` or ``classes`` cannot work.
        OutputError: ``out`` cannot be written.
    """
    path = Path(path)
    if model_name not in CONVERTIBLE:
        raise OptionError(
            f"there are no published weights for {model_name!r}", remedy=f"Names are {', '.join(CONVERTIBLE)}."
        )
    weights = read_state_dict(path)
    own, told = read_layout(model_name, weights)
    if model_name.startswith(("hook", "patch")):
        told = infer_config(model_name, own, where=str(path))
    elif "num_classes" not in told:
        raise CheckpointError(
            f"the weights are not those of a {model_name}: the layer that names classes is missing "
            f"(there is {', '.join(list(weights)[:3])}, ...)",
            where=path,
            remedy=f"Name another model: {', '.join(CONVERTIBLE)}.",
        )
    full = full_config(model_name, told | dict(config or {}))
    try:
        module = from_reference(model_name, weights, **full)
    except CheckpointError as error:
        raise CheckpointError(
            error.what, where=path, remedy=f"Is this really a {model_name}? {error.remedy}"
        ) from error
    use = published_use(model_name, full)
    named = _classes(classes, int(full["num_classes"]), use)
    card = _card(path, model_name, full, told, named, use, fields or {})
    save_checkpoint(out, module, card)
    return card


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a downloaded checkpoint by name, without containers and the prefixes that training wrappers add.

    Raises:
        CheckpointError: The file is missing, holds more than tensors, or no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("the file does not exist", where=path, remedy="Give the path of a downloaded checkpoint.")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True) if is_pickle(path) else load_file(path)
    except _UNREADABLE as error:
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"the file cannot be opened as plain weights: {first}",
            where=path,
            remedy="It must be a state dict as torch.save writes it; code inside a file is never run.",
        ) from error
    tensors = unwrap(content)
    if not tensors:
        raise CheckpointError("the file holds no weights", where=path, remedy="Give a file with a state dict.")
    return tensors


def infer_config(model_name: str, weights: Mapping[str, Tensor], *, where: str) -> dict[str, Any]:
    """Read an architecture's configuration off the shapes of its weights (in our names).

    Raises:
        CheckpointError: A tensor that every model of this architecture has is not there.
    """

    def shape(key: str) -> list[int]:
        if key not in weights:
            found = ", ".join(list(weights)[:3])
            raise CheckpointError(
                f"the weights are not those of a {model_name}: {key} is missing (there is {found}, ...)",
                where=where,
                remedy=f"Name another model: {', '.join(CONVERTIBLE)}.",
            )
        return list(weights[key].shape)

    blocks = {int(m[1]) for key in weights if (m := re.match(r"backbone\.module\.(\d+)\.", key))}
    embed_dim = shape("backbone.module.0.norm1.weight")[0]
    config: dict[str, Any] = {
        "embed_dim": embed_dim,
        "depth": max(blocks) + 1,
        "num_heads": max(1, embed_dim // 64),
    }
    if model_name.startswith("hook"):
        _, seeds, config["seed_dim"] = shape("tokenizer.pos_embed")
        config["image_size"] = isqrt(seeds) * STRIDE
        config["token_count"] = shape("tokenizer.query")[0]
        stem = "tokenizer.downsample_module"
        config["in_channels"] = shape(f"{stem}.conv1.weight")[1]
        parts = ("conv1", "module2.0", "module4.0")
        config["stem_widths"] = tuple(shape(f"{stem}.{part}.weight")[0] for part in parts)
    else:
        _, config["in_channels"], config["patch_size"], _ = shape("tokenizer.proj.weight")
        config["positions"] = "tokenizer.pos_embed" in weights
        if config["positions"]:
            config["image_size"] = isqrt(shape("tokenizer.pos_embed")[1]) * config["patch_size"]
        else:
            config["image_size"] = 512 if model_name.endswith("segmenter") else 224
    if model_name.endswith("segmenter"):
        config["num_classes"], config["head_dim"], *_ = shape("taskHead.linear_pred.weight")
        levels = ("linear_c1", "linear_c2", "linear_c3", "linear_c4")
        config["dense_channels"] = tuple(shape(f"taskHead.{level}.proj.weight")[1] for level in levels)
        config["out_layers"] = spread_layers(config["depth"])
        if model_name == "hook_segmenter":
            config["dense_size"] = max(2, config["image_size"] // 16)
    else:
        config["num_classes"] = shape("taskHead.fc.weight")[0]
    return config


def _classes(given: Sequence[str | CardClass] | None, count: int, use: PublishedUse) -> list[CardClass]:
    if given is None and count == len(use.classes):
        return [CardClass(name=name, color=color) for name, color in use.classes]
    names: Sequence[str | CardClass] = given or [f"class {index + 1}" for index in range(count)]
    if len(names) != count:
        raise OptionError(
            f"{len(names)} class names were given for {count} classes", remedy="Give one name for each, in order."
        )
    classes = []
    for index, name in enumerate(names):
        if isinstance(name, CardClass):
            classes.append(name)
            continue
        classes.append(CardClass(name=name, color=spread_colour(index)))
    return classes


def _card(
    path: Path,
    model_name: str,
    config: Mapping[str, Any],
    told: Mapping[str, Any],
    classes: Sequence[CardClass],
    use: PublishedUse,
    fields: Mapping[str, Any],
) -> ModelCard:
    bands = int(config["in_channels"])
    assumed = [key for key in ("num_heads", "out_layers", "dense_size") if key in told] or ["sizes", "heads"]
    raw: dict[str, Any] = {
        "name": re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_") or "converted",
        "title": f"{path.stem} ({model_name})",
        "description": f"Converted from {path.name}. Read off the weights but for {', '.join(assumed)}, which the file "
        "does not tell, and the scaling, which is that of the published training.",
        "architecture": model_name,
        "config": dict(config),
        "task": use.task,
        "classes": [entry.model_dump() for entry in classes],
        "bands": ("red", "green", "blue") if bands == 3 else tuple(f"band {index + 1}" for index in range(bands)),
        "scaling": use.scaling(bands).model_dump(),
        "window_px": use.window_px,
        "overlap_px": use.overlap_px,
        "token_count": use.token_count,
        "data": "Not told by the file.",
        "metrics": {},
        "licence": "Not told by the file: ask where it came from.",
        "source": f"{path.name}, sha256 {sha256(path)}",
    }
    unknown = [key for key in fields if key not in ModelCard.model_fields]
    if unknown:
        raise CardError(
            f"a card has no field {unknown[0]!r}", remedy=f"Fields are {', '.join(ModelCard.model_fields)}."
        )
    return parse_card(json.dumps(raw | dict(fields), default=_plain), where=str(path))


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, CardClass | Scaling) else list(value)
