"""Tiles as data sets are distributed: names with endings, colours, folders of splits, images to be cut."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from engine.errors import DataWarning, TrainingError
from engine.training.recipe import load_recipe
from engine.training.segmentation.recipe import Measuring, SegmentationRecipe
from engine.training.segmentation.samples import MeasuredTiles, TileSamples
from engine.training.segmentation.tiles import IGNORE, Tile, TileSet, cuts, load_split


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    profile = {"driver": driver, "width": pixels.shape[2], "height": pixels.shape[1], "count": len(pixels)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", dtype="uint8", **profile) as file:
            file.write(pixels)


def _recipe(path: Path, source: str, *overrides: str) -> SegmentationRecipe:
    recipe = load_recipe(path, [f"data=[{source}]", *overrides])
    assert isinstance(recipe, SegmentationRecipe)
    return recipe


def _tiles(recipe: SegmentationRecipe, root: Path, split: str) -> dict[str, Tile]:
    return {tile.name: tile for group in load_split(recipe, root, split) for tile in group}


def test_painted_masks_beside_their_images(recipe_file: Path, tmp_path: Path) -> None:
    """DeepGlobe: ``1_sat.png`` and ``1_mask.png`` in one folder, colours a little off."""
    rng = np.random.default_rng(0)
    _write(tmp_path / "train" / "1_sat.png", rng.integers(0, 255, (3, 8, 8), dtype=np.uint8))
    mask = np.zeros((3, 8, 8), np.uint8)
    mask[:, :4] = np.array([3, 250, 255])[:, None, None]  # urban, cyan
    mask[:, 4:6] = np.array([255, 252, 0])[:, None, None]  # agriculture, yellow
    _write(tmp_path / "train" / "1_mask.png", mask)
    source = (
        "{kind: tiles, folder: train, images: '', masks: '', image_ending: _sat, mask_ending: _mask,"
        " colours: {'#00ffff': 0, '#ffff00': 1}, colour_tolerance: 127}"
    )
    tile = _tiles(_recipe(recipe_file, source), tmp_path, "train")["1"]
    assert [int(tile.labels[row, 0]) for row in (0, 4, 7)] == [0, 1, IGNORE]
    with pytest.raises(TrainingError, match="1 of 1 images have no mask: 1_label"):
        load_split(_recipe(recipe_file, source.replace("_mask", "_label")), tmp_path, "train")


def test_splits_with_folders_of_their_own(recipe_file: Path, tmp_path: Path) -> None:
    """GID-5 as HOOK's authors lay it out: ``train``, ``train_labels``, ``test``, ``test_labels``."""
    for split in ("train", "test"):
        _write(tmp_path / "GID" / split / f"{split}1.tif", np.full((3, 8, 8), 9, np.uint8))
        _write(tmp_path / "GID" / f"{split}_labels" / f"{split}1.tif", np.array([[[0] * 8, [5] * 8] * 4], np.uint8))
    source = (
        "{kind: tiles, folder: GID, images: '{split}', masks: '{split}_labels', labels: {1: 0, 2: 1, 5: 1},"
        " split: {rule: folders, train: train, validation: test}}"
    )
    recipe = _recipe(recipe_file, source)
    assert list(_tiles(recipe, tmp_path, "train")) == ["train1"]
    validation = _tiles(recipe, tmp_path, "validation")["test1"]
    assert validation.labels[:2, 0].tolist() == [IGNORE, 1]


@pytest.mark.parametrize("memory", ["true", "false"])
def test_large_images_are_cut_and_lose_no_pixel(recipe_file: Path, tmp_path: Path, memory: str) -> None:
    image = np.arange(3 * 100 * 70, dtype=np.uint64).astype(np.uint8).reshape(3, 100, 70)
    _write(tmp_path / "large" / "images" / "a.tif", image)
    _write(tmp_path / "large" / "masks" / "a.tif", image[:1] % 3)
    source = f"{{kind: tiles, folder: large, labels: {{1: 0, 2: 1}}, cut_px: 40, memory: {memory}}}"
    parts = _tiles(_recipe(recipe_file, source), tmp_path, "train")
    assert len(parts) == 6
    joined = np.concatenate(
        [
            np.concatenate([parts[f"a_{row}_{col}"].image for col, _ in cuts(70, 40)], axis=2)
            for row, _ in cuts(100, 40)
        ],
        axis=1,
    )
    assert np.array_equal(joined, image)
    assert max(max(part.labels.shape) for part in parts.values()) <= 40


def test_windows_measure_every_pixel_once() -> None:
    labels = np.arange(60 * 45, dtype=np.int64).reshape(60, 45) % 200
    tile = Tile("a", np.broadcast_to(labels, (3, 60, 45)).astype(np.uint8), labels.astype(np.uint8))
    measured = MeasuredTiles([TileSet([tile])], Measuring(window_px=32))
    assert len(measured) == 4
    seen = np.concatenate([measured[i][1].numpy().ravel() for i in range(4)])
    assert sorted(seen.tolist()) == sorted(labels.ravel().tolist())
    whole = MeasuredTiles([TileSet([tile])], Measuring(resize_px=32))
    image, truth = whole[0]
    assert image.shape == (3, 32, 32)
    assert truth.shape == (60, 45)


@pytest.mark.parametrize("memory", ["true", "false"])
def test_a_pair_that_does_not_fit_stops_or_is_left_out(recipe_file: Path, tmp_path: Path, memory: str) -> None:
    for name, height in (("good", 40), ("odd", 39)):
        _write(tmp_path / "pairs" / "images" / f"{name}.tif", np.full((3, 40, 40), 7, np.uint8))
        _write(tmp_path / "pairs" / "masks" / f"{name}.tif", np.ones((1, height, 40), np.uint8))
    source = f"{{kind: tiles, folder: pairs, labels: {{1: 0}}, memory: {memory}}}"

    def draw(*overrides: str) -> int:
        recipe = _recipe(recipe_file, source, *overrides)
        samples = TileSamples(recipe, load_split(recipe, tmp_path, "train"))
        return sum(int((samples[i][1] != IGNORE).any()) for i in range(4))

    with pytest.raises(TrainingError, match=r"differ in size.*odd\.tif"):
        draw()
    with pytest.warns(DataWarning, match=r"odd\.tif"):
        assert draw("on_broken=skip") == 4
