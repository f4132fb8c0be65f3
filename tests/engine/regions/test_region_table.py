"""The table of regions: attributes, GeoParquet, one region, similar regions."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from pyproj import Geod
from rasterio.crs import CRS
from regions_fakes import NODATA, NORTH_UP, UTM, build, drawn, kinds_map, kinds_result, permuted_windows, picture

from engine.errors import AnalysisError, CancelledError, OptionError, OutputError
from engine.inference.plan import WindowPlan
from engine.regions.similarity import distances, similar_regions
from engine.regions.table import RegionTable, read_regions


@pytest.fixture
def written(tmp_path):
    kinds = kinds_map(150, 190, seed=4)
    image = picture(kinds, noise=9)
    plan = WindowPlan(190, 150, 64, 16)
    rows = [permuted_windows(kinds, plan, row, shift=1) for row in range(plan.rows)]
    result = build(tmp_path / "work", kinds, image, rows, plan)
    path = tmp_path / "regions.parquet"
    result.write_parquet(path)
    return result, drawn(result), kinds, image, path


def test_columns_and_metadata(written):
    result, labels, _, _, path = written
    frame = gpd.read_parquet(path)
    assert len(frame) == result.count == labels.max()
    assert frame.crs == UTM
    assert frame["region_id"].tolist() == list(range(1, result.count + 1))
    for name in ("class_code", "class", "class_share", "confidence", "runner_up", "pixels", "area_m2", "perimeter_m"):
        assert frame[name].notna().all()
    assert {"lon", "lat", "mean_b1", "std_b3", "homogeneity", "token", "window", "windows"} <= set(frame.columns)
    assert len(frame["features"].iloc[0]) == 12
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["primary_column"] == "geometry"
    assert geo["columns"]["geometry"]["orientation"] == "counterclockwise"
    assert all(polygon.exterior.is_ccw for polygon in frame.geometry)
    assert not list(path.parent.glob("*.part"))


def test_attributes_are_those_of_the_pixels(written):
    _, labels, kinds, image, path = written
    frame = read_regions(path)
    for number in np.random.default_rng(0).choice(np.arange(1, labels.max() + 1), 12, replace=False):
        inside = labels == number
        row = frame.loc[number]
        counts = np.bincount(kinds[inside])
        assert row["pixels"] == inside.sum()
        assert row["class_code"] == counts.argmax()
        assert row["class"] == f"class {counts.argmax()}"
        assert row["class_share"] == pytest.approx(counts.max() / inside.sum())
        assert row["confidence"] == pytest.approx(0.8)
        for band in range(3):
            assert row[f"mean_b{band + 1}"] == pytest.approx(image[band][inside].mean())
            assert row[f"std_b{band + 1}"] == pytest.approx(image[band][inside].std(), abs=1e-6)
        variance = image[:, inside].var(axis=1) / image.reshape(3, -1).var(axis=1)
        assert row["homogeneity"] == pytest.approx(np.clip(1 - variance.mean(), 0, 1))
        assert 1 <= row["windows"] <= 12


def test_areas_and_lengths_are_geodesic(written):
    _, _, _, _, path = written
    frame = read_regions(path)
    geod = Geod(ellps="WGS84")
    for _, row in frame.to_crs(4326).iloc[:10].iterrows():
        area, _ = geod.geometry_area_perimeter(shapely.geometry.polygon.orient(row.geometry))
        rings = (row.geometry.exterior, *row.geometry.interiors)
        perimeter = sum(geod.geometry_length(ring) for ring in rings)
        assert row["area_m2"] == pytest.approx(area, rel=2e-4)
        assert row["perimeter_m"] == pytest.approx(perimeter, rel=2e-4)


def test_degrees_give_metres(tmp_path):
    kinds = np.zeros((40, 60), np.uint8)
    step = 0.001
    transform = Affine(step, 0, 11.0, 0, -step, 60.0)
    result = kinds_result(tmp_path, kinds, 32, 8, crs=CRS.from_epsg(4326), transform=transform)
    result.write_parquet(tmp_path / "r.parquet")
    row = read_regions(tmp_path / "r.parquet").iloc[0]
    area, perimeter = Geod(ellps="WGS84").geometry_area_perimeter(shapely.geometry.polygon.orient(row.geometry))
    assert row["area_m2"] == pytest.approx(area, rel=1e-4)
    assert row["perimeter_m"] == pytest.approx(perimeter, rel=1e-4)
    assert (row["lon"], row["lat"]) == pytest.approx((11.03, 59.98), abs=1e-6)


def test_without_crs_areas_are_unknown(tmp_path):
    result = kinds_result(tmp_path, kinds_map(50, 60), 32, 8, crs=None, transform=Affine.identity())
    result.write_parquet(tmp_path / "r.parquet")
    frame = read_regions(tmp_path / "r.parquet")
    assert frame.crs is None
    assert frame["area_m2"].isna().all()
    assert frame["perimeter_m"].isna().all()
    assert frame["pixels"].sum() == 3000
    assert {"x", "y"} <= set(frame.columns)
    region = RegionTable(tmp_path / "r.parquet", result.grid).region(1)
    assert region.area_m2 is None
    assert region.centroid == (frame["x"].iloc[0], frame["y"].iloc[0])


def test_one_region(written):
    result, labels, _, _, path = written
    table = RegionTable(path, result.grid)
    assert len(table) == result.count
    region = table.region(3)
    assert region.region_id == 3
    assert region.pixels == (labels == 3).sum()
    assert region.band_names == ("b1", "b2", "b3")
    outline = shapely.Polygon(region.rings[0], region.rings[1:])
    assert outline.area == region.pixels
    col, row = outline.representative_point().coords[0]
    assert labels[int(row), int(col)] == 3
    for missing in (0, -1, result.count + 1):
        with pytest.raises(AnalysisError, match="no region"):
            table.region(missing)


def test_rotated_grids_draw_in_pixels_too(tmp_path):
    transform = Affine.translation(500000, 5000000) @ Affine.rotation(30) @ Affine.scale(4, -4)
    result = kinds_result(tmp_path, kinds_map(50, 60), 32, 8, transform=transform)
    result.write_parquet(tmp_path / "r.parquet")
    frame = read_regions(tmp_path / "r.parquet")
    assert shapely.coverage_is_valid(frame.geometry.values)
    assert frame.area.sum() == pytest.approx(3000 * 16)
    ring = RegionTable(tmp_path / "r.parquet", result.grid).region(1).rings[0]
    assert ring.min() == 0
    assert np.array_equal(ring, ring.astype(int))


def test_similar_regions_are_those_of_the_same_kind(written):
    result, labels, kinds, _, path = written
    table = RegionTable(path, result.grid)
    found = similar_regions(table, 1, 8)
    assert len(found) == 8
    assert 1 not in {similar.region_id for similar in found}
    assert [s.distance for s in found] == sorted(s.distance for s in found)
    mine = np.bincount(kinds[labels == 1]).argmax()
    alike = [np.bincount(kinds[labels == similar.region_id]).argmax() == mine for similar in found[:3]]
    assert all(alike)
    with pytest.raises(OptionError):
        similar_regions(table, 1, 0)


def test_vectors_without_direction_are_far_from_everything():
    vectors = np.array([[1, 0], [0, 0], [-2, 0]], np.float32)
    assert distances(vectors, vectors[0]).tolist() == [0.0, np.inf, 2.0]


def test_token_vectors_are_those_of_the_owning_window(tmp_path):
    kinds = np.zeros((32, 32), np.uint8)
    kinds[:, 16:] = 1
    plan = WindowPlan(32, 32, 32, 0)
    rows = [permuted_windows(kinds, plan, 0)]
    result = build(tmp_path, kinds, picture(kinds), rows, plan)
    result.write_parquet(tmp_path / "r.parquet")
    table = RegionTable(tmp_path / "r.parquet", result.grid)
    window = rows[0][0]
    for number, col in ((1, 0), (2, 31)):
        token = int(window.token_map[0, col])
        assert table.region(number).token_index == token
        assert np.array_equal(table.features(number), window.features[token])


def test_empty_table(tmp_path):
    classes = np.full((20, 20), NODATA, np.uint8)
    plan = WindowPlan(20, 20, 16, 4)
    image = np.zeros((3, 20, 20), np.uint8)
    result = build(tmp_path, classes, image, [[] for _ in range(plan.rows)], plan, class_count=2)
    result.write_parquet(tmp_path / "r.parquet")
    assert len(read_regions(tmp_path / "r.parquet")) == 0
    assert len(RegionTable(tmp_path / "r.parquet", result.grid)) == 0


def test_cancelled_and_impossible_writing_leaves_no_file(written, tmp_path):
    result, *_ = written
    with pytest.raises(CancelledError):
        result.write_parquet(tmp_path / "c.parquet", cancel=lambda: True)
    with pytest.raises(OutputError):
        result.write_parquet(tmp_path / "missing" / "c.parquet")
    assert not list(tmp_path.glob("c.parquet*"))


def test_progress_goes_up(written, tmp_path):
    result, *_ = written
    shares = []
    result.write_parquet(tmp_path / "p.parquet", progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_damaged_table_is_refused(tmp_path, written):
    result, *_ = written
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    for read in (lambda: read_regions(broken), lambda: RegionTable(broken, result.grid)):
        with pytest.raises(AnalysisError, match="cannot be read"):
            read()


def test_wide_types_and_missing_values(tmp_path):
    kinds = kinds_map(40, 50, 3)
    plan = WindowPlan(50, 40, 32, 8)
    rows = [permuted_windows(kinds, plan, row) for row in range(plan.rows)]
    image = picture(kinds).astype(np.float32) * 1000 - 7
    image[0, 5, 5] = np.nan
    result = build(tmp_path, kinds, image, rows, plan, transform=NORTH_UP)
    result.write_parquet(tmp_path / "r.parquet")
    frame = read_regions(tmp_path / "r.parquet")
    labels = drawn(result)
    inside = labels == 2
    assert frame["mean_b2"].loc[2] == pytest.approx(float(image[1][inside].mean(dtype=np.float64)))
    assert np.isfinite(frame[["mean_b1", "std_b1", "homogeneity"]].to_numpy()).all()
