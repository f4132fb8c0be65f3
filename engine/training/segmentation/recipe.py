"""Recipes of the task ``segmentation``: tiles with masks, how samples are made of them, the loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.models.card import Colour
from engine.training.recipe import Recipe
from engine.training.settings import Part
from engine.training.splits import SplitRule, TrainOnly


class TileSource(Part):
    """Image tiles with label masks of the same name.

    Attributes:
        kind: ``tiles``.
        folder: Folder below the data folder.
        images: Folder of the images in it. Where the rule gives each split a folder, it lies in that one, or, if it
            says ``{split}``, bears its name: ``{split}_images``.
        masks: Folder of the masks likewise; may be the same. A mask is ``<name>.png`` or ``<name>.tif``.
        image_ending: What the names of images end in beyond the tile's name, as ``_sat``.
        mask_ending: What the names of masks end in beyond the tile's name, as ``_mask``.
        bands: 1-based bands to read, in the card's order.
        labels: Stored mask value to class code; values not listed are ignored.
        colours: The same for masks painted in colours.
        colour_tolerance: How far each band of a painted pixel may be from its colour; 127 snaps bands to 0 and 255.
        split: Which tiles train and which validate.
        cut_px: Tiles larger than this are cut into tiles of this edge, all in the split of the whole; None does not.
        memory: Whether all tiles are kept in memory, or read anew whenever they are drawn.
        weight: How often a training piece comes from this source, relative to the others.
        from_epoch: First epoch in which the source takes part.
    """

    kind: Literal["tiles"]
    folder: str
    images: str = "images"
    masks: str = "masks"
    image_ending: str = ""
    mask_ending: str = ""
    bands: tuple[int, ...] = (1, 2, 3)
    labels: dict[int, int] = Field(default_factory=dict)
    colours: dict[Colour, int] = Field(default_factory=dict)
    colour_tolerance: int = Field(default=0, ge=0, le=127)
    split: SplitRule = TrainOnly()
    cut_px: int | None = Field(default=None, ge=32)
    memory: bool = True
    weight: float = Field(default=1.0, gt=0)
    from_epoch: int = Field(default=0, ge=0)


class DemoSource(Part):
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


class Pieces(Part):
    """Training samples that are pieces of tiles: turned, zoomed, joined, with changed radiometry.

    Attributes:
        kind: ``pieces``.
        crop_px: Edge of a sample.
        mosaic: Share of samples that are 2 x 2 mosaics of pieces of four tiles.
        blobs: Share of samples in which other tiles show through smooth random shapes (shores, not straight seams).
        blob_cells: Fewest and most cells along the edge of the noise that shapes blobs: more cells, smaller blobs.
        blob_cover: Smallest and largest share of the sample one tile's blobs cover; None lets it fall about one half.
        pastes: Fewest and most tiles that show through.
        scale: Smallest and largest zoom of a piece.
        own_scale: Share of pieces that are not zoomed, so that no pixel is resampled: models that never see the grain
            of raw pixels take it for texture.
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

    kind: Literal["pieces"]
    crop_px: int = Field(default=192, ge=32)
    mosaic: float = 0.3
    blobs: float = 0.25
    blob_cells: tuple[int, int] = (2, 5)
    blob_cover: tuple[float, float] | None = None
    pastes: tuple[int, int] = (1, 3)
    scale: tuple[float, float] = (0.7, 1.4)
    own_scale: float = Field(default=0.0, ge=0, le=1)
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


class Whole(Part):
    """Training samples that are whole tiles brought to one size, as HOOK's authors train.

    Attributes:
        kind: ``whole``.
        size_px: Edge that the image is resized to (bilinear); the mask follows (nearest).
        flip: Chance of a mirrored sample, in each direction.
        turn: Whether samples are turned by quarter turns.
        blur: Chance of a Gaussian blur.
        blur_kernel: Its width and height in pixels.
        blur_sigma: Its smallest and largest deviation in pixels.
        brightness: Largest change of brightness, as a share.
        contrast: Largest change of contrast.
        saturation: Largest change of saturation.
        hue: Largest change of hue, as a share of the circle.
        from_epoch: First epoch in which samples are made this way.
    """

    kind: Literal["whole"]
    size_px: int = Field(ge=32)
    flip: float = Field(default=0.0, ge=0, le=1)
    turn: bool = False
    blur: float = Field(default=0.0, ge=0, le=1)
    blur_kernel: tuple[int, int] = (5, 9)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)
    from_epoch: int = Field(default=0, ge=0)


class LossWeights(Part):
    """Weights of the parts of the loss (see ``engine.training.segmentation.losses``).

    ``auxiliary`` is that of a second map that a model draws in training only, as UperNet does. Pixels of a class weigh
    as its share among all labelled ones to the power of minus ``class_power``, which raises the logits of rare classes;
    ``logit_adjustment`` times the logarithm of the share is added to those of the finished model (Menon et al. 2021,
    section 4.1), so that an adjustment as large as the power takes back what the weights raised.
    """

    tokens: float = 0.5
    spectral: float = 0.3
    outline: float = 0.4
    sharpness: float = 0.02
    auxiliary: float = 0.4
    class_power: float = 0.25
    logit_adjustment: float = Field(default=0.0, ge=0)


class TeacherChoice(Part):
    """A finished model that teaches beside the labels (see ``engine.training.segmentation.teacher``).

    Attributes:
        model: A model's name or the path of its checkpoint; of the same classes and bands.
        share: How much of the loss of the map is the teacher's; the rest is that of the labels.
        temperature: What logits are divided by: higher ones make more of what is unlikely.
    """

    model: str
    share: float = Field(default=0.5, gt=0, le=1)
    temperature: float = Field(default=1.0, gt=0)


class Measuring(Part):
    """How tiles are shown to a model that is scored on them.

    Attributes:
        window_px: Larger tiles are cut into windows of this edge, as a scene is at inference; None shows them whole.
        resize_px: Edge that images are resized to (bilinear), labels keeping their size; None leaves them.
    """

    window_px: int | None = Field(default=None, ge=32)
    resize_px: int | None = Field(default=None, ge=32)


class SegmentationRecipe(Recipe):
    """A training run of a segmenter.

    Attributes:
        task: ``segmentation``.
        data: Where tiles come from.
        augmentation: How samples are made; of those whose epoch has come, the last counts.
        loss: Weights of the loss.
        measuring: How tiles are scored.
        teacher: A model to learn from beside the labels; None learns from these alone.
    """

    task: Literal["segmentation"] = "segmentation"
    data: tuple[Annotated[TileSource | DemoSource, Field(discriminator="kind")], ...] = Field(min_length=1)
    augmentation: tuple[Annotated[Pieces | Whole, Field(discriminator="kind")], ...] = Field(min_length=1)
    loss: LossWeights = LossWeights()
    measuring: Measuring = Measuring()
    teacher: TeacherChoice | None = None

    @property
    def taught_by(self) -> str | None:
        """Name or path of the teacher."""
        return None if self.teacher is None else self.teacher.model
