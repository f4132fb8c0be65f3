"""UperNet and BIT on LeMeViT: any size, what reaches what, and the analysis path."""

import copy

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import engine
from engine.errors import CheckpointError, OptionError
from engine.inference.options import AnalysisOptions
from engine.models import LoadedModel, ModelCard, create, from_reference
from engine.models.bit import PixelAttention
from engine.models.published import published_use

BODY = {"depths": (1, 2, 1, 1, 1), "widths": (16, 16, 16, 32, 32), "head_dim": 8, "mlp_ratio": 2, "token_count": 5}
UPER = BODY | {"num_classes": 3, "channels": 12, "auxiliary_channels": 8}
BIT = BODY | {"decoder_depth": 2, "heads": 2, "inner_dim": 8}


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
    return module.eval()


def upernet(**config):
    return live(create("upernet_lemevit_tiny", **(UPER | config)))


def bit(**config):
    return live(create("bit_lemevit_tiny", **(BIT | config)))


def run(model, *images, **options):
    with torch.inference_mode():
        return model(*images, **options)


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), token_head=st.booleans())
def test_upernet_draws_any_size_and_a_batch_is_its_rows(height, width, token_head):
    model = upernet(token_head=token_head)
    images = torch.rand(2, 3, height, width)
    output = run(model, images)
    assert output.logits.shape == (2, 3, -(-height // 4), -(-width // 4))
    assert output.tokens.assignment.shape == (2, 5, -(-height // 8), -(-width // 8))
    assert output.tokens.features.shape == (2, 5, model.backbone.token_width)
    maps = output.at_pixels(height, width)
    assert maps.logits.shape == (2, 3, height, width)
    assert maps.assignment.shape == (2, 5, height, width)
    for tensor in (output.logits, output.tokens.features, maps.assignment):
        assert bool(tensor.isfinite().all())
    torch.testing.assert_close(run(model, images[1:]).logits[0], output.logits[1], rtol=1e-4, atol=1e-4)


def test_upernet_counts_are_the_published_ones():
    with torch.device("meta"):
        for name, count in (("upernet_lemevit_tiny", 37_052_618), ("upernet_lemevit_small", 45_588_842)):
            assert sum(p.numel() for p in create(name, num_classes=5).parameters()) == count


def test_upernets_auxiliary_map_is_there_in_training_only():
    model = upernet()
    assert "auxiliary" not in run(model, torch.rand(2, 3, 64, 48)).extras
    auxiliary = model.train()(torch.rand(2, 3, 64, 48)).extras["auxiliary"]
    assert auxiliary.shape == (2, 3, 4, 3)


@pytest.mark.parametrize("token_head", [True, False])
def test_a_loss_reaches_every_weight_of_upernet_that_is_not_frozen(token_head):
    model = upernet(token_head=token_head).train()
    output = model(torch.rand(2, 3, 64, 64))
    loss = output.logits.square().mean() + output.extras["auxiliary"].square().mean()
    if token_head:
        loss = loss + output.extras["through_tokens"].square().mean()
    loss.backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) is p.requires_grad, name
    assert model.backbone.stages[2][-1].attn.proj_c.weight.requires_grad is token_head
    queries = model.backbone.stages[2][-1].attn.qkv2.weight.grad[:16]
    assert bool(queries.any()) is token_head


def test_claims_of_a_token_head_share_each_cell_and_keep_the_token_map():
    plain, headed = upernet(), upernet(token_head=True)
    headed.load_state_dict(plain.state_dict(), strict=False)
    images = torch.rand(2, 3, 64, 64)
    one, two = run(plain, images, attention=True), run(headed, images)
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(one.tokens.token_map, two.tokens.token_map)
    torch.testing.assert_close(one.tokens.attention.mean(1).view(2, 5, 8, 8), one.tokens.assignment)
    torch.testing.assert_close(one.tokens.assignment.sum((2, 3)), torch.ones(2, 5))
    torch.testing.assert_close(two.tokens.assignment.sum(1), torch.ones(2, 8, 8))
    mixed = torch.einsum("bnk,bnhw->bkhw", two.token_logits, two.tokens.assignment)
    torch.testing.assert_close(two.extras["through_tokens"], mixed)


def test_upernet_loads_a_segmenters_checkpoint():
    model = upernet(token_head=True)
    weights = {f"module.{key}": value for key, value in model.state_dict().items()}
    weights = {k: v for k, v in weights.items() if "norm_c" not in k or "backbone" not in k}
    loaded = from_reference("upernet_lemevit_tiny", {"state_dict": weights, "meta": {}}, **BODY)
    images = torch.rand(1, 3, 50, 40)
    assert torch.equal(run(loaded, images).logits, run(model, images).logits)
    with pytest.raises(CheckpointError, match=r"auxiliary_head\.convs\.0\.conv\.weight is missing"):
        from_reference(
            "upernet_lemevit_tiny", {k: v for k, v in weights.items() if "auxiliary_head.convs.0.conv" not in k}, **BODY
        )


def loaded(module, name, window):
    use = published_use(name, UPER)
    card = ModelCard(
        name="tiny", title="Tiny", architecture=name, config=UPER, task="segmentation",
        classes=[{"name": n, "color": c} for n, c in use.classes[:3]], bands=("red", "green", "blue"),
        scaling=use.scaling(3), window_px=window, overlap_px=window // 4, token_count=5, data="none", metrics={},
        licence="CC0", source="a test",
    )  # fmt: skip
    return LoadedModel(module, card, "0" * 64)


@pytest.mark.parametrize("window", [64, 88])
def test_upernet_runs_through_the_analysis_with_regions_of_its_tokens(tmp_path, window):
    profile = {
        "driver": "GTiff", "count": 3, "height": 150, "width": 130, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": Affine(4, 0, 500_000, 0, -4, 5_300_000), "photometric": "RGB",
    }  # fmt: skip
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 255, (3, 5, 5)), np.ones((1, 30, 26)))
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as file:
        file.write(blocks.astype(np.uint8))
    model = loaded(upernet(token_head=True), "upernet_lemevit_tiny", window)
    with engine.open_scene(tmp_path / "scene.tif") as scene:
        list(engine.analyse(scene, model, tmp_path / "out", AnalysisOptions(device="cpu", batch=2)))
    with engine.open_analysis(tmp_path / "out") as analysis:
        assert analysis.read("classes").shape == (150, 130)
        assert int(analysis.read("regions").max()) > 1


def test_ready_upernet_folds_its_norms_and_answers_alike():
    base = loaded(upernet(), "upernet_lemevit_tiny", 64)
    ready = base.to("cpu")
    left = [name for name, part in ready.module.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert left == ["backbone.norm"]
    images = base.normalise(torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8))
    was, now = base(images), ready(images)
    for old, new in ((was.logits, now.logits), (was.tokens.features, now.tokens.features)):
        assert (old - new).abs().max() <= 2e-5 * old.abs().max()


def test_upernet_in_bfloat16_stays_near():
    base = loaded(upernet(token_head=True), "upernet_lemevit_tiny", 64)
    images = base.normalise(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    full, half = base.to("cpu")(images), base.to("cpu", "bfloat16")(images)
    assert half.logits.dtype == torch.float32
    assert 0 < float((full.logits - half.logits).abs().max() / full.logits.abs().max()) < 0.1


@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_bit_compares_any_size_and_a_batch_is_its_rows(height, width):
    model = bit()
    before, after = torch.rand(2, 3, height, width), torch.rand(2, 3, height, width)
    output = run(model, before, after)
    assert output.logits.shape == (2, 2, height, width)
    assert output.tokens.features.shape == (2, 8, 32)
    assert output.tokens.assignment.shape == (2, 8, -(-height // 8), -(-width // 8))
    assert bool(output.logits.isfinite().all())
    alone = run(model, before[1:], after[1:])
    torch.testing.assert_close(alone.logits[0], output.logits[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(output.extras["tokens_after_encoder"], output.tokens.features)


def test_bit_sees_change_alike_in_both_directions_only_where_there_is_none():
    model = bit()
    image, other = torch.rand(1, 3, 48, 48), torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        model.pos_embedding[:, 4:] = model.pos_embedding[:, :4]  # the dates are then told apart by nothing
    nothing = run(model, image, image).logits
    assert float((nothing - nothing[:, :, 24:25, 24:25])[:, :, 4:-4, 4:-4].abs().max()) < 1e-4
    torch.testing.assert_close(run(model, image, other).logits, run(model, other, image).logits, rtol=1e-4, atol=1e-5)


def test_bit_leaves_out_the_stage_that_nobody_reads():
    model = bit()
    ran = []
    for index, stage in enumerate(model.backbone.stages):
        stage[0].register_forward_hook(lambda _m, _a, _o, index=index: ran.append(index))
    images = torch.rand(2, 3, 64, 80)
    read = model._map(images)
    assert ran == [0, 1, 2, 3]
    assert torch.equal(read, model.backbone(images)[2])


def test_a_loss_reaches_every_weight_of_bit_that_is_not_frozen():
    model = bit().train()
    F.cross_entropy(
        model(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)).logits, torch.ones(2, 64, 64).long()
    ).backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) is p.requires_grad is not model.unread(name), name
    assert model.unread("backbone.stages.4.0.norm1.weight")
    assert not model.unread("backbone.stages.3.0.norm1.weight")


def test_bit_without_the_unread_tensors_is_the_same():
    model = bit()
    weights = {k: v for k, v in model.state_dict().items() if not model.unread(k)}
    loaded = from_reference("bit_lemevit_tiny", weights, **BIT)
    images = torch.rand(2, 1, 3, 32, 48)
    assert torch.equal(run(loaded, *images).logits, run(model, *images).logits)
    with pytest.raises(CheckpointError, match="pos_embedding is missing"):
        from_reference("bit_lemevit_tiny", {k: v for k, v in weights.items() if k != "pos_embedding"}, **BIT)


def test_bit_refuses_dates_that_do_not_match():
    with pytest.raises(OptionError, match="two dates have shapes"):
        bit()(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 40))


def test_bit_needs_a_map_of_stride_16():
    with pytest.raises(OptionError, match="no map of stride 16"):
        create("bit_lemevit_tiny", **BIT | {"kinds": ("C", "C", "C", "S", "S"), "widths": (16, 16, 16, 16, 32)})


@pytest.mark.parametrize("pixels", [1, 30])
def test_pixel_attention_is_the_written_out_one(pixels):
    torch.manual_seed(0)
    layer = PixelAttention(16, 2, 24).double()
    x, memory = torch.randn(3, pixels, 16).double(), torch.randn(3, 4, 16).double()

    def heads(part):
        return part.unflatten(2, (2, 24)).transpose(1, 2)

    q, k, v = heads(layer.to_q(x)), heads(layer.to_k(memory)), heads(layer.to_v(memory))
    mixed = (q @ k.transpose(2, 3) * 16**-0.5).softmax(3) @ v
    torch.testing.assert_close(layer(x, memory), layer.to_out(mixed.transpose(1, 2).flatten(2)))


def test_ready_bit_folds_and_compares_alike():
    module = bit()
    card = loaded(module, "upernet_lemevit_tiny", 64).card.model_copy(update={"task": "change"})
    base = LoadedModel(module, card, "0" * 64)
    ready = base.to("cpu")
    assert ready.folded_norms > 0
    pair = torch.rand(2, 2, 3, 48, 32)
    was, now = base(*pair), ready(*pair)
    assert (was.logits - now.logits).abs().max() <= 2e-5 * was.logits.abs().max()
    assert all(
        torch.equal(a, b) for a, b in zip(base.module.parameters(), copy.deepcopy(module).parameters(), strict=True)
    )
