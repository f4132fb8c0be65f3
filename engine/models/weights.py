"""The tensors inside what a training program saved: without its containers and the prefixes of its wrappers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

WRAPPERS = ("state_dict", "state_dict_ema", "model", "model_ema", "model_state_dict", "net", "weights")
"""Names under which programs keep the weights, the first of them that is there counts."""
PREFIXES = ("module.", "model.", "_orig_mod.", "net.")


def unwrap(content: object) -> dict[str, Tensor]:
    """Tensors of a saved object by name; none where it holds no state dict."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        return {}
    entries: Mapping[Any, Any] = content
    tensors = {str(key): value for key, value in entries.items() if isinstance(value, Tensor)}
    while tensors and (prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in tensors)), None)):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors
