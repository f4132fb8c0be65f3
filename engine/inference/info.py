"""``analysis.json``: what ran, on what, with which model and options, and what came out in numbers.

Guarantees: equal runs write equal bytes (no times, no paths of the output); the file is versioned, older versions
are upgraded on reading and newer ones refused with a sentence; :func:`differences` names what keeps two runs from
being the same. Importing this module does not import torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from affine import Affine
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.crs import CRS

from engine.errors import AnalysisError
from engine.inference.options import AnalysisOptions
from engine.models.card import ModelCard
from engine.scene.grid import Grid

SCHEMA_VERSION = 1
PROGRAM = "RS Viewer"

NODATA_CLASS = 255
"""Code in ``classes.tif`` of pixels without data; never a class."""
NODATA_CONFIDENCE = 0
NODATA_REGION = 0


_MAP_FILES = {("change", "classes"): "change.tif", ("change", "confidence"): "score.tif"}


def map_file(kind: str, layer: str) -> str:
    """File of a map in the folder of an analysis of some kind."""
    return _MAP_FILES.get((kind, layer), f"{layer}.tif")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridFacts(_Part):
    """The analysis grid; ``transform`` in rasterio's order a, b, c, d, e, f, ``crs`` as WKT or None."""

    width: int
    height: int
    transform: tuple[float, float, float, float, float, float]
    crs: str | None

    @classmethod
    def of(cls, grid: Grid) -> GridFacts:
        """Write down a grid."""
        a, b, c, d, e, f = tuple(grid.transform)[:6]
        return cls(
            width=grid.width,
            height=grid.height,
            transform=(a, b, c, d, e, f),
            crs=grid.crs.to_wkt() if grid.crs is not None else None,
        )

    def grid(self) -> Grid:
        """The grid again."""
        crs = CRS.from_wkt(self.crs) if self.crs is not None else None
        return Grid(self.width, self.height, Affine(*self.transform), crs)


class SceneFacts(_Part):
    """The input: its name, sources as given, and what tells whether it is still the same."""

    name: str
    sources: tuple[str, ...]
    dtype: str
    gsd_m: float | None
    identity: dict[str, Any]


class ModelFacts(_Part):
    """The model: its card and the hash of its checkpoint."""

    name: str
    sha256: str
    card: ModelCard


class BandScaling(_Part):
    """How a scene's values were brought into the card's range: ``value * gain + offset``, then clipped.

    ``low`` and ``high`` are the scene's 2nd and 98th percentile the line goes through.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    clip: tuple[float, float] | None


class Resolved(_Part):
    """What the options came to on this scene with this model.

    Attributes:
        window_px: Edge of a window.
        overlap_px: Overlap of neighbouring windows.
        batch: Windows a batch.
        bands: 1-based scene bands for the card's bands.
        gsd_m: Resolution the scene was resampled to, None at its own.
        scaling: How values were scaled, None where they were taken as stored.
        min_score: How sure a detector had to be of an object, how probable a change had to be; None for other models.
        max_overlap: Overlap from which the less sure of two objects of a class was dropped, of a detector.
    """

    window_px: int
    overlap_px: int
    batch: int
    bands: tuple[int, ...]
    gsd_m: float | None
    scaling: BandScaling | None
    min_score: float | None = None
    max_overlap: float = 1.0


class ClassShare(_Part):
    """How much of the scene a class covers; ``share`` is of the area that has data."""

    code: int
    name: str
    color: str
    pixels: int
    area_m2: float | None
    share: float


class ObjectCount(_Part):
    """How many objects of a class were found."""

    code: int
    name: str
    color: str
    count: int


class DetectionSummary(_Part):
    """How many objects were found, in all and by class."""

    count: int
    by_class: tuple[ObjectCount, ...]


class AnalysisInfo(_Part):
    """Contents of ``analysis.json``.

    ``scene`` is the earlier one of a comparison, ``after`` the later; None for other analyses.
    Results are empty and None until the run is complete: ``class_shares`` and ``regions`` of a segmentation
    and of a change, ``detections`` of a detection, ``class_shares`` and ``cells`` of a classification.
    """

    schema_version: int = SCHEMA_VERSION
    program: str = PROGRAM
    program_version: str
    scene: SceneFacts
    after: SceneFacts | None = None
    grid: GridFacts
    model: ModelFacts
    options: AnalysisOptions
    resolved: Resolved
    device: str
    warnings: tuple[str, ...] = ()
    class_shares: tuple[ClassShare, ...] = ()
    regions: int | None = None
    detections: DetectionSummary | None = None
    cells: int | None = None

    @property
    def kind(self) -> str:
        """What kind of analysis it is: the task of its model."""
        return self.model.card.task

    def identity(self) -> dict[str, Any]:
        """What decides the result; a run is continued, with its own batch size, only where this is equal."""
        return {
            "scene": self.scene.identity,
            "after": None if self.after is None else self.after.identity,
            "grid": self.grid.model_dump(mode="json"),
            "model": self.model.sha256,
            "options": self.options.model_dump(mode="json", exclude={"device"}),
            "resolved": self.resolved.model_dump(mode="json", exclude={"batch"}),
        }

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=1) + "\n"


def differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    """Name the entries in which two identities differ, as ``options.overlap_px: 64 there, 32 here``."""
    found = []
    for key in sorted(set(there) | set(here)):
        old, new = there.get(key), here.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}: {_short(old)} there, {_short(new)} here")
    return found


def read_info(path: Path) -> AnalysisInfo:
    """Read ``analysis.json``.

    Raises:
        AnalysisError: It cannot be read, is none, or is of a newer version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AnalysisError(
            f"the description of the analysis cannot be read: {error}", where=path, remedy="Run the analysis again."
        ) from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise AnalysisError(
            "this is no analysis of RS Viewer", where=path, remedy="Open a folder that a run has written."
        )
    if version > SCHEMA_VERSION:
        raise AnalysisError(
            f"the analysis has version {version}, this program knows up to {SCHEMA_VERSION}",
            where=path,
            remedy="Update RS Viewer to open it.",
        )
    try:
        return AnalysisInfo.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise AnalysisError(
            f"the description of the analysis is damaged: {place}: {first['msg']}",
            where=path,
            remedy="Run the analysis again.",
        ) from error


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
