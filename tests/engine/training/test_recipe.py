from pathlib import Path

import pytest

from engine.errors import TrainingError
from engine.resources import resources_dir
from engine.training.recipe import load_recipe


def test_overrides_reach_nested_settings(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["optimisation.steps=7", "data.0.weight=2.5", "classes.1.name=white"])
    assert recipe.optimisation.steps == 7
    assert recipe.data[0].weight == 2.5
    assert recipe.classes[1].name == "white"


@pytest.mark.parametrize("override", ["optimisation.stepz=7", "nonsense=1", "optimisation.steps=0"])
def test_a_setting_that_does_not_exist_or_fit_is_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(TrainingError, match=override.split("=")[0].rpartition(".")[2]):
        load_recipe(recipe_file, [override])


def test_an_override_without_a_value_is_refused(recipe_file: Path) -> None:
    with pytest.raises(TrainingError, match="key=value"):
        load_recipe(recipe_file, ["optimisation.steps"])


def test_a_restart_from_the_average_must_begin_an_epoch(recipe_file: Path) -> None:
    restart = "optimisation.restarts=[{step: %d, peak: 0.5, from_average: true}]"
    assert load_recipe(recipe_file, [restart % 2]).optimisation.restarts[0].from_average
    with pytest.raises(TrainingError, match="begins no epoch"):
        load_recipe(recipe_file, [restart % 3])


def test_a_missing_recipe_says_how_to_find_one(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--list"):
        load_recipe(tmp_path / "no.yaml")


@pytest.mark.parametrize("path", sorted((resources_dir() / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid_and_named_as_its_file(path: Path) -> None:
    assert load_recipe(path).name == path.stem
