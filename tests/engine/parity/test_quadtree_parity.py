"""The quadtree against numbers of the authors' code: boxes exactly by every runner, inputs and scores to 1e-4."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from formula import hash01, image_q, sample_positions, weight
from torch import nn

from engine.errors import EngineError
from engine.tokenizers.quadtree import (
    FeatureBased,
    PixelBlur,
    Precomputed,
    QuadtreeTokenizer,
    Random,
    VanillaTokenizer,
    load_shufflenet,
    render,
    reverse,
    run,
    tokenize,
)
from engine.tokenizers.quadtree.shufflenet import ShuffleNetFeatures

HERE = Path(__file__).parent
CASES = json.loads((HERE / "quadtree_cases.json").read_text())
VECTORS = np.load(HERE / "quadtree_vectors.npz")
RUNNERS = ("fast", "dict", "tensor", "z_curve")
PROJECTION = ("proj.weight", "proj.bias")
TREES = sorted(case for case in CASES if case.startswith("q_"))


@cache
def images_of(case):
    record = CASES[case]
    return torch.from_numpy(image_q(record.get("batch", 2), record["image_size"], record["image_seed"]))


@cache
def shufflenet(stride):
    shapes = {key: value.shape for key, value in ShuffleNetFeatures().state_dict().items()}
    state = {key: torch.from_numpy(np.asarray(weight(key, shape))) for key, shape in shapes.items()}
    network = load_shufflenet({**state, "fc.weight": torch.zeros(1000, 1024), "fc.bias": torch.zeros(1000)}, stride)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(2)
    return network


def scorer_of(record):
    kind = record["scorer"]["kind"]
    if kind == "pixel_blur":
        return PixelBlur()
    if kind == "random":
        return Random(record["scorer"]["seed"])
    if kind == "feature":
        named = {"mse": "mse", "cosine_distance": "cosine"}
        return FeatureBased(
            shufflenet(record["scorer"].get("downscale_factor", 32)),
            "shufflenet_v2_x0_5",
            error=named[record["scorer"].get("error_method", "mse")],
            high_res_fraction=record["scorer"].get("high_res_fraction", 1.0),
        )
    batch, cells = record["batch"], record["image_size"] // record["min"]
    scales = (record["max"] // record["min"]).bit_length()
    layout = record["scorer"]["layout"]
    cells = {"3d_odd": cells - 3, "3d_coarse": cells // 2}.get(layout, cells)
    shape = (batch, scales - 1, cells, cells) if layout == "4d" else (batch, cells, cells)
    values = hash01(int(np.prod(shape)), record["scorer"]["seed"]).reshape(shape)
    return Precomputed(torch.from_numpy(values.astype(np.float32)))


def hold(name, tensor, count):
    """Compare a tensor with the vector of this name."""
    flat = tensor.detach().to(torch.float64).numpy().reshape(-1)
    if f"{name}/full" in VECTORS:
        expected, found = VECTORS[f"{name}/full"].reshape(-1).astype(np.float64), flat
    else:
        expected, found = VECTORS[f"{name}/val"].astype(np.float64), flat[sample_positions(flat.size, count)]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), name
    total, size, low, high, wave = VECTORS[f"{name}/stats"]
    assert abs(flat.sum() - total) <= 1e-5 * size
    assert abs((flat * np.cos(0.001 * np.arange(flat.size))).sum() - wave) <= 1e-5 * size
    assert flat.min() == pytest.approx(low, abs=1e-4 * max(abs(low), abs(high)))
    assert flat.max() == pytest.approx(high, abs=1e-4 * max(abs(low), abs(high)))


@pytest.mark.parametrize("case", [case for case in TREES if "implementations_run" in CASES[case]])
def test_every_runner_gives_the_authors_boxes_and_inputs(case):
    record = CASES[case]
    images = images_of(case)
    sizes = record["min"], record["max"]
    scores = scorer_of(record)(images, *sizes)
    for size, values in scores.items():
        hold(f"{case}/scores_{size}", values, 100)
    expected = torch.from_numpy(VECTORS[f"{case}/boxes_left_top_size/full"].astype(np.int64))
    for runner in RUNNERS:
        patches = tokenize(images, scores, record["num_patches"], *sizes, runner=runner)
        assert torch.equal(patches.boxes, expected), runner
        hold(f"{case}/model_inputs_sorted", patches.model_inputs, 400)


@pytest.mark.parametrize("case", [case for case in TREES if "implementations_run" not in CASES[case]])
def test_what_the_authors_refuse(case):
    record = CASES[case]
    images = images_of(case)
    sizes = record["min"], record["max"]
    if "feat" in case and record["min"] < 16:
        with pytest.raises(EngineError, match="fewer than the 32 x 32 patches of 16 pixels"):
            scorer_of(record)(images, *sizes)
    elif record["image_size"] % record["max"]:  # the one refusal that is lifted: roots may hang over the edge
        scores = scorer_of(record)(images, *sizes)
        found = [run(images, scores, record["num_patches"], *sizes, runner=runner) for runner in RUNNERS]
        assert all(torch.equal(boxes, found[0]) for boxes in found[1:])
    else:
        scores = scorer_of(record)(images, *sizes)
        for runner in RUNNERS:
            with pytest.raises(EngineError, match="Use 100 or 103"):
                run(images, scores, record["num_patches"], *sizes, runner=runner)


@cache
def tokenizers():
    """Both tokenizers with the formula's weights, and the patches of their case."""
    record = CASES["tokenizers"]
    sizes = record["min"], record["max"]
    vanilla = VanillaTokenizer(record["min"], 3, record["embed_dim"], half_cell=False)
    state = {key: torch.from_numpy(weight(key, vanilla.proj.state_dict()[key[5:]].shape)) for key in PROJECTION}
    state["cls_token"] = torch.from_numpy(weight("cls_token", (record["embed_dim"],))).view(1, 1, -1)
    vanilla.load_state_dict(state)
    quadtree = QuadtreeTokenizer(PixelBlur(), record["num_patches"], *sizes, 3, record["embed_dim"])
    quadtree.load_state_dict(state)
    images = images_of("tokenizers")
    with torch.no_grad():
        return images, vanilla, quadtree, quadtree.perceive(images)


@torch.no_grad()
def test_tokens_are_the_authors():
    images, vanilla, quadtree, seen = tokenizers()
    hold("tokenizers/vanilla_tokens", vanilla.sequence(vanilla(images).features), 400)
    tokens = quadtree.sequence(seen.tokens.features)
    hold("tokenizers/quadtree_tokens_sorted", tokens, 400)
    hold("tokenizers/quadtree_tokens_no_cls_sum", tokens[:, 1:].sum(dim=1), 400)


@torch.no_grad()
def test_reverse_quadtree_is_the_authors():
    images, _, quadtree, seen = tokenizers()
    features = quadtree.embed(seen.patches, positions=False)
    hold("reverse/features", reverse(features, seen.patches.boxes, *images.shape[2:], quadtree.min_size), 400)


@pytest.mark.parametrize(
    ("case", "style", "lines"),
    [
        ("render_", "blur", True),
        ("render_blur0", "plain", True),
        ("render_blur0_mini_patches1_show_lines0", "thumbnails", False),
    ],
)
def test_pictures_are_the_authors(case, style, lines):
    images, _, quadtree, seen = tokenizers()
    drawn = render(images[0], seen.patches.boxes[0], quadtree.min_size, style=style, lines=lines).numpy()
    expected = VECTORS[f"{case}/every8/full"]
    assert np.abs(drawn[::8, ::8].astype(int) - expected).max() <= 1
    assert drawn.astype(np.int64).sum() == pytest.approx(CASES[case]["sum"], rel=1e-4)
