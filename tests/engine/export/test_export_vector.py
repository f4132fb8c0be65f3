from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine

sys.path.insert(0, str(Path(__file__).parents[1]))
from analysis_maker import CLASSES, UTM, Analysis, make_analysis, patches

import engine.export
from engine.errors import CancelledError, ExportError, OptionError, OutputError
from engine.export import FORMATS, export

VECTOR = [fmt.suffix for fmt in FORMATS if fmt.is_vector]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("made") / "analysis")


def regions(analysis: Analysis) -> gpd.GeoDataFrame:
    return gpd.read_parquet(analysis.path / "regions.parquet")


def read(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path, layer="regions")


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".") or p.name.endswith(("-wal", "-journal", "-shm"))]


@pytest.mark.parametrize("suffix", VECTOR)
def test_every_region_arrives_with_its_attributes(analysis: Analysis, tmp_path: Path, suffix: str) -> None:
    there = regions(analysis)
    path = export(analysis, tmp_path / f"out{suffix}")
    here = read(path).sort_values("region_id", ignore_index=True)
    assert len(here) == len(there)
    for column in ("region_id", "class", "runner_up", "area_m2", "mean_red", "token"):
        assert list(here[column]) == list(there[column]), column
    assert shapely.is_valid(here.geometry.values).all()
    assert here.geometry.to_crs(there.crs).area.sum() == pytest.approx(there.area.sum(), rel=1e-5)
    assert (path.with_suffix(".qml")).exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_native_formats_keep_crs_and_outlines(analysis: Analysis, tmp_path: Path, suffix: str) -> None:
    there = regions(analysis)
    here = read(export(analysis, tmp_path / f"out{suffix}")).sort_values("region_id", ignore_index=True)
    assert here.crs == there.crs
    assert shapely.equals(here.geometry.values, there.geometry.values).all()
    assert shapely.coverage_is_valid(shapely.get_parts(here.geometry.values))


def test_feature_vectors_only_where_lists_fit(analysis: Analysis, tmp_path: Path) -> None:
    assert "features" not in read(export(analysis, tmp_path / "a.gpkg")).columns
    kept = read(export(analysis, tmp_path / "a.parquet"))
    assert np.array_equal(kept["features"][0], regions(analysis)["features"][0])


def test_geojson_is_rfc_7946(analysis: Analysis, tmp_path: Path) -> None:
    document = json.loads(export(analysis, tmp_path / "a.geojson").read_text())
    assert "crs" not in document
    assert document["provenance"]["model_sha256"] == "ab" * 32
    for feature in document["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        for part in getattr(shape, "geoms", [shape]):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)
        points = shapely.get_coordinates(shape)
        assert np.abs(points - np.round(points, 7)).max() < 1e-12
        assert (np.abs(points[:, 0]) <= 180).all()
        assert 47 < points[:, 1].min() < points[:, 1].max() < 49


def test_geojson_numbers_are_short(analysis: Analysis, tmp_path: Path) -> None:
    text = export(analysis, tmp_path / "a.geojson").read_text()
    assert max(len(digits) for digits in re.findall(r"\.(\d+)", text)) <= 9
    assert '"homogeneity": 0.333333333' in text


def test_geojson_keeps_neighbours_together(analysis: Analysis, tmp_path: Path) -> None:
    here = gpd.read_file(export(analysis, tmp_path / "a.geojson"))
    assert shapely.coverage_is_valid(shapely.get_parts(here.geometry.values))


def test_simplified_outlines_stay_a_coverage(analysis: Analysis, tmp_path: Path) -> None:
    plain = read(export(analysis, tmp_path / "a.gpkg"))
    simple = read(export(analysis, tmp_path / "b.gpkg", simplify_px=2.0))
    assert len(simple) == len(plain)
    assert shapely.coverage_is_valid(shapely.get_parts(simple.geometry.values))
    fewer = shapely.get_num_coordinates(simple.geometry.values).sum()
    assert fewer < 0.7 * shapely.get_num_coordinates(plain.geometry.values).sum()
    whole, before = shapely.union_all(simple.geometry.values), shapely.union_all(plain.geometry.values)
    assert whole.symmetric_difference(before).area < 0.02 * before.area


def test_class_filter(analysis: Analysis, tmp_path: Path) -> None:
    here = read(export(analysis, tmp_path / "a.fgb", classes=["Water", "forest"]))
    there = regions(analysis)
    assert set(here["class"]) == {"water", "forest"}
    assert len(here) == there["class"].isin(["water", "forest"]).sum()
    with pytest.raises(ExportError, match=r"no class 'sea'.*built-up, farmland"):
        export(analysis, tmp_path / "b.fgb", classes=["sea"])


def test_simplified_and_filtered_regions_keep_the_same_outlines(analysis: Analysis, tmp_path: Path) -> None:
    everything = read(export(analysis, tmp_path / "a.gpkg", simplify_px=2)).set_index("region_id").geometry
    water = (
        read(export(analysis, tmp_path / "b.gpkg", simplify_px=2, classes=["water"])).set_index("region_id").geometry
    )
    assert len(water) > 1
    assert shapely.equals(water.values, everything.loc[water.index].values).all()


def test_geopackage_holds_its_style_and_provenance(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "a.gpkg")
    with sqlite3.connect(path) as connection:
        query = "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ((table, column, default, qml),) = connection.execute(query)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert ("layer_styles", "attributes") in connection.execute("SELECT table_name, data_type FROM gpkg_contents")
    assert (table, column, default) == ("regions", "geom", 1)
    assert 'attr="class"' in qml
    assert 'value="water"' in qml
    metadata = pyogrio.read_info(path, layer="regions")["layer_metadata"]
    assert metadata["model"] == "test-landcover"
    assert metadata["model_sha256"] == "ab" * 32
    assert json.loads(metadata["options"])["device"] == "auto"


def test_geoparquet_metadata(analysis: Analysis, tmp_path: Path) -> None:
    path = export(analysis, tmp_path / "a.parquet", classes=["water"])
    metadata = pq.read_metadata(path).metadata
    geo = json.loads(metadata[b"geo"])["columns"]["geometry"]
    assert np.allclose(geo["bbox"], read(path).total_bounds)
    assert geo["geometry_types"] == ["Polygon"]
    assert json.loads(metadata[b"provenance"])["model"] == "test-landcover"


def test_an_antimeridian_scene_is_cut_at_180(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32601", always_xy=True).transform(180.0, 60.0)
    across = Affine(30.0, 0, round(x) - 2000, 0, -30.0, round(y) + 1500)
    analysis = make_analysis(tmp_path / "an", crs="EPSG:32601", transform=across)
    here = gpd.read_file(export(analysis, tmp_path / "a.geojson"))
    assert len(here) == len(regions(analysis))
    assert shapely.is_valid(here.geometry.values).all()
    parts = shapely.bounds(shapely.get_parts(here.geometry.values))
    assert (parts[:, 2] - parts[:, 0] < 1).all()
    assert parts[:, 0].min() == pytest.approx(-180)
    assert parts[:, 2].max() == pytest.approx(180)
    assert here.to_crs("EPSG:32601").area.sum() == pytest.approx(regions(analysis).area.sum(), rel=1e-4)


def test_a_polar_scene(tmp_path: Path) -> None:
    over = Affine(1000.0, 0, -75_000, 0, -1000.0, 60_000)
    analysis = make_analysis(tmp_path / "an", crs="EPSG:3413", transform=over)
    here = gpd.read_file(export(analysis, tmp_path / "a.geojson"))
    assert len(here) == len(regions(analysis))
    assert shapely.is_valid(here.geometry.values).all()
    assert here.total_bounds[3] == pytest.approx(90)
    assert here.to_crs("ESRI:102017").area.sum() == pytest.approx(
        regions(analysis).to_crs("ESRI:102017").area.sum(), rel=0.01
    )


def test_the_whole_earth_in_degrees(tmp_path: Path) -> None:
    classes = np.zeros((90, 180), np.uint8)
    classes[30:60, 40:80] = 4
    analysis = make_analysis(
        tmp_path / "an", classes=classes, crs="EPSG:4326", transform=Affine(2.0, 0, -180, 0, -2.0, 90)
    )
    here = gpd.read_file(export(analysis, tmp_path / "a.geojson", simplify_px=1))
    assert shapely.area(here.geometry.values).sum() == pytest.approx(360 * 180)
    assert shapely.is_valid(here.geometry.values).all()


def test_pixels_of_a_centimetre_survive_seven_digits(tmp_path: Path) -> None:
    tiny = Affine(0.01, 0, 691600, 0, -0.01, 5334760)
    analysis = make_analysis(tmp_path / "an", transform=tiny)
    here = gpd.read_file(export(analysis, tmp_path / "a.geojson"))
    assert len(here) == len(regions(analysis))
    assert shapely.is_valid(here.geometry.values).all()
    assert set(shapely.get_type_id(here.geometry.values)) <= {3, 6}


def test_without_crs(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "an", crs=None, transform=Affine.identity())
    with pytest.raises(ExportError, match=r"no CRS.*\.gpkg.*--crs"):
        export(analysis, tmp_path / "a.geojson")
    assert not (tmp_path / "a.geojson").exists()
    for suffix in (".gpkg", ".fgb", ".parquet"):
        here = read(export(analysis, tmp_path / f"a{suffix}"))
        assert here.area.sum() == pytest.approx(regions(analysis).area.sum())


def test_another_planet(tmp_path: Path) -> None:
    moon = pyproj.CRS.from_user_input("IAU_2015:30110").to_wkt()
    analysis = make_analysis(tmp_path / "an", crs=moon)
    with pytest.raises(ExportError, match=r"on Earth.*\.gpkg"):
        export(analysis, tmp_path / "a.geojson")
    assert len(read(export(analysis, tmp_path / "a.gpkg"))) == len(regions(analysis))


def test_no_region_left_is_an_empty_layer(tmp_path: Path) -> None:
    classes = np.full((40, 40), 2, np.uint8)
    analysis = make_analysis(tmp_path / "an", classes=classes)
    for suffix in VECTOR:
        assert len(read(export(analysis, tmp_path / f"a{suffix}", classes=["water"]))) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.shp", ".gpkg (GeoPackage)"), ("a", "no suffix"), ("a.jpg", ".tif")],
)
def test_unknown_suffix_names_those_that_work(analysis: Analysis, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ExportError) as caught:
        export(analysis, tmp_path / name)
    assert words in caught.value.message
    assert ".geojson" in caught.value.remedy


def test_layer_and_format_must_fit(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot hold.*\.tif"):
        export(analysis, tmp_path / "a.gpkg", layer="classes")
    with pytest.raises(ExportError, match="Layers are regions"):
        export(analysis, tmp_path / "a.gpkg", layer="nonsense")  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        export(analysis, tmp_path / "a.tif", simplify_px=1)
    with pytest.raises(OptionError):
        export(analysis, tmp_path / "a.gpkg", simplify_px=-1)


def test_incomplete_analysis(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "an", complete=False)
    with pytest.raises(ExportError, match="not complete"):
        export(analysis, tmp_path / "a.gpkg")


def test_targets_that_cannot_be_written(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.gpkg").mkdir()
    (tmp_path / "open.gpkg").write_text("x")
    (tmp_path / "open.gpkg-wal").write_text("x")
    for target in ("file/a.gpkg", "folder.gpkg", "open.gpkg"):
        with pytest.raises(OutputError) as caught:
            export(analysis, tmp_path / target)
        assert caught.value.remedy
    assert (tmp_path / "open.gpkg").read_text() == "x"
    with pytest.raises(ExportError, match="part of the analysis"):
        export(analysis, analysis.path / "regions.parquet")


def test_a_full_disk_leaves_nothing(analysis: Analysis, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    import errno

    from engine.export.writing import output_error

    with pytest.raises(OSError, match="space") as caught, full.open("wb", buffering=0) as file:
        file.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert "disk is full" in output_error(caught.value, tmp_path / "a.gpkg").message


@pytest.mark.parametrize("suffix", [fmt.suffix for fmt in FORMATS])
def test_cancelling_keeps_the_file_that_was_there(analysis: Analysis, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    target.write_text("earlier")
    with pytest.raises(CancelledError):
        export(analysis, target, cancel=lambda: True)
    assert target.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == [target.name]


def test_an_export_replaces_an_earlier_one(analysis: Analysis, tmp_path: Path) -> None:
    for _ in range(2):
        path = export(analysis, tmp_path / "a.gpkg")
    assert len(read(path)) == len(regions(analysis))


@pytest.mark.parametrize("suffix", [fmt.suffix for fmt in FORMATS])
def test_progress_rises_to_one(analysis: Analysis, tmp_path: Path, suffix: str) -> None:
    shares: list[float] = []
    export(analysis, tmp_path / f"a{suffix}", progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_many_regions_stream_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.export.stream.BATCH_ROWS", 7)
    analysis = make_analysis(tmp_path / "an", classes=patches(80, 90, seed=3))
    asked: list[int] = []
    path = export(analysis, tmp_path / "a.geojson", progress=lambda share: asked.append(1), simplify_px=1)
    assert len(asked) > 3
    assert sorted(gpd.read_file(path)["region_id"]) == sorted(regions(analysis)["region_id"])
    calls = iter([False, False, False, True])
    with pytest.raises(CancelledError):
        export(analysis, tmp_path / "b.fgb", cancel=lambda: next(calls))
    assert not (tmp_path / "b.fgb").exists()


def test_the_package_can_be_called(analysis: Analysis, tmp_path: Path) -> None:
    assert engine.export(analysis, tmp_path / "a.gpkg") == tmp_path / "a.gpkg"  # type: ignore[operator]


def test_made_classes_are_those_of_the_card(analysis: Analysis) -> None:
    names: Sequence[str] = [cls.name for cls in analysis.card.classes]
    assert list(names) == [name for name, _ in CLASSES]
    assert regions(analysis).total_bounds[0] == UTM.c
