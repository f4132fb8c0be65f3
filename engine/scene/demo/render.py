"""Paints the demo scene: land cover and its colours in red, green, blue and near infrared.

Colours follow Gaofen-2 and NAIP imagery of about 4 m a pixel. Guarantees: the truth is what was painted; everything
follows from the seed; nothing is drawn that the truth does not know, but for tracks and hedges, which count as the
land around them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter1d, maximum_filter

from engine.scene.demo.fields import Parcels, make_parcels
from engine.scene.demo.land import Land, make_land
from engine.scene.demo.noise import Floats, crowns, hashed, smooth_noise
from engine.scene.demo.town import Town, build

BUILT_UP, FARMLAND, FOREST, MEADOW, WATER = range(5)

_CROPS = np.array(
    [
        # red, green, blue, near infrared, furrow period px, furrow strength
        [140, 122, 102, 148, 4.0, 7.0], [118, 103, 88, 126, 3.4, 7.0], [94, 86, 76, 104, 5.0, 6.0],
        [164, 152, 116, 170, 5.5, 6.0], [148, 136, 108, 160, 4.5, 6.0], [92, 112, 70, 182, 4.2, 8.0],
        [66, 98, 56, 196, 5.0, 5.0], [54, 84, 50, 188, 3.6, 5.0], [118, 126, 80, 172, 6.0, 7.0],
        [130, 124, 102, 148, 3.2, 8.0], [84, 100, 76, 160, 7.0, 9.0], [152, 136, 122, 158, 4.0, 7.0],
    ],
    np.float32,
)  # fmt: skip
_SOIL = np.array([132, 112, 96, 136], np.float32)


def paint(seed: int, shape: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Image [4, height, width] and truth [height, width] of a scene of this shape."""
    rng = np.random.default_rng(seed)
    land = make_land(rng, shape)
    parcels = make_parcels(rng, shape)
    truth, arable = _cover(rng, land, parcels, shape)
    image = np.empty((4, *shape), np.float32)
    _paint_fields(rng, image, land, parcels)
    _paint_where(image, truth == MEADOW, _meadow(rng, land, shape))
    trees = crowns(rng, shape)
    _paint_where(image, (truth == FOREST) | _hedges(rng, land, parcels, arable), _forest(rng, land, trees))
    towns = _towns(rng, land, shape)
    for town in towns:
        window = town.window(shape)
        built, color = build(town, window)
        built &= (land.shore_px[window] > 3) & (land.wood[window] < np.quantile(land.wood, 0.97))
        truth[window][built] = BUILT_UP
        for channel in range(4):
            image[channel][window][built] = color[channel][built]
    _paint_water(rng, image, truth, land)
    _paint_roads(rng, image, truth, land, towns)
    return _expose(rng, image), truth


def _cover(
    rng: np.random.Generator, land: Land, parcels: Parcels, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Truth before towns, water and roads, and where fields are."""
    at = np.clip(parcels.center.astype(np.intp), 0, [shape[1] - 1, shape[0] - 1])
    grass = land.grass[at[:, 1], at[:, 0]] + 0.16 * rng.standard_normal(len(at), dtype=np.float32)
    grass += 0.4 * hashed(parcels.block, int(rng.integers(1 << 30)))
    share = rng.uniform(0.25, 0.42)
    meadow = grass > np.quantile(grass, 1 - share)
    truth = np.where(meadow[parcels.label], MEADOW, FARMLAND).astype(np.uint8)
    truth[(land.grass > np.quantile(land.grass, 0.93)) | (land.shore_px < 7)] = MEADOW
    truth[land.wood > np.quantile(land.wood, 1 - rng.uniform(0.22, 0.36))] = FOREST
    return truth, truth == FARMLAND


def _paint_where(image: Floats, where: npt.NDArray[np.bool_], color: Floats) -> None:
    for channel in range(4):
        np.copyto(image[channel], color[channel], where=where)


def _paint_fields(rng: np.random.Generator, image: Floats, land: Land, parcels: Parcels) -> None:
    """Crops with their furrows, wet and dry places, balks and tracks."""
    count = len(parcels.angle)
    season = rng.dirichlet(np.full(len(_CROPS), 0.8))
    rented = rng.choice(len(_CROPS), parcels.block.max() + 1, p=season)
    crop = np.where(rng.random(count) < 0.4, rented[parcels.block], rng.choice(len(_CROPS), count, p=season))
    look = _CROPS[crop]
    tone = rng.normal(1.0, 0.07, count).astype(np.float32)
    tint = rng.normal(1.0, 0.014, (count, 4)).astype(np.float32)
    period = look[:, 4] * rng.uniform(0.8, 1.5, count).astype(np.float32)
    strength = look[:, 5] * rng.uniform(0.3, 1.3, count).astype(np.float32)
    turn = parcels.angle + np.float32(np.pi / 2)
    wave_x, wave_y = 2 * np.pi * np.cos(turn) / period, 2 * np.pi * np.sin(turn) / period
    label = parcels.label
    rows = np.arange(label.shape[0], dtype=np.float32)[:, None]
    cols = np.arange(label.shape[1], dtype=np.float32)[None, :]
    phase = wave_x.astype(np.float32)[label] * cols + wave_y.astype(np.float32)[label] * rows
    grain = rng.standard_normal(label.shape, dtype=np.float32)
    texture = np.sin(phase) * strength[label] + 2.6 * gaussian_filter1d(grain, 0.7, axis=1) + 1.3 * grain
    texture += 5.0 * land.soil + 2.0 * land.relief
    texture -= np.where(parcels.edge, np.float32(9.0), np.float32(0.0))
    base = look[:, :4] * tone[:, None] * tint
    for channel in range(4):
        image[channel] = base[label, channel] + texture * np.float32((1.0, 0.95, 0.9, 1.1)[channel])
        image[channel][parcels.track] = _SOIL[channel] * 1.25 + 4 * grain[parcels.track]


def _meadow(rng: np.random.Generator, land: Land, shape: tuple[int, int]) -> Floats:
    """Grass: smooth, greener where wet, with paths of cattle and single bushes."""
    patch = 0.6 * smooth_noise(rng, shape, 110) + 0.6 * smooth_noise(rng, shape, 30)
    fine = smooth_noise(rng, shape, 4)
    grain = rng.standard_normal(shape, dtype=np.float32)
    dry = np.clip(0.45 + 0.24 * patch - 0.12 * land.soil + 0.1 * land.grass, 0, 1)
    light = 3.0 * land.relief + 3.2 * fine + 1.8 * grain
    green = np.array(rng.permutation([[62, 90, 50, 172], [70, 94, 58, 166], [78, 104, 60, 178]])[0], np.float32)
    straw = np.array([118, 120, 82, 158], np.float32) * np.float32(rng.uniform(0.85, 1.05))
    path = np.exp(-((smooth_noise(rng, shape, 130) / 0.02) ** 2)) * 14
    bush = np.where((fine > 2.15) & (patch > -0.3), np.float32(0.6), np.float32(1.0))
    out = np.empty((4, *shape), np.float32)
    for channel in range(4):
        out[channel] = (green[channel] + (straw[channel] - green[channel]) * dry + light + path) * bush
    return out


def _forest(rng: np.random.Generator, land: Land, trees: Floats) -> Floats:
    """Canopy: dark, crowns lit from one side, stands of several kinds, hills that throw shade."""
    stand = smooth_noise(rng, trees.shape, 60)
    kind = 1 / (1 + np.exp(-3.0 * (stand + 0.3 * smooth_noise(rng, trees.shape, 12))))
    dark = np.array([30, 42, 34, 104], np.float32) * np.float32(rng.uniform(0.8, 1.2))
    leafy = np.array([48, 66, 42, 156], np.float32) * np.float32(rng.uniform(0.85, 1.15))
    light = 1.0 + 0.27 * trees + 0.15 * land.relief
    light = np.clip(light, 0.35, 1.9)
    out = np.empty((4, *trees.shape), np.float32)
    for channel in range(4):
        out[channel] = (dark[channel] + (leafy[channel] - dark[channel]) * kind) * light
    return out


def _hedges(
    rng: np.random.Generator, land: Land, parcels: Parcels, arable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Rows of trees between some of the parcels."""
    chosen = hashed(parcels.label, int(rng.integers(1 << 30))) < 0.10
    rows = maximum_filter(parcels.edge & chosen, 3) & (rng.random(arable.shape, dtype=np.float32) < 0.8)
    return np.asarray(rows & arable & (land.soil > -0.4) & ~parcels.track)


def _towns(rng: np.random.Generator, land: Land, shape: tuple[int, int]) -> list[Town]:
    """One town and villages around, on dry and open land."""
    area = shape[0] * shape[1] / 3072**2
    big = 1 if area > 0.3 else int(rng.random() < 0.4)
    sizes = [rng.uniform(330, 430) * (1.0 if area > 0.3 else rng.uniform(0.35, 0.9)) for _ in range(big)]
    sizes += [rng.uniform(32, 78) for _ in range(rng.poisson(11 * area) + int(area <= 0.3 and rng.random() < 0.5))]
    towns: list[Town] = []
    for number, radius in enumerate(sizes):
        best, best_score = (0.0, 0.0), -np.inf
        for _ in range(24):
            inset = min(radius * 0.6, 0.2 * min(shape)) if number < big else 0.0
            x, y = rng.uniform(inset, shape[1] - inset), rng.uniform(inset, shape[0] - inset)
            row, col = min(int(y), shape[0] - 1), min(int(x), shape[1] - 1)
            score = -float(land.wood[row, col]) + min(float(land.shore_px[row, col]), radius * 0.6) / max(radius, 40)
            score -= sum(max(0.0, 2 - np.hypot(x - t.x, y - t.y) / (radius + t.radius_px)) for t in towns) * 3
            if score > best_score:
                best, best_score = (x, y), score
        towns.append(Town(*best, radius, rng.uniform(0, np.pi), int(rng.integers(1 << 30)), number >= big))
    return towns


def _paint_water(rng: np.random.Generator, image: Floats, truth: npt.NDArray[np.uint8], land: Land) -> None:
    """Water from clear and dark to turbid, brighter in the shallows, a beach of sand or mud around."""
    beach = (land.shore_px < 1.6) & (land.shore_px >= 0) & (land.soil > 0.1)
    water = land.shore_px < 0
    clear = np.array(rng.permutation([[18, 38, 46, 14], [26, 52, 60, 16], [22, 44, 40, 15]])[0], np.float32)
    murky = np.array(rng.permutation([[92, 112, 92, 40], [74, 104, 98, 34], [112, 116, 96, 48]])[0], np.float32)
    shallow = np.exp(np.minimum(land.shore_px[water], 0) / 4.0)
    share = np.clip(land.turbid[water] + 0.18 * shallow + 0.06 * land.soil[water], 0, 1)
    ripple = rng.standard_normal(int(water.sum()), dtype=np.float32) * 1.3 + 1.2 * land.soil[water]
    for channel in range(4):
        image[channel][water] = clear[channel] + (murky[channel] - clear[channel]) * share + ripple
        image[channel][beach] = 0.4 * image[channel][beach] + 0.6 * _SOIL[channel] * 1.15
    truth[water] = WATER


def _paint_roads(
    rng: np.random.Generator, image: Floats, truth: npt.NDArray[np.uint8], land: Land, towns: list[Town]
) -> None:
    """A highway past the town and lanes from village to village; only the highway counts as built-up."""
    if not towns:
        return
    hub = towns[0]
    marks = [(lane, 1) for lane in _lanes(rng, land, towns)]
    if hub.radius_px > 120:
        tries = [_highway(rng, hub, truth.shape) for _ in range(10)]
        line = shapely.linestrings(min(tries, key=lambda path: _wet(land, path)))
        marks += [(shapely.buffer(line, 3.2), 2), (shapely.buffer(line, 0.45), 3)]
    if not marks:
        return
    drawn = rasterize(marks, out_shape=truth.shape, dtype="uint8")
    lane = (drawn == 1) & (truth != BUILT_UP) & (truth != WATER)
    road = drawn >= 2
    for channel in range(4):
        image[channel][lane] = _LANE[channel] * rng.normal(1.0, 0.03, int(lane.sum())).astype(np.float32)
        image[channel][road] = _HIGHWAY[channel] * rng.normal(1.0, 0.02, int(road.sum())).astype(np.float32)
        image[channel][drawn == 3] = _HIGHWAY[channel] * 0.72
    truth[road] = BUILT_UP


def _highway(rng: np.random.Generator, hub: Town, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Points (x, y) of a wide curve past a town."""
    reach, turn = 1.5 * max(shape), rng.uniform(0, np.pi)
    t = np.linspace(-1, 1, 400)
    bow = 0.05 * reach * np.sin(t * rng.uniform(3, 5)) + 0.9 * hub.radius_px
    x = hub.x + t * reach * np.cos(turn) + bow * np.sin(turn)
    y = hub.y + t * reach * np.sin(turn) - bow * np.cos(turn)
    return np.column_stack([x, y])


def _wet(land: Land, path: npt.NDArray[np.float64]) -> int:
    """How many points of a path lie far out in a lake."""
    height, width = land.shore_px.shape
    inside = path[((path >= 0) & (path < (width, height))).all(axis=1)].astype(np.intp)
    return int((land.shore_px[inside[:, 1], inside[:, 0]] < -15).sum())


def _lanes(rng: np.random.Generator, land: Land, towns: list[Town]) -> list[Any]:
    """A lane from each village to the nearest place that has one, where no lake lies between."""
    lanes: list[Any] = []
    joined = [towns[0]]
    for village in sorted(towns[1:], key=lambda t: np.hypot(t.x - towns[0].x, t.y - towns[0].y)):
        s = np.linspace(0, 1, 40)[:, None]
        for other in sorted(joined, key=lambda t: np.hypot(t.x - village.x, t.y - village.y))[:3]:
            far = np.hypot(village.x - other.x, village.y - other.y)
            sway = np.cumsum(rng.normal(0, 0.02, (40, 2)), axis=0) * far * 0.35
            curve = (1 - s) * (other.x, other.y) + s * (village.x, village.y) + sway * np.sin(np.pi * s)
            if not _wet(land, curve):
                lanes.append(shapely.buffer(shapely.linestrings(curve), 1.0))
                break
        joined.append(village)
    return lanes


_LANE = np.array([158, 152, 144, 150], np.float32)
_HIGHWAY = np.array([172, 170, 166, 164], np.float32)


def _expose(rng: np.random.Generator, image: Floats) -> npt.NDArray[np.uint8]:
    """Optics, air, gain of the day and noise of the sensor."""
    gain = np.float32(rng.uniform(0.9, 1.12))
    gains = gain * rng.normal(1.0, 0.03, 4).astype(np.float32)
    haze = np.array([3, 4, 7, 2], np.float32) * np.float32(rng.uniform(0.3, 1.6))
    out = np.empty(image.shape, np.uint8)
    for channel in range(4):
        band = gaussian_filter1d(gaussian_filter1d(image[channel], 0.55, axis=0, truncate=3), 0.55, axis=1, truncate=3)
        band = band * gains[channel] + haze[channel]
        band += rng.standard_normal(band.shape, dtype=np.float32) * np.float32(1.4)
        out[channel] = np.clip(np.rint(band), 1, 255).astype(np.uint8)
    return out
