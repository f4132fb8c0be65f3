"""A picture, or a part of a scene, in a model's bands and value range: what is shown to a model outside of runs.

Guarantees: bands, radiometry and, for models that draw maps, resolution are treated as in a run, with the same errors
and warnings; at most ``most_px`` pixels an edge are read, or the part asked for, so a scene of any size costs the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import EngineWarning, NoCrsWarning, OptionError, SceneError
from engine.inference.check import check_run
from engine.inference.info import BandScaling
from engine.inference.options import AnalysisOptions
from engine.models.card import ModelCard
from engine.scene import Scene, Window, open_scene


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels as a model takes them.

    Attributes:
        name: The scene's name.
        stored: ``[C, h, w]`` in the card's bands and range; gaps hold the mean of what is valid.
        warnings: What the user should know.
    """

    name: str
    stored: npt.NDArray[Any]
    warnings: tuple[EngineWarning, ...]


def read_picture(
    source: str | Path | Sequence[str | Path],
    card: ModelCard,
    *,
    most_px: int | None = None,
    part: Sequence[int] | None = None,
    options: AnalysisOptions | None = None,
) -> Picture:
    """Read a picture for a model.

    Args:
        source: A file, folder of tiles, VRT or address.
        card: The model's card.
        most_px: Of a larger scene, the middle of this edge is read; None reads all of it.
        part: Column, row, width and height of the part to read instead, in pixels at the resolution of the run.
        options: Bands and resolution, as for a run.

    Raises:
        EngineError: The scene cannot be opened, or lacks what the model needs; the message says what would work.
    """
    options = options or AnalysisOptions()
    with open_scene(source) as scene:
        asked = card
        if card.task == "classification":
            # A scene classifier sees the picture at one size whatever its resolution; bands and range matter alike.
            asked = card.model_copy(update={"task": "segmentation", "gsd_m": None, "gsd_range_m": None})
            options = options.model_copy(update={"gsd": "native"})
        run = check_run(scene, asked, options)
        shown = run.scene
        assert isinstance(shown, Scene)  # one scene comes in
        window = _middle(shown, most_px) if part is None else _part(shown, part)
        stored = _read(shown, window, run.bands)
        # Nothing is placed on a map here.
        warnings = tuple(warning for warning in run.warnings if not isinstance(warning, NoCrsWarning))
        return Picture(scene.name, _scaled(stored, run.scaling), warnings)


def _middle(scene: Scene, most_px: int | None) -> Window:
    if most_px is not None and most_px < 1:
        raise OptionError(f"a picture of {most_px} pixels is impossible", remedy="Give a number above 0.")
    width, height = (edge if most_px is None else min(edge, most_px) for edge in (scene.width, scene.height))
    return Window((scene.width - width) // 2, (scene.height - height) // 2, width, height)


def _part(scene: Scene, part: Sequence[int]) -> Window:
    said = ",".join(map(str, part))
    if len(part) != 4 or min(part) < 0 or min(part[2:]) < 1:
        raise OptionError(f"{said} is no part of a scene", remedy="Give column, row, width and height in pixels.")
    col, row, width, height = part
    if col + width > scene.width or row + height > scene.height:
        raise OptionError(
            f"the part {said} reaches beyond the scene, which has {scene.width} x {scene.height} pixels for this model",
            where=scene.name,
            remedy="Give a part inside it.",
        )
    return Window(col, row, width, height)


def _read(scene: Scene, window: Window, bands: tuple[int, ...]) -> npt.NDArray[Any]:
    raster = scene.read(window, bands=bands)
    if not raster.valid.any():
        raise SceneError("there is no valid pixel in the part that is read", where=scene.name)
    data = raster.data
    if not raster.valid.all():
        mean = data[:, raster.valid].astype(np.float64).mean(axis=1)
        data = np.where(raster.valid, data, mean.astype(data.dtype)[:, None, None])
    return data


def _scaled(stored: npt.NDArray[Any], scaling: BandScaling | None) -> npt.NDArray[Any]:
    if scaling is None:
        return stored
    gain, offset = (np.asarray(part, np.float32)[:, None, None] for part in (scaling.gain, scaling.offset))
    values = stored.astype(np.float32) * gain + offset
    return np.clip(values, *scaling.clip) if scaling.clip is not None else values
