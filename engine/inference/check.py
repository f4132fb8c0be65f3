"""What a run will do to a scene, and what the user should know before it: resolution, bands, radiometry.

Guarantees: nothing is run and nothing but one small overview is read; every mismatch between scene and card is
either an error with a remedy or a warning in :attr:`RunCheck.warnings`; the scaling of a scene of another data type
than the model's is one straight line a band for the whole scene, never a tile's own. Importing this module does not
import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import BandError, EngineWarning, GroundResolutionWarning, OptionError, RadiometryWarning, SceneError
from engine.inference.info import BandScaling
from engine.inference.options import AnalysisOptions
from engine.inference.plan import WindowPlan
from engine.models.card import ModelCard
from engine.scene import Raster, Scene, ScenePair

LOW_PERCENT, HIGH_PERCENT = 2.0, 98.0
_SAMPLE_PX = 1024
"""Longest side of the overview that percentiles are taken from."""
_TASKS = ("segmentation", "detection", "classification", "change")
_CLASS_LIMIT = 254
_RANGE_FACTOR = 2.0
"""A card without a range of resolutions is taken to hold within this factor of its own."""
_MOST_ENLARGEMENT = 4.0
"""Coarser scenes are not enlarged of our own accord: that costs much and shows nothing new."""
_INTEGER_RANGE = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "int16": (-32768.0, 32767.0)}


@dataclass(frozen=True)
class RunCheck:
    """A run as it would happen.

    Attributes:
        scene: The scene, or both of a comparison, on the grid the run works on; what came in if not resampled.
        gsd_m: Resolution the scene is resampled to, None at its own.
        bands: 1-based scene bands for the card's bands.
        plan: The windows.
        scaling: How values are brought into the card's range, None where they are taken as stored.
        warnings: What to tell the user before the run.
    """

    scene: Scene | ScenePair
    gsd_m: float | None
    bands: tuple[int, ...]
    plan: WindowPlan
    scaling: BandScaling | None
    warnings: tuple[EngineWarning, ...]


def check_run(scene: Scene | ScenePair, card: ModelCard, options: AnalysisOptions) -> RunCheck:
    """Hold a scene against a model's card.

    Raises:
        EngineError: The scene cannot be analysed with this model and these options; the message says what would work.
    """
    if card.task not in _TASKS or (card.task != "detection" and len(card.classes) > _CLASS_LIMIT):
        raise OptionError(
            f"the model {card.name} neither draws maps of up to {_CLASS_LIMIT} classes nor finds objects",
            where="model",
            remedy=f"Choose a model whose task is {' or '.join(_TASKS)}.",
        )
    _right_number(scene, card)
    if options.quadtree is not None and card.task != "segmentation":
        raise OptionError(
            f"the model {card.name} draws no regions, so patches of a quadtree cannot be its regions",
            where="quadtree",
            remedy="Choose a model whose task is segmentation, or leave the quadtree out.",
        )
    # Not through numpy: GDAL has complex types, complex_int16 among them, that numpy does not know.
    if scene.dtype.startswith("complex"):
        raise SceneError(
            f"the scene holds {scene.dtype} values, models take real numbers",
            where=scene.name,
            remedy="Convert it to its magnitude first, for example with gdal_calc.",
        )
    warnings: list[EngineWarning] = list(scene.warnings)
    bands = _bands(scene, card, options)
    gsd_m = _target_gsd(scene.gsd_m, card, options, warnings)
    resampled = scene.at_gsd(gsd_m) if gsd_m is not None else scene
    overlap = _overlap(card, options)
    plan = WindowPlan(resampled.width, resampled.height, options.window_px or card.window_px, overlap)
    scale = _pair_scaling if isinstance(scene, ScenePair) else _scaling
    scaling = scale(scene, card, bands, warnings)  # type: ignore[arg-type]
    return RunCheck(resampled, gsd_m, bands, plan, scaling, tuple(warnings))


def _right_number(scene: Scene | ScenePair, card: ModelCard) -> None:
    """One scene for most models, two for those that compare."""
    compares = card.task == "change"
    if compares and not isinstance(scene, ScenePair):
        raise OptionError(
            f"the model {card.name} compares two scenes, one is given",
            where="model",
            remedy="Give two: `rs-engine change BEFORE AFTER`, or Analysis > Compare Two Scenes in the window.",
        )
    if not compares and isinstance(scene, ScenePair):
        raise OptionError(
            f"the model {card.name} looks at one scene, two are given",
            where="model",
            remedy="Choose a model whose task is change; lemevit-changes is a recipe to train one with.",
        )
    if compares and len(card.classes) != 2:
        raise OptionError(
            f"the model {card.name} tells {len(card.classes)} classes apart, not unchanged from changed",
            where="model",
            remedy="Choose a model of two classes, the first of which is what is unchanged.",
        )


def _overlap(card: ModelCard, options: AnalysisOptions) -> int:
    if options.overlap_px is not None:
        return options.overlap_px
    if options.window_px is None:
        return card.overlap_px
    return round(card.overlap_px * options.window_px / card.window_px)


def _bands(scene: Scene | ScenePair, card: ModelCard, options: AnalysisOptions) -> tuple[int, ...]:
    if options.bands is None:
        return tuple(scene.band_indices(card.bands))
    if isinstance(scene, ScenePair):
        return scene.numbers_of(_bands(scene.before, card, options), _bands(scene.after, card, options))
    wanted = f"{len(card.bands)} ({', '.join(card.bands)})"
    if len(options.bands) != len(card.bands):
        raise BandError(
            f"{len(options.bands)} bands are given, the model {card.name} takes {wanted}",
            where=scene.name,
            remedy="Give one band number for each, in this order.",
        )
    count = len(scene.bands)
    wrong = [b for b in options.bands if not 1 <= b <= count]
    if wrong:
        raise BandError(
            f"there is no band {wrong[0]}, the scene has {count}",
            where=scene.name,
            remedy=f"Give band numbers from 1 to {count}.",
        )
    return options.bands


def _target_gsd(
    gsd_m: float | None, card: ModelCard, options: AnalysisOptions, warnings: list[EngineWarning]
) -> float | None:
    """Resolution to resample to, None for the scene's own."""
    wanted = options.gsd
    if isinstance(wanted, float | int):
        if wanted <= 0:
            raise OptionError(f"a resolution of {wanted} m is impossible", where="gsd", remedy="Give metres above 0.")
        if gsd_m is None:
            raise _no_gsd("gsd")
        return float(wanted)
    if card.gsd_m is None:
        if wanted == "model":
            raise OptionError(
                f"the model {card.name} names no resolution", where="gsd", remedy="Use native or give metres."
            )
        return None
    if gsd_m is None:
        if wanted == "model":
            raise _no_gsd("gsd")
        warnings.append(
            GroundResolutionWarning(
                f"The scene does not say how large its pixels are; the model was trained at {card.gsd_m:g} m. "
                "The scene is taken at its own pixels."
            )
        )
        return None
    if wanted == "model":
        return card.gsd_m
    low, high = card.gsd_range_m or (card.gsd_m / _RANGE_FACTOR, card.gsd_m * _RANGE_FACTOR)
    # A little slack: pixels in degrees or map units come to a metre size with decimals.
    if low / 1.05 <= gsd_m <= high * 1.05:
        # A window shows a scene classifier a place of a certain size, which only the model's own resolution gives it.
        fitting = card.task != "classification" or wanted == "native" or 1 / 1.05 <= gsd_m / card.gsd_m <= 1.05
        return None if fitting else card.gsd_m
    facts = f"The scene has pixels of {gsd_m:.3g} m, the model was trained for {low:g} to {high:g} m"
    if wanted == "native":
        warnings.append(GroundResolutionWarning(f"{facts}. Expect poorer classes, or let the scene be resampled."))
        return None
    if gsd_m > high * _MOST_ENLARGEMENT:
        warnings.append(
            GroundResolutionWarning(
                f"{facts}: too coarse to be enlarged to that. It is taken as it is; classes mean little."
            )
        )
        return None
    target = card.gsd_m if card.task == "classification" else low if gsd_m < low else high
    warnings.append(GroundResolutionWarning(f"{facts}. It is resampled to {target:g} m for the run."))
    return target


def _no_gsd(option: str) -> OptionError:
    return OptionError(
        "the scene does not say how large its pixels are, so it cannot be resampled to metres",
        where=option,
        remedy="Use the resolution native, or give the scene a CRS.",
    )


def _scaling(
    scene: Scene | _Date, card: ModelCard, bands: tuple[int, ...], warnings: list[EngineWarning]
) -> BandScaling | None:
    trained = card.scaling
    low, high = _percentiles(scene, bands)
    of = f" of {scene.name}" if isinstance(scene, _Date) else ""
    if scene.dtype == trained.dtype:
        outside = [
            name
            for name, a, b, c, d in zip(card.bands, low, high, trained.low, trained.high, strict=True)
            if _apart(a, b, c, d)
        ]
        if outside:
            warnings.append(
                RadiometryWarning(
                    f"The values of {', '.join(outside)}{of} lie far outside those the model was trained on. "
                    "They are taken as they are; expect poorer classes."
                )
            )
        return None
    gains, offsets = [], []
    for a, b, c, d in zip(low, high, trained.low, trained.high, strict=True):
        gain = (d - c) / (b - a) if b > a else 0.0
        gains.append(gain)
        offsets.append(c - a * gain if b > a else 0.5 * (c + d))
    spans = "; ".join(f"{name} {a:.4g} to {b:.4g}" for name, a, b in zip(card.bands, low, high, strict=True))
    warnings.append(
        RadiometryWarning(
            f"{scene.name if of else 'The scene'} stores {scene.dtype}, the model was trained on {trained.dtype}. "
            f"The middle 96 % of the scene's values are mapped to the range of the training data ({spans})."
        )
    )
    return BandScaling(
        low=low, high=high, gain=tuple(gains), offset=tuple(offsets), clip=_INTEGER_RANGE.get(trained.dtype)
    )


@dataclass(frozen=True, slots=True)
class _Date:
    """One date of a pair, as far as its values go."""

    pair: ScenePair
    name: str
    dtype: str

    @property
    def width(self) -> int:
        return self.pair.width

    @property
    def height(self) -> int:
        return self.pair.height

    def read(self, **how: Any) -> Raster:
        return self.pair.read(**how)


def _pair_scaling(
    pair: ScenePair, card: ModelCard, bands: tuple[int, ...], warnings: list[EngineWarning]
) -> BandScaling | None:
    """Scaling of both dates, each by its own values; a date of the card's type is taken as it is."""
    count = len(card.bands)
    dates = (pair.before, bands[:count]), (pair.after, bands[count:])
    found = [_scaling(_Date(pair, scene.name, scene.dtype), card, part, warnings) for scene, part in dates]
    known = next((scaling for scaling in found if scaling is not None), None)
    if known is None:
        return None
    none = (0.0,) * count
    plain = BandScaling(low=none, high=none, gain=(1.0,) * count, offset=none, clip=known.clip)
    one, two = (plain if scaling is None else scaling for scaling in found)
    return BandScaling(
        low=one.low + two.low,
        high=one.high + two.high,
        gain=one.gain + two.gain,
        offset=one.offset + two.offset,
        clip=known.clip,
    )


def _apart(low: float, high: float, trained_low: float, trained_high: float) -> bool:
    """True where the middle of a band's values lies outside twice the range of the training data."""
    middle, span = 0.5 * (low + high), trained_high - trained_low
    return not trained_low - 0.5 * span <= middle <= trained_high + 0.5 * span


def _percentiles(scene: Scene | _Date, bands: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = min(1.0, _SAMPLE_PX / max(scene.width, scene.height))
    shape = max(1, round(scene.height * scale)), max(1, round(scene.width * scale))
    raster = scene.read(bands=bands, out_shape=shape, resampling="nearest")
    lows, highs = [], []
    for values in raster.data:
        seen: npt.NDArray[np.float64] = values[raster.valid].astype(np.float64)
        seen = seen[np.isfinite(seen)]
        if seen.size == 0:
            lows.append(0.0)
            highs.append(0.0)
            continue
        a, b = np.percentile(seen, (LOW_PERCENT, HIGH_PERCENT))
        lows.append(float(a))
        highs.append(float(b))
    return tuple(lows), tuple(highs)
