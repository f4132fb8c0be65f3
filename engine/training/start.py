"""Start a training from the weights of a model that there is, instead of from chance.

Weights go where name and shape agree; a backbone that stands alone in one model and inside another is recognised.
What does not agree (the head for other classes, say) starts from chance. Guarantees: what was taken over is told;
a model that gives nothing is an error, never a silent start from chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from engine.errors import TrainingError
from engine.models.catalog import find_model
from engine.models.checkpoint import load_checkpoint

_INNER = "backbone."
"""Where models with heads of their own keep a backbone."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training started.

    Attributes:
        name: The model whose weights were taken.
        taken: How many weights were.
        all: How many the trained model has.
        anew: The parts that start from chance, as names that cover all of them and nothing else.
    """

    name: str
    taken: int
    all: int
    anew: tuple[str, ...]

    def __str__(self) -> str:
        rest = f"; from chance: {', '.join(self.anew)}" if self.anew else ""
        return f"Starts from {self.name}: {self.taken:,} of {self.all:,} weights{rest}."


def start_from(model: nn.Module, name_or_path: str) -> Start:
    """Give a model the weights of another where they fit.

    Args:
        model: The model to be trained; changed in place.
        name_or_path: A model's name, or the path of its checkpoint.

    Raises:
        ModelNotFoundError: There is no such model.
        CheckpointError: The checkpoint is damaged.
        TrainingError: Nothing of it fits.
    """
    found = find_model(name_or_path)
    given = load_checkpoint(found.path)[0].state_dict()
    own = model.state_dict()
    weights = dict(model.named_parameters())
    fitting = {}
    for name, value in own.items():
        for other in _names(name):
            if other in given and given[other].shape == value.shape:
                fitting[name] = given[other]
                break
    if not weights.keys() & fitting.keys():
        raise TrainingError(
            f"no weight of {found.name} ({found.card.architecture}) fits the model",
            where=found.path,
            remedy="Start from a model of the same architecture and widths, or leave `start` out.",
        )
    model.load_state_dict(own | fitting)
    taken = sum(weights[name].numel() for name in weights if name in fitting)
    return Start(
        found.name,
        taken,
        sum(weight.numel() for weight in weights.values()),
        tuple(_parts(set(weights) - set(fitting), set(weights) & set(fitting))),
    )


def _names(name: str) -> Iterator[str]:
    yield name
    yield name.removeprefix(_INNER) if name.startswith(_INNER) else _INNER + name


def _parts(anew: set[str], taken: set[str]) -> Iterator[str]:
    """Shortest prefixes that cover ``anew`` and nothing of ``taken``, sorted."""
    told: set[str] = set()
    for name in sorted(anew):
        pieces = name.split(".")
        for length in range(1, len(pieces) + 1):
            prefix = ".".join(pieces[:length])
            if not any(other == prefix or other.startswith(f"{prefix}.") for other in taken):
                if prefix not in told:
                    told.add(prefix)
                    yield prefix
                break
