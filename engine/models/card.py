"""Model cards: what a checkpoint is, in a form that programs check and people read.

Guarantees: a card that validates holds everything a run needs (bands, scaling, window, ground resolution, classes);
cards of an older schema are upgraded on reading, cards of a newer one are refused with a sentence.
Importing this module does not import torch.
"""

from __future__ import annotations

import colorsys
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import CardError

SCHEMA_VERSION = 1


def _hex_colour(value: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError(f"{value!r} is no colour of the form #rrggbb")
    return value.lower()


Colour = Annotated[str, AfterValidator(_hex_colour)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def spread_colour(index: int) -> str:
    """A colour for the ``index``-th of classes that come without: hues a golden angle apart, so neighbours differ.

    Every third is dark and every third pale, so that a score of them can be told apart too.
    """
    saturation, value = ((0.7, 0.9), (0.85, 0.62), (0.42, 1.0))[index % 3]
    rgb = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, saturation, value)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


class CardClass(_Part):
    """A class the model predicts; its place in the list is its code in the class map."""

    name: str = Field(min_length=1)
    color: Colour


class Scaling(_Part):
    """How stored values become model input: ``(value / divisor - mean) / std`` for each band.

    ``low`` and ``high`` are the 2nd and 98th percentile of each band in the training data, in stored values:
    scenes of another data type are brought into this range before the formula, scenes of the same type are not.
    """

    dtype: Literal["uint8", "uint16", "int16", "float32"] = "uint8"
    divisor: float = Field(gt=0)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class Rival(_Part):
    """A model compared with on equal terms: its name, in what it differs, and its figures by name."""

    name: str
    note: str = ""
    figures: dict[str, float | str | None]


class ModelCard(_Part):
    """What a checkpoint is. Serialised as JSON in the header of its ``.safetensors`` file.

    ``config`` holds the keyword arguments of the architecture, ``metrics`` a table for each split
    (``{"validation": {"miou": …}}``), ``window_px`` and ``overlap_px`` what sliding windows should use; for scenes
    ``window_px`` is what the shorter side of a picture is resized to, and ``gsd_m`` the resolution that it then has.
    ``started_from`` names the model whose weights training began with, ``taught_by`` one whose answers it learned from
    beside the labels, if any.
    ``comparison`` is a table of models compared with on equal terms, this one among them.
    """

    schema_version: int = SCHEMA_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    description: str = ""
    architecture: str
    config: dict[str, Any]
    task: Literal["segmentation", "classification", "detection", "change"]
    classes: tuple[CardClass, ...] = Field(min_length=1)
    bands: tuple[str, ...] = Field(min_length=1)
    scaling: Scaling
    window_px: int = Field(ge=16)
    overlap_px: int = Field(ge=0)
    gsd_m: float | None = Field(default=None, gt=0)
    gsd_range_m: tuple[float, float] | None = None
    min_score: float | None = Field(default=None, ge=0, le=1)
    token_count: int = Field(ge=1)
    data: str
    started_from: str | None = None
    taught_by: str | None = None
    metrics: dict[str, dict[str, Any]]
    comparison: tuple[Rival, ...] = ()
    licence: str
    source: str

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        for name in ("mean", "std", "low", "high"):
            if len(getattr(self.scaling, name)) != len(self.bands):
                raise ValueError(f"scaling.{name} needs one value for each of {len(self.bands)} bands")
        if self.overlap_px >= self.window_px:
            raise ValueError("overlap_px must be smaller than window_px")
        if len({c.name for c in self.classes}) != len(self.classes):
            raise ValueError("class names repeat")
        return self


def parse_card(text: str, *, where: str) -> ModelCard:
    """Read a card from JSON.

    Args:
        text: The JSON text.
        where: The file it comes from, for messages.

    Raises:
        CardError: It is no card, or one of a newer schema.
    """
    import json

    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise CardError(f"the model card is not JSON: {error}", where=where) from error
    if not isinstance(raw, dict):
        raise CardError("the model card is not a JSON object", where=where)
    version = raw.get("schema_version", 1)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise CardError(
            f"the model card has schema version {version}, this program knows up to {SCHEMA_VERSION}",
            where=where,
            remedy="Update RS Viewer, or ask the model's maker for an older card.",
        )
    try:
        return ModelCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "card"
        raise CardError(
            f"the model card is not valid: {place}: {first['msg']}",
            where=where,
            remedy="Correct the card and save it again.",
        ) from error
