"""Shorter ways to the same numbers: the decoder's linear tail, Winograd's convolutions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.models import create
from engine.models.cost import Macs, count_macs
from engine.models.dense import DenseTransform, SegFormerHead
from engine.models.folding import fold_batch_norms
from engine.models.pointwise import swap_pointwise
from engine.models.tail import decode, decode_multiplied_out
from engine.models.winograd import TILES, Winograd, restore_convolutions, swap_winograd
from engine.tokenizers.blocked import OpenConv


def live(module):
    """Give batch norms statistics as training would."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.2, 3)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval()


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.transform = DenseTransform(12, (6, 8, 10, 14))
        self.head = SegFormerHead((6, 8, 10, 14), 9, 5)


@settings(max_examples=15)
@given(rows=st.integers(2, 7), cols=st.integers(2, 7), ready=st.booleans(), seed=st.integers(0, 99))
def test_the_tail_multiplied_out_is_the_decoder(rows, cols, ready, seed):
    torch.manual_seed(seed)
    decoder = live(Decoder())
    maps = [torch.randn(2, 12, rows, cols) for _ in range(4)]
    expected = decoder.head(decoder.transform(maps))
    if ready:
        decoder, _ = fold_batch_norms(decoder)
        swap_pointwise(decoder)
        swap_winograd(decoder)
    with torch.inference_mode():
        found = decode_multiplied_out(decoder.transform, decoder.head, maps)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_tail_is_multiplied_out_for_inference_alone(monkeypatch):
    monkeypatch.setattr("engine.models.tail.decode_multiplied_out", lambda *_: "short")
    decoder, maps = Decoder(), [torch.randn(1, 12, 2, 2)] * 4
    assert isinstance(decode(decoder.transform, decoder.head, maps), torch.Tensor)
    with torch.inference_mode():
        assert isinstance(decode(decoder.transform, decoder.head, maps), torch.Tensor)
        decoder.eval()
        assert decode(decoder.transform, decoder.head, maps) == "short"
    assert isinstance(decode(decoder.transform, decoder.head, maps), torch.Tensor)


@settings(max_examples=25)
@given(
    channels=st.integers(1, 9),
    outputs=st.integers(1, 9),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    bias=st.booleans(),
    batch=st.integers(1, 2),
)
def test_winograd_convolves(channels, outputs, height, width, bias, batch):
    torch.manual_seed(channels + 10 * outputs)
    conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=bias).double()
    images = torch.randn(batch, channels, height, width, dtype=torch.float64)
    torch.testing.assert_close(Winograd(conv)(images), conv(images), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("width", [9, 4 * TILES + 3])
def test_winograd_keeps_single_precision(width):
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 64, 3, padding=1)
    images = torch.nn.functional.gelu(torch.randn(1, 128, 14, width))
    exact = nn.functional.conv2d(images.double(), conv.weight.double(), conv.bias.double(), padding=1)
    with torch.inference_mode():
        error = (Winograd(conv)(images) - exact).abs().max() / exact.abs().max()
    assert error <= 1e-5


def test_only_wide_convolutions_of_three_by_three_are_swapped():
    net = nn.Sequential(
        nn.Conv2d(128, 128, 3, padding=1),
        nn.Sequential(nn.Conv2d(128, 160, 3, padding=1)),
        nn.Conv2d(128, 127, 3, padding=1),
        nn.Conv2d(128, 128, 3),
        nn.Conv2d(128, 128, 3, padding=1, stride=2),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(128, 128, 1),
        OpenConv(128, 128, 3, padding=1),
    )
    assert swap_winograd(net) == 2
    assert isinstance(net[0], Winograd)
    assert isinstance(net[1][0], Winograd)


@pytest.mark.parametrize("bias", [True, False])
def test_a_swapped_convolution_comes_back(bias):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Sequential(nn.Conv2d(128, 130, 3, padding=1, bias=bias)), nn.Conv2d(130, 4, 1)).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert swap_winograd(net) == 1
    restore_convolutions(net)
    after = net.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=1e-6, atol=1e-7)


def test_a_swapped_convolution_counts_as_it_is_defined():
    conv = nn.Conv2d(4, 5, 3, padding=1)
    assert count_macs(Winograd(conv), torch.rand(2, 4, 7, 6)) == count_macs(conv, torch.rand(2, 4, 7, 6))


def test_the_published_segmenter_costs_what_its_authors_count():
    with torch.device("meta"):
        model = create("hook_segmenter", num_classes=5).eval()
        macs = count_macs(model, torch.empty(1, 3, 512, 512))
    assert macs.layers / 1e9 == pytest.approx(195.17, abs=0.01)
    assert macs.total / 1e9 == pytest.approx(538.86, abs=0.01)


def test_shorter_ways_do_not_change_the_count():
    config = {"num_classes": 3, "image_size": 32, "embed_dim": 16, "depth": 4, "num_heads": 2, "seed_dim": 16}
    model = create("hook_segmenter", **config, token_count=3, stem_widths=(4, 8, 8)).eval()
    macs = count_macs(model, torch.rand(1, 3, 32, 32))
    assert macs == count_macs(model.to("meta"), torch.empty(1, 3, 32, 32, device="meta")) != Macs()
