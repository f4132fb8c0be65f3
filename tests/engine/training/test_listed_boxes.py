"""Boxes of many images in one table: read, split, repeated, refused with the line; the shipped table is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import TypeAdapter

from engine.errors import TrainingError
from engine.training.detection.listed import COLUMNS, find_table, read_table
from engine.training.detection.pictures import load_split
from engine.training.detection.recipe import DetectionRecipe, ListedSource
from engine.training.recipe import load_recipe, shipped_recipes

HEADER = ",".join(COLUMNS)
BOX = "1,2,11,2,11,8,1,8"


def table(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def recipe_of(**source: Any) -> DetectionRecipe:
    shipped = load_recipe(shipped_recipes()["lemevit-objects"])
    assert isinstance(shipped, DetectionRecipe)
    listed = TypeAdapter(ListedSource).validate_python({"kind": "listed", "folder": "photographs", **source})
    return shipped.model_copy(update={"data": (listed,)})


def write_images(tmp_path: Path, *names: str) -> None:
    for value, name in enumerate(names):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path, "w", driver="PNG", width=20, height=16, count=3, dtype="uint8") as file:
            file.write(np.full((3, 16, 20), value, np.uint8))


def test_images_come_by_name_with_their_boxes_and_those_without_stay(tmp_path: Path) -> None:
    path = table(tmp_path, f"b/two.png,ship,{BOX}", f"a/one.png,car,{BOX}", f"b/two.png,plane,{BOX}")
    found = read_table(path, {"plane": 0, "ship": 1})
    assert list(found) == ["a/one.png", "b/two.png"]
    assert found["a/one.png"].corners.shape == (0, 4, 2)
    assert found["b/two.png"].labels.tolist() == [1, 0]
    assert found["b/two.png"].corners[0].tolist() == [[1, 2], [11, 2], [11, 8], [1, 8]]


def test_a_split_is_kept_and_training_images_are_repeated(tmp_path: Path) -> None:
    write_images(tmp_path, "a/t1.png", "a/v2.png", "b/t3.png")
    path = table(tmp_path, f"a/t1.png,ship,{BOX}", f"a/v2.png,plane,{BOX}", f"b/t3.png,ship,{BOX}")
    recipe = recipe_of(table=str(path), times=3, split={"rule": "prefix", "validation": ["v"]})
    (training,) = load_split(recipe, tmp_path, "train")
    (validation,) = load_split(recipe, tmp_path, "validation")
    assert (len(training), len(training.files), len(validation)) == (6, 6, 1)
    assert training.read(0) is training.read(2), "an image that comes up again is decoded once"
    assert training.read(0) is not training.read(1)
    read = validation.read(0)
    assert read is not None
    assert (int(read.image.max()), recipe.class_names[read.objects.labels[0]]) == (1, "plane")


def test_photographs_without_objects_train_too(tmp_path: Path) -> None:
    write_images(tmp_path, "a/t1.png", "a/v2.png", "bare/one.png", "bare/two.png")
    path = table(tmp_path, f"a/t1.png,ship,{BOX}", f"a/v2.png,plane,{BOX}")
    how = {"table": str(path), "times": 3, "split": {"rule": "prefix", "validation": ["v"]}}
    recipe = recipe_of(**how, backgrounds=["photographs/bare"])
    listed, bare = load_split(recipe, tmp_path, "train")
    assert (len(listed), len(bare)) == (3, 2)
    assert [len(image.objects) for image in bare] == [0, 0]
    assert len(load_split(recipe, tmp_path, "validation")) == 1
    with pytest.raises(TrainingError, match="there are no photographs"):
        load_split(recipe_of(**how, backgrounds=["photographs/none"]), tmp_path, "train")


@pytest.mark.parametrize(
    ("lines", "header", "told"),
    [
        (("a.png,ship,1,2,3",), HEADER, "line 2 is no box"),
        (("a.png,ship,1,2,3,4,5,6,7,many",), HEADER, "line 2 is no box"),
        (("a.png,ship,1,2,3,4,5,6,7,nan",), HEADER, "line 2 is no box"),
        ((f"a.png,ship,{BOX}",), "image,class", "does not begin with its columns"),
    ],
)
def test_a_line_that_is_no_box_is_named(tmp_path: Path, lines: tuple[str, ...], header: str, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        read_table(table(tmp_path, *lines, header=header), {"ship": 0})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_table(tmp_path / "nothing.csv", {})
    write_images(tmp_path, "here.png")
    path = table(tmp_path, f"here.png,ship,{BOX}", f"gone.png,ship,{BOX}")
    with pytest.raises(TrainingError, match=r"1 of the 2 images of boxes.csv are not there: gone.png"):
        load_split(recipe_of(table=str(path)), tmp_path, "train")


def test_the_shipped_table_has_boxes_of_every_class_inside_their_pictures() -> None:
    recipe = load_recipe(shipped_recipes()["lemevit-objects"])
    codes = {name: code for code, name in enumerate(recipe.class_names)}
    boxes = read_table(find_table("ucmerced-objects"), codes)
    labels = np.concatenate([found.labels for found in boxes.values()])
    assert (np.bincount(labels, minlength=4) >= 20).all()
    for name, found in boxes.items():
        middles = found.corners.mean(axis=1)
        assert ((middles > 0) & (middles < 256)).all(), name
        sides = np.linalg.norm(np.diff(found.corners, axis=1), axis=2)
        assert (sides > 4).all(), name
        first, second = np.diff(found.corners, axis=1)[:, 0], np.diff(found.corners, axis=1)[:, 1]
        assert (np.abs((first * second).sum(axis=1)) < 0.05 * np.prod(sides[:, :2], axis=1)).all(), (
            f"{name}: no rectangle"
        )
