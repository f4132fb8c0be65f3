"""Recipes of LeMeViT and UperNet: the published settings, and a step of training that reaches every part."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.models.card import Scaling
from engine.training.classification.module import ClassificationModule
from engine.training.classification.recipe import ClassificationRecipe
from engine.training.recipe import load_recipe, shipped_recipes
from engine.training.schedule import learning_rate
from engine.training.segmentation.losses import segmentation_loss
from engine.training.segmentation.module import SegmentationModule
from engine.training.segmentation.recipe import LossWeights, SegmentationRecipe
from engine.training.train import build_model

NARROW: dict[str, Any] = {"depths": [1] * 5, "widths": [32] * 5, "token_count": 4}
SCALING = Scaling(divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, low=(0,) * 3, high=(255,) * 3)
SCENES = ["lemevit-imagenet", "lemevit-millionaid", "lemevit-ucmerced", "lemevit-ucmerced-published"]
DENSE = ["upernet-potsdam", "upernet-landcover", "upernet-aerial"]


def narrowed(name: str, **config: Any) -> Any:
    recipe = load_recipe(shipped_recipes()[name])
    return recipe.model_copy(update={"config": {**recipe.config, **NARROW, **config}})


@pytest.mark.parametrize("name", SCENES)
def test_a_step_of_a_scene_recipe_reaches_all_of_the_model(name: str) -> None:
    recipe = narrowed(name)
    assert isinstance(recipe, ClassificationRecipe)
    torch.manual_seed(0)
    module = ClassificationModule(build_model(recipe), recipe, SCALING, recipe.optimisation.budget(64)).train()
    images = torch.rand(4, 3, 64, 64)
    module.training_step((images, torch.arange(4)), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", DENSE)
def test_a_step_of_a_dense_recipe_reaches_both_heads_and_the_tokens(name: str) -> None:
    recipe = narrowed(name, channels=8, auxiliary_channels=8)
    assert isinstance(recipe, SegmentationRecipe)
    torch.manual_seed(0)
    module = SegmentationModule(build_model(recipe), recipe, SCALING, recipe.optimisation.budget(64), None).train()
    labels = torch.randint(0, len(recipe.classes), (2, 64, 64))
    module.training_step((torch.rand(2, 3, 64, 64), labels), 0).backward()
    for key, parameter in module.model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, key
    assert (module.model.token_head is None) == (name == "upernet-potsdam")


def test_the_auxiliary_map_counts_as_much_as_it_is_said_to() -> None:
    torch.manual_seed(0)
    recipe = narrowed("upernet-potsdam", channels=8, auxiliary_channels=8)
    model = build_model(recipe).train()
    images, labels = torch.rand(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64))
    output = model(images)
    weights = torch.ones(5)
    whole, parts = segmentation_loss(output, images, labels, weights, recipe.loss)
    alone, _ = segmentation_loss(output, images, labels, weights, LossWeights(auxiliary=0.0))
    assert float(whole - alone) == pytest.approx(0.4 * float(parts["auxiliary"]), rel=1e-4)
    assert set(segmentation_loss(model.eval()(images), images, labels, weights, recipe.loss)[1]) == {"map"}


def test_imagenet_rates_are_the_published_ones() -> None:
    """Rates are given for 512 pictures and scaled by the batch; the last 20 of 300 epochs stay at the lowest."""
    how = load_recipe(shipped_recipes()["lemevit-imagenet"]).optimisation
    budget = how.budget(1_281_167)
    assert budget.epochs == 300
    scale = how.batch / 512
    step = budget.steps_per_epoch
    assert learning_rate(how, budget, 5 * step) == pytest.approx(5e-4 * scale)
    assert how.warmup_rate == pytest.approx(1e-6 * scale)
    assert (
        learning_rate(how, budget, 280 * step) == learning_rate(how, budget, 300 * step) == pytest.approx(5e-6 * scale)
    )
    millions = load_recipe(shipped_recipes()["lemevit-millionaid"]).optimisation
    assert (millions.min_rate, millions.warmup_rate) == pytest.approx((1e-5 * scale, 1e-7 * scale))
    assert (millions.weight_decay, millions.epochs, millions.cooldown_epochs) == (2e-5, 100, 0)


def test_potsdam_rates_fall_in_a_line() -> None:
    how = load_recipe(shipped_recipes()["upernet-potsdam"]).optimisation
    budget = how.budget(0)
    assert (budget.steps, how.batch) == (80_000, 40)
    assert learning_rate(how, budget, 1500) == pytest.approx(4e-4)
    assert learning_rate(how, budget, 40_750) == pytest.approx(2e-4)
    assert learning_rate(how, budget, 80_000) == 0


@pytest.mark.parametrize("start", ["lemevit-imagenet", "lemevit-millionaid", "upernet-potsdam"])
def test_the_larger_ones_differ_in_size_alone(start: str) -> None:
    own = {"name", "architecture", "card"}
    tiny = load_recipe(shipped_recipes()[start])
    for size in ("small", "base"):
        large = load_recipe(shipped_recipes()[f"{start}-{size}"])
        assert large.architecture == tiny.architecture.replace("tiny", size)
        assert large.model_dump(exclude=own) == tiny.model_dump(exclude=own)
