"""Recipes of the task ``classification``: pictures of one class each, their augmentation, the loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.training.recipe import Recipe
from engine.training.settings import Part
from engine.training.splits import SplitRule


class FolderSource(Part):
    """A folder of pictures for each class, as NWPU-RESISC45, WHU-RS19, NaSC-TG2 and UC Merced are distributed.

    Attributes:
        kind: ``folders``.
        folder: Folder below the data folder.
        folders: Class name to the name of its folder, where the two differ.
        bands: 1-based bands to read, in the card's order.
        split: Which pictures train and which validate.
        memory: Whether all pictures are kept in memory, or read anew whenever they are drawn.
    """

    kind: Literal["folders"]
    folder: str
    folders: dict[str, str] = Field(default_factory=dict)
    bands: tuple[int, ...] = (1, 2, 3)
    split: SplitRule
    memory: bool = True


class ListSource(Part):
    """Comma-separated lists that name pictures and their labels by column, as HOOK's authors give them.

    Attributes:
        kind: ``lists``.
        folder: Folder below the data folder; lists and pictures are looked for in it.
        train: List of the training pictures.
        validation: List of those measured on.
        test: A further list.
        path_column: Column of a picture's path, counted from 0.
        label_column: Column of its integer label. A first row without a number there is a header.
        first_label: The label of the first class.
        bands: 1-based bands to read, in the card's order.
        memory: As for folders.
    """

    kind: Literal["lists"]
    folder: str
    train: str
    validation: str
    test: str | None = None
    path_column: int = Field(default=1, ge=0)
    label_column: int = Field(default=2, ge=0)
    first_label: int = 0
    bands: tuple[int, ...] = (1, 2, 3)
    memory: bool = True


class RandAugment(Part):
    """Random operations in a row (Cubuk et al. 2020); the defaults are what is written ``rand-m9-mstd0.5-inc1``.

    Attributes:
        operations: How many in a row.
        magnitude: How strong, 0 to 10.
        deviation: Standard deviation of the magnitude.
        chance: Of each operation to be carried out.
    """

    operations: int = Field(default=2, ge=1)
    magnitude: float = Field(default=9.0, ge=0, le=10)
    deviation: float = Field(default=0.5, ge=0)
    chance: float = Field(default=0.5, ge=0, le=1)


class SceneAugmentation(Part):
    """How training samples are made of pictures.

    Attributes:
        size_px: Edge of a sample.
        scale: Smallest and largest share of the picture's area that a sample shows.
        ratio: Smallest and largest width over height of what it shows.
        flip: Chance of a mirrored sample.
        vertical_flip: Chance of one upside down.
        turn: Whether samples are turned by quarter turns: from above no side is up.
        blur: Chance of a Gaussian blur.
        blur_kernel: Its width and height in pixels.
        blur_sigma: Its smallest and largest deviation in pixels.
        brightness: Largest change of brightness, as a share.
        contrast: Largest change of contrast.
        saturation: Largest change of saturation.
        hue: Largest change of hue, as a share of the circle.
        rand_augment: Further random operations; None carries none out.
        erase: Chance that a box of the sample is replaced by noise (Zhong et al. 2020).
        erase_area: Smallest and largest share of the sample that the box covers.
        mixup: Alpha of the Beta distribution that pairs of samples are mixed by (Zhang et al. 2018); 0 is off.
        cutmix: The same for pasting a box of one sample into the other (Yun et al. 2019).
        mix: Chance that a batch is mixed at all.
        cutmix_share: Where both are on, the chance of cutmix.
    """

    size_px: int = Field(default=224, ge=32)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = Field(default=0.5, ge=0, le=1)
    vertical_flip: float = Field(default=0.0, ge=0, le=1)
    turn: bool = False
    blur: float = Field(default=0.0, ge=0, le=1)
    blur_kernel: tuple[int, int] = (5, 9)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)
    rand_augment: RandAugment | None = None
    erase: float = Field(default=0.0, ge=0, le=1)
    erase_area: tuple[float, float] = (0.02, 1 / 3)
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    mix: float = Field(default=1.0, ge=0, le=1)
    cutmix_share: float = Field(default=0.5, ge=0, le=1)


class SceneLoss(Part):
    """Cross-entropy; ``label_smoothing`` is the share of the target spread over all classes."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class ClassificationRecipe(Recipe):
    """A training run of a scene classifier. It is measured with the shorter side resized to ``card.window_px``.

    Attributes:
        task: ``classification``.
        data: Where pictures come from.
        augmentation: How samples are made.
        loss: The loss.
    """

    task: Literal["classification"]
    data: tuple[Annotated[FolderSource | ListSource, Field(discriminator="kind")], ...] = Field(min_length=1)
    augmentation: SceneAugmentation = SceneAugmentation()
    loss: SceneLoss = SceneLoss()
