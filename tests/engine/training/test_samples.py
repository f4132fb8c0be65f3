from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.training.augment import SampleMaker
from engine.training.recipe import Recipe, load_recipe
from engine.training.tiles import is_validation, load_split


def _maker(recipe: Recipe, root: Path, seed: int = 0) -> SampleMaker:
    return SampleMaker(load_split(recipe, root, "train"), recipe.augmentation, 50, 255.0, 2, seed)


def test_the_split_follows_the_name_and_loses_nothing(recipe_file: Path, tile_root: Path) -> None:
    recipe = load_recipe(recipe_file)
    train, validation = (
        {t.name for g in load_split(recipe, tile_root, s) for t in g.tiles} for s in ("train", "validation")
    )
    assert not train & validation
    assert train | validation == {f"t{n}" for n in range(24)}
    assert validation == {n for n in train | validation if is_validation(n, (0, 1))}


def test_md5_rule_matches_a_known_name() -> None:
    # md5("m5_forest_1") = ...; computed by hand with md5sum: the last digit of the decimal value decides.
    import hashlib

    value = int(hashlib.md5(b"m5_forest_1").hexdigest(), 16) % 10
    assert is_validation("m5_forest_1", (value,))
    assert not is_validation("m5_forest_1", tuple(v for v in range(10) if v != value))


def test_samples_depend_on_seed_epoch_and_index_alone(recipe_file: Path, tile_root: Path) -> None:
    recipe = load_recipe(recipe_file)
    one, two = _maker(recipe, tile_root), _maker(recipe, tile_root)
    for index in (0, 7, 3):
        assert torch.equal(one[index][0], two[index][0])
    first = one[0][0]
    one.set_epoch(1)
    assert not torch.equal(first, one[0][0])
    assert not torch.equal(first, _maker(recipe, tile_root, seed=1)[0][0])


def test_samples_keep_image_and_labels_together(recipe_file: Path, tile_root: Path) -> None:
    maker = _maker(load_recipe(recipe_file), tile_root)
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


def test_sources_join_at_their_epoch(recipe_file: Path, tile_root: Path) -> None:
    recipe = load_recipe(recipe_file)
    groups = load_split(recipe, tile_root, "train")
    late = type(groups[0])(groups[0].tiles, 1.0, from_epoch=2)
    maker = SampleMaker([groups[0], late], recipe.augmentation, 10, 255.0, 2, 0)
    assert maker.chances[len(groups[0].tiles) - 1] == pytest.approx(1.0)
    maker.set_epoch(2)
    assert maker.chances[len(groups[0].tiles) - 1] == pytest.approx(0.5)


def test_a_missing_folder_and_a_missing_mask_are_named(recipe_file: Path, tile_root: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file)
    with pytest.raises(TrainingError, match="tiny"):
        load_split(recipe, tmp_path, "train")
    images = tmp_path / "tiny" / "images"
    images.mkdir(parents=True)
    (images / "lonely.tif").write_bytes((tile_root / "tiny" / "images" / "t0.tif").read_bytes())
    both = load_recipe(recipe_file, ["data.0.validation_remainders=[]"])
    with pytest.raises(TrainingError, match=r"lonely\.png"):
        load_split(both, tmp_path, "train")


def test_retoned_land_takes_the_colour_of_other_land_and_keeps_its_texture(recipe_file: Path, tile_root: Path) -> None:
    plain = {"gain": 0, "band_gain": 0, "band_offset": 0, "gamma": 0, "desaturate": 0, "blur": 0, "noise": 0}
    overrides = [f"augmentation.0.{key}={value}" for key, value in plain.items()]
    overrides += ["augmentation.0.mosaic=0", "augmentation.0.blobs=0", "augmentation.0.scale=[1, 1]"]
    as_it_is = _maker(load_recipe(recipe_file, overrides), tile_root)
    retoned = _maker(load_recipe(recipe_file, [*overrides, "augmentation.0.retone={0: 1.0}"]), tile_root)

    def dark(maker: SampleMaker) -> tuple[float, float]:
        found = [(image[:, labels == 0], image[:, labels == 1]) for image, labels in (maker[i] for i in range(50))]
        tones = [float(one.mean()) for one, _ in found if one.numel()]
        texture = [float(one.std(dim=1).mean()) for one, _ in found if one.numel()]
        assert all(float(other.mean()) > 0.7 for _, other in found if other.numel())
        return float(np.mean(tones)), float(np.mean(texture))

    (before, rough_before), (after, rough_after) = dark(as_it_is), dark(retoned)
    assert after > before + 0.15
    assert rough_after == pytest.approx(rough_before, rel=0.05)
