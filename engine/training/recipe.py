"""Recipes: everything that decides a training run, in one YAML file.

Guarantees: a recipe that validates names an architecture with its configuration, the data with its split rule, the
augmentation, the optimiser and the card of the model that comes out; unknown keys are errors, so a typing mistake
never passes for a setting. Paths of data are relative to the folder given at the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import TrainingError
from engine.models.card import CardClass


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TileSource(_Part):
    """Image tiles with label masks of the same name.

    Attributes:
        kind: ``tiles``.
        folder: Folder below the data folder.
        images: Folder of the images in it.
        masks: Folder of the masks in it; a mask is ``<name>.png`` or ``<name>.tif``.
        bands: 1-based bands to read, in the card's order.
        labels: Stored label value to class code; values not listed are ignored.
        validation_remainders: A tile belongs to validation where the md5 of its name (without extension, UTF-8), read
            as a hexadecimal integer, leaves one of these modulo 10. Empty: every tile trains.
        weight: How often a training piece comes from this source, relative to the others.
        from_epoch: First epoch in which the source takes part.
    """

    kind: Literal["tiles"] = "tiles"
    folder: str
    images: str = "images"
    masks: str = "masks"
    bands: tuple[int, ...] = (1, 2, 3)
    labels: dict[int, int]
    validation_remainders: tuple[int, ...] = ()
    weight: float = Field(default=1.0, gt=0)
    from_epoch: int = Field(default=0, ge=0)


class DemoSource(_Part):
    """Pieces of generated demo scenes, made in memory.

    Attributes:
        kind: ``demo``.
        scenes: Scenes to make.
        size_px: Edge of each.
        first_seed: Seed of the first; the others count up. The shipped demo scene's seed must not be among them.
        weight: As for tiles.
        from_epoch: As for tiles.
    """

    kind: Literal["demo"]
    scenes: int = Field(ge=1)
    size_px: int = Field(ge=64)
    first_seed: int
    weight: float = Field(default=1.0, gt=0)
    from_epoch: int = Field(default=0, ge=0)


class Augmentation(_Part):
    """How training samples are made from tiles.

    Attributes:
        crop_px: Edge of a sample.
        mosaic: Share of samples that are 2 x 2 mosaics of pieces of four tiles.
        blobs: Share of samples in which other tiles show through smooth random shapes (shores, not straight seams).
        blob_cells: Fewest and most cells along the edge of the noise that shapes blobs: more cells, smaller blobs.
        blob_cover: Smallest and largest share of the sample one tile's blobs cover; None lets it fall about one half.
        pastes: Fewest and most tiles that show through.
        scale: Smallest and largest zoom of a piece.
        gain: Standard deviation of the logarithm of the brightness gain.
        band_gain: The same for each band alone.
        band_offset: Standard deviation of an offset for each band, as a share of the full range.
        gamma: Standard deviation of the logarithm of a gamma curve (on half of the samples).
        desaturate: Share of samples moved towards grey.
        blur: Share of samples blurred by 3 x 3 pixels.
        noise: Largest standard deviation of added noise, as a share of the full range.
        recolour: Standard deviation of the logarithm of a gain drawn for each piece of a blob sample alone, so that
            a class must be known by more than its brightness beside others.
        retone: Class code to the chance that a piece's pixels of it take on the mean colour of land of another class,
            texture kept: what is known by its smoothness (murky lakes) must not hang on its colour.
        from_epoch: First epoch in which samples are made this way.
    """

    crop_px: int = Field(default=192, ge=32)
    mosaic: float = 0.3
    blobs: float = 0.25
    blob_cells: tuple[int, int] = (2, 5)
    blob_cover: tuple[float, float] | None = None
    pastes: tuple[int, int] = (1, 3)
    scale: tuple[float, float] = (0.7, 1.4)
    gain: float = 0.2
    band_gain: float = 0.08
    band_offset: float = 0.02
    gamma: float = 0.15
    desaturate: float = 0.15
    blur: float = 0.2
    noise: float = 0.012
    recolour: float = 0.0
    retone: dict[int, float] = Field(default_factory=dict)
    from_epoch: int = Field(default=0, ge=0)


class LossWeights(_Part):
    """Weights of the parts of the loss (see ``engine.training.losses``)."""

    tokens: float = 0.5
    spectral: float = 0.3
    outline: float = 0.4
    sharpness: float = 0.02
    class_power: float = 0.25


class Restart(_Part):
    """A warm restart of the schedule (Loshchilov and Hutter 2017): from ``step`` on, anew from ``peak`` x the rate.

    ``from_average`` goes on from the averaged weights, with a fresh optimiser; ``step`` must then begin an epoch.
    """

    step: int = Field(ge=1)
    peak: float = Field(gt=0)
    from_average: bool = False


class Optimisation(_Part):
    """AdamW with linear warm-up and cosines down to zero; an exponential moving average of the weights is kept.

    ``keep`` says which state the checkpoint holds: the best by mIoU on the validation split, or the last, where later
    epochs teach what that split does not ask for.
    """

    steps: int = Field(ge=1)
    steps_per_epoch: int = Field(default=250, ge=1)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1.5e-3, gt=0)
    weight_decay: float = 0.05
    warmup_steps: int = 100
    restarts: tuple[Restart, ...] = ()
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    keep: Literal["best", "last"] = "best"
    seed: int = 0
    loader_workers: int = 1

    @model_validator(mode="after")
    def _restarts_begin_epochs(self) -> Self:
        for restart in self.restarts:
            if restart.from_average and restart.step % self.steps_per_epoch:
                raise ValueError(f"the restart at step {restart.step} begins no epoch of {self.steps_per_epoch} steps")
        return self


class CardText(_Part):
    """What the card of the trained model says beyond what training measures."""

    title: str
    description: str
    window_px: int
    overlap_px: int
    gsd_m: float
    gsd_range_m: tuple[float, float]
    data: str
    licence: str
    source: str


class Recipe(_Part):
    """A training run (see the module's first lines)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    architecture: str
    config: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[CardClass, ...]
    bands: tuple[str, ...]
    data: tuple[TileSource | DemoSource, ...] = Field(min_length=1)
    augmentation: tuple[Augmentation, ...] = Field(default=(Augmentation(),), min_length=1)
    loss: LossWeights = LossWeights()
    optimisation: Optimisation
    card: CardText


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: A YAML file.
        overrides: ``key=value`` pairs with dotted keys (``optimisation.steps=100``); values are YAML.

    Raises:
        TrainingError: The file is missing, no recipe, or an override does not fit.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(
            "there is no such recipe", where=path, remedy="`rs-engine train --list` names the shipped recipes."
        ) from error
    except (OSError, yaml.YAMLError) as error:
        raise TrainingError(f"the recipe cannot be read: {error}", where=path, remedy="Correct the YAML.") from error
    if not isinstance(raw, dict):
        raise TrainingError("the recipe is not a YAML mapping", where=path, remedy="Start from a shipped recipe.")
    for override in overrides:
        _apply(raw, override)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise TrainingError(f"the recipe is not valid at {place}: {first['msg']}", where=path) from error


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise TrainingError(f"{override!r} sets nothing", remedy="Write --set key=value, e.g. optimisation.steps=100.")
    *parents, last = key.split(".")
    here: Any = raw
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
    if isinstance(here, list):
        here[int(last)] = yaml.safe_load(text)
    else:
        here[last] = yaml.safe_load(text)
