"""Objects in every vector format: oriented polygons with class, score and angle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from detection_fakes import detect, detector, write_places

from engine.errors import ExportError, OptionError
from engine.export import FORMATS, export
from engine.inference.analysis import Analysis, open_analysis

VECTOR = [fmt.suffix for fmt in FORMATS if fmt.is_vector]
BOXES = [(40.0, 30.0, 18.0, 6.0, 0.3), (150.0, 90.0, 16.0, 7.0, -1.0), (90.0, 60.0, 14.0, 5.0, 1.2)]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("objects")
    path = write_places(folder / "scene.tif", 200, 130)
    detect(path, detector(BOXES, labels=[0, 1, 0]), folder / "out")
    return open_analysis(folder / "out")


def read(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path, layer="detections")


@pytest.mark.parametrize("suffix", VECTOR)
def test_every_object_arrives_with_class_score_and_angle(analysis: Analysis, tmp_path: Path, suffix: str) -> None:
    there = analysis.detections()
    path = export(analysis, tmp_path / f"out{suffix}")
    here = read(path).sort_values("detection_id", ignore_index=True)
    assert len(here) == 3
    assert list(here["class"]) == list(there["class"])
    for column in ("score", "angle_deg", "length_m", "width_m"):
        np.testing.assert_allclose(here[column], there[column], rtol=1e-6)
    assert shapely.is_valid(here.geometry.values).all()
    back = here.geometry.to_crs(there.crs)
    for one, other in zip(back, there.geometry, strict=True):
        assert one.symmetric_difference(other).area < 0.02 * other.area
        outline = one.geoms[0] if one.geom_type == "MultiPolygon" else one
        assert len(outline.exterior.coords) == 5


def test_only_some_classes(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "ships.gpkg", classes=["class 1"])
    assert list(read(path)["class"]) == ["class 1"]


def test_the_style_draws_outlines(analysis: Analysis, tmp_path: Path) -> None:
    export(analysis, tmp_path / "out.gpkg")
    style = (tmp_path / "out.qml").read_text()
    assert '<Option name="style" value="no"' in style
    assert 'attr="class"' in style


def test_geojson_names_where_it_comes_from(analysis: Analysis, tmp_path: Path) -> None:
    facts = json.loads(export(analysis, tmp_path / "out.geojson").read_text())
    assert facts["provenance"]["model"] == "tiny"
    assert {"class", "score", "angle_deg"} <= set(facts["features"][0]["properties"])


def test_what_a_detection_does_not_hold_is_refused(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot hold the layer 'detections'.*\.gpkg"):
        export(analysis, tmp_path / "out.tif")
    with pytest.raises(ExportError, match="no layer 'regions'"):
        export(analysis, tmp_path / "out.gpkg", layer="regions")
    with pytest.raises(OptionError, match="simplified"):
        export(analysis, tmp_path / "out.gpkg", simplify_px=1.0)
    with pytest.raises(ExportError, match="part of the analysis"):
        export(analysis, analysis.path / "detections.parquet")


def test_no_objects_are_an_empty_file(tmp_path: Path) -> None:
    path = write_places(tmp_path / "scene.tif", 80, 70)
    detect(path, detector([]), tmp_path / "out")
    for suffix in VECTOR:
        assert len(read(export(open_analysis(tmp_path / "out"), tmp_path / f"none{suffix}"))) == 0
