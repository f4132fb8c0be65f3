import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scene_pictures import RECIPE as SCENE_RECIPE
from scene_pictures import write_scenes
from typer.testing import CliRunner

from engine.cli.main import build_app
from engine.errors import ModelNotFoundError, OptionError
from engine.models.card import ModelCard, Rival, Scaling
from engine.models.loaded import LoadedModel
from engine.models.registry import create
from engine.training.drawing import confusion_picture, contact_sheet, heat_picture, token_colours, token_picture
from engine.training.perception import perceive
from engine.training.recipe import load_recipe
from engine.training.train import build_model, make_card, train

_SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2}
_DENSE = {"dense_channels": (8, 8, 8, 8), "head_dim": 8}
_HOOK = {"seed_dim": 16, "seed_heads": 2, "stem_widths": (4, 8, 8), "token_count": 5}
_MODELS = {
    "hook_classifier": {**_SMALL, **_HOOK, "image_size": 32},
    "hook_segmenter": {**_SMALL, **_HOOK, **_DENSE, "image_size": 32},
    "patch_classifier": {**_SMALL, "image_size": 32},
    "patch_segmenter": {**_SMALL, **_DENSE, "image_size": 32},
    "hook_competitive_segmenter": {
        **_SMALL, "token_count": 5, "key_dim": 8, "stem_width": 4, "widths": (8, 8, 8), "depths": (1, 1, 1),
    },
}  # fmt: skip


def _model(name: str, window_px: int = 32) -> LoadedModel:
    torch.manual_seed(0)
    module = create(name, num_classes=2, **_MODELS[name])
    card = ModelCard(
        name="tiny", title="Tiny", architecture=name, config={}, window_px=window_px, overlap_px=0, token_count=1,
        task="classification" if name.endswith("classifier") else "segmentation",
        classes=({"name": "a", "color": "#000000"}, {"name": "b", "color": "#ffffff"}), bands=("red", "green", "blue"),
        scaling=Scaling(divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, low=(0,) * 3, high=(255,) * 3),
        data="", metrics={}, licence="", source="",
    )  # fmt: skip
    return LoadedModel(module, card, "")


@pytest.mark.parametrize("name", list(_MODELS))
def test_every_tokenizer_tells_the_token_of_each_pixel(name: str) -> None:
    model = _model(name)
    picture = torch.randint(0, 255, (3, 40, 56), generator=torch.manual_seed(1), dtype=torch.uint8)
    seen = perceive(model, picture)
    size = (32, 44) if name.endswith("classifier") else (40, 56)  # scenes are shown at the card's window
    assert seen.shown.shape == (3, *size)
    assert seen.token_map.shape == size
    assert seen.attention.shape[0] == seen.count > seen.token_map.max()
    assert np.isfinite(seen.attention).all()


@pytest.mark.parametrize("token_head", [None, False, True])
def test_meta_tokens_are_seen_where_they_look(token_head: bool | None) -> None:
    """The paper's figure: each token's attention over the image, whether or not claims were made of it."""
    torch.manual_seed(0)
    small = {"num_classes": 2, "depths": (1,) * 5, "widths": (32,) * 5, "token_count": 6}
    name, task, dense = "lemevit_tiny", "classification", {}
    if token_head is not None:
        name, task = "upernet_lemevit_tiny", "segmentation"
        dense = {"token_head": token_head, "channels": 8, "auxiliary_channels": 8}
    card = _model("patch_classifier").card.model_copy(update={"architecture": name, "task": task})
    model = LoadedModel(create(name, **small, **dense), card, "")
    seen = perceive(model, torch.randint(0, 255, (3, 40, 56), generator=torch.manual_seed(1), dtype=torch.uint8))
    assert seen.count == 6
    np.testing.assert_allclose(seen.attention.sum(axis=(1, 2)), 1, rtol=1e-4)
    assert seen.token_map.shape == seen.shown.shape[1:]


def test_patches_are_seen_as_the_grid_they_are() -> None:
    seen = perceive(_model("patch_segmenter"), torch.zeros(3, 32, 32, dtype=torch.uint8))
    expected = np.kron(np.arange(4).reshape(2, 2), np.ones((16, 16), int))
    assert np.array_equal(seen.token_map, expected)


def test_attention_is_drawn_by_its_own_scale() -> None:
    values = np.linspace(0, 1, 64).reshape(8, 8)
    one, ten = np.asarray(heat_picture(values)), np.asarray(heat_picture(10 * values + 3))
    assert np.array_equal(one, ten)
    assert one[0, 0].sum() < one[7, 7].sum()


def test_tokens_have_colours_of_their_own() -> None:
    assert len({tuple(colour) for colour in token_colours(40).tolist()}) == 40
    picture = np.asarray(token_picture(np.repeat(np.arange(4), 4).reshape(4, 4), 4))
    assert np.array_equal(picture[0, 1], token_colours(4)[0])


@pytest.mark.parametrize("count", [2, 45])
def test_a_confusion_matrix_is_drawn_by_shares_of_the_truth(count: int) -> None:
    confusion = np.diag(np.arange(1, count + 1))
    confusion[0] = 0  # a class that does not occur
    names = [f"class {index}" for index in range(count)]
    right = np.asarray(confusion_picture(confusion, names))
    assert np.array_equal(right, np.asarray(confusion_picture(7 * confusion, names)))
    assert not np.array_equal(right, np.asarray(confusion_picture(np.fliplr(confusion), names)))


def test_a_sheet_holds_pictures_of_any_shape() -> None:
    pictures = [
        ("wide", Image.new("RGB", (60, 20))),
        ("high", Image.new("RGB", (20, 30))),
        ("one", Image.new("RGB", (1, 1))),
    ]
    sheet = contact_sheet(pictures, columns=2, edge_px=40, title="Three")
    assert sheet.width == 8 + 2 * 48
    assert sheet.height > 2 * 40


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeing")
    write_scenes(root, each=6)
    recipe = root / "tiny-scenes.yaml"
    recipe.write_text(SCENE_RECIPE, encoding="utf-8")
    train(load_recipe(recipe, ["optimisation.checkpoint_every=1"]), root, root / "run")
    return root


def test_the_command_draws_tokens_and_epochs(run_dir: Path, tmp_path: Path) -> None:
    image = str(run_dir / "scenes" / "striped" / "striped00.png")
    result = CliRunner().invoke(
        build_app(), ["tokens", image, "--model", str(run_dir / "run" / "epochs"), "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    written = {path.name for path in (tmp_path / "striped00").iterdir()}
    fixed = {"image.png", "tokens.png", "map.png", "sheet.png", "epochs.png"}
    assert written == fixed | {f"attention-{token:03d}.png" for token in range(4)}
    with Image.open(tmp_path / "striped00" / "map.png") as drawn:
        numbers = np.asarray(drawn)
    assert numbers.shape == (32, 38)
    assert numbers.max() < 4


def test_the_command_refuses_what_cannot_be_drawn(run_dir: Path, tmp_path: Path) -> None:
    image = str(run_dir / "scenes" / "dark" / "dark00.png")
    result = CliRunner().invoke(build_app(), ["tokens", image, "--model", str(tmp_path), "--out", str(tmp_path)])
    assert isinstance(result.exception, ModelNotFoundError)
    model = str(run_dir / "run" / "tiny-scenes.safetensors")
    result = CliRunner().invoke(
        build_app(), ["tokens", image, "--model", model, "--out", str(tmp_path), "--most-tokens", "0"]
    )
    assert isinstance(result.exception, OptionError)


def test_the_command_shows_a_part_of_a_picture(run_dir: Path, tmp_path: Path) -> None:
    image = str(run_dir / "scenes" / "dark" / "dark00.png")
    words = ["tokens", image, "--model", str(run_dir / "run" / "tiny-scenes.safetensors"), "--out", str(tmp_path)]
    result = CliRunner().invoke(build_app(), [*words, "--part", "4,2,20,10"])
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "dark00" / "map.png") as drawn:
        assert drawn.size == (64, 32)  # twice as wide as high, the shorter side as the model sees it
    for wrong in ("4,2,20", "4,2,20,x", "4,2,2000,10"):
        assert isinstance(CliRunner().invoke(build_app(), [*words, "--part", wrong]).exception, OptionError)


def test_the_command_classifies_pictures(run_dir: Path) -> None:
    model = str(run_dir / "run" / "tiny-scenes.safetensors")
    images = [str(run_dir / "scenes" / kind / f"{kind}00.png") for kind in ("dark", "bright")]
    result = CliRunner().invoke(build_app(), ["classify", *images, "--model", model, "--top", "2", "--json"])
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == images
    assert all(len(answer["classes"]) == 2 for answer in answers)


def test_the_evaluation_tells_how_homogeneous_tokens_are(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file)
    trained = train(recipe, tile_root, tmp_path / "out")
    assert trained is not None
    model, data = str(trained.checkpoint), ["--data", str(tile_root), "--recipe", str(recipe_file)]
    result = CliRunner().invoke(build_app(), ["evaluate", model, *data, "--no-regions", "--tokens", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])["tokens"]
    assert figures["token_count"] == 4
    # The tiles have one straight border in the middle, so a grid of four patches is as pure as can be.
    assert figures["patches"]["class_entropy_bits"] == pytest.approx(0.0, abs=0.05)
    assert figures["patches"]["variance_explained"] > 0.9
    assert 0 <= figures["model"]["class_entropy_bits"] <= figures["model"]["class_entropy_bits_of_whole"] + 1e-6


def test_a_card_carries_the_table_of_its_rivals(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    card = make_card(recipe, _model("hook_segmenter").card.scaling, build_model(recipe), {})
    rows = (Rival(name="tiny", figures={"miou": 0.5, "tokens": 4}), Rival(name="twin", note="positions", figures={}))
    text = card.model_copy(update={"comparison": rows}).model_dump_json()
    assert ModelCard.model_validate_json(text).comparison == rows
