"""Ships, planes, vehicles, tanks and courts, drawn from above with their shadows.

Each function draws one object at a pose and gives its length and width in metres: those of the rectangle that DOTA's
annotators draw round it. Fronts point along the pose's angle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.training.detection.drawn.canvas import Canvas, Colour, Pose, disc, rectangle, rounded

Draw = Callable[[np.random.Generator, Canvas, Pose, float], tuple[float, float]]
"""Draws one object of a length in metres; returns length and width of its box."""

_PAINT: tuple[Colour, ...] = (
    (0.92, 0.92, 0.92), (0.85, 0.86, 0.88), (0.62, 0.64, 0.66), (0.40, 0.41, 0.43), (0.12, 0.12, 0.13),
    (0.20, 0.21, 0.24), (0.55, 0.10, 0.10), (0.14, 0.20, 0.42), (0.30, 0.34, 0.30), (0.66, 0.60, 0.50),
)  # fmt: skip
_GLASS: Colour = (0.10, 0.12, 0.15)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        name: Its class.
        draw: Draws one.
        lengths_m: Shortest and longest; drawn evenly in the logarithm.
        slimness: Length over width of the stoutest.
        least_width_m: No narrower than this, however short.
        is_round: Whether it looks the same from every side, so that its box has no angle of its own.
    """

    name: str
    draw: Draw
    lengths_m: tuple[float, float]
    slimness: float
    least_width_m: float = 0.0
    is_round: bool = False

    def room(self, length: float) -> float:
        """Width in metres that one of a length may need."""
        return max(length / self.slimness, self.least_width_m)

    def length(self, rng: np.random.Generator) -> float:
        """A length for one of them, or for all of a group."""
        return float(np.exp(rng.uniform(*np.log(self.lengths_m))))


def _tone(rng: np.random.Generator, colour: Colour, spread: float = 0.05) -> Colour:
    light = np.exp(rng.normal(0, spread))
    red, green, blue = (float(np.clip(part * light + rng.normal(0, spread / 3), 0, 1)) for part in colour)
    return red, green, blue


def _dimmed(colour: Colour, light: float) -> Colour:
    red, green, blue = (min(1.0, part * light) for part in colour)
    return red, green, blue


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return _tone(rng, colours[int(rng.integers(len(colours)))])


def boat(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """A yacht or motor boat: pointed, pale, with a cockpit, often a cabin or a mast."""
    width = length / rng.uniform(2.6, 3.8)
    stern = rng.uniform(0.7, 0.95)
    hull = np.array(
        ((-0.5, -stern / 2), (0.1, -0.5), (0.33, -0.32), (0.5, 0.0), (0.33, 0.32), (0.1, 0.5), (-0.5, stern / 2))
    ) * (length, width)
    canvas.shadow(pose, hull, rng.uniform(0.6, 1.5))
    deck = _tone(rng, (0.90, 0.90, 0.88) if rng.random() < 0.8 else _PAINT[int(rng.integers(len(_PAINT)))])
    canvas.part(pose, hull, deck)
    if rng.random() < 0.7:
        canvas.part(pose, rounded(0.3 * length, 0.55 * width, -0.24 * length), _tone(rng, (0.45, 0.40, 0.33), 0.2))
    if rng.random() < 0.6:
        cabin = rounded(rng.uniform(0.2, 0.34) * length, 0.6 * width, 0.06 * length)
        canvas.part(pose, cabin, _tone(rng, (0.80, 0.82, 0.84), 0.1))
        canvas.part(pose, rectangle(0.04 * length, 0.5 * width, 0.2 * length), _GLASS)
    if rng.random() < 0.4:
        cover = _pick(rng, ((0.12, 0.22, 0.45), (0.85, 0.85, 0.82), (0.45, 0.12, 0.12)))
        canvas.part(pose, rectangle(0.45 * length, 0.1 * width, -0.08 * length), cover)
    return length, width


def vessel(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """A freighter, barge or ferry: a coloured deck, hatches, a bridge near the stern."""
    width = length / rng.uniform(4.5, 7.5)
    hull = np.array(
        ((-0.5, -0.36), (-0.46, -0.5), (0.36, -0.5), (0.45, -0.28), (0.5, 0.0), (0.45, 0.28), (0.36, 0.5), (-0.46, 0.5),
         (-0.5, 0.36))
    ) * (length, width)  # fmt: skip
    canvas.shadow(pose, hull, rng.uniform(2, 7))
    canvas.part(pose, hull, _tone(rng, (0.20, 0.20, 0.22), 0.2))
    colours = ((0.45, 0.22, 0.18), (0.48, 0.50, 0.52), (0.25, 0.36, 0.30), (0.22, 0.30, 0.45), (0.60, 0.56, 0.48))
    canvas.part(pose, hull * (0.975, 0.9), _pick(rng, colours))
    cargo = _pick(rng, (*_PAINT, *colours))
    count = int(rng.integers(3, 8))
    room = 0.66 * length / count
    for place in range(count):
        tone = _tone(rng, cargo, 0.12)
        canvas.part(pose, rectangle(0.82 * room, 0.66 * width, -0.26 * length + (place + 0.5) * room), tone)
    bridge = rectangle(0.1 * length, 0.86 * width, -0.37 * length)
    canvas.shadow(pose, bridge, rng.uniform(4, 12))
    canvas.part(pose, bridge, _tone(rng, (0.88, 0.88, 0.86)))
    return length, width


def plane(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """An airliner with swept wings, or a light aircraft with straight ones."""
    light = length < 16
    span = length * (rng.uniform(1.15, 1.4) if light else rng.uniform(0.85, 1.05))
    body = 0.11 if light else rng.uniform(0.085, 0.11)
    root = rng.uniform(0.02, 0.12) if not light else 0.12
    sweep, chord = (0.0, 0.16) if light else (rng.uniform(0.2, 0.3), 0.2)
    half = span / length / 2
    wing = np.array(
        ((root + chord / 2, 0), (root - sweep + 0.05, half), (root - sweep - 0.04, half), (root - chord / 2, 0))
    )
    tip = 0.2 if light else 0.17
    tail = np.array(((-0.36, 0), (-0.45, tip), (-0.5, tip), (-0.47, 0)))
    tube = np.array(
        ((0.5, 0), (0.45, 0.6), (0.36, 1), (-0.2, 1), (-0.5, 0.15), (-0.5, -0.15), (-0.2, -1), (0.36, -1), (0.45, -0.6))
    ) * (1, body / 2)  # fmt: skip
    mirror = np.array((1, -1))
    outlines = [part * length for part in (wing, wing * mirror, tail, tail * mirror, tube)]
    for outline in outlines:
        canvas.shadow(pose, outline, rng.uniform(0.1, 0.14) * length)
    skin = _tone(rng, (0.90, 0.91, 0.92)) if rng.random() < 0.85 else _tone(rng, (0.48, 0.51, 0.54))
    for outline in outlines[:4]:
        canvas.part(pose, outline, _tone(rng, _dimmed(skin, 0.93), 0.02))
    if not light:
        for side in (1, -1):
            engine = rounded(0.07 * length, 0.035 * length, (root + 0.01) * length, side * 0.33 * half * length)
            canvas.part(pose, engine, _tone(rng, (0.62, 0.63, 0.65), 0.1))
    canvas.part(pose, outlines[4], skin)
    canvas.part(pose, rectangle(0.16 * length, 0.012 * length, -0.42 * length), _pick(rng, _PAINT))
    canvas.part(pose, rectangle(0.02 * length, 0.6 * body * length, 0.44 * length), _GLASS)
    return length, span


def car(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """A car: body, roof, windscreen and rear window."""
    width = length / rng.uniform(2.2, 2.6)
    outline = rounded(length, width, corner=0.22)
    canvas.shadow(pose, outline, rng.uniform(0.9, 1.6))
    paint = _pick(rng, _PAINT)
    canvas.part(pose, outline, paint)
    canvas.part(pose, rectangle(0.11 * length, 0.8 * width, 0.2 * length), _GLASS)
    canvas.part(pose, rectangle(0.08 * length, 0.78 * width, -0.32 * length), _GLASS)
    canvas.part(pose, rounded(0.36 * length, 0.82 * width, -0.06 * length), _tone(rng, paint, 0.08))
    return length, width


def truck(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """A lorry with a trailer, or a bus."""
    width = rng.uniform(2.5, 2.9)
    whole = rectangle(length, width)
    canvas.shadow(pose, whole, rng.uniform(2.5, 4))
    if rng.random() < 0.35:
        roof = _pick(rng, ((0.90, 0.90, 0.90), (0.85, 0.70, 0.20), (0.60, 0.12, 0.10), (0.25, 0.40, 0.60)))
        canvas.part(pose, rounded(length, width, corner=0.12), roof)
        for place in (-0.22, 0.2):
            canvas.part(pose, rectangle(0.12 * length, 0.5 * width, place * length), _tone(rng, roof, 0.15))
        return length, width
    cab = min(2.6, 0.3 * length)
    canvas.part(pose, rounded(cab, 0.96 * width, (length - cab) / 2, corner=0.15), _pick(rng, _PAINT))
    canvas.part(pose, rectangle(0.25 * cab, 0.8 * width, length / 2 - 0.25 * cab), _GLASS)
    load = length - cab - 0.5
    box = (0.88, 0.88, 0.87) if rng.random() < 0.6 else _PAINT[int(rng.integers(len(_PAINT)))]
    canvas.part(pose, rectangle(load, width, -(length - load) / 2), _tone(rng, box))
    return length, width


def tank(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """A storage tank: a domed roof lit from one side, or a sunken roof with the rim's shadow in it."""
    radius = length / 2
    outline = disc(radius)
    canvas.shadow(pose, outline, min(rng.uniform(0.25, 0.6) * length, 16.0))
    roof = _tone(rng, (0.86, 0.86, 0.83)) if rng.random() < 0.75 else _tone(rng, (0.55, 0.56, 0.52), 0.2)
    canvas.part(pose, outline, _tone(rng, _dimmed(roof, 0.8), 0.1))
    toward_x, toward_y = canvas.lit_side(pose)
    if rng.random() < 0.65:
        for share in np.linspace(0.05, 0.85, 7):
            lit = disc(radius * 0.95 * (1 - share), 0.5 * share * radius * toward_x, 0.5 * share * radius * toward_y)
            canvas.part(pose, lit, _dimmed(roof, 0.88 + 0.18 * share))
    else:
        canvas.part(pose, disc(0.94 * radius), _dimmed(roof, 0.5))
        canvas.part(pose, disc(0.86 * radius, -0.08 * radius * toward_x, -0.08 * radius * toward_y), roof)
    if rng.random() < 0.5:
        canvas.part(pose, disc(0.06 * radius, points=10), _tone(rng, (0.5, 0.5, 0.5), 0.2))
    return length, length


def court(rng: np.random.Generator, canvas: Canvas, pose: Pose, length: float) -> tuple[float, float]:
    """A tennis court with its run-off; lines and net to scale."""
    width = length / rng.uniform(1.95, 2.2)
    floors = ((0.68, 0.38, 0.22), (0.24, 0.42, 0.28), (0.22, 0.36, 0.55), (0.35, 0.52, 0.36), (0.55, 0.27, 0.22))
    around, inner = _pick(rng, floors), _pick(rng, floors)
    canvas.part(pose, rectangle(length, width), around)
    play_l, play_w = 0.66 * length, 0.66 * length * 10.97 / 23.77
    canvas.part(pose, rectangle(play_l, play_w), inner if rng.random() < 0.6 else around)
    line = max(0.12, 0.35 * pose.gsd_m)
    chalk = _tone(rng, (0.88, 0.88, 0.86))
    for offset in (-0.5, 0.5, -0.375, 0.375):
        canvas.part(pose, rectangle(play_l, line, 0, offset * play_w), chalk)
    for place, share in ((-0.5, 1.0), (0.5, 1.0), (-0.27, 0.75), (0.27, 0.75), (0.0, 1.15)):
        canvas.part(pose, rectangle(line, share * play_w, place * play_l), chalk)
    canvas.part(pose, rectangle(0.54 * play_l, line), chalk)
    return length, width


KINDS = {
    "plane": (Kind("plane", plane, (9, 15), 0.7), Kind("plane", plane, (18, 60), 0.95)),
    "small-vehicle": (Kind("small-vehicle", car, (3.8, 5.3), 2.2),),
    "large-vehicle": (Kind("large-vehicle", truck, (7, 19), 9.0, 2.9),),
    "ship": (Kind("ship", boat, (5, 22), 2.6), Kind("ship", vessel, (30, 150), 4.5)),
    "storage-tank": (Kind("storage-tank", tank, (6, 55), 1.0, is_round=True),),
    "tennis-court": (Kind("tennis-court", court, (30, 38), 1.95),),
}
"""The kinds of each class that can be drawn."""
