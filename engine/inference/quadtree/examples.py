"""The four worked examples of the publication, on any scene: each computes something and writes it as a figure.

Guarantees: figures show what the library computes, at the budget that is asked for or the nearest below; timings are
those of this machine at that moment.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import SceneError
from engine.inference.quadtree.colours import level_colours
from engine.inference.quadtree.figure import Panel, Pixels, bars, outlined, write_figure
from engine.inference.quadtree.windows import ModuleFeatures
from engine.models.catalog import DEFAULT_MODEL, find_model
from engine.models.checkpoint import load_checkpoint
from engine.models.loaded import LoadedModel
from engine.scene import Window, open_scene
from engine.scene.stretch import percentile_stretch, to_rgba
from engine.tokenizers.quadtree import (
    BandBlur,
    FeatureBased,
    GradCam,
    Layout,
    PixelBlur,
    QuadtreeTokenizer,
    Random,
    Runner,
    Scorer,
    Scores,
    load_shufflenet,
    render,
    reverse,
    run,
)

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TIMED_RUNS = 5
_COPIES = 8


@dataclass(frozen=True, slots=True)
class ExampleImage:
    """The middle of a scene as an image, with patch sizes and a budget.

    Attributes:
        name: The scene's name.
        images: ``[1, 3, H, W]`` from 0 to 1, as shown on the screen.
        valid: Where there is data, ``[1, H, W]``.
        min_size: Edge of the smallest patch in pixels.
        max_size: Edge of the largest patch in pixels.
        num_patches: The budget.
    """

    name: str
    images: Tensor
    valid: Tensor
    min_size: int
    max_size: int
    num_patches: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Smallest and largest patch."""
        return self.min_size, self.max_size

    @property
    def levels(self) -> int:
        """Number of sizes."""
        return (self.max_size // self.min_size).bit_length()

    @property
    def pixels(self) -> Pixels:
        """The image ``[H, W, 3]`` in bytes."""
        return np.asarray((self.images[0].permute(1, 2, 0) * 255).round().byte().numpy())

    def budget(self, share: float) -> int:
        """The nearest budget for a share of the cells of ``min_size``."""
        layout = Layout(self.images.shape[2], self.images.shape[3], *self.sizes)
        rows, cols = layout.score_grids[-1]
        cuts = round((share * rows * cols - layout.min_patches) / 3)
        return layout.min_patches + 3 * min(max(cuts, 0), (layout.max_patches - layout.min_patches) // 3)


def read_example(
    source: str, *, min_size: int = 8, max_size: int = 64, tokens: int | None = None, most_px: int = 512
) -> ExampleImage:
    """Read the middle of a scene.

    Args:
        source: A file, folder of tiles, VRT or address.
        min_size: Edge of the smallest patch.
        max_size: Edge of the largest patch.
        tokens: Patches; None takes a fifth of the number of the smallest.
        most_px: Edge of the part that is read.

    Raises:
        SceneError: The scene cannot be opened, or holds no data there.
        OptionError: Sizes or budget cannot work; the message says what would.
    """
    with open_scene(source) as scene:
        width, height = min(scene.width, most_px), min(scene.height, most_px)
        bands = scene.rgb_indices()
        window = Window((scene.width - width) // 2, (scene.height - height) // 2, width, height)
        raster = scene.read(window, bands=bands)
        if not raster.valid.any():
            raise SceneError("the middle of the scene holds no data", where=scene.name)
        rgba = to_rgba(raster, percentile_stretch(scene, bands))
        name = scene.name
    images = torch.from_numpy(rgba[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    valid = torch.from_numpy(np.ascontiguousarray(raster.valid))[None]
    example = ExampleImage(name, images, valid, min_size, max_size, 0)
    layout = Layout(height, width, min_size, max_size)
    budget = example.budget(0.2) if tokens is None else tokens
    layout.splits(budget)
    return replace(example, num_patches=budget)


def scorers_example(example: ExampleImage, out: Path, *, weights: Path | None = None) -> Path:
    """Scorers compared: the trees that each finds at one budget.

    Args:
        example: The image.
        out: The figure.
        weights: torchvision's weights of shufflenet_v2_x0_5; without, the shipped model's features stand in.
    """
    panels = [Panel(example.pixels, example.name, "red, green and blue as shown on the screen")]
    for scores in _all_scores(example, weights):
        boxes = run(example.images, scores, example.num_patches, *example.sizes)[0].numpy()
        drawn = outlined(example.pixels, boxes, example.min_size, example.levels)
        counts = [f"{int((boxes[:, 2] == size).sum())} of {size} px" for size in _sizes(example)]
        panels.append(Panel(drawn, scores.scorer, ", ".join(counts)))
    note = (
        f"{example.num_patches} patches of {example.min_size} to {example.max_size} pixels; what is fine is what counts"
    )
    return write_figure(
        out, "Where is the information? Scorers compared", note, [panels[:3], panels[3:]], _sizes(example)
    )


def tokens_example(example: ExampleImage, out: Path) -> Path:
    """What tokens keep: quadtrees at three budgets beside as many patches of one size."""
    scores = PixelBlur()(example.images, *example.sizes, valid=example.valid)
    picture = (example.images[0] * 255).round().byte()
    mixed, equal = [], []
    for share in (0.05, 0.12, 0.3):
        budget = example.budget(share)
        boxes = run(example.images, scores, budget, *example.sizes)[0]
        kept = render(picture, boxes, example.min_size, lines=False)
        lined = render(picture, boxes, example.min_size, lines=True)
        mixed.append(Panel(lined.numpy(), f"{budget} tokens of a quadtree", f"PSNR {_psnr(kept, picture):.1f} dB"))
        plain, rows, cols = _equal_patches(example, budget)
        same = Panel(
            plain.numpy(), f"{rows} x {cols} = {rows * cols} equal patches", f"PSNR {_psnr(plain, picture):.1f} dB"
        )
        equal.append(same)
    note = f"each token keeps {example.min_size} x {example.min_size} pixels of its patch; {example.name}, pixel blur"
    return write_figure(out, "What tokens keep of an image", note, [mixed, equal])


def implementations_example(example: ExampleImage, out: Path) -> tuple[Path, dict[str, float], bool]:
    """Implementations compared: equality and time.

    Returns:
        The figure, milliseconds by runner, and whether all gave the same boxes.
    """
    turned = [torch.rot90(example.images, k % 4, (2, 3)) for k in range(4)]
    square = example.images.shape[2] == example.images.shape[3]
    copies = torch.cat([turned[k % 4] if square else example.images.flip(2 + k % 2) for k in range(_COPIES)])
    scores = PixelBlur()(copies, *example.sizes)
    found, times = {}, {}
    for runner in get_args(Runner):
        once = partial(run, copies, scores, example.num_patches, *example.sizes, runner)
        found[runner], times[runner] = once(), _median_ms(once)
    equal = all(torch.equal(boxes, found["fast"]) for boxes in found.values())
    panels = []
    for runner, boxes in found.items():
        drawn = outlined(example.pixels, boxes[0].numpy(), example.min_size, example.levels)
        ratio = "" if runner == "fast" else f", {times[runner] / times['fast']:.1f} times as long as fast"
        panels.append(Panel(drawn, runner, f"{times[runner]:.1f} ms{ratio}"))
    chart = bars(list(times), list(times.values()), "ms", panels[0].pixels.shape[:2])
    shown = Panel(chart, "time of a batch", f"{_COPIES} images, median of {_TIMED_RUNS} runs, log scale")
    said = "the same boxes from all four" if equal else "the boxes differ"
    note = f"{example.num_patches} patches of {example.min_size} to {example.max_size} pixels: {said}"
    path = write_figure(
        out, "Four implementations, one answer", note, [panels[:3], [panels[3], shown]], _sizes(example)
    )
    return path, times, equal


def reverse_example(example: ExampleImage, out: Path) -> Path:
    """Reverse quadtree: tokens copied back to the cells they cover."""
    scores = PixelBlur()(example.images, *example.sizes, valid=example.valid)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        tokenizer = QuadtreeTokenizer(PixelBlur(), example.num_patches, *example.sizes, 3, 48)
        seen = tokenizer.perceive(example.images, scores)
        colours = seen.patches.pixels.mean(dim=(3, 4))
        features = tokenizer.embed(seen.patches, positions=False)
    boxes = seen.patches.boxes
    size = (example.images.shape[2], example.images.shape[3])
    palette = torch.tensor(
        [[int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)] for name in level_colours(example.levels)]
    )
    size_colours = palette[seen.patches.scale_ids]
    drawn = outlined(example.pixels, boxes[0].numpy(), example.min_size, example.levels)
    mean, parts, edges = (reverse(one, boxes, *size, example.min_size)[0] for one in (colours, features, size_colours))
    rows, cols = mean.shape[1:]
    panels = [
        Panel(drawn, "patches", example.name),
        Panel(_cells(mean, example), "mean colour of each token", f"[{example.num_patches}, 3] to [3, {rows}, {cols}]"),
        Panel(
            _cells(_components(parts), example),
            "tokens of a random projection, three principal components",
            f"[{example.num_patches}, 48] to [48, {rows}, {cols}]",
        ),
        Panel(_cells(edges, example), "size of each patch", "in the colours above"),
    ]
    note = f"{example.num_patches} tokens become {rows} x {cols} cells of {example.min_size} pixels"
    return write_figure(out, "Reverse quadtree: from tokens to a map", note, [panels[:2], panels[2:]], _sizes(example))


def _all_scores(example: ExampleImage, weights: Path | None) -> list[Scores]:
    """Scores of the image by every scorer, networks on what they are trained to see."""
    info = find_model(DEFAULT_MODEL)
    module, card = load_checkpoint(info.path)
    module.requires_grad_(False).eval()
    seen = LoadedModel(module, card, "").normalise(example.images * 255)
    if weights is None:
        features, sight = FeatureBased(ModuleFeatures(module, card.name, None), card.name), seen
    else:
        network = load_shufflenet(weights, 32 if example.min_size >= 16 else 16)
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (_IMAGENET_MEAN, _IMAGENET_STD))
        features, sight = (
            FeatureBased(network, "shufflenet_v2_x0_5"),
            example.images.sub(mean) / std,
        )
    work: list[tuple[Scorer, Tensor]] = [
        (PixelBlur(), example.images),
        (BandBlur(), example.images),
        (features, sight),
        (GradCam(module, card.name), seen),
        (Random(0), example.images),
    ]
    return [scorer(images, *example.sizes, valid=example.valid) for scorer, images in work]


def _sizes(example: ExampleImage) -> list[int]:
    return [example.min_size << level for level in range(example.levels)]


def _equal_patches(example: ExampleImage, budget: int) -> tuple[Tensor, int, int]:
    """The image when about ``budget`` patches of one size keep as many pixels each, and their rows and columns."""
    height, width = example.images.shape[2:]
    rows = max(1, round((budget * height / width) ** 0.5))
    cols = max(1, round(budget / rows))
    m = example.min_size
    picture = (example.images * 255).round().byte()
    small = F.interpolate(picture, (rows * m, cols * m), mode="bilinear", antialias=True)
    grown = F.interpolate(small, (height, width), mode="bilinear", antialias=True)
    return grown[0].permute(1, 2, 0).contiguous(), rows, cols


def _psnr(drawn: Tensor, picture: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels of a drawing ``[H, W, 3]`` of a picture ``[3, H, W]``."""
    error = (drawn.permute(2, 0, 1).float() - picture.float()).square().mean()
    return float(10 * torch.log10(255**2 / error.clamp_min(1e-9)))


def _cells(values: Tensor, example: ExampleImage) -> Pixels:
    """Cells ``[3, h, w]`` from 0 to 1 as a picture of the image's size."""
    cells = (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    large = cells.repeat_interleave(example.min_size, 0).repeat_interleave(example.min_size, 1)
    return np.asarray(large[: example.images.shape[2], : example.images.shape[3]].contiguous().numpy())


def _components(features: Tensor) -> Tensor:
    """The three principal components of ``[D, h, w]``, each brought to 0 to 1 by its middle 96 percent."""
    flat = features.flatten(1).T
    centred = flat - flat.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    found = centred @ axes[:3].T
    low, high = (found.quantile(share, dim=0) for share in (0.02, 0.98))
    shown: Tensor = ((found - low) / (high - low).clamp_min(1e-9)).T.reshape(3, *features.shape[1:])
    return shown


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_TIMED_RUNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
