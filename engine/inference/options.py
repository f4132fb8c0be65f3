"""Options of a run: one frozen object that the window, the command line and a resumed run share.

Guarantees: what is here decides the bytes of the result; it is stored in ``analysis.json`` and compared on resume.
Importing this module does not import torch.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.inference.quadtree.options import PatchOptions


class AnalysisOptions(BaseModel):
    """How to run a model over a scene.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``. Not part of the result's identity.
        window_px: Edge of a window; None takes the card's.
        overlap_px: Overlap of neighbouring windows; None takes the card's.
        batch: Windows a batch; None lets the device decide.
        gsd: ``auto`` resamples to the nearer end of the card's range of resolutions where the scene lies outside it
            (one more than four times too coarse stays as it is), and for a scene classifier, whose windows must show
            as much ground as its pictures did, to the card's own; ``native`` never resamples, ``model`` always does so
            to the card's own, a number is a resolution in metres.
        bands: 1-based band numbers for the card's bands, in the card's order; None finds them by role.
        roi: Region of interest as a GeoJSON geometry with its CRS, ``{"geometry": …, "crs": "EPSG:4326"}``; None is
            everything.
        min_region_m2: Smaller regions join their best neighbour; None takes 32 pixels' worth, of patches all.
        quadtree: Takes the patches of a quadtree over the scene as regions; None takes what the model's tokens claim.
        min_score: How sure a detector must be of an object, or how probable a change must be; None takes the card's.
        precision: ``float32`` or ``bfloat16`` arithmetic on the device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "auto"
    window_px: int | None = Field(default=None, ge=16)
    overlap_px: int | None = Field(default=None, ge=0)
    batch: int | None = Field(default=None, ge=1)
    gsd: Literal["auto", "native", "model"] | float = "auto"
    bands: tuple[int, ...] | None = None
    roi: dict[str, Any] | None = None
    min_region_m2: float | None = Field(default=None, ge=0)
    quadtree: PatchOptions | None = None
    min_score: float | None = Field(default=None, ge=0, le=1)
    precision: Literal["float32", "bfloat16"] = "float32"
