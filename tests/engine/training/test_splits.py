from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from engine.errors import TrainingError
from engine.training.splits import (
    FolderRule,
    GroupRule,
    Item,
    ListRule,
    PrefixRule,
    Rule,
    TrainOnly,
    overlapping_groups,
)


def _both(rule: Rule, items: list[Item], folder: Path) -> tuple[set[str], set[str]]:
    train, validation = ({i.name for i in rule.choose(items, split, folder)} for split in ("train", "validation"))
    assert not train & validation
    assert train | validation == {item.name for item in items}
    return train, validation


def _items(folder: Path, *names: str) -> list[Item]:
    return [Item(name, folder / f"{name}.tif") for name in names]


def test_a_prefix_holds_a_scene_out(tmp_path: Path) -> None:
    items = _items(tmp_path, "t1_001", "t5_001", "t5_002", "t51_001")
    train, validation = _both(PrefixRule(rule="prefix", validation=("t5_",)), items, tmp_path)
    assert validation == {"t5_001", "t5_002"}
    assert train == {"t1_001", "t51_001"}


def test_lists_name_images_by_name_or_path_in_any_column(tmp_path: Path) -> None:
    items = [Item("001", tmp_path / kind / "001.tif") for kind in ("park", "port")]
    (tmp_path / "train.csv").write_text("0,park/001.jpg\n")
    (tmp_path / "test.csv").write_text("0,port/001.jpg\n")
    rule = ListRule(rule="lists", train="train.csv", validation="test.csv", column=1)
    assert [i.path.parent.name for i in rule.choose(items, "train", tmp_path)] == ["park"]
    assert [i.path.parent.name for i in rule.choose(items, "validation", tmp_path)] == ["port"]
    (tmp_path / "train.csv").write_text("0,park/001.jpg\n1,pond/002.jpg\n")
    with pytest.raises(TrainingError, match="pond/002"):
        rule.choose(items, "train", tmp_path)


def test_folders_and_nothing_else_split_by_place(tmp_path: Path) -> None:
    rule = FolderRule(rule="folders", validation="val", test="test")
    assert [rule.subfolder(split) for split in rule.splits] == ["train", "val", "test"]
    assert TrainOnly().splits == ("train",)


def _patch(folder: Path, name: str, left: float, top: float) -> Item:
    path = folder / f"{name}.tif"
    place = Affine.translation(left, top) @ Affine.scale(10, -10)
    profile = {"driver": "GTiff", "width": 10, "height": 10, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32652", transform=place, **profile) as file:
        file.write(np.zeros((1, 10, 10), np.uint8))
    return Item(name, path)


def test_overlapping_patches_stay_together(tmp_path: Path) -> None:
    chain = [_patch(tmp_path, f"chain{i}", 60.0 * i, 1000) for i in range(5)]  # each overlaps the next alone
    touching = [_patch(tmp_path, "touching", 60.0 * 4 + 100, 1000)]  # shares an edge, no ground
    far = [_patch(tmp_path, "far1", 5000, 1000), _patch(tmp_path, "far2", 5050, 1050)]
    items = [far[0], *chain, far[1], *touching]
    groups = [{item.name for item in group} for group in overlapping_groups(items)]
    assert groups == [{f"chain{i}" for i in range(5)}, {"far1", "far2"}, {"touching"}]
    train, validation = _both(GroupRule(rule="groups", validation=0.25), items, tmp_path)
    assert train == {*(f"chain{i}" for i in range(5)), "touching"}
    assert validation == {"far1", "far2"}


def test_patches_without_a_place_cannot_be_grouped(tmp_path: Path) -> None:
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8") as file:
        file.write(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(TrainingError, match="no place on Earth"):
        GroupRule(rule="groups", validation=0.5).choose([Item("a", tmp_path / "a.tif")], "train", tmp_path)
