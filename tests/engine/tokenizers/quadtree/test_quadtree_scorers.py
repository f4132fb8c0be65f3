"""Scorers: blur against plain resampling, wherever a window begins, without data, in any units; features; Grad-CAM."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.errors import CheckpointError, OptionError
from engine.models import create
from engine.tokenizers.quadtree import (
    BandBlur,
    BandStatistics,
    FeatureBased,
    GradCam,
    Layout,
    PixelBlur,
    Precomputed,
    Random,
    load_shufflenet,
    run,
)
from engine.tokenizers.quadtree.shufflenet import ShuffleNetFeatures


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("antialias", [False, True])
def test_blur_is_the_error_of_resampling(antialias):
    images = noise(2, 3, 64, 96)
    scores = PixelBlur(antialias=antialias)(images, 4, 32)
    assert sorted(scores) == [8, 16, 32]
    for size, found in scores.items():
        factor = size // 4
        small = (
            F.avg_pool2d(images, factor)
            if antialias
            else F.interpolate(images, scale_factor=1 / factor, mode="bilinear")
        )
        blurred = F.interpolate(small, scale_factor=factor, mode="bilinear")
        error = F.avg_pool2d((images - blurred).square().mean(dim=1), size)
        torch.testing.assert_close(found, -(error * size).sqrt(), rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(row=st.integers(1, 3), col=st.integers(1, 3), antialias=st.booleans(), gaps=st.booleans())
def test_a_score_is_the_same_bit_for_bit_wherever_the_window_begins(row, col, antialias, gaps):
    images = noise(1, 2, 160, 160)
    valid = noise(1, 160, 160, seed=1) > -1 if gaps else None
    scorer = PixelBlur(antialias=antialias)
    whole = scorer(images, 4, 32, valid=valid)
    top, left = 32 * (row - 1), 32 * (col - 1)  # a window with one root more on each side than is compared
    here = (..., slice(top, top + 96), slice(left, left + 96))
    part = scorer(images[here], 4, 32, valid=None if valid is None else valid[here])
    for size, found in part.items():
        inner = 32 // size
        expected = whole[size][:, row * inner : (row + 1) * inner, col * inner : (col + 1) * inner]
        assert torch.equal(found[:, inner : 2 * inner, inner : 2 * inner], expected)


@pytest.mark.parametrize("scorer", [PixelBlur(), PixelBlur(antialias=True), BandBlur()])
def test_pixels_without_data_count_for_nothing(scorer):
    images = noise(1, 3, 64, 64)
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    valid[:, :, 32:] = False
    one = scorer(torch.where(valid[:, None], images, 0.0), 8, 32, valid=valid)
    other = scorer(torch.where(valid[:, None], images, 9e4), 8, 32, valid=valid)
    for size in (16, 32):
        assert torch.equal(one[size], other[size])
        half = one[size].shape[2] // 2
        assert bool(one[size][..., half:].isposinf().all())
        assert bool(one[size][..., :half].isfinite().all())
    boxes = run(images, one, 4 + 3 * 10, 8, 32)[0]
    assert set(boxes[boxes[:, 0] >= 32][:, 2].tolist()) == {32}


def test_an_even_image_with_gaps_has_no_error_at_their_edges():
    valid = noise(1, 64, 64) > 0
    images = torch.where(valid[:, None], 7.0, -1000.0)
    for scorer in (PixelBlur(), PixelBlur(antialias=True)):
        assert all(bool((found == 0).all()) for found in scorer(images, 4, 32, valid=valid).values())


def test_what_lies_beyond_the_edge_changes_nothing():
    images = noise(1, 3, 50, 70)
    layout = Layout(50, 70, 4, 32)
    scores = PixelBlur()(images, 4, 32)
    for size, grid in zip(layout.splittable_sizes, layout.score_grids, strict=False):
        assert tuple(scores[size].shape[1:]) == grid
    assert all(bool(found.isfinite().all()) for found in scores.values())
    inner = PixelBlur()(images[:, :, :32, :64], 4, 32)
    assert torch.equal(scores[8][:, :3, :7], inner[8][:, :3, :7])


@settings(max_examples=20)
@given(gain=st.floats(1e-3, 1e5), offset=st.floats(-1e4, 1e4), bands=st.integers(1, 12), seed=st.integers(0, 9))
def test_bands_in_any_units_are_cut_alike(gain, offset, bands, seed):
    smooth = F.interpolate(noise(1, bands, 6, 6, seed=seed), 64, mode="bicubic")
    images = smooth + 0.3 * noise(1, bands, 64, 64, seed=seed + 50) * (smooth[:, :1] > 0)
    one = BandBlur()(images, 8, 32)
    other = BandBlur()(images.double() * gain + offset, 8, 32)
    for size, found in one.items():
        torch.testing.assert_close(found, other[size].float(), rtol=2e-2, atol=2e-3)


def test_a_saturated_roof_does_not_take_all_patches():
    images = 0.1 * noise(1, 4, 64, 64)
    images[:, :, :, 32:] *= 5  # the busy half
    images[:, :, 10, 10] = 65535
    scores = BandBlur()(images, 8, 16)
    busy = scores[16][0, :, 2:]
    assert float(scores[16][0, 0, 0]) > float(busy.max()) - 2
    boxes = run(images, scores, 16 + 3 * 7, 8, 16)[0]
    small = boxes[boxes[:, 2] == 8]
    assert int((small[:, 0] >= 32).sum()) >= 24


def test_statistics_can_be_given_for_all_pieces_of_a_scene():
    images = 100 + 5 * noise(1, 2, 64, 64)
    found = BandStatistics.of(images[0].flatten(1))
    assert found.centre.tolist() == pytest.approx([100, 100], abs=0.5)
    assert found.spread.tolist() == pytest.approx([5, 5], rel=0.1)
    whole = BandBlur(found)(images, 8, 16)
    part = BandBlur(found)(images[:, :, :, :48], 8, 16)
    assert torch.equal(whole[16][:, :, :2], part[16][:, :, :2])
    flat = BandStatistics.of(torch.full((2, 9), 3.0))
    assert flat.spread.tolist() == [1, 1]
    assert BandStatistics.of(torch.empty(3, 0)).centre.tolist() == [0, 0, 0]


def test_random_scores_are_the_published_stream():
    images = torch.zeros(2, 1, 64, 32)
    scores = Random(7)(images, 8, 32)
    expected = -torch.rand((2, 8), generator=torch.Generator().manual_seed(7 + 16))
    assert torch.equal(scores[16].flatten(1), expected)
    assert scores.scorer == "random, seed 7"
    assert not torch.equal(Random()(images, 8, 32)[16], Random()(images, 8, 32)[16])


def test_importance_is_averaged_where_cells_fall_into_patches():
    images = torch.zeros(1, 1, 48, 80)
    importance = torch.rand(1, 6, 10)
    scores = Precomputed(importance)(images, 8, 32)
    torch.testing.assert_close(scores[16], -F.avg_pool2d(importance, 2))
    torch.testing.assert_close(scores[32][0, 0, 0], -importance[0, :4, :4].mean())
    torch.testing.assert_close(scores[32][0, 1, 2], -importance[0, 4:, 8:].mean())
    listed = Precomputed([importance, importance])(images, 8, 32)
    assert torch.equal(listed[32], scores[32])
    torch.testing.assert_close(Precomputed(torch.ones(1, 7, 11))(images, 8, 32)[32], -torch.ones(1, 2, 3))


@pytest.mark.parametrize(
    ("importance", "says"),
    [
        (torch.zeros(1, 2, 2), "fewer than the 4 x 4 patches of 16 pixels"),
        (torch.zeros(1, 3, 8, 8), "or 2 of them"),
        (torch.zeros(2, 8, 8), "for 2 images and not 1"),
    ],
)
def test_importance_that_does_not_fit_is_refused(importance, says):
    with pytest.raises(OptionError, match=says):
        Precomputed(importance)(torch.zeros(1, 1, 64, 64), 8, 32)


@pytest.mark.parametrize("valid", [torch.ones(1, 64, 64), torch.ones(1, 64, 63, dtype=torch.bool)])
def test_flags_that_do_not_fit_are_refused(valid):
    with pytest.raises(OptionError, match="valid is"):
        PixelBlur()(torch.zeros(1, 1, 64, 64), 8, 32, valid=valid)


def test_features_find_the_busy_half_and_are_named():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU()).eval()
    images = torch.zeros(1, 3, 128, 128)
    images[..., 64:] = noise(1, 3, 128, 64)
    for error in ("mse", "cosine"):
        scores = FeatureBased(network, "a small network", error=error)(images, 16, 64)
        assert scores.scorer == "features of a small network"
        assert float(scores[32][..., 2:].mean()) < float(scores[32][..., :2].mean())


def test_features_refuse_what_cannot_work():
    images = torch.zeros(1, 3, 128, 128)
    coarse = nn.AvgPool2d(32).eval()
    with pytest.raises(OptionError, match="fewer than the 8 x 8 patches of 16 pixels"):
        FeatureBased(coarse, "coarse")(images, 8, 32)
    with pytest.raises(OptionError, match="training mode"):
        FeatureBased(nn.AvgPool2d(4), "unready")(images, 8, 32)
    with pytest.raises(OptionError, match="no map of features"):
        FeatureBased(nn.Flatten().eval(), "flat")(images, 8, 32)
    with pytest.raises(OptionError, match="mse or cosine"):
        FeatureBased(coarse, "coarse", error="l1")


def test_shufflenet_loads_torchvision_weights_and_nothing_else(tmp_path):
    module = ShuffleNetFeatures()
    assert sum(p.numel() for p in module.parameters()) == 1_366_792 - 1_025_000  # torchvision's, without its classifier
    state = {**module.state_dict(), "fc.weight": torch.zeros(1000, 1024), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "weights.pth")
    images = noise(1, 3, 96, 64)
    with torch.no_grad():
        expected = module.eval()(images)
        assert expected.shape == (1, 1024, 3, 2)
        assert torch.equal(load_shufflenet(tmp_path / "weights.pth")(images), expected)
        assert load_shufflenet(state, stride=16)(images).shape == (1, 96, 6, 4)
    with pytest.raises(CheckpointError, match=r"conv1\.0\.weight"):
        load_shufflenet({key: value for key, value in state.items() if key != "conv1.0.weight"})
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_shufflenet(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_shufflenet(tmp_path / "text.pth")


class Spot(nn.Module):
    """Class 1 speaks of the first band, class 0 of the second."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(2, 2, 4, 4, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2).view(2, 2, 1, 1).expand(2, 2, 4, 4) / 16)

    def forward(self, images):
        return self.features(images).mean(dim=(2, 3)).flip(1)


def test_grad_cam_follows_the_class():
    images = torch.zeros(2, 2, 32, 32)
    images[:, 0, :8, :8] = 4
    images[:, 1, 24:, 24:] = 1
    model = Spot()
    top = GradCam(model, "spot").importance(images)
    assert bool((top[:, :2, :2] > 0).all())
    assert float(top.sum() - top[:, :2, :2].sum()) == 0
    other = GradCam(model, "spot", class_index=0, layer="features")
    assert other.name == "Grad-CAM of spot, class 0"
    boxes = run(images, other(images, 4, 8), 16 + 3, 4, 8)[0].tolist()
    assert [box for box in boxes if box[2] == 4] == [[24, 24, 4], [28, 24, 4], [24, 28, 4], [28, 28, 4]]
    assert model.features.weight.grad is None
    assert not model.features._forward_hooks


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("hook_classifier", {"seed_dim": 32, "embed_dim": 32, "depth": 1, "num_heads": 2, "seed_heads": 2,
                             "stem_widths": (8, 8, 8), "token_count": 3}),
        ("patch_classifier", {"embed_dim": 32, "depth": 1, "num_heads": 2, "patch_size": 8}),
        ("patch_segmenter", {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "head_dim": 16,
                             "dense_channels": (8, 8, 8, 8)}),
    ],
)  # fmt: skip
def test_grad_cam_reads_our_models(architecture, config):
    torch.manual_seed(0)
    model = create(architecture, num_classes=4, image_size=64, **config).eval().requires_grad_(False)
    images = noise(1, 3, 64, 64)
    with torch.inference_mode():
        found = GradCam(model, architecture, class_index=1)(images, 8, 32)
    assert sorted(found) == [16, 32]
    assert all(bool(one.isfinite().all()) for one in found.values())
    assert min(float(one.min()) for one in found.values()) < 0


def test_grad_cam_refuses_what_cannot_work():
    model = Spot()
    images = torch.zeros(1, 2, 32, 32)
    with pytest.raises(OptionError, match="no class 2"):
        GradCam(model, "spot", class_index=2)(images, 8, 16)
    with pytest.raises(OptionError, match="no layer 'head'"):
        GradCam(model, "spot", layer="head")
    with pytest.raises(OptionError, match="fewer than"):
        GradCam(model, "spot")(images, 1, 2)
    with pytest.raises(OptionError, match="no map of features"):
        GradCam(nn.Sequential(nn.Flatten(), nn.Linear(2048, 2)), "flat")(images, 8, 16)


def test_scores_of_nothing_are_infinite():
    images = torch.zeros(1, 2, 32, 32)
    valid = torch.zeros(1, 32, 32, dtype=torch.bool)
    for scorer in (PixelBlur(), BandBlur(), Random(1), Precomputed(torch.ones(1, 8, 8)), GradCam(Spot(), "spot")):
        assert all(bool((one == math.inf).all()) for one in scorer(images, 4, 16, valid=valid).values())
