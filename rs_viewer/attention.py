"""What the model perceived in a window: pictures of its tokens in the inspector, the chosen one over the map.

The token map, and the attention of each token as the method publishes it, drawn as ``rs-engine tokens`` draws them.
Guarantees: the model runs and pictures are drawn off the GUI thread, newest request wins; what lies over the map goes
when something else is inspected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal

from rs_viewer import format as fmt
from rs_viewer import tasks
from rs_viewer.jobs import Context, Failure
from rs_viewer.latest import Latest
from rs_viewer.panels.tokens import MAP, THUMB_PX, Thumb, TokenSection
from rs_viewer.parts import Parts

if TYPE_CHECKING:
    from engine.inference.attention import WindowTokens
    from rs_viewer.map.layers import ImageOverlay
    from rs_viewer.workspace import OpenAnalysis

HEAT = ((0.0, (20, 11, 53, 0)), (0.25, (120, 28, 109, 110)), (0.5, (229, 92, 48, 170)), (1.0, (252, 255, 164, 225)))
"""Attention from least to most: straight RGBA, dark and clear to light and dense."""
MAP_ALPHA = 150
MOST_TOKENS = 64
"""Of more tokens, those that hold most pixels are shown."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the attention would be about.

    Attributes:
        item: The analysis.
        window: Number of the window.
        token: The token to show first, ``MAP`` for the map of all.
    """

    item: OpenAnalysis
    window: int
    token: int


@dataclass(frozen=True, slots=True)
class Perceived:
    """What was computed of a subject."""

    subject: Subject
    seen: WindowTokens
    thumbs: tuple[Thumb, ...]


def heat(values: np.ndarray) -> np.ndarray:
    """Colour values from their least to their greatest as straight RGBA bytes; of one value there is nothing to see."""
    low, top = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    scaled = (values - low) / (top - low) if top > low else np.zeros_like(values)
    stops = [stop for stop, _ in HEAT]
    channels = [np.interp(scaled, stops, [color[index] for _, color in HEAT]) for index in range(4)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def token_areas(seen: WindowTokens) -> np.ndarray:
    """The token map in the colours of tokens, borders dark, as straight RGBA bytes."""
    from engine.training.drawing import token_picture

    return _rgba(np.asarray(token_picture(seen.token_map, seen.count)), MAP_ALPHA)


def thumbs_of(seen: WindowTokens, chosen: int) -> tuple[Thumb, ...]:
    """Small pictures of a window: the token map, then each token's attention over the image."""
    from engine.training.drawing import heat_picture, shown_image, token_picture

    step = max(1, max(seen.token_map.shape) // (2 * THUMB_PX))
    under = shown_image(np.asarray(seen.pixels))[::step, ::step]
    areas = token_picture(seen.token_map[::step, ::step], seen.count, under)
    pixels = np.bincount(seen.token_map.ravel(), minlength=seen.count)
    largest = {*np.argsort(-pixels, kind="stable")[:MOST_TOKENS].tolist(), *({chosen} - {MAP})}
    thumbs = [Thumb(MAP, "Token map", f"Which of {seen.count} tokens claims each pixel", _rgba(np.asarray(areas)))]
    for token in sorted(largest):
        share = fmt.percent(pixels[token] / pixels.sum())
        drawn = np.asarray(heat_picture(seen.at_pixels(token)[::step, ::step], under))
        tip = f"Where token {token} looks, from least (dark) to most (bright); it claims {share} of the window"
        thumbs.append(Thumb(token, f"{token}: {share}", tip, _rgba(drawn)))
    return tuple(thumbs)


def _rgba(rgb: np.ndarray, alpha: int = 255) -> np.ndarray:
    return np.concatenate((rgb, np.full((*rgb.shape[:2], 1), alpha, np.uint8)), axis=2)


class TokenLooks(QObject):
    """Computes and shows the tokens of one window.

    Args:
        parts: Parts of the window.
        section: Where the pictures are shown, and the button that asks for them.

    Signals:
        failed: Something could not be computed.
        told: A sentence for the status bar.
    """

    failed = Signal(object)
    told = Signal(str)

    def __init__(self, parts: Parts, section: TokenSection, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._room, self._map, self._panel = parts.room, parts.map, parts.panel
        self.section = section
        self._subject: Subject | None = None
        self._perceived: Perceived | None = None
        self._overlay: ImageOverlay | None = None
        self._compute = Latest(parts.jobs, "Computing attention", lane="device", parent=self)
        self._draw = Latest(parts.jobs, "Drawing attention", parent=self)
        self._compute.answered.connect(self._computed)
        self._draw.answered.connect(self._drawn)
        for request in (self._compute, self._draw):
            request.failed.connect(self._failed)
        section.toggled.connect(self._toggle)
        section.tokenChosen.connect(self.show_token)

    def be_about(self, item: OpenAnalysis, window: int, token: int = MAP) -> None:
        """Another region or cell is inspected: offer its window's tokens.

        Args:
            item: The analysis.
            window: Number of the window; negative where there is none.
            token: The token to show first.
        """
        self.put_away()
        known = any(info.card == item.analysis.card for info in self._panel.models)
        reasons = (
            (window < 0, "This region came from no token"),
            (item.scene is None, "Needs the scene of this analysis to be open"),
            (not known, "Its model is not installed"),
        )
        self._subject = Subject(item, window, token)
        self.section.allow(next((reason for holds, reason in reasons if holds), ""))

    def put_away(self) -> None:
        """Show nothing any more."""
        self._subject = self._perceived = None
        self._hide()

    def _hide(self) -> None:
        self._compute.forget()
        self._draw.forget()
        self._drop_overlay()
        self.section.put_away()

    def _failed(self, failure: Failure) -> None:
        self._hide()
        self.failed.emit(failure)

    def _toggle(self, shown: bool) -> None:
        if not shown:
            self._hide()
            return
        subject = self._subject
        if subject is None or subject.item.scene is None:
            return
        if self._perceived is not None:
            self._computed(self._perceived)
            return
        analysis, scene, models, room = subject.item.analysis, subject.item.scene.scene, self._panel.models, self._room

        def work(context: Context) -> Perceived:
            seen = tasks.window_tokens(context, room, scene, tasks.model_of(analysis, models), analysis, subject.window)
            return Perceived(subject, seen, thumbs_of(seen, subject.token))

        self.told.emit("Computing the tokens' attention…")
        self._compute.ask(work)

    def _computed(self, found: Perceived) -> None:
        if found.subject is not self._subject or not self.section.button.isChecked():
            return
        self._perceived = found
        self.section.show_thumbs(found.thumbs, found.subject.token)
        self.show_token(found.subject.token)

    def show_token(self, token: int) -> None:
        """Lay the attention of a token, or the token map, over the map."""
        found = self._perceived
        if found is None:
            return
        seen = found.seen
        name = "Tokens of the window" if token == MAP else f"Attention of token {token}"
        self._draw.ask(
            lambda context: (found, name, token_areas(seen) if token == MAP else heat(seen.at_pixels(token)))
        )

    def _drawn(self, answer: tuple[Perceived, str, np.ndarray]) -> None:
        from rs_viewer.map.layers import ImageOverlay

        found, name, rgba = answer
        if found is not self._perceived or not self.section.button.isChecked():
            return
        self._drop_overlay()
        self._overlay = ImageOverlay(found.subject.item.analysis.grid, found.seen.window, rgba, name=name)
        self._map.layers.add(self._overlay)
        self.told.emit("")

    def _drop_overlay(self) -> None:
        overlay, self._overlay = self._overlay, None
        if overlay is not None and overlay in self._map.layers:
            self._map.layers.remove(overlay)
