"""The published models beyond the published sizes: any image, any batch, ties, one token; and the registry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CheckpointError, ModelNotFoundError, OptionError
from engine.models import architectures, create, from_reference, register
from engine.models.dense import dense_weights
from engine.models.hook import HookSegmenter

SMALL = {"num_classes": 3, "image_size": 32, "embed_dim": 16, "depth": 4, "num_heads": 2}
HOOK = {"seed_dim": 16, "token_count": 3, "stem_widths": (4, 8, 8)}
DENSE = {"dense_channels": (4, 4, 8, 8), "head_dim": 8}
LINEAR = {"seed_dim": 16, "token_count": 3, "stem_width": 4, "depths": (1, 1, 1), "seed_heads": 2, "context_grid": 2}
CONFIGS = {
    "hook_classifier": SMALL | HOOK,
    "hook_linear_classifier": {key: value for key, value in (SMALL | LINEAR).items() if key != "image_size"},
    "hook_linear_segmenter": SMALL | LINEAR | DENSE,
    "hook_segmenter": SMALL | HOOK | DENSE,
    "patch_classifier": SMALL | {"patch_size": 8},
    "patch_segmenter": SMALL | DENSE | {"patch_size": 8},
}


def build(name, **changes):
    torch.manual_seed(5)
    return create(name, **CONFIGS[name] | changes).eval()


MODELS = {name: build(name) for name in CONFIGS}
MODELS["patch_classifier as a twin"] = build(
    "patch_classifier", positions=True, pool="mean", final_norm=True, mlp_ratio=2
)
MODELS["patch_classifier with positions"] = build("patch_classifier", positions=True)
MODELS["patch_segmenter with positions"] = build("patch_segmenter", positions=True, dense_size=4)
MODELS["hook_segmenter, 9 seeds an edge"] = build("hook_segmenter", image_size=36)


def run(model, images):
    with torch.inference_mode():
        return model(images)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15, deadline=None)
@given(height=st.integers(16, 75), width=st.integers(16, 75), seed=st.integers(0, 99))
def test_any_size_works_and_a_batch_is_its_rows(name, height, width, seed):
    torch.manual_seed(seed)
    images = torch.rand(3, 3, height, width)
    output = run(MODELS[name], images)
    assignment = output.tokens.assignment
    count = output.tokens.features.shape[1]
    cell = 4 if name.startswith("hook") else 8
    assert assignment.shape == (3, count, -(-height // cell), -(-width // cell))
    for tensor in (output.logits, output.tokens.features, assignment):
        assert bool(tensor.isfinite().all())
    assert bool((assignment >= 0).all())
    if name.startswith("hook"):
        attention = output.tokens.attention
        assert attention.shape == (3, 1, count, assignment[0, 0].numel())
        assert torch.equal(attention[:, 0], assignment.flatten(2))
        torch.testing.assert_close(attention.sum(dim=3), torch.ones(3, 1, count))
    alone = run(MODELS[name], images[1:2])
    torch.testing.assert_close(alone.logits[0], output.logits[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.tokens.assignment[0], assignment[1], rtol=1e-4, atol=1e-6)
    if "segmenter" in name:
        maps = output.at_pixels(height, width)
        assert maps.logits.shape == (3, 3, height, width)
        assert maps.assignment.shape == (3, count, height, width)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e4])
@pytest.mark.parametrize("name", MODELS)
def test_constant_images_give_finite_answers(name, value):
    output = run(MODELS[name], torch.full((1, 3, 32, 32), value))
    assert bool(output.logits.isfinite().all())


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("hook")])
def test_one_token_works(name):
    output = run(build(name, token_count=1), torch.rand(1, 3, 32, 32))
    assert bool(output.logits.isfinite().all())
    assert int(output.tokens.token_map.max()) == 0


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), rows=st.integers(1, 9), cols=st.integers(1, 9), temperature=st.floats(0.1, 2))
def test_dense_weights_are_a_distribution_even_for_ties(count, rows, cols, temperature):
    torch.manual_seed(count)
    attention = torch.rand(2, count, 6, 7)
    attention[0] = attention[0, :1]
    weights = dense_weights(attention, rows, cols, temperature)
    assert weights.shape == (2, count, rows, cols)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, rows, cols))
    torch.testing.assert_close(weights[0], torch.full_like(weights[0], 1 / count))


def test_published_weights_lie_within_e_and_a_low_temperature_sharpens_them():
    torch.manual_seed(0)
    attention = torch.rand(1, 4, 8, 8)
    published = dense_weights(attention, 8, 8)
    assert float((published.amax(dim=1) / published.amin(dim=1)).max()) == pytest.approx(torch.e, rel=1e-5)
    assert bool((dense_weights(attention, 8, 8, 0.05).amax(dim=1) > published.amax(dim=1)).all())


@pytest.mark.parametrize("detach", [True, False])
def test_loss_reaches_the_assignment_through_the_weights_only_if_asked(detach):
    torch.manual_seed(0)
    model = create("hook_segmenter", **CONFIGS["hook_segmenter"], detach_weights=detach)
    assert isinstance(model, HookSegmenter)
    attention = torch.rand(1, 3, 8, 8, requires_grad=True)
    maps = model.spread(attention, [torch.rand(1, 3, 16, requires_grad=True)] * 4, 2, 2)
    sum(m.square().sum() for m in maps).backward()
    assert (attention.grad is None) is detach


def test_grid_of_seeds_and_logits_follow_an_image_that_is_not_square():
    output = run(MODELS["hook_segmenter"], torch.rand(1, 3, 32, 64))
    assert output.logits.shape[-2:] == (8, 16)
    assert output.tokens.token_map.shape == (1, 8, 16)


def test_position_table_is_used_untouched_at_its_own_size():
    model = build("hook_segmenter")
    images = torch.rand(1, 3, 32, 32)
    before = run(model, images).logits
    model.tokenizer.interpolation = "bilinear"
    assert torch.equal(run(model, images).logits, before)
    larger = torch.rand(1, 3, 48, 48)
    bilinear = run(model, larger).logits
    model.tokenizer.interpolation = "bicubic"
    assert not torch.equal(run(model, larger).logits, bilinear)


def test_published_patches_are_blind_to_order_and_positions_are_not():
    images = torch.rand(1, 3, 32, 32)
    shuffled = images.unfold(2, 8, 8).unfold(3, 8, 8).flip(2, 3)
    shuffled = shuffled.permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 32, 32)
    blind, aware = MODELS["patch_classifier"], MODELS["patch_classifier with positions"]
    torch.testing.assert_close(run(blind, images).logits, run(blind, shuffled).logits, rtol=1e-4, atol=1e-5)
    assert (run(aware, images).logits - run(aware, shuffled).logits).abs().max() > 1e-4


def test_patches_claim_their_own_cell():
    tokens = run(MODELS["patch_segmenter"], torch.rand(2, 3, 32, 24)).tokens
    assert tokens.token_map.tolist() == [torch.arange(12).view(4, 3).tolist()] * 2


def test_registry_names_what_was_meant():
    assert {*CONFIGS, "hook_competitive_segmenter"} <= {*architectures()}
    with pytest.raises(ModelNotFoundError, match="Did you mean hook_segmenter"):
        create("hook_segmentor", num_classes=3)
    with pytest.raises(OptionError, match="Did you mean token_count"):
        create("hook_segmenter", num_classes=3, tokens_count=3)
    with pytest.raises(OptionError, match="needs num_classes"):
        create("patch_classifier")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hook_segmenter", {"image_size": 30}, "multiple of 4"),
        ("hook_segmenter", {"num_heads": 5}, "attention heads"),
        ("hook_segmenter", {"out_layers": (0, 1, 2, 4)}, "depth of 4"),
        ("hook_segmenter", {"out_layers": (0, 1)}, "four block numbers"),
        ("hook_segmenter", {"dense_channels": (8, 8)}, "four numbers"),
        ("hook_segmenter", {"temperature": 0.0}, "greater than 0"),
        ("hook_segmenter", {"token_count": 0}, "at least 1"),
        ("hook_segmenter", {"window_size": 9}, "choose 1 to 8"),
        ("hook_segmenter", {"window_size": 0}, "choose 1 to 8"),
        ("hook_linear_segmenter", {"seed_dim": 18}, "multiple of 4"),
        ("hook_linear_segmenter", {"seed_heads": 3}, "attention heads"),
        ("hook_linear_segmenter", {"context_grid": 0}, "at least 1"),
        ("hook_linear_classifier", {"depths": (1, 1)}, "three numbers"),
        ("patch_classifier", {"pool": "max"}, "first or mean"),
        ("patch_segmenter", {"patch_size": 64}, "do not fit"),
        ("patch_segmenter", {"out_layers": (0,)}, "four block numbers"),
    ],
)
def test_configurations_that_cannot_work_are_refused(name, change, said):
    with pytest.raises(OptionError, match=said):
        build(name, **change)


def test_register_makes_an_architecture_available_once():
    @register("test_only")
    class Own(torch.nn.Module):
        def __init__(self, num_classes: int = 2) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(3, num_classes)

    assert create("test_only", num_classes=4).fc.out_features == 4
    with pytest.raises(ValueError, match="taken"):
        register("hook_segmenter")(Own)


def test_reference_weights_must_fit():
    weights = MODELS["hook_segmenter"].state_dict()
    model = from_reference("hook_segmenter", weights, **CONFIGS["hook_segmenter"])
    assert not model.training
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(run(model, images).logits, run(MODELS["hook_segmenter"], images).logits)
    with pytest.raises(CheckpointError, match=r"tokenizer\.query has shape \[3, 16\] and not \[5, 16\]"):
        from_reference("hook_segmenter", weights, **CONFIGS["hook_segmenter"] | {"token_count": 5})
