"""The published models against numbers of the authors' code: relative error at most 1e-4 in float32."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from formula import hash01, image_a, sample_positions, weight

from engine.models import create, from_reference
from engine.models.tail import decode

HERE = Path(__file__).parent
CASES = json.loads((HERE / "hook_cases.json").read_text())
KEYS = json.loads((HERE / "hook_keys.json").read_text())
VECTORS = np.load(HERE / "hook_vectors.npz")
ARCHITECTURES = {
    "hook_cls": "hook_classifier",
    "hook_seg": "hook_segmenter",
    "pe_cls": "patch_classifier",
    "pe_seg": "patch_segmenter",
}
KEYS_OF = {"hook_cls_nwpu": "hook_cls", "pe_cls_nonsquare": "pe_cls"}
LARGE = ("hook_seg_gid", "pe_seg", "hook_cls_nwpu")
CONFIG_KEYS = {
    "img": "image_size",
    "downsample_dim": "seed_dim",
    "token_num": "token_count",
    "out_dim": "embed_dim",
    "depth": "depth",
    "heads": "num_heads",
    "num_classes": "num_classes",
    "ret_layers": "out_layers",
    "s2d": "dense_size",
    "out_dim_list": "dense_channels",
    "patch": "patch_size",
}


def build(case):
    """The case's model with the formula's weights."""
    record = CASES[case]["model"]
    config = {CONFIG_KEYS[key]: value for key, value in record.items() if key != "kind"}
    keys = KEYS[KEYS_OF.get(case, case)]
    if record["kind"] == "pe_cls":
        keys = {k: s for k, s in keys.items() if not k.startswith("1.") or int(k.split(".")[2]) < record["depth"]}
    weights = {key: torch.from_numpy(weight(key, shape)) for key, shape in keys.items()}
    return from_reference(ARCHITECTURES[record["kind"]], weights, **config)


def hold(case, name, tensor):
    """Compare a tensor with the case's vector of this name."""
    value = tensor.detach().to(torch.float64).numpy()
    assert list(value.shape) == CASES[case]["tensors"][name]["shape"]
    flat = value.reshape(-1)
    if f"{case}/{name}/full" in VECTORS:
        expected = VECTORS[f"{case}/{name}/full"].reshape(-1).astype(np.float64)
        found = flat
    else:
        expected = VECTORS[f"{case}/{name}/val"].astype(np.float64)
        found = flat[sample_positions(flat.size, 200 if name.startswith(("s2d", "dense")) else 400)]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), name
    total, size, low, high, wave = VECTORS[f"{case}/{name}/stats"]
    assert abs(flat.sum() - total) <= 1e-5 * size
    assert abs((flat * np.cos(0.001 * np.arange(flat.size))).sum() - wave) <= 1e-5 * size
    assert flat.min() == pytest.approx(low, abs=1e-4 * max(abs(low), abs(high)))
    assert flat.max() == pytest.approx(high, abs=1e-4 * max(abs(low), abs(high)))


def hold_map(found, expected, allowed=0.001):
    """Compare integer maps; near ties may fall either way."""
    assert found.shape == expected.shape
    assert (found != expected).mean() <= allowed


@pytest.mark.parametrize(
    ("case", "inference"),
    [(case, True) for case in sorted(CASES)] + [(case, False) for case in sorted(CASES) if case not in LARGE],
)
def test_published_model_gives_the_authors_numbers(case, inference, monkeypatch):
    """In the shorter forms that inference takes, and written out as gradients need it."""
    record = CASES[case]
    model = build(case)
    images = torch.from_numpy(image_a(*record["input"]["shape"]))
    kept = {}

    def watched(transform, head, maps):
        kept.update(maps=maps, pyramid=transform(maps))
        return decode(transform, head, maps)

    monkeypatch.setattr("engine.models.gathered.decode", watched)
    with torch.inference_mode(inference):
        output = model(images)
    hold(case, "logits", output.logits)
    if "attn" not in record["tensors"]:
        return
    hold(case, "attn", output.tokens.attention)
    token_map = output.tokens.token_map.numpy()
    hold_map(token_map, VECTORS[f"{case}/token_argmax/full"])
    if "tokens" in record["tensors"]:
        hold(case, "tokens", output.tokens.features)
        edge = record["model"]["img"]
        pixels = F.interpolate(torch.from_numpy(token_map)[:, None].float(), (edge, edge), mode="nearest")
        count = record["model"]["token_num"]
        histogram = np.stack([np.bincount(row.flatten().int(), minlength=count) for row in pixels])
        expected = VECTORS[f"{case}/region_map_hist/full"]
        assert np.abs(histogram - expected).sum() <= 2 * 0.001 * expected.sum()
    assert bool(kept) == (record["model"]["kind"] == "hook_seg")
    for index in range(4 if kept else 0):
        hold(case, f"s2d{index}", kept["maps"][index].flatten(2).transpose(1, 2))
        hold(case, f"dense{index}", kept["pyramid"][index])
    if "pred" in record["tensors"]:
        size = record["input"]["label_size"]
        logits = output.at_pixels(size, size).logits
        hold_map(logits.argmax(dim=1)[:, ::4, ::4].numpy(), VECTORS[f"{case}/pred/full"])
        labels = np.floor(6 * hash01(len(images) * size * size, 5)).astype(np.int64).reshape(-1, size, size)
        labels[labels >= record["model"]["num_classes"]] = 255
        loss = F.cross_entropy(logits, torch.from_numpy(labels), ignore_index=255)
        hold(case, "loss", loss.reshape(1))


@pytest.mark.parametrize(
    ("keys", "architecture", "config", "parameters"),
    [
        ("hook_seg_gid", "hook_segmenter", {"num_classes": 5}, 141_443_141),
        ("pe_seg", "patch_segmenter", {"num_classes": 5}, 121_474_437),
        ("hook_cls", "hook_classifier", {"num_classes": 45}, 98_863_853),
        ("hook_cls_rs19", "hook_classifier", {"num_classes": 19}, 98_843_859),
        ("pe_cls", "patch_classifier", {"num_classes": 45}, 85_680_429),
    ],
)
def test_defaults_are_the_published_models(keys, architecture, config, parameters):
    with torch.device("meta"):
        model = create(architecture, **config)
    assert sum(p.numel() for p in model.parameters()) == parameters
    rename = getattr(type(model), "own_key", str)
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == {rename(k): s for k, s in KEYS[keys].items()}
