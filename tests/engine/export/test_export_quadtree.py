"""Patches of a quadtree in every vector format: boxes, attributes, clipping, style, provenance, refusals."""

import json
import xml.etree.ElementTree as ET

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from engine.errors import CancelledError, ExportError, OutputError
from engine.export.quadtree import export_patches
from engine.inference.quadtree import SceneQuadtree
from engine.scene.grid import Grid

PLACE = Affine(5, 0, 485_900, 0, -5, 5_209_245)


def tree_of(rows=70, cols=90, transform=PLACE, crs="EPSG:26914", share=1.0):
    rng = np.random.default_rng(0)
    scores = {size: -rng.random((-(-rows // size), -(-cols // size))).astype(np.float32) for size in (32, 16, 8)}
    occupied = rng.random((-(-rows // 4), -(-cols // 4))) < share
    grid = Grid(cols, rows, transform, CRS.from_user_input(crs) if crs else None)
    return SceneQuadtree(
        grid, 4, 32, scores, occupied, "test scorer", {"options": {"scorer": "test"}, "scene": {"a": 1}}
    )


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
def test_every_format_holds_the_same_patches(tmp_path, suffix):
    tree = tree_of()
    selection = tree.select(120)
    path = export_patches(tree, selection, tmp_path / f"patches{suffix}")
    read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
    options = {"layer": "patches"} if suffix == ".gpkg" else {}
    table = read(path, **options).sort_values("patch").reset_index(drop=True)
    assert table["patch"].tolist() == list(range(len(selection)))
    left, top, size = selection.boxes.T
    assert np.array_equal(np.stack((table["left_px"], table["top_px"], table["size_px"])), np.stack((left, top, size)))
    assert np.array_equal(table["level"], selection.levels)
    np.testing.assert_allclose(table["score"], selection.scores, rtol=1e-6)
    right, bottom = np.minimum(left + size, 90), np.minimum(top + size, 70)
    boxes = shapely.box(485_900 + 5 * left, 5_209_245 - 5 * bottom, 485_900 + 5 * right, 5_209_245 - 5 * top)
    placed = table.geometry.to_crs("EPSG:26914") if suffix == ".geojson" else table.geometry
    assert (shapely.area(shapely.symmetric_difference(placed.to_numpy(), boxes)) < 5).all()  # GeoJSON keeps 1 cm
    np.testing.assert_allclose(table["area_m2"], shapely.area(boxes), rtol=2e-3)
    assert shapely.coverage_is_valid(table.geometry.to_numpy())  # in lon/lat too: neighbours share every point
    assert sum(shapely.area(boxes)) == 70 * 90 * 25
    assert not list(tmp_path.glob(".*"))


def test_style_colours_sizes_and_leaves_the_scene_visible(tmp_path):
    tree = tree_of()
    path = export_patches(tree, tree.select(120), tmp_path / "patches.gpkg")
    root = ET.parse(path.with_suffix(".qml")).getroot()
    assert root.find("renderer-v2").get("attr") == "size_px"
    assert [c.get("value") for c in root.iter("category")] == ["4", "8", "16", "32"]
    brushes = {option.get("value") for option in root.iter("Option") if option.get("name") == "style"}
    assert brushes == {"no"}
    assert "layer_styles" in pyogrio.list_layers(path)[:, 0]


def test_provenance_travels(tmp_path):
    tree = tree_of()
    path = export_patches(tree, tree.select(60), tmp_path / "patches.parquet")
    facts = json.loads(pq.read_metadata(path).metadata[b"provenance"])
    assert facts["scorer"] == "test scorer"
    assert json.loads(facts["options"]) == {"scorer": "test"}


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_rotated_grids_and_gaps(tmp_path, share):
    turned = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(3, -3)
    tree = tree_of(transform=turned, share=share)
    selection = tree.select(tree.max_tokens)
    table = geopandas.read_file(export_patches(tree, selection, tmp_path / "turned.fgb"))
    assert len(table) == len(selection) == int(tree.occupied.sum())
    mixed = export_patches(tree, tree.select((tree.min_tokens + tree.max_tokens) // 2), tmp_path / "mixed.fgb")
    assert shapely.coverage_is_valid(geopandas.read_file(mixed).geometry.to_numpy())
    assert table.is_valid.all()
    left, top, size = selection.boxes.T
    pixels = (np.minimum(left + size, 90) - left) * (np.minimum(top + size, 70) - top)
    assert sorted(table.area.round(3)) == sorted((9.0 * pixels).round(3))


def test_scenes_without_crs_keep_pixels(tmp_path):
    tree = tree_of(transform=Affine.identity(), crs=None)
    table = geopandas.read_parquet(export_patches(tree, tree.select(50), tmp_path / "plain.parquet"))
    assert table.crs is None
    assert "area_m2" not in table
    with pytest.raises(ExportError, match="no CRS"):
        export_patches(tree, tree.select(50), tmp_path / "plain.geojson")


def test_refusals_leave_nothing(tmp_path):
    tree = tree_of()
    selection = tree.select(50)
    with pytest.raises(ExportError, match=r"\.gpkg, \.geojson, \.fgb, \.parquet"):
        export_patches(tree, selection, tmp_path / "patches.tif")
    with pytest.raises(CancelledError):
        export_patches(tree, selection, tmp_path / "patches.gpkg", cancel=lambda: True)
    with pytest.raises(OutputError):
        export_patches(tree, selection, tmp_path / "patches.fgb" / "patches.fgb" / ("x" * 300 + ".fgb"))
    assert not [found for found in tmp_path.rglob("*") if found.is_file()]
