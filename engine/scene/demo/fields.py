"""Field parcels: blocks of land cut again and again, as inheritance and roads have cut them.

Guarantees: parcels are convex, share their edges and leave no gap; everything follows from the generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize

Points = npt.NDArray[np.float64]

_BLOCK_PX = 290.0


@dataclass(frozen=True)
class Parcels:
    """Parcels of a scene; entry 0 of the lists stands for what no parcel covers.

    Attributes:
        label: Number of the parcel of each pixel.
        edge: Pixels on the edge between parcels.
        track: Pixels of the tracks between blocks of parcels.
        angle: Direction of the furrows of each parcel.
        center: Middle (x, y) of each parcel.
        block: Number of the block each parcel lies in.
    """

    label: npt.NDArray[np.int32]
    edge: npt.NDArray[np.bool_]
    track: npt.NDArray[np.bool_]
    angle: npt.NDArray[np.float32]
    center: Points
    block: npt.NDArray[np.int32]


def make_parcels(rng: np.random.Generator, shape: tuple[int, int]) -> Parcels:
    """Cut a scene into parcels."""
    blocks = _blocks(rng, shape)
    main = rng.uniform(0, np.pi)
    polygons: list[Points] = []
    angles, block_of = [0.0], [0]
    for number, block in enumerate(blocks, 1):
        turn = main + rng.normal(0, 0.25) + (np.pi / 2 if rng.random() < 0.3 else 0.0)
        area = float(np.exp(rng.normal(np.log(2600), 0.55)))
        slender = rng.uniform(1.5, 6.0)
        for piece in _cut(rng, block, turn, area, slender):
            polygons.append(piece)
            along = np.ptp(piece @ (np.cos(turn), np.sin(turn)))
            across = np.ptp(piece @ (-np.sin(turn), np.cos(turn)))
            angles.append(turn if along >= across else turn + np.pi / 2)
            block_of.append(number)
    shapes: list[Any] = [shapely.polygons(p) for p in polygons]
    label = rasterize(zip(shapes, range(1, len(shapes) + 1), strict=True), out_shape=shape, dtype="int32")
    edge = np.zeros(shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    lines = [shapely.buffer(shapely.linearrings(b), w) for b in blocks if (w := rng.choice([0.0, 0.8, 1.1, 1.7])) > 0]
    track = rasterize([(g, 1) for g in lines], out_shape=shape, dtype="uint8") if lines else np.zeros(shape, "uint8")
    center = np.array([(0.0, 0.0), *(p.mean(axis=0) for p in polygons)])
    return Parcels(label, edge, track > 0, np.array(angles, np.float32), center, np.array(block_of, np.int32))


def _blocks(rng: np.random.Generator, shape: tuple[int, int]) -> list[Points]:
    """Voronoi cells of a jittered grid that covers the scene."""
    step = _BLOCK_PX
    margin = 1.5 * step
    xs, ys = np.meshgrid(
        np.arange(-margin, shape[1] + margin, step), np.arange(-margin, shape[0] + margin, step), indexing="xy"
    )
    seeds = np.column_stack([xs.ravel(), ys.ravel()]) + rng.uniform(-0.36, 0.36, (xs.size, 2)) * step
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(seeds)))
    box = shapely.box(0, 0, shape[1], shape[0])
    touching = [cell for cell in cells if shapely.intersects(cell, box)]
    touching.sort(key=lambda cell: (round(cell.centroid.y, 3), round(cell.centroid.x, 3)))
    return [shapely.get_coordinates(cell)[:-1] for cell in touching]


def _cut(rng: np.random.Generator, polygon: Points, turn: float, area: float, slender: float) -> list[Points]:
    """Halve a convex polygon along two directions until the pieces have about the wanted area and slenderness."""
    done: list[Points] = []
    todo = [polygon]
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    while todo:
        piece = todo.pop()
        if len(piece) < 3:
            continue
        if _size(piece) < area * rng.uniform(0.6, 1.6):
            done.append(piece)
            continue
        spread = np.ptp(piece @ axes.T, axis=0)
        axis = 0 if spread[0] > slender * spread[1] else 1
        tilt = rng.normal(0, 0.02)
        normal = axes[axis] @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        along = piece @ normal
        at = along.min() + rng.uniform(0.38, 0.62) * np.ptp(along)
        todo += [_half(piece, normal, at), _half(piece, -normal, -at)]
    return done


def _half(polygon: Points, normal: Points, at: float) -> Points:
    """The part of a convex polygon below a line."""
    side = polygon @ normal - at
    points: list[Points] = []
    for i in range(len(polygon)):
        j = (i + 1) % len(polygon)
        if side[i] <= 0:
            points.append(polygon[i])
        if (side[i] < 0 < side[j]) or (side[j] < 0 < side[i]):
            points.append(polygon[i] + (polygon[j] - polygon[i]) * (side[i] / (side[i] - side[j])))
    return np.array(points).reshape(-1, 2)


def _size(polygon: Points) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
