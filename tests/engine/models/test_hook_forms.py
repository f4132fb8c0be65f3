"""What is settled about the published HOOK, its linear form, and the steps to the competitive one."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import OptionError
from engine.models import create, list_models, load_checkpoint
from engine.models.cost import count_macs
from engine.tokenizers.hook_linear import PooledAttention
from engine.tokenizers.matching import mixing_weights

SMALL = {"num_classes": 3, "token_count": 3, "embed_dim": 16, "depth": 4, "num_heads": 2, "seed_dim": 16}
DENSE = {"dense_channels": (4, 4, 8, 8), "head_dim": 8, "image_size": 32}
PUBLISHED = SMALL | DENSE | {"stem_widths": (4, 8, 8)}
LINEAR = SMALL | DENSE | {"stem_width": 4, "depths": (1, 1, 1), "seed_heads": 2, "context_grid": 2}
STEPS = {"num_classes": 3, "token_count": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "key_dim": 8}
STEPS |= {"stem_width": 8, "widths": (8, 8, 16), "depths": (1, 1, 1)}
FORM = {"assignment": "published", "assignment_gradient": False, "seed_skip": False, "upsampling": "bilinear"}
LADDER = [
    FORM,
    FORM | {"assignment": "competing"},
    FORM | {"assignment": "competing", "assignment_gradient": True},
    FORM | {"assignment": "competing", "assignment_gradient": True, "seed_skip": True},
    {},
]


def build(name, config, **changes):
    torch.manual_seed(5)
    return create(name, **config | changes)


def run(model, images):
    with torch.inference_mode():
        return model.eval()(images)


def gradients(model, images, value):
    """Whether each parameter got a gradient from the sum of what ``value`` takes from the output."""
    model.zero_grad()
    value(model.train()(images)).square().sum().backward()
    return {name: p.grad is not None and bool(p.grad.any()) for name, p in model.named_parameters()}


# The published peculiarities, by number; those of shapes, ties and order are in test_published_models.


def test_1_and_2_batches_of_one_and_tied_tokens_work():
    model = build("hook_segmenter", PUBLISHED)
    with torch.no_grad():
        model.tokenizer.query.copy_(model.tokenizer.query[:1].expand(3, -1))  # every token is the same
    for token_model in (model, build("hook_segmenter", PUBLISHED, token_count=1)):
        output = run(token_model, torch.rand(1, 3, 32, 32))
        assert output.logits.shape == (1, 3, 8, 8)
        assert bool(output.logits.isfinite().all())


def test_3_temperature_sharpens_and_one_is_published():
    images = torch.rand(1, 3, 32, 32)
    published, same, sharp = (
        run(build("hook_segmenter", PUBLISHED, **change), images).logits
        for change in ({}, {"temperature": 1.0}, {"temperature": 0.05})
    )
    assert torch.equal(published, same)
    assert not torch.allclose(published, sharp)


@pytest.mark.parametrize(("name", "config"), [("hook_segmenter", PUBLISHED), ("hook_linear_segmenter", LINEAR)])
def test_4_the_weights_stop_the_loss_unless_asked_and_tokens_never_do(name, config):
    images = torch.rand(2, 3, 32, 32)
    for detach in (True, False):
        model = build(name, config, detach_weights=detach)
        # What tokens gathered is cut off: what is left reaches the matching through the mixing weights alone.
        model.tokenizer.match_attn.to_out.register_forward_hook(lambda _m, _in, out: out.detach())
        assert gradients(model, images, lambda out: out.logits)["tokenizer.match_attn.to_q.weight"] is not detach
    reached = gradients(build(name, config), images, lambda out: out.logits)
    unreached = {key for key, value in reached.items() if not value}
    # A bias in front of a batch norm in training is taken off again.
    assert {key for key in unreached if "bias" not in key} == set()


def test_5_rows_and_columns_are_counted_apart():
    model = build("hook_segmenter", PUBLISHED, image_size=64)
    tall, square = (run(model, torch.rand(1, 3, *size)) for size in ((128, 32), (64, 64)))
    assert tall.tokens.assignment.shape == (1, 3, 32, 8)
    assert square.tokens.assignment.shape == (1, 3, 16, 16)
    assert tall.tokens.attention.shape == square.tokens.attention.shape == (1, 1, 3, 256)
    assert tall.logits.shape == (1, 3, 32, 8)


def test_6_the_dense_grid_is_configuration_and_follows_the_image():
    model = build("hook_segmenter", PUBLISHED, dense_size=4)
    assert run(model, torch.rand(1, 3, 32, 32)).logits.shape == (1, 3, 16, 16)
    assert run(model, torch.rand(1, 3, 64, 48)).logits.shape == (1, 3, 32, 24)


def test_9_attention_in_blocks_is_global_attention():
    model = build("hook_segmenter", PUBLISHED, image_size=192)  # 2304 seeds
    images = torch.rand(1, 3, 192, 192)
    written_out = model.eval()(images)
    found = run(model, images)
    torch.testing.assert_close(found.logits, written_out.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.tokens.assignment, written_out.tokens.assignment, rtol=1e-4, atol=1e-8)


def test_11_and_12_the_map_is_the_argmax_of_a_map_that_reading_does_not_change():
    output = run(build("hook_segmenter", PUBLISHED), torch.rand(2, 3, 32, 32))
    before = output.tokens.attention.clone()
    first = output.tokens.token_map
    output.at_pixels(32, 32)
    assert torch.equal(output.tokens.attention, before)
    assert torch.equal(output.tokens.token_map, first)
    assert torch.equal(first.flatten(1), before[:, 0].argmax(dim=1))
    # The authors' region map: scaled over tokens, softmax, argmax.
    scaled = mixing_weights(output.tokens.assignment).argmax(dim=1)
    assert (scaled != first).float().mean() <= 0.001


def test_the_window_is_configuration():
    images = torch.rand(1, 3, 32, 32)
    published, same, smaller = (
        run(build("hook_classifier", SMALL | {"image_size": 32, "stem_widths": (4, 8, 8)}, **change), images).logits
        for change in ({}, {"window_size": 4}, {"window_size": 2})
    )
    assert torch.equal(published, same)
    assert not torch.allclose(published, smaller)


# The linear form.


def macs_of(name, edge, part=None, **config):
    with torch.device("meta"):
        model = create(name, num_classes=5, **config).eval()
        module = model if part is None else model.get_submodule(part)
        return count_macs(module, torch.empty(1, 3, edge, edge)).total


@pytest.mark.parametrize("config", [{}, {"seed_dim": 64, "stem_width": 16, "depths": (1, 1, 2), "context_grid": 4}])
def test_the_linear_form_costs_four_times_as_much_for_four_times_the_pixels(config):
    for part in (None, "tokenizer.perception"):
        small, large, huge = (macs_of("hook_linear_segmenter", edge, part, **config) for edge in (256, 512, 1024))
        assert 3.5 <= large / small <= 4.0
        assert 3.8 <= huge / large <= 4.0
    small, large = (macs_of("hook_segmenter", edge, "tokenizer") for edge in (256, 512))
    assert large / small > 7


def test_the_linear_form_costs_less_than_the_published_and_less_than_patches():
    linear, published, patches = (
        macs_of(name, 512) for name in ("hook_linear_segmenter", "hook_segmenter", "patch_segmenter")
    )
    assert 4 * linear < published
    assert 1.5 * linear < patches


def test_pooled_attention_is_attention_to_the_means_of_cells():
    torch.manual_seed(0)
    attention = PooledAttention(8, 2, 2).double()
    x = torch.randn(2, 8, 6, 4, dtype=torch.float64)
    cells = attention.norm(x.permute(0, 2, 3, 1))
    means = cells.unflatten(1, (2, 3)).unflatten(3, (2, 2)).mean(dim=(2, 4)).flatten(1, 2)
    q = attention.q(cells.flatten(1, 2)).unflatten(2, (2, 4)).transpose(1, 2)
    k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in attention.kv(means).chunk(2, dim=2))
    mixed = ((q @ k.transpose(2, 3) / 2).softmax(dim=3) @ v).transpose(1, 2).flatten(2)
    expected = x + attention.proj(mixed).transpose(1, 2).view_as(x)
    torch.testing.assert_close(attention(x), expected)


def test_a_seed_of_the_linear_form_knows_the_whole_image():
    model = build("hook_linear_segmenter", LINEAR, seed_dim=32).eval().double()
    images = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    model.tokenizer.perceive(images).seeds[0, :, 2, 2].square().sum().backward()
    assert images.grad is not None
    assert bool((images.grad.abs().amax(dim=(0, 1)) > 0).all())


# The steps to the competitive form.


@pytest.mark.parametrize("step", LADDER)
@settings(max_examples=8)
@given(height=st.integers(9, 50), width=st.integers(9, 50))
def test_every_step_segments_any_size_and_a_batch_is_its_rows(step, height, width):
    torch.manual_seed(height)
    model = build("hook_competitive_segmenter", STEPS, **step).double()  # a sharp softmax magnifies float32's rounding
    images = torch.rand(3, 3, height, width, dtype=torch.float64)
    output, alone = run(model, images), run(model, images[1:2])
    claims = output.tokens.assignment
    assert claims.shape == (3, 4, -(-height // 4), -(-width // 4))
    torch.testing.assert_close(claims.sum(dim=1), torch.ones_like(claims[:, 0]))
    torch.testing.assert_close(alone.logits[0], output.logits[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone.tokens.assignment[0], claims[1], rtol=1e-5, atol=1e-6)
    maps = output.at_pixels(height, width)
    assert maps.logits.shape == (3, 3, height, width)
    assert maps.assignment.shape == (3, 4, height, width)


def test_every_step_adds_what_it_is_named_for():
    images = torch.rand(2, 3, 32, 32)
    models = [build("hook_competitive_segmenter", STEPS, **step) for step in LADDER]
    shapes = [{key.split(".")[0] for key in model.state_dict()} for model in models]
    assert [("seed_head" in part, "upsampler" in part) for part in shapes] == [
        (False, False),
        (False, False),
        (False, False),
        (True, False),
        (True, True),
    ]
    pyramids = [{k: v.shape for k, v in m.state_dict().items() if "pyramid" in k or "backbone" in k} for m in models]
    assert all(pyramid == pyramids[0] for pyramid in pyramids)
    outputs = [run(model, images) for model in models]
    assert outputs[0].tokens.attention.shape == (2, 1, 4, 64)
    torch.testing.assert_close(outputs[0].tokens.attention.sum(dim=3), torch.ones(2, 1, 4))
    assert all(output.tokens.attention is None for output in outputs[1:])
    spans = [output.tokens.assignment.amax(dim=1) / output.tokens.assignment.amin(dim=1) for output in outputs]
    assert float(spans[0].max()) <= torch.e * 1.0001
    through = [output.extras["through_tokens"] for output in outputs]
    assert [torch.equal(t, o.logits) for t, o in zip(through, outputs, strict=True)] == [True, True, True, False, False]
    bilinear = F.interpolate(outputs[3].logits, (32, 32), mode="bilinear", align_corners=False)
    assert torch.equal(outputs[3].at_pixels(32, 32).logits, bilinear)


@pytest.mark.parametrize("assignment", ["published", "competing"])
def test_the_loss_reaches_the_assignment_only_where_it_may(assignment):
    images = torch.rand(2, 3, 32, 32)
    for allowed in (False, True):
        model = build(
            "hook_competitive_segmenter", STEPS, **FORM | {"assignment": assignment, "assignment_gradient": allowed}
        )
        assert model.train()(images).tokens.assignment.requires_grad is allowed
        assert model(images).at_pixels(32, 32).assignment.requires_grad is allowed
        # Through what tokens gathered it may always.
        reached = gradients(model, images, lambda out: out.token_logits)
        assert reached["tokenizer.pyramid.stem.0.weight"]


def test_the_shipped_checkpoint_is_the_competitive_form():
    shipped = [info for info in list_models() if info.name == "hook-landcover"]
    if not shipped:
        pytest.skip("the shipped model is not there")
    module, card = load_checkpoint(shipped[0].path)
    assert card.config.get("assignment", "competing") == "competing"
    claims = run(module, torch.rand(1, 3, 64, 64)).tokens.assignment
    torch.testing.assert_close(claims.sum(dim=1), torch.ones(1, 16, 16))


@pytest.mark.parametrize("assignment", ["published", "competing"])
def test_the_competitive_classifier_reads_the_mean_token(assignment):
    model = build("hook_competitive_classifier", STEPS, assignment=assignment)
    images = torch.rand(3, 3, 37, 50)
    output, alone = run(model, images), run(model, images[2:])
    torch.testing.assert_close(output.features, output.tokens.features.mean(dim=1))
    torch.testing.assert_close(output.logits, run(model.head, output.features))
    torch.testing.assert_close(alone.logits[0], output.logits[2], rtol=1e-4, atol=1e-5)
    assert output.tokens.assignment.shape == (3, 4, 10, 13)
    reached = gradients(model, images, lambda out: out.logits)
    assert reached["tokenizer.pyramid.stem.0.weight"]
    assert reached["tokenizer.query"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hook_competitive_segmenter", {"assignment": "slots"}, "competing or published"),
        ("hook_competitive_segmenter", {"upsampling": "nearest"}, "convex or bilinear"),
        ("hook_competitive_classifier", {"assignment": "slots"}, "competing or published"),
    ],
)
def test_configurations_that_cannot_work_are_refused(name, change, said):
    with pytest.raises(OptionError, match=said):
        build(name, STEPS, **change)


def test_a_twin_has_the_backbone_of_what_it_stands_beside():
    competitive = build("hook_competitive_classifier", STEPS)
    twin = build(
        "patch_classifier",
        {"num_classes": 3, "image_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2},
        positions=True,
        mlp_ratio=2,
        final_norm=True,
        pool="mean",
    )
    sizes = [sum(p.numel() for p in part.parameters()) for part in (competitive.backbone, twin.backbone.module)]
    assert sizes[0] == sizes[1]
    assert [*twin.backbone.norm.state_dict()] == [*competitive.norm.state_dict()]
    assert "tokenizer.cls_token" not in twin.state_dict()
    output = run(twin, torch.rand(2, 3, 32, 48))
    torch.testing.assert_close(output.features, output.extras["states"].mean(dim=1))


def test_published_and_linear_forms_differ_in_perception_alone():
    shapes = [
        {key: value.shape for key, value in build(name, config).state_dict().items()}
        for name, config in (("hook_segmenter", PUBLISHED), ("hook_linear_segmenter", LINEAR))
    ]
    perception = ("tokenizer.downsample_module", "tokenizer.semantic_module", "tokenizer.pos_embed")
    rest = [
        {key: shape for key, shape in part.items() if not key.startswith((*perception, "tokenizer.perception"))}
        for part in shapes
    ]
    assert rest[0] == rest[1]
    for part, own in zip(shapes, (perception, ("tokenizer.perception",)), strict=True):
        assert any(key.startswith(own) for key in part)
    assert len(list(itertools.chain(*rest))) > 0
