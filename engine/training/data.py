"""Data of a run, whatever the task: samples made anew each epoch, whole samples to measure on, and their scaling.

Guarantees: training sample ``i`` of epoch ``e`` depends on the recipe's seed, ``e`` and ``i`` alone, whatever the
number of loader processes or devices; the recipe's batch is that of all devices together, so the same recipe trains
the same on one and on many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from engine.errors import TrainingError
from engine.models.card import Scaling
from engine.models.published import IMAGENET_MEAN, IMAGENET_STD
from engine.training.recipe import Recipe

Sample = tuple[Tensor, Tensor]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_SCALING_IMAGES = 400
_SCALING_STRIDE = 37


class StoredSet(Protocol[T_co]):
    """Things that lie in a data source."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> T_co | None:
        """Thing ``index``; None where it is broken and left out."""


class Samples(Dataset[Sample], ABC, Generic[T]):
    """Training samples, made anew each epoch: an image ``[C, H, W]`` in 0 to 1 and its target.

    An epoch shows what lies in the data sources in passes, each in an order of its own.

    Args:
        recipe: How.
        sets: Where the things come from.

    Attributes:
        unit: What a thing is called.
        epoch: The epoch that samples are made for.
    """

    unit: str
    epoch: int = 0

    def __init__(self, recipe: Recipe, sets: Sequence[StoredSet[T]]) -> None:
        self._seed = recipe.optimisation.seed
        self._places = [(group, index) for group in sets for index in range(len(group))]
        if not self._places:
            raise TrainingError(f"no {self.unit} trains", remedy="Look at the split rules and at the warnings.")
        self._length = recipe.optimisation.budget(len(self._places)).samples_per_epoch

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @abstractmethod
    def stored_image(self, index: int) -> np.ndarray | None:
        """The ``index``-th image as stored, ``[C, h, w]``; None where it is broken and left out."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that samples are made for."""
        self.epoch = epoch
        passes = -(-self._length // len(self._places))
        self._order = np.concatenate(
            [pass_order(self._seed, epoch * passes + part, len(self._places)) for part in range(passes)]
        )

    @property
    def stored_count(self) -> int:
        """Things there are."""
        return len(self._places)

    def __len__(self) -> int:
        return self._length

    def chance(self, index: int) -> np.random.Generator:
        """What sample ``index`` of the epoch is drawn by."""
        return np.random.default_rng((self._seed, self.epoch, index))

    def turn(self, index: int) -> int:
        """Place of the thing whose turn it is at sample ``index``."""
        return int(self._order[index])

    def readable(self, place: int, read: Callable[[StoredSet[T], int], T | None] | None = None) -> T:
        """The thing at a place, or the next that can be read.

        Args:
            place: Where to begin.
            read: How it is read; by default by the set's own ``read``.

        Raises:
            TrainingError: None can.
        """
        for step in range(len(self._places)):
            group, index = self._places[(place + step) % len(self._places)]
            found = group.read(index) if read is None else read(group, index)
            if found is not None:
                return found
        raise TrainingError(f"no {self.unit} can be decoded", remedy="Look at the files the warnings name.")

    def stored(self, place: int) -> T | None:
        """The thing at a place; None where it is broken and left out."""
        group, index = self._places[place]
        return group.read(index)


class Measured(Dataset["Sample | None"], ABC):
    """Samples to score on, without augmentation: an image of stored values and its target.

    An item is None where the image is broken and the recipe leaves broken images out.

    Attributes:
        unit: What an item is called in reports.
    """

    unit: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample | None: ...

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """All of it, read once: batches as :func:`collate` makes them."""
        yield from DataLoader(self, size, collate_fn=collate)


class TrainingData(L.LightningDataModule):
    """The data of a run.

    Args:
        recipe: The recipe.
        training: What trains.
        validation: What the best state is chosen by.
        measure_batch: Images in a batch of validation.
    """

    def __init__(self, recipe: Recipe, training: Samples[Any], validation: Measured, measure_batch: int = 16) -> None:
        super().__init__()
        if not len(validation):
            raise TrainingError("no image validates", remedy="Give a data source a split rule that keeps some.")
        self.recipe = recipe
        self.training = training
        self.validation = validation
        self.budget = recipe.optimisation.budget(training.stored_count)
        self._measure_batch = measure_batch

    def train_dataloader(self) -> DataLoader[Any]:
        """Samples of the current epoch; the loader is made anew for each.

        Raises:
            TrainingError: The batch cannot be shared among the devices.
        """
        o = self.recipe.optimisation
        world = self.trainer.world_size if self.trainer else 1
        if o.batch % world:
            raise TrainingError(
                f"a batch of {o.batch} cannot be shared among {world} devices",
                remedy=f"Use a multiple of {world} as optimisation.batch.",
            )
        epoch = self.trainer.current_epoch if self.trainer else 0
        self.training.set_epoch(epoch)
        steps_left = self.budget.steps - epoch * self.budget.steps_per_epoch
        count = max(1, min(len(self.training), steps_left * o.batch))  # the last epoch may be a short one
        return DataLoader(
            Subset(self.training, range(count)),
            o.batch // world,
            num_workers=o.loader_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole samples, grouped by size inside a batch."""
        return DataLoader(self.validation, self._measure_batch, collate_fn=collate)

    def measure_scaling(self) -> Scaling:
        """Mean, deviation and 2nd and 98th percentile of each band over a fixed draw of training pixels."""
        rng = np.random.default_rng(0)
        count = self.training.stored_count
        picks = rng.choice(count, size=min(count, _SCALING_IMAGES), replace=False)
        images = [image for image in (self.training.stored_image(int(i)) for i in picks) if image is not None]
        if not images:
            raise TrainingError("no training image can be decoded", remedy="Look at the files the warnings name.")
        pixels = np.concatenate([image.reshape(image.shape[0], -1)[:, ::_SCALING_STRIDE] for image in images], axis=1)
        low, high = np.percentile(pixels, (2, 98), axis=1)
        full = self.recipe.full_range
        mean, std = pixels.mean(axis=1) / full, np.maximum(pixels.std(axis=1) / full, 1e-4)
        if self.recipe.normalisation == "imagenet":
            if len(mean) != 3:
                raise TrainingError("ImageNet's normalisation is for red, green, blue", remedy="Use `measured`.")
            mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
        if self.recipe.normalisation == "none":
            mean, std = np.zeros(len(mean)), np.ones(len(mean))
        return Scaling(
            dtype=_card_dtype(images[0].dtype),
            divisor=full,
            mean=tuple(round(float(v), 4) for v in mean),
            std=tuple(round(float(v), 4) for v in std),
            low=tuple(float(v) for v in low),
            high=tuple(float(v) for v in high),
        )


def collate(samples: Sequence[Sample | None]) -> list[Sample]:
    """Stack samples, those of one shape together."""
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        if sample is not None:
            groups.setdefault((*sample[0].shape, *sample[1].shape), []).append(sample)
    return [(torch.stack([i for i, _ in g]), torch.stack([t for _, t in g])) for g in groups.values()]


def pass_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch goes through its images."""
    return np.random.default_rng((seed, epoch, 0x0DE4)).permutation(count)


def _card_dtype(dtype: np.dtype[Any]) -> Any:
    known = ("uint8", "uint16", "int16", "float32")
    return dtype.name if dtype.name in known else "float32"
