"""Training samples and images to measure on, of the task ``detection``.

Guarantees: those of :mod:`engine.training.data`; an object keeps its corners through every change of its sample, so
boxes are refitted once, at the end.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engine.models.detection import Objects
from engine.models.rotated.boxes import boxes_of
from engine.models.rotated.overlap import quad_areas
from engine.training.data import Measured, Sample, Samples
from engine.training.detection.boards import Another, lay_out, mostly_inside
from engine.training.detection.dota import Annotations
from engine.training.detection.pictures import AnnotatedImage, ImageSet
from engine.training.detection.recipe import DetectionRecipe, ObjectAugmentation
from engine.training.transforms import colour_jitter, resize

NOTHING = -1
"""Label of a target's rows that hold no object."""


class ObjectSamples(Samples[AnnotatedImage]):
    """Samples made of annotated images: images ``[C, S, S]`` in 0 to 1, targets ``[most, 6]`` of box and label.

    Args:
        recipe: How.
        sets: Where images come from.
    """

    unit = "image"

    def __init__(self, recipe: DetectionRecipe, sets: list[ImageSet]) -> None:
        super().__init__(recipe, sets)
        self._recipe = recipe
        self.set_epoch(0)

    def stored_image(self, index: int) -> np.ndarray | None:
        """The image as stored."""
        read = self.stored(index)
        return None if read is None else read.image

    def __getitem__(self, index: int) -> Sample:
        how = self._recipe.augmentation
        another = self._another if how.beyond == "others" else None
        return make_sample(
            self.chance(index), self.readable(self.turn(index)), how, self._recipe.full_range, another=another
        )

    def _another(self, rng: np.random.Generator) -> AnnotatedImage:
        return self.readable(int(rng.integers(self.stored_count)))


def make_sample(
    rng: np.random.Generator,
    picture: AnnotatedImage,
    how: ObjectAugmentation,
    full_range: float,
    *,
    another: Another | None = None,
) -> Sample:
    """A piece of an image and its objects: cut out, zoomed, flipped, turned, with changed colours.

    Args:
        rng: What everything random comes from.
        picture: The image.
        how: How.
        full_range: Stored value that becomes 1.
        another: Draws what lies beyond an image that is smaller than the piece; None leaves grey there.
    """
    zoom = math.exp(rng.uniform(math.log(how.scale[0]), math.log(how.scale[1])))
    cut = round(how.crop_px / zoom)
    if another is not None:
        picture = lay_out(rng, picture, another, cut, how.visible)
    height, width = picture.image.shape[1:]
    top, left = _place(rng, picture.objects, (height, width), cut, how.centred)
    image = _cut(picture.image, top, left, cut)
    stored = torch.from_numpy(np.ascontiguousarray(image)).float() / full_range
    pixels = resize(stored.clamp(0, 1), how.crop_px, how.crop_px)
    corners = (torch.from_numpy(picture.objects.corners) - torch.tensor([left, top])) * (how.crop_px / cut)
    if how.turn:
        turns = int(rng.integers(4))
        pixels = torch.rot90(pixels, turns, (-2, -1))
        for _ in range(turns):  # counterclockwise on the screen
            corners = torch.stack((corners[..., 1], how.crop_px - corners[..., 0]), dim=-1)
    if rng.random() < how.flip:
        pixels = pixels.flip(-1)
        corners = torch.stack((how.crop_px - corners[..., 0], corners[..., 1]), dim=-1)
    if rng.random() < how.vertical_flip:
        pixels = pixels.flip(-2)
        corners = torch.stack((corners[..., 0], how.crop_px - corners[..., 1]), dim=-1)
    pixels = colour_jitter(rng, pixels, how.brightness, how.contrast, how.saturation, how.hue)
    return pixels.contiguous(), targets_of(corners, torch.from_numpy(picture.objects.labels), how)


def targets_of(corners: Tensor, labels: Tensor, how: ObjectAugmentation) -> Tensor:
    """Rows ``[most, 6]`` of the objects that lie in a sample far enough; the rest is marked :data:`NOTHING`."""
    rows = torch.full((how.most_objects, 6), float(NOTHING))
    if not len(labels):
        return rows
    edge = float(how.crop_px)
    area = quad_areas(corners)
    boxes = boxes_of(corners)
    kept = mostly_inside(corners, edge, edge, how.visible) & (boxes[:, 2:4].amin(dim=1) >= how.least_px)
    kept &= area > 0
    found = torch.cat((boxes[kept], labels[kept, None].to(boxes.dtype)), dim=1)
    largest = area[kept].argsort(descending=True, stable=True)[: how.most_objects]
    rows[: len(largest)] = found[largest].float()
    return rows


def objects_of(targets: Tensor) -> list[Objects]:
    """Objects of each sample of a batch of targets ``[B, most, 6]``."""
    known = [rows[rows[:, 5] != NOTHING] for rows in targets]
    return [Objects(rows[:, :5], rows[:, 5].long()) for rows in known]


class MeasuredImages(Measured):
    """Annotated images: stored values ``[C, H, W]`` and targets ``[n, 10]`` of corners, label and difficulty.

    Args:
        sets: The images.
    """

    unit = "images"

    def __init__(self, sets: list[ImageSet]) -> None:
        self._places = [(group, index) for group in sets for index in range(len(group))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample | None:
        group, place = self._places[index]
        read = group.read(place)
        if read is None:
            return None
        known = read.objects
        rows = np.column_stack((known.corners.reshape(-1, 8), known.labels, known.difficult))
        return torch.from_numpy(read.image), torch.from_numpy(rows.astype(np.float64))


def annotations_of(rows: Tensor) -> Annotations:
    """What a row of :class:`MeasuredImages` holds."""
    values = rows.cpu().numpy()
    return Annotations(values[:, :8].reshape(-1, 4, 2), values[:, 8].astype(np.int64), values[:, 9].astype(bool))


def _place(
    rng: np.random.Generator, objects: Annotations, size: tuple[int, int], cut: int, centred: float
) -> tuple[int, int]:
    """Top left corner of a piece: round an object, or anywhere."""
    height, width = size
    room = max(0, height - cut), max(0, width - cut)
    if len(objects) and rng.random() < centred:
        middle = objects.corners[int(rng.integers(len(objects)))].mean(axis=0)
        x, y = middle - rng.uniform(0.1, 0.9, 2) * cut
        return int(np.clip(round(y), 0, room[0])), int(np.clip(round(x), 0, room[1]))
    return int(rng.integers(0, room[0] + 1)), int(rng.integers(0, room[1] + 1))


def _cut(image: np.ndarray, top: int, left: int, edge: int) -> np.ndarray:
    """A square piece; where the image ends it goes on grey, with the image's mean."""
    piece = image[:, top : top + edge, left : left + edge]
    below, beside = edge - piece.shape[1], edge - piece.shape[2]
    if not (below or beside):
        return piece
    padded = np.empty((image.shape[0], edge, edge), image.dtype)
    padded[:] = piece.mean(axis=(1, 2), keepdims=True).astype(image.dtype)
    padded[:, : piece.shape[1], : piece.shape[2]] = piece
    return padded
