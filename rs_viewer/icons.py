"""Icons from ``resources/icons``: line drawings that take the palette's colours.

Guarantees: an icon looks right at any device pixel ratio and in either scheme; a missing file is a fault and raises.
"""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from engine.resources import resources_dir

SIZES_PX = (16, 20, 24, 32, 48, 64)


@cache
def _source(name: str) -> str:
    return (resources_dir() / "icons" / f"{name}.svg").read_text(encoding="utf-8")


def pixmap(name: str, color: str, size_px: int) -> QPixmap:
    """One icon in one colour at ``size_px`` device pixels."""
    renderer = QSvgRenderer(QByteArray(_source(name).replace("currentColor", color).encode()))
    drawn = QPixmap(size_px, size_px)
    drawn.fill(Qt.GlobalColor.transparent)
    painter = QPainter(drawn)
    renderer.render(painter, QRectF(0, 0, size_px, size_px))
    painter.end()
    return drawn


def icon(name: str, *, on_accent: bool = True) -> QIcon:
    """An icon in the application's present colours.

    Args:
        name: Its file.
        on_accent: Whether a button with it takes the accent colour while it is switched on.
    """
    palette = QApplication.palette()
    disabled = palette.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.ButtonText).name()
    checked = palette.color(QPalette.ColorRole.HighlightedText if on_accent else QPalette.ColorRole.ButtonText).name()
    colours = {
        (QIcon.Mode.Normal, QIcon.State.Off): palette.color(QPalette.ColorRole.ButtonText).name(),
        (QIcon.Mode.Disabled, QIcon.State.Off): disabled,
        (QIcon.Mode.Disabled, QIcon.State.On): disabled,
        (QIcon.Mode.Normal, QIcon.State.On): checked,
        (QIcon.Mode.Active, QIcon.State.On): checked,
    }
    made = QIcon()
    for (mode, state), color in colours.items():
        for size_px in SIZES_PX:
            made.addPixmap(pixmap(name, color, size_px), mode, state)
    return made


def accent_icon(name: str) -> QIcon:
    """An icon for the primary button, in the colour of text on the accent."""
    palette = QApplication.palette()
    made = QIcon()
    for size_px in SIZES_PX:
        color = palette.color(QPalette.ColorRole.HighlightedText).name()
        made.addPixmap(pixmap(name, color, size_px), QIcon.Mode.Normal)
        made.addPixmap(
            pixmap(name, palette.color(QPalette.ColorRole.PlaceholderText).name(), size_px), QIcon.Mode.Disabled
        )
    return made
