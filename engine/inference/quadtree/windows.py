"""Scoring a scene with a network: windows of one plan, importance blended where they overlap.

Windows begin on cells of ``min_size`` and are weighted towards their middle, so that what a network says at their edge,
where it sees least, counts least. The plan depends on scene and options alone. Guarantees: the network is named on the
tree; gaps are filled with the mean of what is valid before a network sees them, and count for nothing.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import OptionError
from engine.inference.check import check_run
from engine.inference.device import choose_device
from engine.inference.options import AnalysisOptions
from engine.inference.plan import taper
from engine.inference.quadtree.options import QuadtreeOptions, score_facts
from engine.inference.quadtree.scenes import Cancel, Progress, check_cancel
from engine.inference.quadtree.tree import Floats, SceneQuadtree, from_importance
from engine.inference.stage import BatchStage
from engine.inference.workers import Workers
from engine.models.catalog import find_model
from engine.models.checkpoint import load_checkpoint, sha256
from engine.models.loaded import LoadedModel
from engine.scene import Scene, Window
from engine.scene.stretch import percentile_stretch
from engine.tokenizers.quadtree import FeatureBased, GradCam, load_shufflenet

_WINDOW_PX = 512
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_OVERLAP_SHARE = 4
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class _Network:
    """What looks at windows.

    Attributes:
        name: What it is, in words.
        bands: Bands it takes.
        window_px: Edge of its windows.
        maps: Stored values ``[1, C, w, w]`` to importance ``[1, maps, h, w]``, one map or one for each size.
        device: Where it computes.
    """

    name: str
    bands: tuple[int, ...]
    window_px: int
    maps: Callable[[npt.NDArray[Any]], Tensor]
    device: torch.device


def score_windows(
    scene: Scene, options: QuadtreeOptions, progress: Progress, cancel: Cancel, model: LoadedModel | None = None
) -> SceneQuadtree:
    """Score all patches of a scene with a network (see ``scenes.score_scene``)."""
    m = options.min_size
    halvings = (options.max_size // m).bit_length() - 1
    if options.weights is not None:
        network = _shufflenet(scene, options, halvings)
    else:
        network = _model(scene, options, halvings, model)
    cells = max(2, network.window_px // m)
    edge = cells * m
    shared = max(1, cells // _OVERLAP_SHARE)
    blend = _Blend(-(-scene.height // m), -(-scene.width // m), cells, shared)
    starts = [(row, col) for row in _starts(blend.rows, cells, shared) for col in _starts(blend.cols, cells, shared)]
    waiting = deque[tuple[int, int, Floats, Future[Floats]]]()

    def maps(pixels: npt.NDArray[Any]) -> Floats:
        found = F.adaptive_avg_pool2d(network.maps(pixels).float(), (cells, cells))[0]
        return np.asarray(found.cpu().numpy(), np.float32)

    with closing(Workers(network.device)) as workers:
        for number, (row, col) in enumerate(starts):
            check_cancel(cancel)
            raster = scene.read(Window(col * m, row * m, edge, edge), bands=network.bands)
            valid = raster.valid
            if raster.data.dtype.kind == "f":
                valid = valid & np.isfinite(raster.data).all(axis=0)
            if valid.any():
                there = valid.reshape(cells, m, cells, m).mean(axis=(1, 3), dtype=np.float32)
                pixels = _filled(raster.data, valid)[None]
                waiting.append((row, col, there, workers.submit(partial(maps, pixels))))
            while len(waiting) > workers.ahead:
                blend.add(*_taken(waiting, cancel))
            progress(number / len(starts))
        while waiting:
            blend.add(*_taken(waiting, cancel))
    progress(1.0)
    return from_importance(
        scene.grid,
        blend.importance(),
        blend.occupied,
        m,
        options.max_size,
        network.name,
        score_facts(scene, options),
    )


class _Blend:
    """Weighted mean of what overlapping windows say about cells.

    Args:
        rows: Rows of cells.
        cols: Columns of cells.
        cells: Cells along a window.
        shared: Cells that neighbours share.
    """

    def __init__(self, rows: int, cols: int, cells: int, shared: int) -> None:
        self.rows, self.cols, self._cells = rows, cols, cells
        self.occupied = np.zeros((rows, cols), np.bool_)
        self._total: Floats | None = None
        self._weight = np.zeros((rows, cols), np.float32)
        ramp = taper(cells, shared)
        self._window: Floats = np.outer(ramp, ramp).astype(np.float32)

    def add(self, row: int, col: int, there: Floats, found: Floats) -> None:
        """Add a window's maps ``[maps, cells, cells]``, of which the share ``there`` of each cell holds data."""
        if self._total is None:
            self._total = np.zeros((len(found), self.rows, self.cols), np.float32)
        here = np.s_[row : min(row + self._cells, self.rows), col : min(col + self._cells, self.cols)]
        inner = np.s_[: min(self._cells, self.rows - row), : min(self._cells, self.cols - col)]
        self._total[(slice(None), *here)] += (found * self._window * there)[(slice(None), *inner)]
        self._weight[here] += self._window[inner]
        self.occupied[here] |= there[inner] > 0

    def importance(self) -> list[Floats]:
        """The maps of all cells."""
        if self._total is None:
            return [np.zeros((self.rows, self.cols), np.float32)]
        return [one / np.maximum(self._weight, np.float32(1e-12)) for one in self._total]


def _taken(waiting: deque[tuple[int, int, Floats, Future[Floats]]], cancel: Cancel) -> tuple[int, int, Floats, Floats]:
    """The oldest window that was given out, with its answer."""
    row, col, there, future = waiting.popleft()
    while not future.done():
        wait([future], timeout=_POLL_S)
        check_cancel(cancel)
    return row, col, there, future.result()


def _starts(length: int, cells: int, shared: int) -> tuple[int, ...]:
    """First cells of windows along an axis; the last may reach beyond."""
    return tuple(range(0, max(1, length - shared), cells - shared))


def _filled(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    if valid.all():
        return data
    mean = data[:, valid].mean(axis=1, dtype=np.float64).astype(data.dtype)
    return np.where(valid, data, mean[:, None, None])


def _shufflenet(scene: Scene, options: QuadtreeOptions, halvings: int) -> _Network:
    if options.scorer != "features" or options.weights is None:
        raise OptionError("weights belong to the features scorer", where="weights", remedy="Name a model instead.")
    device = choose_device(options.device).torch_device
    network = load_shufflenet(options.weights, 32 if options.min_size >= 16 else 16).to(device)
    scorer = FeatureBased(network, "shufflenet_v2_x0_5")
    bands = scene.rgb_indices()
    stretch = percentile_stretch(scene, bands)
    if scene.dtype == "uint8":
        low, high = np.zeros(3), np.full(3, 255.0)
    else:
        low, high = np.array(stretch.low), np.array(stretch.high)
    mean, std = (torch.tensor(part, device=device).view(3, 1, 1) for part in (_IMAGENET_MEAN, _IMAGENET_STD))

    def maps(pixels: npt.NDArray[Any]) -> Tensor:
        shown = np.clip((pixels - low[:, None, None]) / (high - low)[:, None, None], 0, 1).astype(np.float32)
        return scorer.importance((torch.from_numpy(shown).to(device) - mean) / std, halvings)

    return _Network(scorer.name, bands, options.window_px or _WINDOW_PX, maps, device)


def _model(scene: Scene, options: QuadtreeOptions, halvings: int, given: LoadedModel | None) -> _Network:
    device = choose_device(options.device).torch_device
    # As loaded, not folded and fused for runs: gradients and hooks need the model's own modules.
    if options.model is not None:
        info = find_model(options.model)
        module, card = load_checkpoint(info.path)
        digest = sha256(info.path)
    elif given is not None:
        module, card, digest = copy.deepcopy(given.module), given.card, given.sha256
    else:
        needs = "a model" if options.scorer == "gradcam" else "weights or a model"
        raise OptionError(
            f"the scorer {options.scorer} needs {needs}",
            where="model",
            remedy="Name one that `rs-engine models` lists, such as hook-landcover.",
        )
    model = LoadedModel(module.requires_grad_(False).to(device), card, digest, device=device)
    asked = card.model_copy(update={"task": "segmentation", "gsd_m": None, "gsd_range_m": None})
    run = check_run(scene, asked, AnalysisOptions(gsd="native"))
    window_px = options.window_px or card.window_px
    stage: BatchStage[None] = BatchStage(model, run.scaling, window_px)
    if options.scorer == "gradcam":
        oracle = GradCam(module, card.name, layer=options.layer, class_index=options.class_index)

        def maps(pixels: npt.NDArray[Any]) -> Tensor:
            return oracle.importance(stage.images(pixels))[:, None]

        return _Network(oracle.name, run.bands, window_px, maps, device)
    scorer = FeatureBased(ModuleFeatures(module, card.name, options.layer), card.name)

    def changes(pixels: npt.NDArray[Any]) -> Tensor:
        return scorer.importance(stage.images(pixels), halvings)

    return _Network(scorer.name, run.bands, window_px, changes, device)


class ModuleFeatures:
    """A model as a feature network: the output of one of its modules.

    Args:
        module: The model.
        name: What it is called.
        layer: The module; None takes the first of those that our tokenizers have.
    """

    KNOWN = ("tokenizer.pyramid", "tokenizer.downsample_module", "tokenizer.proj")

    def __init__(self, module: torch.nn.Module, name: str, layer: str | None) -> None:
        parts = dict(module.named_modules())
        wanted = layer or next((known for known in self.KNOWN if known in parts), None)
        if wanted is None or wanted not in parts:
            raise OptionError(
                f"the model {name} has no layer {wanted!r}" if wanted else f"the model {name} has no layer of features",
                where="layer",
                remedy=f"Try one of {', '.join(list(parts)[1:8])}, …",
            )
        self._module, self._part = module, parts[wanted]

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``[B, D, h, w]``; what the model would do with them is left out."""
        thread = get_ident()

        def stop(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
            if get_ident() == thread:
                raise _ReachedError(output)

        handle = self._part.register_forward_hook(stop)
        try:
            self._module(images)
        except _ReachedError as reached:
            return reached.features
        finally:
            handle.remove()
        raise OptionError("the layer takes no part in the model's answer", where="layer", remedy="Name another one.")


class _ReachedError(Exception):
    """The layer that is looked at has answered."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features
