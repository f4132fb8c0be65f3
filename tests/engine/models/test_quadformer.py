"""The Quadformer and its twins: any size, any budget, equal weights, and token maps that are the boxes."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.errors import CheckpointError, OptionError
from engine.inference import AnalysisOptions
from engine.models import LoadedModel, create, from_reference
from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.cost import count_macs
from engine.tokenizers.quadtree import PixelBlur, Precomputed
from engine.training.recipe import load_recipe, shipped_recipes

BODY = {"image_size": 64, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_patches": 16}
SCENE = {**BODY, "num_classes": 3, "min_size": 8}
MAP = {**SCENE, "decoder_channels": 8, "decoder_depth": 1}
KINDS = {
    "quadformer_classifier": SCENE | {"max_size": 32},
    "quadformer_segmenter": MAP | {"max_size": 32},
    "vanilla_vit_classifier": SCENE,
    "vanilla_vit_segmenter": MAP,
}


def model(name: str, seed: int = 0, **config: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    return create(name, **(KINDS[name] | config)).eval()


def run(module: torch.nn.Module, images: torch.Tensor):
    with torch.inference_mode():
        return module(images)


def painted(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Number of the box of each pixel, box by box."""
    owner = torch.full((len(boxes), height, width), -1)
    for image, own in enumerate(boxes.tolist()):
        for number, (left, top, size) in enumerate(own):
            owner[image, top : top + size, left : left + size] = number
    return owner


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(KINDS)), height=st.integers(1, 100), width=st.integers(1, 100), seed=st.integers(0, 99)
)
def test_any_size_works_and_a_batch_is_its_rows(name, height, width, seed):
    module = model(name)
    torch.manual_seed(seed)
    images = torch.rand(3, 3, height, width) * torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1)
    output = run(module, images)
    tokens = output.tokens
    assert tokens.features.shape[:2] == tokens.assignment.shape[:2]
    assert bool(output.logits.isfinite().all())
    assert bool((tokens.assignment.sum(dim=1) == 1).all())
    assert bool(((tokens.assignment == 0) | (tokens.assignment == 1)).all())
    if name.endswith("segmenter"):
        maps = output.at_pixels(height, width)
        assert maps.logits.shape == (3, 3, height, width)
        assert maps.assignment.shape == (3, tokens.features.shape[1], height, width)
        torch.testing.assert_close(output.logits_at(height, width), maps.logits)
    alone = run(module, images[1:2])
    torch.testing.assert_close(alone.logits[0], output.logits[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.tokens.features[0], tokens.features[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(alone.tokens.token_map[0], tokens.token_map[1])


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 100), width=st.integers(1, 100), seed=st.integers(0, 99))
def test_token_maps_are_the_boxes_on_the_cells_and_at_the_pixels(height, width, seed):
    torch.manual_seed(seed)
    output = run(model("quadformer_segmenter"), torch.rand(2, 3, height, width))
    owner = painted(output.extras["boxes"], height, width)
    assert torch.equal(output.tokens.token_map, owner[:, ::8, ::8])
    assert torch.equal(output.at_pixels(height, width).assignment.argmax(dim=1), owner)


def test_small_patches_are_where_there_is_something_to_see():
    images = torch.zeros(1, 3, 64, 64)
    images[:, :, 32:, 32:] = torch.rand(3, 32, 32)
    boxes = run(model("quadformer_classifier", num_patches=19), images).extras["boxes"][0]
    smallest = boxes[boxes[:, 2] == 8]
    assert len(smallest) == 16
    assert bool((smallest[:, :2] >= 32).all())


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("value", [0.0, -2.5, 1e4])
def test_constant_images_give_finite_answers(name, value):
    output = run(model(name), torch.full((1, 3, 64, 64), value))
    assert bool(output.logits.isfinite().all())
    assert output.tokens.features.shape[1] == 16


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_budget_set_later_is_as_one_set_from_the_start(name):
    images = torch.rand(2, 3, 64, 64)
    module, other = model(name), model(name, num_patches=49)
    other.load_state_dict(module.state_dict())
    before = run(module, images)
    module.num_patches = 49
    after, expected = run(module, images), run(other, images)
    assert (before.tokens.features.shape[1], after.tokens.features.shape[1]) == (16, 49)
    assert torch.equal(after.logits, expected.logits)
    assert module.num_patches == other.num_patches == 49


@pytest.mark.parametrize(
    ("name", "budget", "said"),
    [
        ("quadformer_classifier", 17, "Use 16 or 19"),
        ("quadformer_classifier", 3, "Use 4"),
        ("quadformer_classifier", 67, "Use 64"),
        ("vanilla_vit_classifier", 17, "Use 16 or 25"),
        ("vanilla_vit_classifier", 0, "Use 1"),
        ("vanilla_vit_classifier", -4, "Use 1"),
        ("vanilla_vit_classifier", 81, "Use 64"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused_with_one_that_can(name, budget, said):
    with pytest.raises(OptionError, match=said):
        model(name, num_patches=budget)
    module = model(name)
    with pytest.raises(OptionError, match=said):
        module.num_patches = budget
    assert module.num_patches == 16


@pytest.mark.parametrize("name", ["quadformer_segmenter", "vanilla_vit_segmenter"])
@pytest.mark.parametrize(("height", "width"), [(32, 64), (128, 64), (96, 96)])
def test_the_budget_holds_in_proportion_to_the_area(name, height, width):
    tokens = run(model(name), torch.rand(1, 3, height, width)).tokens
    assert abs(tokens.features.shape[1] - 16 * height * width / 64**2) < 3


@pytest.mark.parametrize(
    ("one", "other"),
    [("quadformer_classifier", "vanilla_vit_classifier"), ("quadformer_segmenter", "vanilla_vit_segmenter")],
)
def test_twins_share_every_parameter_and_cost_the_same_for_as_many_tokens(one, other):
    quad, plain = model(one), model(other, seed=1)
    shapes = [{key: value.shape for key, value in m.state_dict().items()} for m in (quad, plain)]
    assert shapes[0] == shapes[1]
    plain.load_state_dict(quad.state_dict())
    images = torch.rand(1, 3, 64, 64)
    cost = count_macs(quad, images).total
    assert cost == count_macs(plain, images).total > 0
    quad.num_patches = 10
    assert count_macs(quad, images).total < cost


def test_where_everything_is_cut_alike_the_twins_agree():
    """Every patch of 8 pixels is chosen: the quadtree is then the regular grid in the order of rows."""
    images = torch.rand(2, 3, 64, 64)
    for kind in ("classifier", "segmenter"):
        quad, plain = (model(f"{name}_{kind}", num_patches=64) for name in ("quadformer", "vanilla_vit"))
        plain.load_state_dict(quad.state_dict())
        torch.testing.assert_close(run(quad, images).logits, run(plain, images).logits, rtol=1e-4, atol=1e-5)


def test_patches_outside_take_no_part():
    """Of 40 x 40 pixels most of the last row and column of roots is outside; how many patches, depends on the cuts."""
    module = model("quadformer_segmenter")
    images = torch.rand(2, 3, 40, 40)
    images[1, :, :32, :32] = 0.5
    output = run(module, images)
    boxes = output.extras["boxes"]
    outside = (boxes[..., :2] >= 40).any(dim=2)
    assert len(set(outside.sum(dim=1).tolist())) == 2
    assert bool((output.tokens.features[outside] == 0).all())
    assert bool((output.tokens.features[~outside].abs().sum(dim=1) > 0).all())
    assert bool((output.tokens.assignment.sum(dim=(2, 3))[outside] == 0).all())
    cut = module.tokenizer.cut(images)
    for image in range(2):
        inside = module.tokenizer.sequence(cut.tokens.features[image, ~outside[image]][None])
        expected = module.norm(module.backbone(inside)[0])[0, 1:]
        torch.testing.assert_close(output.tokens.features[image][~outside[image]], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("size", [64, 40])
def test_training_reaches_every_weight(name, size):
    module = model(name, **({"scale_embedding": True} if name.startswith("quad") else {})).train()
    output = module(torch.rand(2, 3, size, size))
    target = torch.zeros(2, dtype=torch.long)
    if output.logits.ndim == 4:
        target = torch.zeros(2, size, size, dtype=torch.long)
        target[:, :, ::2] = 2
        F.cross_entropy(output.logits_at(size, size), target).backward()
    else:
        F.cross_entropy(output.logits, target).backward()
    silent = {key for key, p in module.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)}
    assert silent == set()


def test_a_scale_embedding_tells_patches_by_their_size_alone():
    images = torch.rand(1, 3, 64, 64)
    plain, told = model("quadformer_classifier"), model("quadformer_classifier", scale_embedding=True)
    told.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(run(told, images).logits, run(plain, images).logits)
    torch.nn.init.normal_(told.tokenizer.scale_embed)
    cut, bare = told.tokenizer.cut(images), plain.tokenizer.cut(images)
    expected = told.tokenizer.scale_embed[(cut.boxes[0, :, 2] // 8).float().log2().long()]
    torch.testing.assert_close(cut.tokens.features[0] - bare.tokens.features[0], expected, rtol=1e-4, atol=1e-5)


def test_scorers_by_name_and_any_other():
    images = torch.rand(1, 3, 64, 64)
    found = {name: run(model("quadformer_classifier", scorer=name), images).extras["boxes"] for name in
             ("blur", "bands", "random")}  # fmt: skip
    assert not torch.equal(found["blur"], found["random"])
    module = model("quadformer_classifier")
    importance = torch.zeros(1, 8, 8)
    importance[:, :4, 4:] = 1.0
    module.tokenizer.scorer = Precomputed(importance)
    boxes = run(module, images).extras["boxes"][0]
    smallest = boxes[boxes[:, 2] == 8]
    assert len(smallest) > 0
    assert bool(((smallest[:, 0] >= 32) & (smallest[:, 1] < 32)).all())
    with pytest.raises(OptionError, match="Use blur, bands, random"):
        model("quadformer_classifier", scorer="blurr")


def test_scores_are_those_of_the_scorer_on_what_the_model_sees():
    images = torch.rand(2, 3, 64, 64)
    module = model("quadformer_classifier")
    expected = engine.tokenizers.quadtree.run(images, PixelBlur()(images, 8, 32), 16, 8, 32)
    assert torch.equal(run(module, images).extras["boxes"], expected)


def plain_vit(width: int = 16, depth: int = 2, patch: int = 8, classes: int = 3) -> dict[str, torch.Tensor]:
    """Weights under timm's names."""
    config = SCENE | {"num_classes": classes, "embed_dim": width, "depth": depth, "min_size": patch}
    own = create("vanilla_vit_classifier", **config).state_dict()
    renamed = {
        key.replace("tokenizer.proj", "patch_embed.proj")
        .replace("tokenizer.cls_token", "cls_token")
        .replace("backbone.module.", "blocks."): value
        for key, value in own.items()
    }
    return renamed | {"pos_embed": torch.zeros(1, 65, width)}


@pytest.mark.parametrize("name", ["quadformer_classifier", "vanilla_vit_classifier"])
def test_a_plain_vits_weights_load(name):
    weights = plain_vit()
    assert "blocks.1.mlp.fc2.bias" in weights
    config = {key: value for key, value in KINDS[name].items() if key in ("num_heads", "image_size", "num_patches")}
    config |= {"max_size": 32} if name.startswith("quad") else {}
    module = from_reference(name, {"model": weights}, num_classes=3, **config)
    assert torch.equal(module.tokenizer.proj.weight, weights["patch_embed.proj.weight"])
    assert torch.equal(module.backbone.module[1].mlp.fc2.bias, weights["blocks.1.mlp.fc2.bias"])
    assert torch.equal(module.tokenizer.cls_token, weights["cls_token"])
    again = from_reference(name, module.state_dict(), **KINDS[name])
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(run(again, images).logits, run(module, images).logits)
    with pytest.raises(CheckpointError, match=r"norm\.weight is missing"):
        from_reference(name, {k: v for k, v in weights.items() if k != "norm.weight"}, num_classes=3, **config)


def write_scene(path: Path) -> Path:
    """A scene of 100 x 84 pixels: a flat half, a busy half, and a corner without data."""
    rng = np.random.default_rng(0)
    data = np.full((3, 84, 100), 90, np.uint8)
    data[:, :, 50:] = rng.integers(1, 255, (3, 84, 50))
    data[:, :30, :40] = 0
    profile = {"driver": "GTiff", "count": 3, "height": 84, "width": 100, "dtype": "uint8", "crs": "EPSG:32632",
               "transform": Affine(4.0, 0, 500_000, 0, -4.0, 5_300_000), "nodata": 0}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(data)
    return path


@pytest.mark.parametrize("window", [64, 50])
@pytest.mark.parametrize("name", ["quadformer_segmenter", "vanilla_vit_segmenter"])
def test_an_analysis_runs_with_patches_as_regions(tmp_path, name, window):
    card = ModelCard(
        name="tiny", title="Tiny", architecture=name, config=KINDS[name], task="segmentation",
        classes=tuple(CardClass(name=label, color="#102030") for label in "abc"), bands=("red", "green", "blue"),
        scaling=Scaling(divisor=255, mean=(0.4,) * 3, std=(0.2,) * 3, low=(0,) * 3, high=(255,) * 3),
        window_px=window, overlap_px=16, gsd_m=4.0, gsd_range_m=(1.0, 10.0), token_count=16, data="none", metrics={},
        licence="CC0", source="a test",
    )  # fmt: skip
    ready = LoadedModel(model(name), card, "0" * 64).to("cpu")
    with engine.open_scene(write_scene(tmp_path / "scene.tif")) as scene:
        for _ in engine.analyse(scene, ready, tmp_path / "out", AnalysisOptions(device="cpu")):
            pass
    with rasterio.open(tmp_path / "out" / "classes.tif") as file:
        classes = file.read(1)
    with rasterio.open(tmp_path / "out" / "regions.tif") as file:
        regions = file.read(1)
    assert set(np.unique(classes[40:, :])) <= {0, 1, 2}
    assert len(np.unique(regions[40:, :])) > 3


TWINS = sorted(name for name in shipped_recipes() if name.startswith("vanilla-"))


@pytest.mark.parametrize("name", TWINS)
def test_recipes_of_twins_differ_in_the_tokenizer_alone(name):
    paths = shipped_recipes()
    own = {"name": True, "architecture": True, "config": True, "card": {"title", "description", "source"}}
    plain, quad = load_recipe(paths[name]), load_recipe(paths[name.replace("vanilla-", "quadformer-", 1)])
    assert plain.model_dump(exclude=own) == quad.model_dump(exclude=own)
    assert plain.config == {key: value for key, value in quad.config.items() if key in plain.config}
    counts = []
    for recipe in (plain, quad):
        module = create(recipe.architecture, num_classes=len(recipe.classes), in_channels=3, **recipe.config)
        counts.append(sum(p.numel() for name, p in module.named_parameters() if not name.endswith("scale_embed")))
    assert counts[0] == counts[1]  # one vector a size aside, where patches have several


@pytest.mark.parametrize("name", sorted(name for name in shipped_recipes() if name.startswith("quadformer-fewer-")))
def test_recipes_with_fewer_tokens_save_a_quarter_at_least(name):
    paths = shipped_recipes()
    fewer, full = load_recipe(paths[name]), load_recipe(paths[name.replace("-fewer", "", 1)])
    assert fewer.config["num_patches"] <= 0.75 * full.config["num_patches"]
    same = {key: value for key, value in full.config.items() if key != "num_patches"}
    assert same == {key: value for key, value in fewer.config.items() if key != "num_patches"}
