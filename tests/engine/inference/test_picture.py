from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from engine.errors import BandError, OptionError, SceneError
from engine.inference.options import AnalysisOptions
from engine.inference.picture import read_picture
from engine.models.card import CardClass, ModelCard, Scaling


def _card(**changes: object) -> ModelCard:
    card = ModelCard(
        name="tiny",
        title="Tiny",
        architecture="hook_classifier",
        config={},
        task="segmentation",
        classes=(CardClass(name="a", color="#000000"),),
        bands=("red", "green", "blue"),
        scaling=Scaling(divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, low=(10,) * 3, high=(200,) * 3),
        window_px=32,
        overlap_px=0,
        gsd_m=4.0,
        token_count=1,
        data="",
        metrics={},
        licence="",
        source="",
    )
    return card.model_copy(update=changes)


def _scene(path: Path, pixels: np.ndarray, gsd_m: float = 4.0, nodata: float | None = None) -> Path:
    place = Affine.translation(5e5, 5e6) @ Affine.scale(gsd_m, -gsd_m)
    profile = {"driver": "GTiff", "width": pixels.shape[2], "height": pixels.shape[1], "count": len(pixels)}
    with rasterio.open(
        path, "w", dtype=pixels.dtype, crs="EPSG:32632", transform=place, nodata=nodata, **profile
    ) as file:
        file.write(pixels)
    return path


def test_a_picture_is_read_as_it_is_and_the_middle_of_a_large_one(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(10, 200, (3, 40, 60)).astype(np.uint8)
    path = _scene(tmp_path / "a.tif", pixels)
    assert np.array_equal(read_picture(path, _card()).stored, pixels)
    assert np.array_equal(read_picture(path, _card(), most_px=20).stored, pixels[:, 10:30, 20:40])
    assert np.array_equal(read_picture(path, _card(), part=(5, 3, 30, 20)).stored, pixels[:, 3:23, 5:35])
    turned = read_picture(path, _card(), options=AnalysisOptions(bands=(3, 2, 1)))
    assert np.array_equal(turned.stored, pixels[::-1])


@pytest.mark.parametrize(("part", "said"), [((5, 3, 60, 20), "beyond the scene"), ((5, 3, 0, 20), "no part")])
def test_a_part_must_lie_in_the_scene(tmp_path: Path, part: tuple[int, ...], said: str) -> None:
    path = _scene(tmp_path / "a.tif", np.full((3, 40, 60), 90, np.uint8))
    with pytest.raises(OptionError, match=said):
        read_picture(path, _card(), part=part)


def test_values_of_another_type_come_into_the_range_of_the_card(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(200, 4000, (3, 40, 40)).astype(np.uint16)
    picture = read_picture(_scene(tmp_path / "a.tif", pixels), _card())
    low, high = np.percentile(picture.stored[0], (2, 98))
    assert low == pytest.approx(10, abs=2)
    assert high == pytest.approx(200, abs=2)
    assert any("uint16" in warning.message for warning in picture.warnings)


def test_resolution_matters_to_maps_and_not_to_scenes(tmp_path: Path) -> None:
    pixels = np.full((3, 40, 40), 100, np.uint8)
    path = _scene(tmp_path / "a.tif", pixels, gsd_m=1.0)
    assert read_picture(path, _card()).stored.shape == (3, 20, 20)
    assert read_picture(path, _card(task="classification")).stored.shape == (3, 40, 40)


def test_gaps_hold_the_mean_of_what_is_there(tmp_path: Path) -> None:
    pixels = np.full((3, 8, 8), 100, np.uint8)
    pixels[:, :4] = 0
    picture = read_picture(_scene(tmp_path / "a.tif", pixels, nodata=0), _card())
    assert (picture.stored == 100).all()
    with pytest.raises(SceneError, match="no valid pixel"):
        read_picture(_scene(tmp_path / "b.tif", np.zeros((3, 8, 8), np.uint8), nodata=0), _card())


def test_a_missing_band_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BandError):
        read_picture(_scene(tmp_path / "a.tif", np.full((1, 8, 8), 9, np.uint8)), _card())
