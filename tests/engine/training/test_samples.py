import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.training.recipe import load_recipe
from engine.training.segmentation.recipe import SegmentationRecipe
from engine.training.segmentation.samples import TileSamples
from engine.training.segmentation.tiles import TileSet, load_split
from engine.training.splits import Md5Rule


def _recipe(path: Path, *overrides: str) -> SegmentationRecipe:
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, SegmentationRecipe)
    return recipe


def _maker(recipe: SegmentationRecipe, root: Path) -> TileSamples:
    return TileSamples(recipe, load_split(recipe, root, "train"))


def _names(recipe: SegmentationRecipe, root: Path, split: str) -> set[str]:
    return {tile.name for group in load_split(recipe, root, split) for tile in group}


def test_the_split_follows_the_name_and_loses_nothing(recipe_file: Path, tile_root: Path) -> None:
    recipe = _recipe(recipe_file)
    train, validation = (_names(recipe, tile_root, split) for split in ("train", "validation"))
    assert not train & validation
    assert train | validation == {f"t{n}" for n in range(24)}
    rule = recipe.data[0].split
    assert isinstance(rule, Md5Rule)
    assert validation == {n for n in train | validation if rule.validates(n)}


def test_md5_rule_matches_the_digest_of_a_name() -> None:
    value = int(hashlib.md5(b"m5_forest_1").hexdigest(), 16) % 10
    assert Md5Rule(rule="md5", validation=(value,)).validates("m5_forest_1")
    others = tuple(v for v in range(10) if v != value)
    assert not Md5Rule(rule="md5", validation=others).validates("m5_forest_1")


def test_samples_depend_on_seed_epoch_and_index_alone(recipe_file: Path, tile_root: Path) -> None:
    one, two = (_maker(_recipe(recipe_file), tile_root) for _ in range(2))
    for index in (0, 7, 3):
        assert torch.equal(one[index][0], two[index][0])
    first = one[0][0]
    one.set_epoch(1)
    assert not torch.equal(first, one[0][0])
    assert not torch.equal(first, _maker(_recipe(recipe_file, "optimisation.seed=1"), tile_root)[0][0])


def test_samples_keep_image_and_labels_together(recipe_file: Path, tile_root: Path) -> None:
    maker = _maker(_recipe(recipe_file), tile_root)
    brightness: dict[int, list[float]] = {0: [], 1: []}
    for index in range(50):
        image, labels = maker[index]
        assert image.shape == (3, 32, 32)
        assert labels.shape == (32, 32)
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
        assert set(labels.unique().tolist()) <= {0, 1, 255}
        for code in (0, 1):
            if (labels == code).any():
                brightness[code].append(float(image.mean(0)[labels == code].mean()))
    assert np.mean(brightness[1]) > np.mean(brightness[0]) + 0.2


def test_whole_samples_show_every_tile_once_an_epoch(recipe_file: Path, tile_root: Path) -> None:
    plain = "augmentation=[{kind: whole, size_px: 40}]"
    budget = ("optimisation.steps=null", "optimisation.epochs=2")
    recipe = _recipe(recipe_file, plain, *budget)
    maker = _maker(recipe, tile_root)
    tiles = [tile for group in load_split(recipe, tile_root, "train") for tile in group]
    assert len(maker) == len(tiles)
    for epoch in range(2):
        maker.set_epoch(epoch)
        shown = {maker[i][0].numpy().tobytes() for i in range(len(maker))}
        assert shown == {(torch.from_numpy(t.image).float() / 255).numpy().tobytes() for t in tiles}


def test_sources_join_at_their_epoch(recipe_file: Path, tile_root: Path) -> None:
    recipe = _recipe(recipe_file)
    first = load_split(recipe, tile_root, "train")[0]
    maker = TileSamples(recipe, [first, TileSet(list(first), from_epoch=2)])
    assert maker.chances[len(first) - 1] == pytest.approx(1.0)
    maker.set_epoch(2)
    assert maker.chances[len(first) - 1] == pytest.approx(0.5)


def test_a_missing_folder_and_a_missing_mask_are_named(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    recipe = _recipe(recipe_file)
    with pytest.raises(TrainingError, match="tiny"):
        load_split(recipe, tmp_path, "train")
    images = tmp_path / "tiny" / "images"
    images.mkdir(parents=True)
    (tmp_path / "tiny" / "masks").mkdir()
    (images / "lonely.tif").write_bytes((tile_root / "tiny" / "images" / "t0.tif").read_bytes())
    both = _recipe(recipe_file, "data.0.split={rule: none}")
    with pytest.raises(TrainingError, match=r"1 of 1 images have no mask: lonely\.png"):
        load_split(both, tmp_path, "train")


def test_all_missing_sources_are_named_at_once(recipe_file: Path, tmp_path: Path) -> None:
    two = "data=[{kind: tiles, folder: one, labels: {1: 0}}, {kind: tiles, folder: two, labels: {1: 0}}]"
    with pytest.raises(TrainingError, match=r"one.*two"):
        load_split(_recipe(recipe_file, two), tmp_path, "train")


def test_retoned_land_takes_the_colour_of_other_land_and_keeps_its_texture(recipe_file: Path, tile_root: Path) -> None:
    plain = {"gain": 0, "band_gain": 0, "band_offset": 0, "gamma": 0, "desaturate": 0, "blur": 0, "noise": 0}
    overrides = [f"augmentation.0.{key}={value}" for key, value in plain.items()]
    overrides += ["augmentation.0.mosaic=0", "augmentation.0.blobs=0", "augmentation.0.scale=[1, 1]"]
    as_it_is = _maker(_recipe(recipe_file, *overrides), tile_root)
    retoned = _maker(_recipe(recipe_file, *overrides, "augmentation.0.retone={0: 1.0}"), tile_root)

    def dark(maker: TileSamples) -> tuple[float, float]:
        found = [(image[:, labels == 0], image[:, labels == 1]) for image, labels in (maker[i] for i in range(50))]
        tones = [float(one.mean()) for one, _ in found if one.numel()]
        texture = [float(one.std(dim=1).mean()) for one, _ in found if one.numel()]
        assert all(float(other.mean()) > 0.7 for _, other in found if other.numel())
        return float(np.mean(tones)), float(np.mean(texture))

    (before, rough_before), (after, rough_after) = dark(as_it_is), dark(retoned)
    assert after > before + 0.15
    assert rough_after == pytest.approx(rough_before, rel=0.05)
