"""Small models, scenes and a region builder without opinions, for the tests of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from torch import nn

from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput
from engine.tokenizers.base import Tokens

UTM = "EPSG:32632"


def make_card(window: int = 32, overlap: int = 8, classes: int = 3, bands: int = 3, **changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "tiny",
        "title": "Tiny",
        "architecture": "test",
        "config": {},
        "task": "segmentation",
        "classes": tuple(CardClass(name=f"class {k}", color=f"#{40 * k:02x}8040") for k in range(classes)),
        "bands": ("red", "green", "blue", "nir")[:bands],
        "scaling": Scaling(
            divisor=255.0, mean=(0.4,) * bands, std=(0.2,) * bands, low=(10.0,) * bands, high=(240.0,) * bands
        ),
        "window_px": window,
        "overlap_px": overlap,
        "gsd_m": 4.0,
        "gsd_range_m": (1.0, 10.0),
        "token_count": 4,
        "data": "none",
        "metrics": {},
        "licence": "Apache-2.0",
        "source": "tests",
    }
    return ModelCard(**{**fields, **changes})


def tokens_of(images: torch.Tensor, count: int = 4) -> Tokens:
    """Tokens by brightness: the same for a pixel in whatever window it lies."""
    level = images.mean(dim=1, keepdim=True)
    centres = torch.linspace(-1.5, 1.5, count, device=images.device).view(1, -1, 1, 1)
    claims = (-((level - centres) ** 2)).softmax(dim=1)
    features = torch.einsum("bnhw,bchw->bnc", claims, images) / claims.sum(dim=(2, 3))[:, :, None]
    return Tokens(features, claims)


class ConstantModel(nn.Module):
    """The same logits everywhere."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)
        self.seen = 0

    def forward(self, images: torch.Tensor) -> TokenOutput:
        self.seen += len(images)
        b, _, h, w = images.shape
        logits = self.logits.view(1, -1, 1, 1).expand(b, -1, h, w)
        return TokenOutput(logits, tokens_of(images), upsample=lambda maps: maps)


class PointwiseModel(nn.Module):
    """Logits of a pixel from this pixel alone, by elementwise arithmetic."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: torch.Tensor) -> TokenOutput:
        level = images.mean(dim=1, keepdim=True)
        centres = torch.linspace(-1.0, 1.0, self.classes).view(1, -1, 1, 1)
        return TokenOutput(-4 * (level - centres).abs(), tokens_of(images), upsample=lambda maps: maps)


def loaded(module: nn.Module, card: ModelCard, sha256: str = "0" * 64) -> LoadedModel:
    return LoadedModel(module, card, sha256)


def write_scene(
    path: Path, data: np.ndarray, *, nodata: float | None = None, gsd_m: float = 4.0, crs: str | None = UTM
) -> Path:
    """Write ``[C, H, W]`` as a GeoTIFF whose bands are named red, green, blue, nir."""
    count, height, width = data.shape
    profile = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": data.dtype, "crs": crs,
        "transform": Affine(gsd_m, 0, 500_000, 0, -gsd_m, 5_300_000), "nodata": nodata,
        "photometric": "MINISBLACK",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(data)
        for band, name in zip(range(1, count + 1), ("red", "green", "blue", "nir"), strict=False):
            file.set_band_description(band, name)
    return path


def smooth_noise(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 5, 5))
    return np.clip(128 + 900 * noise, 1, 255).astype(np.uint8)


class PlainResult:
    def __init__(self, strips: list[np.ndarray]) -> None:
        self._strips = strips
        self.count = 1

    def rows(self) -> Any:
        row = 0
        for strip in self._strips:
            yield row, strip
            row += len(strip)

    def write_parquet(self, path: Path, progress: Any = None, cancel: Any = None) -> None:
        Path(path).write_bytes(b"regions")


class PlainBuilder:
    """Takes what a region builder takes, checks its order, and calls every valid pixel region 1."""

    def __init__(self, grid: Any, **_: Any) -> None:
        self.grid = grid
        self.windows: list[Any] = []
        self.strips: list[Any] = []

    def add_row(self, windows: Any) -> None:
        assert [w.col for w in windows] == sorted(w.col for w in windows)
        self.windows += windows

    def add_strip(self, strip: Any) -> np.ndarray:
        assert strip.row_start == sum(len(s.classes) for s in self.strips)
        assert strip.image.data.shape[1:] == strip.classes.shape == strip.image.valid.shape
        self.strips.append(strip)
        return (strip.classes != 255).astype(np.uint32)

    def finish(self, progress: Any, cancel: Any) -> PlainResult:
        return PlainResult([(s.classes != 255).astype(np.uint32) for s in self.strips])
