"""Recipes of the task ``change``: pairs of images, how samples are made of them, the loss."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.training.recipe import Recipe
from engine.training.settings import Part
from engine.training.splits import SplitRule, TrainOnly


class PairSource(Part):
    """Images of two dates with masks, all of the same name, as LEVIR-CD, CDD and DSIFN distribute them.

    Attributes:
        kind: ``pairs``.
        folder: Folder below the data folder. Where the rule gives each split a folder, that one lies in it.
        before: Folder of the earlier images in it.
        after: Folder of the later images.
        masks: Folder of the masks.
        bands: 1-based bands to read, in the card's order.
        changed_from: Smallest value of a mask that means change.
        split: Which pairs train and which validate.
        cut_px: Larger pairs are cut into tiles of this edge, those at the border snapped back; None leaves them whole.
        memory: Whether all pairs are kept in memory, or read anew whenever they are drawn.
    """

    kind: Literal["pairs"]
    folder: str = ""
    before: str = "A"
    after: str = "B"
    masks: str = "label"
    bands: tuple[int, ...] = (1, 2, 3)
    changed_from: int = Field(default=128, ge=1)
    split: SplitRule = TrainOnly()
    cut_px: int | None = Field(default=None, ge=64)
    memory: bool = True


class TownSource(Part):
    """Images whose buildings are known: a mask of the same name each.

    Attributes:
        images: Folder of images below the data folder; three bands, values up to 255.
        masks: Folder of masks below the data folder.
        buildings: Codes of buildings in the masks.
        unknown: Codes where it is not known what is there.
    """

    images: str
    masks: str
    buildings: tuple[int, ...] = Field(min_length=1)
    unknown: tuple[int, ...] = (255,)


class SimulatedSource(Part):
    """Pairs made of single images: something is pasted, built or taken away, and both dates are photographed anew.

    What comes and goes is known, so the masks are exact; what differs without being a change (light, season, haze,
    registration, noise, compression) is drawn for each pair. Where ``bare`` is given, buildings alone are a change:
    ground that becomes other ground is none, and only pairs made of bare images have it.

    Attributes:
        kind: ``simulated``.
        folders: Folders of images below the data folder; three bands, values up to 255.
        bare: Folders of images without buildings.
        bare_share: Share of pairs that are made of these.
        towns: Images whose buildings are known. In a pair made of one a bare image becomes the town, or the town bare
            ground; only pairs made of bare images are.
        towns_share: Share of the pairs made of bare images that are made of towns as well.
        split: Which images pairs are made of for training and which for validation.
        pairs: Pairs that make a pass over this source in training; each is made anew whenever it is drawn.
        validation: Pairs for validation, the same each time.
        size_px: Edge of a pair.
        zoom: Smallest and largest zoom of an image.
        unchanged: Share of pairs without any change.
        changes: Fewest and most changes of the others.
        houses: Share of these that are buildings; the others are areas of another image.
        house_px: Shortest and longest side of a building.
        area_px: Smallest and largest edge of a changed area.
        least_contrast: How much an area must differ from what was there, as a share of the full range.
        shift_px: Standard deviation of the registration error.
        turn_deg: Standard deviation of the angle between both dates.
        light: Standard deviation of the logarithm of the brightness gain, of each date.
        tint: The same for each band alone.
        gamma: Standard deviation of the logarithm of a gamma curve.
        uneven: Standard deviation of the logarithm of a gain that varies smoothly over the image.
        season: Largest change of colour of what is green.
        haze: Largest share of haze.
        blur: Largest standard deviation of the blur in pixels.
        noise: Largest standard deviation of noise, as a share of the full range.
        compression: Share of images that are stored as JPEG on their way.
    """

    kind: Literal["simulated"]
    folders: tuple[str, ...] = Field(min_length=1)
    bare: tuple[str, ...] = ()
    bare_share: float = Field(default=0.6, ge=0, le=1)
    towns: tuple[TownSource, ...] = ()
    towns_share: float = Field(default=0.5, ge=0, le=1)
    split: SplitRule = TrainOnly()
    pairs: int = Field(ge=1)
    validation: int = Field(default=0, ge=0)
    size_px: int = Field(default=256, ge=64)
    zoom: tuple[float, float] = (0.8, 1.6)
    unchanged: float = Field(default=0.15, ge=0, le=1)
    changes: tuple[int, int] = (1, 4)
    houses: float = Field(default=0.7, ge=0, le=1)
    house_px: tuple[float, float] = (8.0, 48.0)
    area_px: tuple[float, float] = (24.0, 110.0)
    least_contrast: float = Field(default=0.08, ge=0, lt=1)
    shift_px: float = Field(default=0.8, ge=0)
    turn_deg: float = Field(default=0.2, ge=0)
    light: float = Field(default=0.2, ge=0)
    tint: float = Field(default=0.07, ge=0)
    gamma: float = Field(default=0.15, ge=0)
    uneven: float = Field(default=0.08, ge=0)
    season: float = Field(default=0.5, ge=0, le=1)
    haze: float = Field(default=0.15, ge=0, lt=1)
    blur: float = Field(default=0.9, ge=0)
    noise: float = Field(default=0.02, ge=0)
    compression: float = Field(default=0.4, ge=0, le=1)


class PairAugmentation(Part):
    """How training samples are made of pairs: both dates and the mask move together, colours change by date.

    Attributes:
        crop_px: Edge of a sample.
        scale: Smallest and largest zoom; drawn evenly in its logarithm.
        centred: Share of samples laid round a changed pixel; the others lie anywhere.
        flip: Chance of a mirrored sample.
        vertical_flip: Chance of one upside down.
        turn: Chance of a sample turned by 90, 180 or 270 degrees.
        swap: Chance that both dates change places: what was built was torn down.
        brightness: Largest change of a date's brightness, as a share.
        contrast: Largest change of contrast.
        saturation: Largest change of saturation.
        hue: Largest change of hue, as a share of the circle.
    """

    crop_px: int = Field(default=256, ge=32)
    scale: tuple[float, float] = (1.0, 1.0)
    centred: float = Field(default=0.0, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    vertical_flip: float = Field(default=0.5, ge=0, le=1)
    turn: float = Field(default=0.75, ge=0, le=1)
    swap: float = Field(default=0.0, ge=0, le=1)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)

    @property
    def recolours(self) -> bool:
        """Whether colours change at all."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


class ChangeLoss(Part):
    """Weights of the loss.

    Attributes:
        changed_weight: What a changed pixel counts in the cross-entropy against 1 of an unchanged one.
        dice: Weight of the Dice loss of the changed class (Milletari et al. 2016) beside it.
    """

    changed_weight: float = Field(default=1.0, gt=0)
    dice: float = Field(default=0.0, ge=0)


class ChangeRecipe(Recipe):
    """A training run of a model of change. The first of its two classes is "unchanged".

    Attributes:
        task: ``change``.
        data: Where pairs come from.
        augmentation: How samples are made.
        loss: Weights of the loss.
    """

    task: Literal["change"]
    data: tuple[Annotated[PairSource | SimulatedSource, Field(discriminator="kind")], ...] = Field(min_length=1)
    augmentation: PairAugmentation = PairAugmentation()
    loss: ChangeLoss = ChangeLoss()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.classes) != 2:
            raise ValueError("a model of change has two classes, the first of them what is unchanged")
        if self.normalisation == "none" and self.augmentation.recolours:
            raise ValueError(
                "colours are changed between 0 and 1: use another normalisation, or leave them as they are"
            )
        simulated = [source for source in self.data if source.kind == "simulated"]
        if simulated and len(self.bands) != 3:
            raise ValueError("simulated pairs have three bands")
        if any(source.towns and not source.bare for source in simulated):
            raise ValueError("towns come up on bare ground: give folders of images without buildings as `bare`")
        return self
