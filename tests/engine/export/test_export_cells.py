"""Cells of a scene classifier in every format: rectangles with the likeliest classes, filled in the class's colour."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from recognition_fakes import classifier, recognise, write_blocks

from engine.errors import ExportError, OptionError
from engine.export import FORMATS, export
from engine.inference.analysis import Analysis, open_analysis

VECTOR = [fmt.suffix for fmt in FORMATS if fmt.is_vector]
CODES = np.array([[0, 1, 2, 3], [4, 5, 6, 0], [1, 3, 5, 2]])


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("cells")
    recognise(write_blocks(folder / "scene.tif", CODES), classifier(), folder / "out")
    return open_analysis(folder / "out")


def read(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path, layer="cells")


@pytest.mark.parametrize("suffix", VECTOR)
def test_every_cell_arrives_with_its_likeliest_classes(analysis: Analysis, tmp_path: Path, suffix: str) -> None:
    there = analysis.cells()
    here = read(export(analysis, tmp_path / f"out{suffix}")).sort_values("cell_id", ignore_index=True)
    assert len(here) == 12
    for rank in ("", "_2", "_3", "_4", "_5"):
        assert list(here[f"class{rank}"]) == list(there[f"class{rank}"])
        np.testing.assert_allclose(here[f"score{rank}"], there[f"score{rank}"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(here["valid_share"], 1)
    back = here.geometry.to_crs(there.crs)
    for one, other in zip(back, there.geometry, strict=True):
        assert one.symmetric_difference(other).area < 1e-3 * other.area
    assert shapely.is_valid(here.geometry.values).all()


def test_only_some_classes(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "some.gpkg", classes=["class 5", "class 0"])
    assert sorted(read(path)["class"]) == ["class 0", "class 0", "class 5", "class 5"]


def test_the_style_fills_cells_and_names_classes(analysis: Analysis, tmp_path: Path) -> None:
    export(analysis, tmp_path / "out.fgb")
    style = ET.parse(tmp_path / "out.qml").getroot()
    categories = style.findall("./renderer-v2/categories/category")
    assert [category.get("value") for category in categories] == [f"class {k}" for k in range(7)]
    fills = style.findall("./renderer-v2/symbols/symbol/layer/Option/Option[@name='style']")
    assert {fill.get("value") for fill in fills} == {"solid"}


def test_the_class_map_is_exported_as_of_any_analysis(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "classes.tif")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1)[::32, ::32], CODES)
        assert file.colormap(1)[2][:3] == (0x50, 0x80, 0x40)
    with rasterio.open(export(analysis, tmp_path / "sure.tif", layer="confidence")) as file:
        assert file.read(1).min() >= 1


def test_what_cannot_be_is_refused(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no layer 'regions'"):
        export(analysis, tmp_path / "out.gpkg", layer="regions")
    with pytest.raises(OptionError, match="cannot be simplified"):
        export(analysis, tmp_path / "out.gpkg", simplify_px=2)
    with pytest.raises(ExportError, match=r"cannot hold the layer 'cells'.*\.gpkg"):
        export(analysis, tmp_path / "out.tif", layer="cells")
