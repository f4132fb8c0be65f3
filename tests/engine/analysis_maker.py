"""Makes small, complete analysis folders without running a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rasterio.crs import CRS

from engine.inference.analysis import Analysis, open_analysis
from engine.inference.info import AnalysisInfo, GridFacts, ModelFacts, Resolved, SceneFacts
from engine.inference.options import AnalysisOptions
from engine.models.card import ModelCard
from engine.scene.grid import Grid

CLASSES = [
    ("built-up", "#e63c3c"),
    ("farmland", "#f0dc5a"),
    ("forest", "#147828"),
    ("meadow", "#96dc64"),
    ("water", "#326eeb"),
]
UTM = Affine(4.0, 0, 691600, 0, -4.0, 5334760)


def card() -> ModelCard:
    return ModelCard.model_validate(
        {
            "name": "test-landcover",
            "title": "Land cover <test> & more",
            "architecture": "constant",
            "config": {},
            "task": "segmentation",
            "classes": [{"name": name, "color": color} for name, color in CLASSES],
            "bands": ["red", "green", "blue"],
            "scaling": {
                "dtype": "uint8",
                "divisor": 255,
                "mean": [0.5] * 3,
                "std": [0.2] * 3,
                "low": [0] * 3,
                "high": [255] * 3,
            },
            "window_px": 64,
            "overlap_px": 16,
            "token_count": 8,
            "data": "made",
            "metrics": {},
            "licence": "CC0-1.0",
            "source": "tests",
        }
    )


def patches(height: int, width: int, seed: int = 7) -> np.ndarray:
    """A class map of Voronoi cells with ragged edges, and a corner without data (255)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (24, 2)) * (height, width)
    rows, cols = np.mgrid[:height, :width]
    rows = rows + rng.normal(0, 1.2, rows.shape)
    cols = cols + rng.normal(0, 1.2, cols.shape)
    nearest = ((rows[..., None] - points[:, 0]) ** 2 + (cols[..., None] - points[:, 1]) ** 2).argmin(-1)
    classes = (nearest % len(CLASSES)).astype(np.uint8)
    classes[: height // 6, : width // 5] = 255
    return classes


def make_analysis(
    folder: Path,
    *,
    classes: np.ndarray | None = None,
    crs: str | None = "EPSG:32632",
    transform: Affine = UTM,
    complete: bool = True,
) -> Analysis:
    folder.mkdir(parents=True, exist_ok=True)
    classes = patches(120, 150) if classes is None else classes
    height, width = classes.shape
    labels = np.zeros(classes.shape, np.uint32)
    rows: list[dict[str, Any]] = []
    shapes = []
    for geometry, code in rasterio.features.shapes(classes.astype(np.int16), mask=classes != 255, connectivity=4):
        shapes.append((shapely.geometry.shape(geometry), int(code)))
    for number, (shape, code) in enumerate(shapes, 1):
        mask = rasterio.features.rasterize([(shape, 1)], out_shape=classes.shape).astype(bool)
        labels[mask] = number
        pixels = int(mask.sum())
        rows.append(
            {
                "region_id": number,
                "class_code": code,
                "class": CLASSES[code][0],
                "class_share": 1.0,
                "confidence": 0.9,
                "runner_up": CLASSES[(code + 1) % 5][0],
                "pixels": pixels,
                "area_m2": pixels * 16.0,
                "perimeter_m": shape.length * 4,
                "mean_red": 100.0,
                "std_red": 3.0,
                "homogeneity": 1 / 3,
                "token": number % 8,
                "window": 0,
                "windows": 1,
                "features": np.arange(4, dtype=np.float32) + number,
            }
        )
    outlines = shapely.segmentize([shape for shape, _ in shapes], 1.0)  # shared corners on both sides
    outlines = shapely.transform(
        outlines,
        lambda p: np.column_stack(
            [
                transform.a * p[:, 0] + transform.b * p[:, 1] + transform.c,
                transform.d * p[:, 0] + transform.e * p[:, 1] + transform.f,
            ]
        ),
    )
    frame = gpd.GeoDataFrame(rows, geometry=list(outlines), crs=crs)
    frame.to_parquet(folder / "regions.parquet", write_covering_bbox=False)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": width, "height": height, "count": 1, "crs": crs, "transform": transform,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(folder / "classes.tif", "w", dtype="uint8", nodata=255, **profile) as out:
        out.write(classes, 1)
        out.write_colormap(1, {code: tuple(bytes.fromhex(color[1:])) for code, (_, color) in enumerate(CLASSES)})
    with rasterio.open(folder / "confidence.tif", "w", dtype="uint8", nodata=0, **profile) as out:
        out.write(np.where(classes == 255, 0, 90).astype(np.uint8), 1)
    with rasterio.open(folder / "regions.tif", "w", dtype="uint32", nodata=0, **profile) as out:
        out.write(labels, 1)
    grid = Grid(width, height, transform, CRS.from_user_input(crs) if crs else None)
    info = AnalysisInfo(
        program_version="0.1.0",
        scene=SceneFacts(
            name="made", sources=("made.tif",), dtype="uint8", gsd_m=4.0, identity={"files": ["made.tif"]}
        ),
        grid=GridFacts.of(grid),
        model=ModelFacts(name="test-landcover", sha256="ab" * 32, card=card()),
        options=AnalysisOptions(),
        resolved=Resolved(window_px=64, overlap_px=16, batch=1, bands=(1, 2, 3), gsd_m=None, scaling=None),
        device="CPU",
        regions=len(rows) if complete else None,
    )
    target = folder / "analysis.json" if complete else folder / ".partial" / "run.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(info.to_json())
    return open_analysis(folder)
