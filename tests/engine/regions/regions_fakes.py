"""Small scenes, windows and strips for the region tests."""

from __future__ import annotations

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from engine.inference.plan import WindowPlan
from engine.regions.builder import RegionBuilder
from engine.regions.intake import Strip, WindowTokens
from engine.regions.settled import SettledRows
from engine.scene import Band, Grid, Raster

UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(4, 0, 500000, 0, -4, 5000000)
NODATA = 255


def kinds_map(height, width, kinds=5, scale=6.0, seed=0):
    """Smooth random areas of some kinds."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal((height, width)), scale) for _ in range(kinds)]
    return np.stack(fields).argmax(0).astype(np.uint8)


def picture(kinds, noise=4.0, seed=0, dtype=np.uint8):
    """Three bands in which every kind has a colour of its own."""
    rng = np.random.default_rng(seed)
    hues = [
        (60, 60, 60),
        (190, 190, 190),
        (60, 190, 120),
        (190, 60, 120),
        (120, 120, 220),
        (120, 210, 30),
        (220, 120, 30),
        (30, 120, 30),
    ]
    colours = np.array(hues)[np.arange(int(kinds.max()) + 1)]
    exact = colours[kinds].transpose(2, 0, 1) + rng.normal(0, noise, (3, *kinds.shape))
    return np.clip(exact, 0, 255).astype(dtype)


def permuted_windows(kinds, plan, row, *, seed=0, tokens=16, shift=0, speckle=0.0):
    """Windows whose token numbers are shuffled, whose borders are off by up to ``shift`` pixels, with noise."""
    out = []
    vectors = np.random.default_rng(5).standard_normal((256, 12)).astype(np.float32)
    for window in plan.row_windows(row):
        rng = np.random.default_rng((seed, window.index))
        part = kinds[window.row : window.row + window.height, window.col : window.col + window.width].astype(np.int64)
        if shift:
            dy, dx = rng.integers(-shift, shift + 1, 2)
            rows = np.clip(np.arange(part.shape[0]) + dy, 0, part.shape[0] - 1)
            cols = np.clip(np.arange(part.shape[1]) + dx, 0, part.shape[1] - 1)
            part = part[rows][:, cols]
        if speckle:
            wrong = rng.random(part.shape) < speckle
            part[wrong] = rng.integers(0, int(kinds.max()) + 1, int(wrong.sum()))
        order = rng.permutation(tokens)
        features = rng.standard_normal((tokens, 12)).astype(np.float32)
        number = int(kinds.max()) + 1
        features[order[:number]] = vectors[:number] + 0.05 * rng.standard_normal((number, 12)).astype(np.float32)
        out.append(WindowTokens(window.col, window.row, order[part].astype(np.uint8), features, window.index))
    return out


def build(
    work_dir,
    classes,
    image,
    rows,
    plan,
    *,
    crs=UTM,
    transform=NORTH_UP,
    min_region_m2=None,
    class_count=None,
    cancel=None,
    preview=None,
    ahead=False,
    first_row=0,
    settled=None,
):
    """Feed a builder as the pipeline does and finish it."""
    height, width = classes.shape
    count = class_count or int(classes[classes != NODATA].max(initial=0)) + 1
    bands = tuple(Band(i + 1, f"b{i + 1}", None, None) for i in range(image.shape[0]))
    store = SettledRows(
        Grid(width, height, transform, crs),
        class_names=[f"class {i}" for i in range(count)],
        band_names=[band.name for band in bands],
        min_region_m2=min_region_m2,
        work_dir=work_dir,
    )
    builder = RegionBuilder(store)
    if ahead:
        for row in rows:
            builder.add_row(row)
    for row in range(first_row, plan.rows):
        if not ahead:
            builder.add_row(rows[row])
        start, stop = plan.final_rows(row)
        part = classes[start:stop]
        raster = Raster(image[:, start:stop], part != NODATA, bands, transform, crs)
        confidence = np.where(part == NODATA, 0, 80).astype(np.uint8)
        runner_up = np.where(part == NODATA, NODATA, (part + 1) % count).astype(np.uint8)
        labels = builder.add_strip(Strip(start, part, confidence, runner_up, raster))
        if preview is not None:
            preview.append(labels)
    if settled is not None:
        settled()
    return builder.finish(cancel=cancel)


def blank_out(rows, classes):
    """Take tokens away where classes are nodata."""
    for window in (window for row in rows for window in row):
        height, width = window.token_map.shape
        part = classes[window.row : window.row + height, window.col : window.col + width]
        window.token_map[part == NODATA] = NODATA


def drawn(result):
    """The region raster of a result."""
    return np.concatenate([labels for _, labels in result.rows()])


def kinds_result(work_dir, kinds, window=64, overlap=16, *, classes=None, windows=None, **options):
    """Regions of a map of kinds, every window seeing it with token numbers of its own."""
    plan = WindowPlan(kinds.shape[1], kinds.shape[0], window, overlap)
    rows = [permuted_windows(kinds, plan, row, **(windows or {})) for row in range(plan.rows)]
    return build(work_dir, kinds if classes is None else classes, picture(kinds), rows, plan, **options)
