"""LeMeViT beyond the published sizes, its checkpoints' layouts, its tokens, and how it trains."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.errors import CheckpointError, OptionError
from engine.models import create, from_reference
from engine.tokenizers.meta.attention import DualCrossAttention, SharedDualCrossAttention, length_ratio
from engine.tokenizers.meta.tokenizer import MetaTokenizer
from engine.tokenizers.meta.variants import VARIANTS

SMALL = {"depths": (1, 2, 1, 1, 1), "widths": (16, 16, 16, 32, 32), "head_dim": 8, "mlp_ratio": 2, "token_count": 5}
SHARED = SMALL | {"kinds": ("C", "D2", "D2", "S", "S")}
PLAIN = {"depths": (1, 1, 1, 1), "widths": (16, 16, 32, 32), "kinds": ("S",) * 4, "head_dim": 8, "mlp_ratio": 2}


def live(module, seed=0):
    """Weights and statistics as training would leave them."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
            nn.init.normal_(part.bias, std=0.2)
    return module.eval()


def classifier(**config):
    return live(create("lemevit_tiny", num_classes=3, **(SMALL | config)))


def run(model, images):
    with torch.inference_mode():
        return model(images)


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 70), width=st.integers(1, 70), config=st.sampled_from([SMALL, SHARED, PLAIN]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_size_works_and_a_batch_is_its_rows(height, width, config, seed):
    model = classifier(**config)
    torch.manual_seed(seed)
    images = torch.rand(3, 3, height, width)
    output = run(model, images)
    cells = 32 if config is PLAIN else 8
    assignment = output.tokens.assignment
    assert assignment.shape[2:] == (-(-height // cells), -(-width // cells))
    assert output.tokens.features.shape == (3, assignment.shape[1], 32)
    for tensor in (output.logits, output.features, output.tokens.features, assignment):
        assert bool(tensor.isfinite().all())
    if config is not PLAIN:
        assert assignment.shape[1] == 5
        torch.testing.assert_close(assignment.sum(dim=(2, 3)), torch.ones(3, 5))
    alone = run(model, images[1:2])
    torch.testing.assert_close(alone.logits[0], output.logits[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.tokens.assignment[0], assignment[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e4])
def test_constant_images_give_finite_answers(value):
    for config in (SMALL, SHARED, PLAIN):
        assert bool(run(classifier(**config), torch.full((1, 3, 32, 32), value)).logits.isfinite().all())


@pytest.mark.parametrize("count", [1, 3, 40])
def test_any_number_of_meta_tokens_works(count):
    output = run(classifier(token_count=count), torch.rand(2, 3, 40, 24))
    assert output.tokens.assignment.shape == (2, count, 5, 3)
    assert bool(output.logits.isfinite().all())


def test_one_pixel_counts_as_a_ratio_of_one():
    assert length_ratio(16, 1) == 1.0
    assert length_ratio(16, 256) == pytest.approx(0.5)
    assert length_ratio(1, 9) == 0.0


@pytest.mark.parametrize("kind", [DualCrossAttention, SharedDualCrossAttention])
@pytest.mark.parametrize("pixels", [1, 6, 50])
def test_dual_attention_is_the_written_out_one(kind, pixels):
    torch.manual_seed(pixels)
    layer = kind(24, 8).double()
    image, tokens = torch.randn(2, pixels, 24).double(), torch.randn(2, 4, 24).double()

    def heads(x):
        return x.unflatten(2, (3, 8)).transpose(1, 2)

    if kind is DualCrossAttention:
        q1, k1, v1 = (heads(part) for part in layer.qkv1(image).chunk(3, 2))
        q2, k2, v2 = (heads(part) for part in layer.qkv2(tokens).chunk(3, 2))
    else:
        (q1, v1), (k2, v2) = ((heads(p) for p in f.chunk(2, 2)) for f in (layer.qv1(image), layer.kv2(tokens)))
        k1, q2 = q1, k2
    ratio = math.log(4) / math.log(pixels) if pixels > 1 else 1.0
    weights = (q2 @ k1.transpose(2, 3) * 24**-0.5).softmax(3)
    to_image = (q1 @ k2.transpose(2, 3) * ratio * 24**-0.5).softmax(3) @ v2
    expected = [p(x.transpose(1, 2).flatten(2)) for p, x in ((layer.proj_x, to_image), (layer.proj_c, weights @ v1))]
    for keep in (True, False):
        change_x, change_c, seen = layer(image, tokens, keep=keep)
        torch.testing.assert_close(change_x, expected[0])
        torch.testing.assert_close(change_c, expected[1], rtol=1e-6, atol=1e-6)
        assert (seen is not None) is keep
        if keep:
            torch.testing.assert_close(seen.double(), weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dim", [7, 12])
def test_a_width_that_heads_cannot_share_is_refused(dim):
    with pytest.raises(OptionError, match="heads of 8"):
        DualCrossAttention(dim, 8)


def test_assignment_is_the_attention_of_the_last_block_in_which_tokens_look():
    model = classifier()
    kept = {}
    last = model.stages[2][-1].attn
    last.register_forward_hook(lambda _m, args, _o: kept.update(image=args[0], tokens=args[1]))
    images = torch.rand(2, 3, 48, 32)
    output = model(images, attention=True)
    query = last.qkv2(kept["tokens"]).chunk(3, 2)[0].unflatten(2, (2, 8)).transpose(1, 2)
    key = last.qkv1(kept["image"]).chunk(3, 2)[1].unflatten(2, (2, 8)).transpose(1, 2)
    expected = (query @ key.transpose(2, 3) * 16**-0.5).softmax(3)
    assert output.tokens.attention.shape == (2, 2, 5, 6 * 4)
    torch.testing.assert_close(output.tokens.attention, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(output.tokens.assignment, expected.mean(1).view(2, 5, 6, 4), rtol=1e-4, atol=1e-6)
    assert run(model, images).tokens.attention is None


def test_the_tokenizer_returns_the_classifiers_tokens():
    model = classifier()
    tokenizer = MetaTokenizer(**SMALL).eval()
    tokenizer.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("head.")})
    images = torch.rand(2, 3, 33, 47)
    tokens, output = run(tokenizer, images), run(model, images)
    assert tokenizer.embed_dim == tokens.features.shape[2]
    assert torch.equal(tokens.features, output.tokens.features)
    assert torch.equal(tokens.assignment, output.tokens.assignment)
    assert tokenizer(images, attention=True).attention.shape == (2, 2, 5, 5 * 6)


def test_tokens_that_never_look_are_the_cells_of_the_last_map():
    tokens = run(classifier(**PLAIN), torch.rand(2, 3, 96, 64)).tokens
    assert tokens.token_map.tolist() == [torch.arange(6).view(3, 2).tolist()] * 2


def test_features_are_the_published_mean_of_map_and_tokens():
    model = classifier()
    images = torch.rand(2, 3, 64, 48)
    seen = model.perceive(images)
    expected = model.norm(seen.maps[-1].permute(0, 3, 1, 2)).flatten(2).mean(2) + model.norm_c(seen.states).mean(1)
    torch.testing.assert_close(model(images).features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_dense_maps_have_the_stated_channels_and_strides(name):
    with torch.device("meta"):
        model = create(f"{name}_dense")
        maps = model(torch.empty(1, 3, 70, 90))
    assert model.strides == (4, 8, 16, 32)
    assert model.channels == VARIANTS[name]["widths"][-4:]
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, -(-70 // stride), -(-90 // stride))
        for channels, stride in zip(model.channels, model.strides, strict=True)
    ]


@pytest.mark.parametrize("kinds", [("C", "D", "D", "S", "S"), ("C", "S", "D", "S", "S")])
def test_standard_blocks_of_a_dense_form_leave_the_tokens_alone(kinds):
    model = live(create("lemevit_tiny_dense", **SMALL | {"kinds": kinds}))
    told = {}
    for index, stage in enumerate(model.stages):
        stage[0].register_forward_hook(lambda _m, args, out, i=index: told.update({i: out[1] is not args[1]}))
    run(model, torch.rand(1, 3, 32, 32))
    assert told == {0: True, 1: kinds[1] == "D", 2: False, 3: False, 4: False}


def scene_weights(**config):
    return classifier(**config).state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"state_dict_ema": w},
        lambda w: {"model": {f"module.{k}": v for k, v in w.items()}},
        lambda w: {"state_dict": {f"backbone.{k}": v for k, v in w.items()}},
        lambda w: {f"module.backbone.{k}" if not k.startswith("head") else f"module.{k}": v for k, v in w.items()},
    ],
)
def test_checkpoints_load_however_they_are_wrapped(wrap):
    weights = scene_weights(in_channels=4)
    images = torch.rand(1, 4, 32, 32)
    expected = from_reference("lemevit_tiny", weights, **SMALL)
    found = from_reference("lemevit_tiny", wrap(weights), **SMALL)
    assert not found.training
    assert torch.equal(run(found, images).logits, run(expected, images).logits)
    body = {k: v for k, v in weights.items() if not k.startswith("head.")}
    maps = run(from_reference("lemevit_tiny_dense", wrap(body), **SMALL), images)
    again = run(from_reference("lemevit_tiny_dense", weights, **SMALL), images)
    assert all(torch.equal(a, b) for a, b in zip(maps, again, strict=True))


def test_a_dense_form_reads_the_body_of_a_whole_segmenter():
    weights = scene_weights()
    whole = {f"backbone.{k}": v for k, v in weights.items() if not k.startswith("head.")}
    whole |= {"decode_head.conv_seg.weight": torch.zeros(2, 2, 1, 1)}
    assert from_reference("lemevit_tiny_dense", whole, **SMALL).channels == (16, 16, 32, 32)


def test_tensors_that_reach_no_map_may_be_missing_and_others_not():
    weights = scene_weights()
    model = from_reference("lemevit_tiny_dense", weights, **SMALL)
    read = {k: v for k, v in weights.items() if not k.startswith("head.") and not model.unread(k)}
    assert {k.split(".")[0] for k in weights if k not in read} == {
        "head", "norm", "norm_c", "meta_token_downsample", "stages",
    }  # fmt: skip
    images = torch.rand(1, 3, 40, 56)
    for a, b in zip(run(from_reference("lemevit_tiny_dense", read, **SMALL), images), run(model, images), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CheckpointError, match=r"stages\.3\.0\.norm1\.weight is missing"):
        from_reference("lemevit_tiny_dense", {k: v for k, v in read.items() if k != "stages.3.0.norm1.weight"}, **SMALL)


def test_weights_that_do_not_fit_are_one_sentence():
    weights = scene_weights()
    with pytest.raises(CheckpointError, match=r"head\.weight is missing"):
        from_reference("lemevit_tiny", {k: v for k, v in weights.items() if k != "head.weight"}, num_classes=3, **SMALL)
    with pytest.raises(CheckpointError, match=r"spare is unknown"):
        from_reference("lemevit_tiny", weights | {"spare": torch.zeros(1)}, **SMALL)
    with pytest.raises(CheckpointError, match=r"spare is unknown"):
        from_reference("lemevit_tiny_dense", weights | {"spare": torch.zeros(1)}, **SMALL)
    with pytest.raises(CheckpointError, match=r"has shape .* and not"):
        from_reference("lemevit_tiny", weights, **SMALL | {"widths": (16, 16, 16, 32, 40)})
    with pytest.raises(CheckpointError, match="no weights"):
        from_reference("lemevit_tiny", {"epoch": 3})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depths": (1, 2)}, "make no model"),
        ({"token_count": 0}, "make no model"),
        ({"kinds": ("C", "D", "X", "S", "S")}, "no block of kind 'X'"),
        ({"widths": (16, 32, 32, 32, 32)}, "hands on its map"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
        ({"head_dim": 5}, "heads of 5"),
    ],
)
def test_configurations_that_cannot_work_are_refused(change, said):
    with pytest.raises(OptionError, match=said):
        classifier(**change)


def test_a_dense_form_needs_four_stages():
    with pytest.raises(OptionError, match="no 4 maps"):
        create("lemevit_tiny_dense", depths=(1, 1, 1), widths=(32, 32, 32), kinds=("D", "S", "S"))


def test_training_reaches_every_weight_of_a_classifier():
    model = create("lemevit_tiny", num_classes=3, **SMALL, drop_path_rate=0.0).train()
    F.cross_entropy(model(torch.rand(2, 3, 64, 64)).logits, torch.tensor([0, 2])).backward()
    silent = {name for name, p in model.named_parameters() if p.grad is None}
    assert silent == set()


def test_training_reaches_every_weight_of_a_dense_form_that_is_not_frozen():
    for config in (SMALL, SHARED, PLAIN):
        model = create("lemevit_tiny_dense", **config).train()
        sum(m.square().mean() for m in model(torch.rand(2, 3, 64, 64))).backward()
        for name, p in model.named_parameters():
            assert (p.grad is not None) is p.requires_grad is not model.unread(name), name


def test_evaluation_with_and_without_gradients_agrees():
    model = classifier()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model(images).logits, run(model, images).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 16, 17, 30])
def test_an_mlp_in_parts_is_the_whole_one(monkeypatch, rows):
    monkeypatch.setattr("engine.tokenizers.meta.block.HIDDEN_VALUES", 8 * 64)
    block = classifier().stages[3][0]
    x = torch.randn(rows, 32)
    expected = x + block.mlp(block.norm2(x))
    given = x.clone()
    torch.testing.assert_close(run(lambda rows: block.refine(rows, ((1, len(rows)),)), given), expected)
    assert torch.equal(given, x)


def test_drop_path_thins_in_training_only_and_keeps_the_mean():
    torch.manual_seed(0)
    model = classifier(drop_path_rate=0.5)
    block = model.stages[-1][-1]
    assert block.drop_path == pytest.approx(0.5)
    assert model.stages[0][0].drop_path == 0.0
    change = torch.ones(4000 * 3 + 4000 * 2, 1)
    assert block.thin(change, ((4000, 3), (4000, 2))) is change
    block.train()
    thinned = block.thin(change, ((4000, 3), (4000, 2)))[:, 0]
    assert set(thinned.tolist()) == {0.0, 2.0}
    image, tokens = thinned[: 4000 * 3].view(4000, 3), thinned[4000 * 3 :].view(4000, 2)
    assert bool((image == image[:, :1]).all())
    assert bool((tokens == tokens[:, :1]).all())
    assert 0.2 < float((image[:, 0] == tokens[:, 0]).float().mean()) < 0.8
    assert float(image.mean()) == pytest.approx(1.0, abs=0.1)


def test_linear_layers_start_small_and_norms_neutral():
    torch.manual_seed(0)
    model = create("lemevit_tiny", num_classes=10)
    for part in model.modules():
        if isinstance(part, nn.Linear):
            assert not part.bias.detach().any()
            if part.weight.numel() > 10_000:
                assert float(part.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(model.meta_tokens.detach().std()) == pytest.approx(1.0, abs=0.1)


def test_frozen_norms_keep_their_statistics_in_training():
    for frozen in (True, False):
        model = create("lemevit_tiny_dense", **SMALL, freeze_norms=frozen)
        assert model.train() is model
        before = copy.deepcopy(dict(model.named_buffers()))
        model(torch.rand(2, 3, 64, 64))
        used = {k: v for k, v in model.named_buffers() if k.endswith("running_mean") and not k.startswith("norm.")}
        assert all(torch.equal(value, before[key]) is frozen for key, value in used.items())
        assert all(p.requires_grad for k, p in model.named_parameters() if k.startswith("downsample_layers"))
