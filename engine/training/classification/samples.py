"""Training samples and pictures to measure on, of the task ``classification``.

Guarantees: those of :mod:`engine.training.data`; an epoch in passes shows every picture once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.models.scenes import fit_scene
from engine.training.classification.pictures import Picture, PictureSet
from engine.training.classification.rand_augment import rand_augmented
from engine.training.classification.recipe import ClassificationRecipe, SceneAugmentation
from engine.training.data import Measured, Sample, Samples
from engine.training.transforms import colour_jitter, crop_box, gaussian_blur, quarter_turn, resize


class SceneSamples(Samples[Picture]):
    """Samples made of pictures: images ``[C, S, S]`` in 0 to 1 and class codes.

    Args:
        recipe: How.
        sets: Where pictures come from.
    """

    unit = "picture"

    def __init__(self, recipe: ClassificationRecipe, sets: list[PictureSet]) -> None:
        super().__init__(recipe, sets)
        self._recipe = recipe
        self.set_epoch(0)

    def stored_image(self, index: int) -> np.ndarray | None:
        """The picture as stored."""
        picture = self.stored(index)
        return None if picture is None else picture.image

    def __getitem__(self, index: int) -> Sample:
        picture = self.readable(self.turn(index))
        stored = torch.from_numpy(picture.image).float() / self._recipe.full_range
        image = augmented(self.chance(index), stored.clamp(0, 1), self._recipe.augmentation)
        return image, torch.tensor(picture.label)


def augmented(rng: np.random.Generator, image: Tensor, how: SceneAugmentation) -> Tensor:
    """A sample ``[C, S, S]`` of a picture ``[C, H, W]``, both in 0 to 1."""
    top, left, height, width = crop_box(rng, image.shape[-2], image.shape[-1], how.scale, how.ratio)
    image = resize(image[:, top : top + height, left : left + width], how.size_px, how.size_px, bicubic=True)
    if how.turn:
        (image,) = quarter_turn(rng, image)
    if rng.random() < how.flip:
        image = image.flip(-1)
    if rng.random() < how.vertical_flip:
        image = image.flip(-2)
    if rng.random() < how.blur:
        image = gaussian_blur(image, how.blur_kernel, float(rng.uniform(*how.blur_sigma)))
    image = colour_jitter(rng, image, how.brightness, how.contrast, how.saturation, how.hue)
    if how.rand_augment is not None:
        image = rand_augmented(rng, image, how.rand_augment)
    return image.contiguous()


class MeasuredScenes(Measured):
    """Pictures as a classifier sees them: stored values ``[C, h, w]`` and class codes.

    Args:
        recipe: Tells the size.
        sets: The pictures.
    """

    unit = "images"

    def __init__(self, recipe: ClassificationRecipe, sets: list[PictureSet]) -> None:
        self._short_px = recipe.card.window_px
        self._full_range = recipe.full_range
        self._places = [(group, index) for group in sets for index in range(len(group))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample | None:
        group, place = self._places[index]
        picture = group.read(place)
        if picture is None:
            return None
        image = torch.from_numpy(picture.image)
        return fit_scene(image, self._short_px, self._full_range), torch.tensor(picture.label)
