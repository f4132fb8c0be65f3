"""Checkpoints: one ``.safetensors`` file with the weights, its card as JSON in the header.

Guarantees: reading a card imports no torch and reads no weights; loading checks every byte of the weights against the
checksum in the header and every tensor against the architecture; nothing is ever unpickled here; a file bears its final
name only when it is whole; the same model and card give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from engine.errors import CheckpointError, OutputError
from engine.models.card import ModelCard, parse_card

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".safetensors"
CARD_KEY = "model_card"
CHECKSUM_KEY = "tensors_sha256"
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})


def read_card(path: str | Path) -> ModelCard:
    """Read the card of a checkpoint.

    Raises:
        CheckpointError: The file is missing, damaged, a pickle, or has no card.
        CardError: The card is not valid, or of a newer schema.
    """
    path = Path(path)
    return parse_card(_header(path)[CARD_KEY], where=str(path))


def load_checkpoint(path: str | Path) -> tuple[nn.Module, ModelCard]:
    """Load a checkpoint's model, in evaluation mode on the CPU, and its card.

    Raises:
        CheckpointError: The file is missing, damaged, a pickle, has no card, or does not fit its architecture.
        CardError: The card is not valid, or of a newer schema.
    """
    import torch

    from engine.errors import EngineError
    from engine.models import registry

    path = Path(path)
    header = _header(path)
    card = parse_card(header[CARD_KEY], where=str(path))
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a handle, not a dict
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error
    if _checksum(tensors.items()) != header[CHECKSUM_KEY]:
        raise _damaged(path, "the weights do not match the checksum in the header")
    try:
        with torch.random.fork_rng(devices=[]):
            module = registry.create(card.architecture, **card.config)
    except (EngineError, TypeError, ValueError, RuntimeError) as error:
        reason, remedy = (error.what, error.remedy) if isinstance(error, EngineError) else (str(error), "")
        raise CheckpointError(
            f"the checkpoint's architecture cannot be built: {reason}",
            where=path,
            remedy=remedy or "Update RS Viewer, or ask the checkpoint's maker.",
        ) from error
    registry.load_strict(module, tensors, where=str(path))
    return module.eval(), card


def round_to_half(module: nn.Module) -> None:
    """Round a model's weights to what 16 bits can hold, in place; they stay of the type they are."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half())


def save_checkpoint(path: str | Path, module: nn.Module, card: ModelCard, *, half: bool = False) -> None:
    """Write a checkpoint; the file appears under its name only when it is whole.

    Args:
        path: Where; the suffix is ``.safetensors``.
        module: The model, as ``create(card.architecture, **card.config)`` makes it (not folded), on any device.
        card: Its card; the file's holds the whole configuration, defaults included.
        half: Whether weights are stored with 16 bits; models are built with 32 whatever their file holds.

    Raises:
        CheckpointError: The card describes another model than ``module``, or a weight is not finite.
        OutputError: The file cannot be written.
    """
    import torch
    from safetensors.torch import save

    from engine.models import registry

    path = Path(path)
    if path.suffix != SUFFIX:
        raise OutputError(
            "a checkpoint's name ends in .safetensors", where=path, remedy=f"Write to {path.stem}{SUFFIX}."
        )
    card = card.model_copy(update={"config": registry.full_config(card.architecture, card.config)})
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    with torch.random.fork_rng(devices=[]):
        registry.load_strict(registry.create(card.architecture, **card.config), tensors, where=str(path))
    header = {CARD_KEY: card.model_dump_json(), CHECKSUM_KEY: _checksum(tensors.items())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in _in_fixed_order(save(tensors, metadata=header)):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_half(path: str | Path) -> bool:
    """Whether a checkpoint's weights are stored with 16 bits.

    Raises:
        CheckpointError: It is no whole checkpoint.
    """
    path = Path(path)
    _header(path)
    with safe_open(str(path), framework="numpy") as file:
        return any(file.get_slice(key).get_dtype() == "F16" for key in file.keys())  # noqa: SIM118 - a handle


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, in hexadecimal: a checkpoint's identity."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_pickle(path: str | Path) -> bool:
    """Whether a file is a pickled checkpoint (``torch.save``), judged by its first bytes, then by its suffix."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(16)
    if head[8:9] == b"{":  # safetensors: a length of eight bytes, then the JSON header
        return False
    pickled = head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}
    return pickled or head.startswith(b"PK\x03\x04") or path.suffix.lower() in PICKLE_SUFFIXES


def _header(path: Path) -> dict[str, str]:
    if not path.is_file():
        kind = "is a folder, not a checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(f"the checkpoint {kind}", where=path, remedy="Give the path of a .safetensors file.")
    try:
        if is_pickle(path):
            raise CheckpointError(
                "a pickled checkpoint can run any program when it is opened, so it is not opened",
                where=path,
                remedy=f"Convert it once with: rs-engine convert {path} --model NAME -o {path.stem}{SUFFIX}",
            )
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error
    if CARD_KEY not in header or CHECKSUM_KEY not in header:
        raise CheckpointError(
            "the file has no model card, so it is not a checkpoint of this program",
            where=path,
            remedy="Weights of the authors of HOOK become one with: rs-engine convert FILE --model NAME -o OUT",
        )
    return header


def _checksum(tensors: Iterable[tuple[str, Tensor]]) -> str:
    import torch

    digest = hashlib.sha256()
    for key, value in sorted(tensors):
        digest.update(f"{key}|{value.dtype}|{list(value.shape)}|".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _in_fixed_order(raw: bytes) -> tuple[bytes, memoryview]:
    """Header and data of a serialised file, the header sorted: the library writes its entries in any order."""
    end = 8 + int.from_bytes(raw[:8], "little")
    text = json.dumps(json.loads(raw[8:end]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(raw)[end:]


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint is damaged or not a .safetensors file: {reason}",
        where=path,
        remedy="Copy or download it again.",
    )


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(
        f"the checkpoint cannot be written: {reason}",
        where=path,
        remedy="Choose a folder with room that you may write to.",
    )
