"""LeMeViT in every form against numbers of the authors' code: relative error at most 1e-4 in float32."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from formula import image_a, sample_positions, weight

from engine.models import create, from_reference

HERE = Path(__file__).parent
CASES = json.loads((HERE / "lemevit_cases.json").read_text())
KEYS = json.loads((HERE / "lemevit_keys.json").read_text())
VECTORS = np.load(HERE / "lemevit_vectors.npz")
SCENES = [case for case in CASES if case.startswith(("lemevit", "vit_tiny"))]
CHANGE = [case for case in CASES if case.startswith("cd")]
DENSE = [case for case in CASES if case.startswith("dense")]
PARAMETERS = {
    "lemevit_tiny": 8_635_816,
    "lemevit_small": 16_400_456,
    "lemevit_base": 53_098_152,
    "lemevit_small_v2": 14_373_480,
    "lemevit_tiny_v2": 13_855_464,
    "vit_tiny": 13_369_224,
}


def filled(keys):
    """Weights of the formula under the reference's names."""
    return {key: torch.from_numpy(np.asarray(weight(key, shape))) for key, shape in keys.items()}


def body_keys(name):
    return {key: shape for key, shape in KEYS[name].items() if not key.startswith("head.")}


def change_keys(name):
    head = KEYS[name.replace("lemevit", "bit_head")]
    return head | {f"backbone.{key}": shape for key, shape in body_keys(name).items()}


def images_of(case):
    return torch.from_numpy(image_a(*CASES[case]["input"]["shape"]))


def hold(case, name, tensor):
    """Compare a tensor with the case's vector of this name."""
    value = tensor.detach().to(torch.float64).numpy()
    assert list(value.shape) == CASES[case]["tensors"][name]["shape"]
    flat = value.reshape(-1)
    if f"{case}/{name}/full" in VECTORS:
        expected, found = VECTORS[f"{case}/{name}/full"].reshape(-1).astype(np.float64), flat
    else:
        expected = VECTORS[f"{case}/{name}/val"].astype(np.float64)
        found = flat[sample_positions(flat.size, 400)]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), name
    if f"{case}/{name}/stats" in VECTORS:
        total, size, low, high, wave = VECTORS[f"{case}/{name}/stats"]
        assert abs(flat.sum() - total) <= 1e-5 * size
        assert abs((flat * np.cos(0.001 * np.arange(flat.size))).sum() - wave) <= 1e-5 * size
        assert flat.min() == pytest.approx(low, abs=1e-4 * max(abs(low), abs(high)))
        assert flat.max() == pytest.approx(high, abs=1e-4 * max(abs(low), abs(high)))


@pytest.mark.parametrize("case", SCENES)
def test_scene_model_gives_the_authors_numbers(case):
    name, classes = CASES[case]["model"]["kind"], CASES[case]["model"]["num_classes"]
    keys = {k: [classes, *s[1:]] if k.startswith("head.") else s for k, s in KEYS[name].items()}
    model = from_reference(name, filled(keys))
    assert not model.training
    with torch.inference_mode():
        output = model(images_of(case))
    hold(case, "features", output.features)
    hold(case, "logits", output.logits)


@pytest.mark.parametrize(
    ("case", "layout"), [*((case, "segmentation") for case in DENSE), ("dense_tiny_160x288", "detection")]
)
def test_dense_form_gives_the_authors_maps(case, layout):
    name = CASES[case]["model"]["kind"].split()[0]
    keys = body_keys(name)
    if layout == "detection":
        keys = keys | KEYS[name.replace("lemevit", "extra_norms")]
    model = from_reference(f"{name}_dense", filled(keys))
    with torch.inference_mode():
        maps = model(images_of(case))
    for index, stage in enumerate(maps):
        hold(case, f"stage{index + 1}", stage)


@pytest.mark.parametrize("case", CHANGE)
def test_change_model_gives_the_authors_numbers(case):
    name = CASES[case]["model"]["kind"].split()[-1]
    model = from_reference(f"bit_{name}", filled(change_keys(name)))
    before = images_of(case)
    with torch.inference_mode():
        output = model(before, 0.9 * before.flip(3))
    hold(case, "logits", output.logits)
    hold(case, "tokens_after_encoder", output.extras["tokens_after_encoder"])
    changed = output.logits.argmax(dim=1)[:, ::4, ::4].numpy()
    assert (changed != VECTORS[f"{case}/pred/full"]).mean() <= 0.001


@pytest.mark.parametrize(("size", "count"), [("tiny", 9_009_378), ("small", 16_746_882), ("base", 53_335_010)])
def test_change_model_is_the_published_one(size, count):
    with torch.device("meta"):
        model = create(f"bit_lemevit_{size}")
    assert sum(p.numel() for p in model.parameters()) == count
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == change_keys(f"lemevit_{size}")


@pytest.mark.parametrize("name", PARAMETERS)
def test_defaults_are_the_published_models(name):
    with torch.device("meta"):
        scenes, dense = create(name), create(f"{name}_dense")
    assert sum(p.numel() for p in scenes.parameters()) == PARAMETERS[name]
    assert {k: list(v.shape) for k, v in scenes.state_dict().items()} == KEYS[name]
    assert {k: list(v.shape) for k, v in dense.state_dict().items()} == body_keys(name)
