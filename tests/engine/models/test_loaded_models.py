"""Models made ready to run: folding, precision and normalisation keep the answers."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.errors import DeviceError
from engine.models import LoadedModel, create
from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.folding import fold_batch_norms

TINY = {"num_classes": 4, "image_size": 32, "seed_dim": 16, "token_count": 3, "embed_dim": 16, "depth": 2}
TINY |= {"num_heads": 2, "stem_widths": (4, 8, 8), "dense_channels": (4, 4, 8, 8), "head_dim": 8}
TINY |= {"out_layers": (0, 0, 1, 1)}
COMPETITIVE = {"num_classes": 4, "token_count": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "key_dim": 8}
COMPETITIVE |= {"stem_width": 8, "widths": (8, 8, 16), "depths": (1, 1, 1)}


def live(module, seed=0):
    """Give batch norms statistics as training would."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.2, 3)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval()


def loaded(architecture="hook_segmenter", config=None, bands=3, **scaling):
    config = config or TINY
    card = ModelCard(
        name="tiny",
        title="Tiny",
        architecture=architecture,
        config=config,
        task="segmentation",
        classes=tuple(CardClass(name=name, color="#102030") for name in "abcd"),
        bands=tuple(f"b{i}" for i in range(bands)),
        scaling=Scaling(
            **{"divisor": 255, "mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3} | scaling
        ),
        window_px=32,
        overlap_px=8,
        token_count=3,
        data="none",
        metrics={},
        licence="CC0",
        source="a test",
    )
    return LoadedModel(live(create(architecture, **config)), card, "0" * 64)


@pytest.mark.parametrize(
    ("architecture", "config"), [("hook_segmenter", TINY), ("hook_competitive_segmenter", COMPETITIVE)]
)
def test_ready_model_has_no_norms_left_and_answers_alike(architecture, config):
    base = loaded(architecture, config)
    before = copy.deepcopy(base.module.state_dict())
    ready = base.to("cpu")
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in base.module.modules())
    assert ready.folded_norms == norms > 0
    assert not any(isinstance(part, nn.BatchNorm2d) for part in ready.module.modules())
    images = base.normalise(torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8))
    was, now = base(images), ready(images)
    for old, new in ((was.logits, now.logits), (was.tokens.features, now.tokens.features)):
        assert (old - new).abs().max() <= 1e-5 * old.abs().max()
    assert (was.tokens.assignment - now.tokens.assignment).abs().max() <= 1e-5
    for key, value in base.module.state_dict().items():
        assert torch.equal(value, before[key])
    again = ready.to("cpu")
    assert torch.equal(again(images).logits, now.logits)
    assert again.folded_norms == norms


def test_a_fold_that_strays_is_not_used(monkeypatch):
    base = loaded()
    monkeypatch.setattr("engine.models.folding.TOLERANCE", -1.0)
    ready = base.to("cpu")
    assert ready.folded_norms == 0
    assert ready.module is not base.module
    assert any(isinstance(part, nn.BatchNorm2d) for part in ready.module.modules())


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    kernel=st.sampled_from([1, 2, 3]),
    transposed=st.booleans(),
    bias=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_folding_keeps_the_function(channels, groups, kernel, transposed, bias, affine, seed):
    torch.manual_seed(seed)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    conv = kind(channels * groups, 4 * groups, kernel, groups=groups, bias=bias)
    norm = nn.BatchNorm2d(4 * groups, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 4)
    net = nn.Sequential(conv, norm, nn.GELU()).eval().double()
    folded, count = fold_batch_norms(net)
    assert count == 1
    assert isinstance(folded[1], nn.Identity)
    images = torch.rand(2, channels * groups, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(folded(images), net(images), rtol=1e-10, atol=1e-12)


def test_a_norm_in_training_or_without_statistics_stays():
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    assert fold_batch_norms(net)[1] == 0
    assert fold_batch_norms(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).train())[1] == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32, torch.float32])
def test_normalisation_is_the_cards_formula(dtype):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    model = loaded(divisor=200, mean=mean, std=std)
    raw = torch.randint(0, 250, (2, 3, 5, 7)).to(dtype)
    found = model.normalise(raw)
    expected = (raw.double() / 200 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


def test_bfloat16_stays_near_and_answers_in_float32():
    base = loaded("hook_competitive_segmenter", COMPETITIVE)
    images = base.normalise(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    full, half = base.to("cpu")(images), base.to("cpu", "bfloat16")(images)
    assert half.logits.dtype == torch.float32
    difference = (full.logits - half.logits).abs().max() / full.logits.abs().max()
    assert 0 < difference < 0.05


def test_a_device_that_is_not_there_is_one_sentence():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(DeviceError, match="cannot be brought to the device"):
        loaded().to("cuda")
