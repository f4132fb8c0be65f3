import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import TrainingError
from engine.models.registry import full_config
from engine.training.recipe import load_recipe, shipped_recipes
from engine.training.train import build_model


def test_overrides_reach_nested_settings(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["optimisation.steps=7", "data.0.weight=2.5", "classes.1.name=white"])
    assert recipe.optimisation.steps == 7
    assert recipe.data[0].weight == 2.5
    assert recipe.classes[1].name == "white"


@pytest.mark.parametrize("override", ["optimisation.stepz=7", "nonsense=1", "optimisation.steps=0"])
def test_a_setting_that_does_not_exist_or_fit_is_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(TrainingError, match=override.split("=")[0].rpartition(".")[2]):
        load_recipe(recipe_file, [override])


@pytest.mark.parametrize(
    ("override", "wrong", "meant"),
    [
        ("optimisation.stepz=7", "optimisation.stepz", "steps"),
        ("optimization={steps: 7}", "optimization", "optimisation"),
        ("data.0.split.modulos=7", "modulos", "modulus"),
        ("augmentation.0.cropp_px=64", "cropp_px", "crop_px"),
        ("card.gsd=4", "card.gsd", "gsd_m"),
        ("hardware={device: 2}", "hardware.device", "devices"),
    ],
)
def test_a_wrong_key_says_which_and_what_was_meant(recipe_file: Path, override: str, wrong: str, meant: str) -> None:
    with pytest.raises(TrainingError, match=rf"{wrong}.*Did you mean '{meant}'"):
        load_recipe(recipe_file, [override])


def test_a_wrong_task_says_what_was_meant(recipe_file: Path) -> None:
    with pytest.raises(TrainingError, match="Did you mean segmentation"):
        load_recipe(recipe_file, ["task=segmentations"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.3.folder=x", "data is a list of 1"),
        ("data.first.folder=x", "'first' is no place"),
        ("name.x=1", "single value"),
        ("classes=[{name", "not YAML"),
    ],
)
def test_an_override_of_nothing_is_refused(recipe_file: Path, override: str, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        load_recipe(recipe_file, [override])


def test_a_recipe_takes_from_another_what_it_does_not_say(recipe_file: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.yaml"
    twin.write_text(
        "extends: tiny\nname: twin\narchitecture: patch_segmenter\nconfig: {depth: 2}\ncard: {title: Twin}\n",
        encoding="utf-8",
    )
    one, other = load_recipe(recipe_file), load_recipe(twin)
    assert (other.name, other.architecture, other.config, other.card.title) == (
        "twin",
        "patch_segmenter",
        {"depth": 2},
        "Twin",
    )
    same = {"data", "augmentation", "optimisation", "classes", "bands", "loss"}
    assert one.model_dump(include=same) == other.model_dump(include=same)
    assert other.card.licence == one.card.licence
    unknown = tmp_path / "lost.yaml"
    unknown.write_text("extends: nowhere\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="extends 'nowhere', and there is no such recipe"):
        load_recipe(unknown)
    (tmp_path / "circle.yaml").write_text("extends: circle2\n", encoding="utf-8")
    (tmp_path / "circle2.yaml").write_text("extends: circle\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="extends itself"):
        load_recipe(tmp_path / "circle.yaml")


@pytest.mark.parametrize("name", ["mine", "hook-landcover"])
def test_a_recipe_of_ones_own_takes_from_a_shipped_one(tmp_path: Path, name: str) -> None:
    own = tmp_path / f"{name}.yaml"
    own.write_text("extends: hook-landcover\noptimisation: {steps: 400, restarts: []}\n", encoding="utf-8")
    shipped, mine = load_recipe(shipped_recipes()["hook-landcover"]), load_recipe(own)
    assert mine.optimisation.steps == 400 != shipped.optimisation.steps
    assert mine.model_dump(exclude={"optimisation"}) == shipped.model_dump(exclude={"optimisation"})


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


def test_a_shipped_recipe_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Did you mean hook-landcover"):
        load_recipe(tmp_path / "hook-landcovr")


_NARROW = {
    "embed_dim": 16, "depth": 2, "num_heads": 2, "seed_dim": 16, "seed_heads": 2, "token_count": 4, "head_dim": 8,
    "stem_widths": [4, 8, 8], "dense_channels": [8, 8, 8, 8], "stem_width": 4, "widths": [8, 8, 8],
    "depths": [1, 1, 1], "key_dim": 8, "out_layers": None,
}  # fmt: skip
"""Small values for whatever of these keys an architecture has."""


def _narrow_stages(full: dict[str, Any]) -> dict[str, Any]:
    """Narrow stages for architectures that have a kind for each."""
    stages = len(full.get("kinds") or ())
    narrow = {"widths": [8] * stages, "depths": [1] * stages, "channels": 8, "auxiliary_channels": 8}
    return narrow if stages else {}


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid_and_builds_its_model(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    full = full_config(recipe.architecture, {"num_classes": 2, **recipe.config})  # every key is one of the model's
    small = {key: value for key, value in (_NARROW | _narrow_stages(full)).items() if key in full}
    narrow = recipe.model_copy(update={"config": {**recipe.config, **small}})
    model = build_model(narrow).eval()
    edge = min(64, recipe.card.window_px)
    with torch.inference_mode():
        image = torch.zeros(1, len(recipe.bands), edge, edge)
        output = model(image, image) if recipe.task == "change" else model(image)
    if recipe.task == "detection":
        assert len(output) == 1
        return
    logits = output.logits
    assert logits.shape[1] == len(recipe.classes)


def test_layouts_named_in_the_comments_can_be_set() -> None:
    """Every ``--set 'data=…'`` that a shipped recipe's comment proposes is one the recipe takes."""
    found = 0
    for path in shipped_recipes().values():
        lines = [
            line.removeprefix("#").strip() for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
        ]
        for value in re.findall(r"--set '(data=[^']*)'", " ".join(lines)):
            if "…" not in value:  # a sketch
                assert load_recipe(path, [value]).data
                found += 1
    assert found >= 2


def test_reading_recipes_and_drawing_need_no_training_library() -> None:
    code = (
        "import sys; from engine.training.recipe import load_recipe, shipped_recipes; "
        "import engine.training.token_pictures, engine.training.perception; "
        "[load_recipe(path) for name, path in shipped_recipes().items() if name.startswith(('hook', 'patch'))]; "
        "sys.exit('lightning' in sys.modules or 'torchmetrics' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


_OWN_WARMUP = {"patch-gid5", "patch-dglcc"}
"""Published baselines whose warm-up is not that of HOOK's segmenter."""


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("patch-")])
def test_twins_differ_in_the_tokenizer_alone(name: str) -> None:
    paths = shipped_recipes()
    own: dict[str, object] = dict.fromkeys(("name", "architecture", "config", "start"), True)
    own["card"] = {"title", "description", "source"}
    if name in _OWN_WARMUP:
        own["optimisation"] = {"warmup_epochs"}
    hook, patch = load_recipe(paths[name.replace("patch-", "hook-", 1)]), load_recipe(paths[name])
    assert hook.model_dump(exclude=own) == patch.model_dump(exclude=own)
    assert (hook.start is None) == (patch.start is None)
    shared = {"embed_dim", "depth", "num_heads", "image_size"} & hook.config.keys() & patch.config.keys()
    assert {key: hook.config[key] for key in shared} == {key: patch.config[key] for key in shared}
