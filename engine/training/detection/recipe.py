"""Recipes of the task ``detection``: annotated images, how samples are made of them, how the detector is taught."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.training.recipe import Recipe
from engine.training.settings import Part
from engine.training.splits import SplitRule, TrainOnly


class DotaSource(Part):
    """Images with annotations as DOTA distributes them: a text file of the same name for each.

    Attributes:
        kind: ``dota``.
        folder: Folder below the data folder. Where the rule gives each split a folder, that one lies in it.
        images: Folder of the images in it.
        annotations: Folder of the annotations in it.
        bands: 1-based bands to read, in the card's order.
        split: Which images train and which validate.
        cut_px: Training images larger than this are cut into tiles of this edge, and tiles without objects left out;
            None draws pieces from whole images.
        cut_overlap_px: What neighbouring tiles share.
        other_classes: What to do about objects of classes that the recipe does not name.
        memory: Whether all images are kept in memory, or read anew whenever they are drawn.
    """

    kind: Literal["dota"]
    folder: str
    images: str = "images"
    annotations: str = "labelTxt"
    bands: tuple[int, ...] = (1, 2, 3)
    split: SplitRule = TrainOnly()
    cut_px: int | None = Field(default=None, ge=64)
    cut_overlap_px: int = Field(default=200, ge=0)
    other_classes: Literal["stop", "skip"] = "stop"
    memory: bool = True

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.cut_px is not None and self.cut_overlap_px >= self.cut_px:
            raise ValueError("cut_overlap_px must be smaller than cut_px")
        return self


class ListedSource(Part):
    """Images with boxes in one table, such as those that travel with the program.

    Attributes:
        kind: ``listed``.
        table: Name of a table in ``resources/annotations``, or the path of one: CSV with the columns image, class, x1,
            y1 to x4, y4 (corners in pixels). Images that it does not name take no part.
        folder: Folder below the data folder that names of images start from.
        bands: 1-based bands to read, in the card's order.
        split: Which images train and which validate.
        times: How often each image is drawn in a pass over the training data.
        backgrounds: Folders of photographs below the data folder that hold nothing of the classes; each photograph is
            drawn once in a pass, so that what is no object is learned from real ground too.
    """

    kind: Literal["listed"]
    table: str
    folder: str
    bands: tuple[int, ...] = (1, 2, 3)
    split: SplitRule = TrainOnly()
    times: int = Field(default=1, ge=1)
    backgrounds: tuple[str, ...] = ()


class DrawnSource(Part):
    """Drawn scenes, made in memory before the training starts; classes that cannot be drawn are not in them.

    Attributes:
        kind: ``drawn``.
        scenes: Scenes that train.
        validation: Further scenes, with the seeds after those, that validate.
        size_px: Edge of each.
        first_seed: Seed of the first; the others count up.
        gsd_range_m: Finest and coarsest metres a pixel.
        backgrounds: Folders of photographs below the data folder, without objects of the classes; each folder is
            drawn on as often as another.
        background_share: Share of the scenes that are drawn on one of these.
    """

    kind: Literal["drawn"]
    scenes: int = Field(ge=0)
    validation: int = Field(default=0, ge=0)
    size_px: int = Field(default=512, ge=64)
    first_seed: int = 0
    gsd_range_m: tuple[float, float] = (0.25, 0.8)
    backgrounds: tuple[str, ...] = ()
    background_share: float = Field(default=0.5, ge=0, le=1)


class ObjectAugmentation(Part):
    """How training samples are made of images.

    Attributes:
        crop_px: Edge of a sample.
        scale: Smallest and largest zoom; drawn evenly in its logarithm.
        beyond: What lies beyond an image that is smaller than the piece cut from it: ``grey``, or ``others``, further
            images side by side with it.
        centred: Share of samples that are laid round an object; the others lie anywhere.
        flip: Chance of a mirrored sample.
        vertical_flip: Chance of one upside down.
        turn: Whether samples are turned by quarter turns: from above no side is up.
        brightness: Largest change of brightness, as a share.
        contrast: Largest change of contrast.
        saturation: Largest change of saturation.
        hue: Largest change of hue, as a share of the circle.
        visible: Share of an object that must lie in the sample for it to count as one.
        least_px: Objects with a shorter side than this are left out.
        most_objects: Objects of a sample; of more, the largest are kept.
    """

    crop_px: int = Field(default=1024, ge=32)
    scale: tuple[float, float] = (1.0, 1.0)
    beyond: Literal["grey", "others"] = "grey"
    centred: float = Field(default=0.7, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    vertical_flip: float = Field(default=0.5, ge=0, le=1)
    turn: bool = False
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)
    visible: float = Field(default=0.5, gt=0, le=1)
    least_px: float = Field(default=2.0, gt=0)
    most_objects: int = Field(default=500, ge=1)


class Teaching(Part):
    """Which anchors and proposals a detector is asked about (see ``engine.models.oriented.matching``).

    Attributes:
        anchor_samples: Anchors of an image.
        head_samples: Proposals of an image.
        proposals: Proposals the latter are chosen from.
    """

    anchor_samples: int = Field(default=256, ge=1)
    head_samples: int = Field(default=512, ge=1)
    proposals: int = Field(default=2000, ge=1)


class DetectionRecipe(Recipe):
    """A training run of a detector. Images larger than ``card.window_px`` are measured in windows, as scenes are.

    Attributes:
        task: ``detection``.
        data: Where images come from.
        augmentation: How samples are made.
        teaching: What the detector is asked.
    """

    task: Literal["detection"]
    data: tuple[Annotated[DotaSource | DrawnSource | ListedSource, Field(discriminator="kind")], ...] = Field(
        min_length=1
    )
    augmentation: ObjectAugmentation = ObjectAugmentation()
    teaching: Teaching = Teaching()
