"""Objects of overlapping windows brought together, so that each object of the scene is found once.

An object that a window's inner edge cuts is seen in part only. Where another window sees what is there without that
cut, that window's word counts and the part is dropped. Objects that no window sees whole, because they are longer than
the overlap, leave parts in several windows: parts that agree where their windows overlap are joined into one box. What
is then still there twice goes by suppression over all windows.

Guarantees: an object shorter than the overlap less two margins is never judged by a part of it; the answer does not
depend on the order of the windows but for equal scores; memory follows the number of objects, not the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from engine.inference.detection.objects import Floats, FoundObjects, corners, hulls
from engine.inference.plan import WindowPlan
from engine.models.rotated.boxes import canonical
from engine.models.rotated.overlap import touching_pairs
from engine.models.rotated.suppression import suppress

Mask = npt.NDArray[np.bool_]

_AGREE = 0.3
"""Overlap of two parts, within the overlap of their windows, from which they are parts of one object."""
_SLIVER = 1 / 3
"""Share of the largest part's area below which a part is a sliver."""


def edge_margin(window_px: int) -> int:
    """Pixels from a window's inner edge within which an object counts as cut by it."""
    return max(3, window_px // 64)


def settle(found: FoundObjects, plan: WindowPlan, run: Mask, max_overlap: float) -> FoundObjects:
    """Each object once, the surest first.

    Args:
        found: Objects of all windows.
        plan: The windows.
        run: ``[rows, cols]`` which windows were run; what lies in others was seen by nobody.
        max_overlap: Overlap from which the less sure of two objects of a class is dropped.
    """
    cut = _is_cut(found, plan)
    parts: Mask = np.asarray(cut.any(axis=1))
    kept = ~parts
    kept[parts] = ~_seen_better(found.take(parts), cut[parts], plan, run)
    found, parts = found.take(kept), parts[kept]
    found = _joined(found, parts, plan)
    boxes, scores = torch.from_numpy(found.boxes), torch.from_numpy(found.scores)
    places = suppress(boxes, scores, max_overlap, torch.from_numpy(found.labels).long())
    return found.take(places.numpy())


def _rectangles(windows: npt.NDArray[np.int64], plan: WindowPlan) -> Floats:
    """Left, top, right and bottom of windows on the grid."""
    rows, cols = np.divmod(windows, plan.cols)
    left, top = np.array(plan.col_starts)[cols], np.array(plan.row_starts)[rows]
    right, bottom = np.minimum(left + plan.window_px, plan.width), np.minimum(top + plan.window_px, plan.height)
    return np.stack((left, top, right, bottom), axis=1).astype(np.float64)


def _is_cut(found: FoundObjects, plan: WindowPlan) -> Mask:
    """Objects ``[n, 2]`` that reach a left or right, and a top or bottom inner edge of their window."""
    margin = edge_margin(plan.window_px)
    seen, place = hulls(found.boxes), _rectangles(found.windows, plan)
    low = (place[:, :2] > 0) & (seen[:, :2] < place[:, :2] + margin)
    high = (place[:, 2:] < (plan.width, plan.height)) & (seen[:, 2:] > place[:, 2:] - margin)
    return np.asarray(low | high)


def _seen_better(parts: FoundObjects, cut: Mask, plan: WindowPlan, run: Mask) -> Mask:
    """Parts that another window which was run shows clear of inner edges: of all, or of those across one axis.

    A window of the same column that is not cut above and below sees more of a part than one that is, even where both
    are cut left and right.
    """
    margin = edge_margin(plan.window_px)
    place = _rectangles(parts.windows, plan)
    seen = hulls(parts.boxes)
    seen[:, :2], seen[:, 2:] = np.maximum(seen[:, :2], place[:, :2]), np.minimum(seen[:, 2:], place[:, 2:])
    left, right = _holding(np.array(plan.col_starts), plan.window_px, seen[:, 0] - margin, seen[:, 2] + margin)
    top, bottom = _holding(np.array(plan.row_starts), plan.window_px, seen[:, 1] - margin, seen[:, 3] + margin)
    row, col = np.divmod(parts.windows, plan.cols)
    total = np.zeros((run.shape[0] + 1, run.shape[1] + 1), np.int64)
    total[1:, 1:] = run.cumsum(axis=0).cumsum(axis=1)

    def any_run(top: Any, bottom: Any, left: Any, right: Any) -> Mask:
        count = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return np.asarray((top < bottom) & (left < right) & (count > 0))

    whole = any_run(top, bottom, left, right)
    across = cut[:, 1] & any_run(top, bottom, col, col + 1)
    along = cut[:, 0] & any_run(row, row + 1, left, right)
    return np.asarray(whole | across | along)


def _holding(
    starts: npt.NDArray[np.int64], window_px: int, low: Floats, high: Floats
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """First and one past the last window along an axis that hold the stretches ``low`` to ``high``."""
    begins, ends = starts.astype(np.float64), (starts + window_px).astype(np.float64)
    begins[0], ends[-1] = -np.inf, np.inf  # the outer edges cut nothing that the grid holds
    return np.searchsorted(ends, high, side="left"), np.searchsorted(begins, low, side="right")


def _joined(found: FoundObjects, parts: Mask, plan: WindowPlan) -> FoundObjects:
    """The objects with parts of one object joined into one."""
    cut = np.flatnonzero(parts)
    first, second = _agreeing(found.take(cut), plan)
    if not len(first):
        return found
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(cut), len(cut)))
    count, group = connected_components(graph, directed=False)
    members = np.bincount(group, minlength=count)
    alone = cut[members[group] == 1]
    joined = [_join(found.take(cut[group == number])) for number in np.flatnonzero(members > 1)]
    rest = np.sort(np.concatenate((np.flatnonzero(~parts), alone)))
    return FoundObjects.joined([found.take(rest), *joined])


def _agreeing(parts: FoundObjects, plan: WindowPlan) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Pairs of parts of one class, seen by different windows, that cover the same ground where both windows look."""
    outlines, place = torch.from_numpy(hulls(parts.boxes)), _rectangles(parts.windows, plan)
    pairs = [(i.numpy(), j.numpy()) for i, j in touching_pairs(outlines, outlines)]
    first, second = np.concatenate([np.zeros((2, 0), np.int64), *map(np.stack, pairs)], axis=1)
    low, high = np.maximum(place[first, :2], place[second, :2]), np.minimum(place[first, 2:], place[second, 2:])
    able = (first < second) & (parts.labels[first] == parts.labels[second])
    able &= (parts.windows[first] != parts.windows[second]) & (low < high).all(axis=1)
    first, second, low, high = first[able], second[able], low[able], high[able]
    zones = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    shapes = shapely.polygons(corners(parts.boxes))
    one, other = shapely.intersection(shapes[first], zones), shapely.intersection(shapes[second], zones)
    shared = shapely.area(shapely.intersection(one, other))
    union = shapely.area(one) + shapely.area(other) - shared
    agree = shared > _AGREE * np.maximum(union, 1e-9)
    return first[agree], second[agree]


def _join(parts: FoundObjects) -> FoundObjects:
    """The box along the largest part that holds all parts; as sure as the surest of them.

    A box round a sliver lies askew, so slivers count only where they reach beyond what the large parts hold.
    """
    area = parts.boxes[:, 2] * parts.boxes[:, 3]
    angle = parts.boxes[area.argmax(), 4]
    along, across = np.array((np.cos(angle), np.sin(angle))), np.array((-np.sin(angle), np.cos(angle)))
    outlines, middles = corners(parts.boxes), parts.boxes[:, :2]
    frame = np.stack((along, across), axis=1)
    large = area >= _SLIVER * area.max()
    core = (outlines[large] @ frame).reshape(-1, 2)
    beyond = ((middles @ frame < core.min(axis=0)) | (middles @ frame > core.max(axis=0))).any(axis=1)
    points = (outlines[large | beyond] @ frame).reshape(-1, 2)
    centre = frame @ (0.5 * (points.min(axis=0) + points.max(axis=0)))
    box = torch.tensor([[*centre, *np.ptp(points, axis=0), angle]], dtype=torch.float64)
    surest = np.array([parts.scores.argmax()])
    return FoundObjects(canonical(box).numpy(), parts.scores[surest], parts.labels[surest], parts.windows[surest])
