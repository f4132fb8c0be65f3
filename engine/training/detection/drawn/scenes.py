"""Drawn scenes: a ground, groups of objects as people leave them (moored, parked, in rows), strays, and distractors.

Guarantees: a scene hangs on its seed, size and classes alone; objects do not overlap one another; an object is known
by the rectangle it was drawn in, a round one by the upright square round it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.models.rotated.boxes import corners_of
from engine.models.rotated.overlap import pairwise_iou
from engine.training.detection.dota import Annotations
from engine.training.detection.drawn.canvas import Canvas, Pixels, Pose, rectangle
from engine.training.detection.drawn.grounds import Ground, border, house, lay, patch, road, slabs, tree
from engine.training.detection.drawn.objects import KINDS, Kind

DRAWABLE = tuple(KINDS)
"""Classes that can be drawn."""
_GROUNDS: dict[str, tuple[Ground, ...]] = {
    "plane": ("concrete", "tarmac"),
    "small-vehicle": ("tarmac", "concrete"),
    "large-vehicle": ("tarmac", "concrete", "soil"),
    "ship": ("water",),
    "storage-tank": ("concrete", "soil", "grass"),
    "tennis-court": ("grass", "concrete"),
}
_BESIDES: dict[str, tuple[str, ...]] = {
    "plane": ("small-vehicle", "large-vehicle"),
    "small-vehicle": ("large-vehicle", "tennis-court"),
    "large-vehicle": ("small-vehicle", "storage-tank"),
    "storage-tank": ("large-vehicle",),
    "tennis-court": ("small-vehicle",),
    "ship": (),
}


class DrawnScene:
    """A scene being drawn.

    Args:
        rng: Generator.
        size: Edge in pixels.
        gsd_m: Metres a pixel.
        classes: Names of the classes to draw, all of :data:`DRAWABLE`.
        photograph: Real ground ``[3, size, size]`` uint8 instead of drawn; None draws it.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: int,
        gsd_m: float,
        classes: Sequence[str],
        photograph: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self._rng, self._size, self._gsd = rng, size, gsd_m
        self._classes = tuple(classes)
        self._boxes = torch.zeros((0, 5), dtype=torch.float64)
        self._labels: list[int] = []
        self._taken = torch.zeros((0, 5), dtype=torch.float64)
        self._shore: tuple[float, float] | None = None
        main = self._classes[int(rng.integers(len(self._classes)))]
        sun = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.0, 1.2))
        self._canvas = Canvas(self._ground(main) if photograph is None else _as_ground(photograph), sun)
        if photograph is None:
            self._furnish(main)
        self._populate(main, real=photograph is not None)

    def finish(self) -> tuple[npt.NDArray[np.uint8], Annotations]:
        """The picture ``[3, size, size]`` and what is in it."""
        corners = corners_of(self._boxes).numpy()
        known = Annotations(corners, np.array(self._labels, np.int64), np.zeros(len(self._labels), np.bool_))
        return self._canvas.picture(self._rng), known

    def _ground(self, main: str) -> Pixels:
        rng, size = self._rng, self._size
        kinds = _GROUNDS[main]
        first = lay(rng, size, kinds[int(rng.integers(len(kinds)))])
        if rng.random() < 0.35:
            return first
        others: tuple[Ground, ...] = ("concrete", "tarmac", "grass", "soil")
        second = lay(rng, size, others[int(rng.integers(len(others)))])
        ground, turn, away = border(rng, size, first, second, float(rng.uniform(0.35, 0.85)))
        self._shore = turn, away
        return ground

    def _furnish(self, main: str) -> None:
        """Slabs, houses and trees, none of them labelled."""
        rng, canvas = self._rng, self._canvas
        if main in ("plane", "large-vehicle") and rng.random() < 0.6:
            slabs(canvas, rng, float(rng.uniform(0, np.pi)), self._gsd)
        if self._shore is None and main == "ship":
            return
        if main != "ship":
            for _ in range(int(rng.integers(0, 8))):
                place = self._anywhere()
                patch(rng, canvas, place, float(rng.uniform(3, 60)), float(rng.uniform(2, 25)))
            if rng.random() < 0.4:
                place = self._anywhere()
                road(rng, canvas, place, float(rng.uniform(6, 14)))
        for _ in range(int(rng.integers(0, 5))):
            length, width = rng.uniform(10, 60), rng.uniform(8, 30)
            pose = self._spot(length, width, land=True)
            if pose is not None:
                house(rng, canvas, pose, length, width)
        for _ in range(int(rng.integers(0, 25))):
            radius = rng.uniform(1.5, 5)
            pose = self._spot(2 * radius, 2 * radius, land=True, tries=2)
            if pose is not None:
                tree(rng, canvas, pose, radius)

    def _populate(self, main: str, *, real: bool) -> None:
        rng = self._rng
        for _ in range(int(rng.integers(2, 6))):
            kind = self._kind(main)
            if kind.lengths_m[1] <= 60 and rng.random() < 0.75:
                self._group(kind)
            else:
                self._strays(kind, int(rng.integers(1, 6)))
        besides = [name for name in _BESIDES[main] if name in self._classes]
        for name in besides:
            if rng.random() < 0.6 and not real:
                self._strays(self._kind(name), int(rng.integers(1, 8)))

    def _kind(self, name: str) -> Kind:
        kinds = KINDS[name]
        return kinds[int(self._rng.integers(len(kinds)))]

    def _group(self, kind: Kind) -> None:
        """Rows of like objects side by side, as moorings, car parks, aprons and tank farms hold them."""
        rng = self._rng
        length = kind.length(rng)
        width = kind.room(length)
        turn = float(rng.uniform(0, 2 * np.pi))
        gap = float(rng.uniform(1.08, 1.6)) if kind.name != "plane" else float(rng.uniform(1.2, 1.7))
        aisle = float(rng.uniform(1.1, 2.2))
        rows, cols = int(rng.integers(1, 7)), int(rng.integers(3, 26))
        x, y = rng.uniform(0.1, 0.9, 2) * self._size
        middle = Pose(float(x), float(y), turn, self._gsd)
        fill = rng.uniform(0.6, 1.0)
        pier = kind.name == "ship" and rng.random() < 0.8
        for row in range(rows):
            along = (row - (rows - 1) / 2) * aisle * length
            if pier and row % 2 == 0:
                plank = rectangle(0.06 * length + 1.0, cols * gap * width, along + 0.5 * aisle * length)
                self._canvas.part(middle, plank, (0.58, 0.56, 0.52))
            for col in range(cols):
                if rng.random() > fill:
                    continue
                place = middle.place((along, (col - (cols - 1) / 2) * gap * width))
                facing = turn + (np.pi if rng.random() < 0.3 else 0.0) + rng.normal(0, 0.03)
                own = length * float(np.exp(rng.normal(0, 0.08 if kind.name != "storage-tank" else 0.02)))
                self._add(kind, Pose(float(place[0]), float(place[1]), float(facing), self._gsd), own)

    def _strays(self, kind: Kind, count: int) -> None:
        for _ in range(count):
            length = kind.length(self._rng)
            pose = self._spot(length, kind.room(length), land=kind.name != "ship", take=False)
            if pose is not None:
                self._add(kind, pose, length)

    def _add(self, kind: Kind, pose: Pose, length_m: float) -> None:
        """Draw an object where it fits: on free ground, its middle in the picture, not smaller than can be seen."""
        length, width = length_m / self._gsd, kind.room(length_m) / self._gsd
        inside = 0 < pose.x < self._size and 0 < pose.y < self._size
        roomy = torch.tensor([[pose.x, pose.y, 1.02 * length, 1.02 * width, pose.angle]], dtype=torch.float64)
        if not inside or min(length, width) < 3 or not self._free(roomy) or not self._fits(kind, pose):
            return
        real_length, real_width = kind.draw(self._rng, self._canvas, pose, length_m)
        sides = real_length / self._gsd, real_width / self._gsd
        drawn = torch.tensor([[pose.x, pose.y, *sides, pose.angle]], dtype=torch.float64)
        self._taken = torch.cat((self._taken, drawn))
        if kind.is_round:
            drawn = drawn * drawn.new_tensor((1, 1, 1, 1, 0))
        self._boxes = torch.cat((self._boxes, drawn))
        self._labels.append(self._classes.index(kind.name))

    def _anywhere(self) -> Pose:
        x, y = self._rng.uniform(0, self._size, 2)
        return Pose(float(x), float(y), float(self._rng.uniform(0, 2 * np.pi)), self._gsd)

    def _spot(self, length_m: float, width_m: float, *, land: bool, tries: int = 8, take: bool = True) -> Pose | None:
        """A free place on land or water; None where none was found soon."""
        for _ in range(tries):
            pose = self._anywhere()
            sides = length_m / self._gsd, width_m / self._gsd
            box = torch.tensor([[pose.x, pose.y, *sides, pose.angle]], dtype=torch.float64)
            if self._free(box) and (not land or take is False or self._beyond_shore(pose)):
                if take:
                    self._taken = torch.cat((self._taken, box))
                return pose
        return None

    def _free(self, box: torch.Tensor) -> bool:
        return not len(self._taken) or float(pairwise_iou(box, self._taken).max()) == 0

    def _fits(self, kind: Kind, pose: Pose) -> bool:
        """Ships keep to the water, the rest to the ground they belong on, where a border divides the two."""
        return self._shore is None or not self._beyond_shore(pose)

    def _beyond_shore(self, pose: Pose) -> bool:
        """Whether a place lies on the second ground."""
        if self._shore is None:
            return True
        turn, away = self._shore
        x, y = pose.x - self._size / 2, pose.y - self._size / 2
        return bool(x * -np.sin(turn) + y * np.cos(turn) + away < 0)


def draw_scene(
    seed: int,
    size: int,
    gsd_range_m: tuple[float, float],
    classes: Sequence[str],
    photograph: npt.NDArray[np.uint8] | None = None,
) -> tuple[npt.NDArray[np.uint8], Annotations]:
    """Draw a scene.

    Args:
        seed: Its seed.
        size: Edge in pixels.
        gsd_range_m: Finest and coarsest metres a pixel.
        classes: Names of the classes to draw; labels are places in this list.
        photograph: Real ground ``[3, size, size]``; None draws it.

    Returns:
        ``[3, size, size]`` uint8 and its objects.
    """
    rng = np.random.default_rng((seed, 0xD0A))
    gsd_m = float(np.exp(rng.uniform(*np.log(gsd_range_m))))
    return DrawnScene(rng, size, gsd_m, classes, photograph).finish()


def _as_ground(photograph: npt.NDArray[np.uint8]) -> Pixels:
    return np.asarray(np.moveaxis(photograph, 0, -1) / 255, np.float32)
