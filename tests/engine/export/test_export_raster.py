from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from analysis_maker import CLASSES, Analysis, make_analysis, patches

from engine.errors import OutputError, RegionWarning
from engine.export import export


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("made") / "analysis", classes=patches(700, 1100))


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


@pytest.mark.parametrize("layer", ["classes", "confidence", "regions"])
def test_pixels_are_the_analysis_own(analysis: Analysis, tmp_path: Path, layer: str) -> None:
    path = export(analysis, tmp_path / "a.tif", layer=layer)  # type: ignore[arg-type]
    assert np.array_equal(pixels(path), pixels(analysis.path / f"{layer}.tif"))
    with rasterio.open(path) as here, rasterio.open(analysis.path / f"{layer}.tif") as there:
        assert (here.crs, here.transform, here.nodata, here.dtypes) == (
            there.crs,
            there.transform,
            there.nodata,
            there.dtypes,
        )
        assert here.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert here.overviews(1)
        assert here.tags()["model_sha256"] == "ab" * 32
        assert here.tags()["layer"] == layer


def test_classes_carry_palette_and_names(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "a.tif")
    with rasterio.open(path) as source:
        palette = source.colormap(1)
    for code, (_, color) in enumerate(CLASSES):
        assert palette[code] == (*bytes.fromhex(color[1:]), 255)
    assert palette[255][3] == 0
    sidecar = ET.parse(path.with_name("a.tif.aux.xml"))
    assert [c.text for c in sidecar.iter("Category")] == [name for name, _ in CLASSES]
    assert len(sidecar.findall(".//GDALRasterAttributeTable/Row")) == len(CLASSES)


def test_overviews_hold_only_classes_that_are_there(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "a.tif", classes=["water", "forest"])
    with rasterio.open(path, overview_level=0) as source:
        assert set(np.unique(source.read(1))) == {2, 4, 255}


def test_filtered_classes_become_no_data(analysis: Analysis, tmp_path: Path) -> None:
    classes = pixels(analysis.path / "classes.tif")
    for layer, nodata in (("classes", 255), ("confidence", 0), ("regions", 0)):
        path = export(analysis, tmp_path / f"{layer}.tif", layer=layer, classes=["water"])  # type: ignore[arg-type]
        here = pixels(path)
        assert (here[classes != 4] == nodata).all()
        assert np.array_equal(here[classes == 4], pixels(analysis.path / f"{layer}.tif")[classes == 4])
    assert [e.get("label") for e in ET.parse(tmp_path / "classes.qml").iter("paletteEntry")] == ["water"]


def test_one_style_serves_a_raster_and_polygons_of_the_same_name(analysis: Analysis, tmp_path: Path) -> None:
    export(analysis, tmp_path / "a.tif", layer="confidence")
    export(analysis, tmp_path / "a.gpkg")
    style = ET.parse(tmp_path / "a.qml").getroot()
    renderer = style.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "class"
    labels = [c.get("label") for c in renderer.iter("category")]
    assert labels == [name for name, _ in CLASSES]
    raster = style.findall("./pipe/rasterrenderer/colorPalette/paletteEntry")
    assert len(raster) == 100  # confidence, kept
    export(analysis, tmp_path / "a.tif")
    style = ET.parse(tmp_path / "a.qml").getroot()
    assert len(style.findall("./pipe/rasterrenderer/colorPalette/paletteEntry")) == len(CLASSES)
    assert style.find("renderer-v2") is not None


def test_a_style_with_odd_names_is_still_xml() -> None:
    from engine.export.qml import style
    from engine.inference.pam import class_palette
    from engine.models.card import CardClass

    classes = [CardClass(name='<a & "b">', color="#102030")]
    root = ET.fromstring(style(classes, class_palette(classes)).partition("\n")[2])
    category = root.find(".//category")
    assert category is not None
    assert category.get("value") == '<a & "b">'


def test_region_maps_are_coloured_by_class(analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = export(analysis, tmp_path / "a.tif", layer="regions")
    entries = ET.parse(path.with_suffix(".qml")).findall("./pipe/rasterrenderer/colorPalette/paletteEntry")
    frame = analysis.regions()
    colors = dict(CLASSES)
    wanted = {(n, colors[name]) for n, name in zip(frame["region_id"], frame["class"], strict=True)}
    assert {(int(e.get("value", "")), e.get("color", "")) for e in entries} == wanted
    monkeypatch.setattr("engine.export.raster.MAX_NAMED_REGIONS", len(frame) - 1)
    with pytest.warns(RegionWarning, match=r"without colours.*\.gpkg"):
        export(analysis, tmp_path / "b.tif", layer="regions")
    assert ET.parse(tmp_path / "b.qml").find("pipe") is None


def test_a_truncated_map_is_not_taken_for_whole(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rasterio.shutil.copy

    def lossy(source: Path, target: Path, **options: object) -> None:
        whole(source, target, **options)
        with rasterio.open(target, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            file.write(np.zeros((1, 1), np.uint8), 1, window=((600, 601), (900, 901)))

    monkeypatch.setattr("rasterio.shutil.copy", lossy)
    with pytest.raises(OutputError, match="pixels in the file differ"):
        export(analysis, tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_a_scene_of_one_pixel(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "an", classes=np.array([[4]], np.uint8))
    assert pixels(export(analysis, tmp_path / "a.tif")).tolist() == [[4]]
