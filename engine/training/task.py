"""The Lightning module and data module of a recipe.

Guarantees: images travel as 0 to 1 and are normalised with the card's scaling on the device; validation is on whole
tiles, without augmentation, with the averaged weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassConfusionMatrix

from engine.models.card import Scaling
from engine.training.augment import SampleMaker
from engine.training.losses import segmentation_loss
from engine.training.recipe import Recipe
from engine.training.scores import Scores, scores_from_confusion
from engine.training.tiles import IGNORE, TileSet, load_split


class WholeTiles(Dataset[tuple[Tensor, Tensor]]):
    """Validation tiles as they are: images ``[C, H, W]`` in 0 to 1, labels ``[H, W]``."""

    def __init__(self, sets: list[TileSet], full_range: float) -> None:
        self.tiles = [tile for group in sets for tile in group.tiles]
        self.full_range = full_range

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        tile = self.tiles[index]
        return torch.from_numpy(tile.image).float() / self.full_range, torch.from_numpy(tile.labels).long()


class TileData(L.LightningDataModule):
    """Training and validation tiles of a recipe."""

    def __init__(self, recipe: Recipe, root: Path, full_range: float = 255.0) -> None:
        super().__init__()
        self.recipe = recipe
        o = recipe.optimisation
        self.training = SampleMaker(
            load_split(recipe, root, "train"),
            recipe.augmentation,
            o.steps_per_epoch * o.batch,
            full_range,
            len(recipe.classes),
            o.seed,
        )
        self.validation = WholeTiles(load_split(recipe, root, "validation"), full_range)

    def train_dataloader(self) -> DataLoader[Any]:
        """Samples of the current epoch; the loader is made anew for each."""
        self.training.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        o = self.recipe.optimisation
        return DataLoader(self.training, o.batch, num_workers=o.loader_workers, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole tiles; tiles of one size share a batch."""
        same = len({t.labels.shape for t in self.validation.tiles}) == 1
        return DataLoader(self.validation, 16 if same else 1)

    def measure_scaling(self) -> Scaling:
        """Mean, deviation and 2nd and 98th percentile of each band over a fixed draw of training pixels."""
        rng = np.random.default_rng(0)
        tiles = self.training.tiles
        picks = rng.choice(len(tiles), size=min(len(tiles), 400), replace=False)
        pixels = np.concatenate([tiles[i].image.reshape(tiles[i].image.shape[0], -1)[:, ::37] for i in picks], axis=1)
        low, high = np.percentile(pixels, (2, 98), axis=1)
        full = self.training.full_range
        return Scaling(
            divisor=full,
            mean=tuple(round(float(v), 4) for v in pixels.mean(axis=1) / full),
            std=tuple(round(float(v), 4) for v in pixels.std(axis=1) / full),
            low=tuple(float(v) for v in low),
            high=tuple(float(v) for v in high),
        )


class SegmentationTask(L.LightningModule):
    """Trains a segmenter of the registry.

    Args:
        model: The module; its output is a :class:`~engine.models.output.TokenOutput`.
        recipe: The recipe.
        scaling: How inputs are normalised.
        class_shares: ``[K]`` share of each class among labelled training pixels.
    """

    class_weights: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, recipe: Recipe, scaling: Scaling, class_shares: np.ndarray) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self._scaling = scaling
        weights = torch.tensor(class_shares, dtype=torch.float32) ** -recipe.loss.class_power
        self.register_buffer("class_weights", weights / weights.mean())
        self.register_buffer("mean", torch.tensor(scaling.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(scaling.std)[:, None, None])
        self.confusion = MulticlassConfusionMatrix(len(recipe.classes), ignore_index=IGNORE)

    def scaling(self) -> Scaling:
        """The scaling in force: that of the run's first start, which its states carry."""
        mean, std = (tuple(round(float(v), 4) for v in part.flatten()) for part in (self.mean, self.std))
        return self._scaling.model_copy(update={"mean": mean, "std": std})

    def normalise(self, images: Tensor) -> Tensor:
        """Bring images of 0 to 1 to the model's input."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One optimiser step."""
        images, labels = batch
        loss, parts = segmentation_loss(
            self.model(self.normalise(images)), images, labels, self.class_weights, self.recipe.loss
        )
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in parts.items()})
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count predictions on whole tiles."""
        images, labels = batch
        maps = self.model(self.normalise(images)).at_pixels(*labels.shape[-2:])
        self.confusion.update(maps.logits.argmax(dim=1), labels)

    def on_validation_epoch_end(self) -> None:
        """Log mIoU, pixel accuracy and the IoU of each class."""
        scores = self.scores()
        self.log("miou", scores.miou, prog_bar=True)
        self.log("accuracy", scores.accuracy, prog_bar=True)
        for entry, iou in zip(self.recipe.classes, scores.iou, strict=True):
            self.log(f"iou/{entry.name}", iou)
        self.confusion.reset()

    def scores(self) -> Scores:
        """Scores of what validation has counted so far."""
        return scores_from_confusion(self.confusion.compute().cpu().numpy())

    def configure_optimizers(self) -> Any:
        """AdamW; norms, biases and the like are not decayed."""
        o = self.recipe.optimisation
        named = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in named if p.ndim > 1], "weight_decay": o.weight_decay},
            {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=o.learning_rate)

        starts = [o.warmup_steps, *(restart.step for restart in o.restarts)]
        peaks = [1.0, *(restart.peak for restart in o.restarts)]
        stops = [*starts[1:], o.steps]

        def factor(step: int) -> float:
            if step < o.warmup_steps:
                return (step + 1) / o.warmup_steps
            part = max(i for i, start in enumerate(starts) if start <= step)
            done = (step - starts[part]) / max(1, stops[part] - starts[part])
            return peaks[part] * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
