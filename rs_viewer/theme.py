"""Light and dark: one accent colour, palettes for Fusion and the few style rules on top.

Guarantees: ``Theme.apply`` may be called at any time; text keeps a contrast of at least 4.5:1 on its ground in
both schemes. ``Theme.changed`` fires after the palette is in place, so that icons can be redrawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

from engine.resources import resources_dir

Mode = Literal["system", "light", "dark"]


@dataclass(frozen=True, slots=True)
class Colours:
    """Colours of a scheme, by what they are for."""

    name: str
    window: str
    base: str
    raised: str
    text: str
    muted: str
    line: str
    accent: str
    on_accent: str
    disabled: str
    warning: str
    on_warning: str
    error: str


LIGHT = Colours(
    name="light",
    window="#f3f5f6",
    base="#ffffff",
    raised="#fbfcfc",
    text="#1a2024",
    muted="#56616b",
    line="#d3d9de",
    accent="#0b7a75",
    on_accent="#ffffff",
    disabled="#9aa4ad",
    warning="#fdf0cf",
    on_warning="#5c4300",
    error="#b3261e",
)
DARK = Colours(
    name="dark",
    window="#262c30",
    base="#1a1e21",
    raised="#30373c",
    text="#e6eaec",
    muted="#9eabb3",
    line="#434c52",
    accent="#3cc4ba",
    on_accent="#06211f",
    disabled="#727e86",
    warning="#4a3a0d",
    on_warning="#ffe6a3",
    error="#ff8a80",
)


def palette(colours: Colours) -> QPalette:
    """The Fusion palette of a scheme."""
    made = QPalette()
    roles = {
        QPalette.ColorRole.Window: colours.window,
        QPalette.ColorRole.WindowText: colours.text,
        QPalette.ColorRole.Base: colours.base,
        QPalette.ColorRole.AlternateBase: colours.raised,
        QPalette.ColorRole.ToolTipBase: colours.raised,
        QPalette.ColorRole.ToolTipText: colours.text,
        QPalette.ColorRole.Text: colours.text,
        QPalette.ColorRole.Button: colours.raised,
        QPalette.ColorRole.ButtonText: colours.text,
        QPalette.ColorRole.BrightText: colours.error,
        QPalette.ColorRole.Link: colours.accent,
        QPalette.ColorRole.LinkVisited: colours.accent,
        QPalette.ColorRole.Highlight: colours.accent,
        QPalette.ColorRole.HighlightedText: colours.on_accent,
        QPalette.ColorRole.Accent: colours.accent,
        QPalette.ColorRole.PlaceholderText: colours.muted,
        QPalette.ColorRole.Mid: colours.line,
        QPalette.ColorRole.Midlight: colours.line,
        QPalette.ColorRole.Light: colours.raised,
        QPalette.ColorRole.Dark: colours.line,
        QPalette.ColorRole.Shadow: "#000000",
    }
    for role, value in roles.items():
        made.setColor(role, QColor(value))
    group = QPalette.ColorGroup.Disabled
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        made.setColor(group, role, QColor(colours.disabled))
    made.setColor(group, QPalette.ColorRole.Highlight, QColor(colours.line))
    made.setColor(group, QPalette.ColorRole.HighlightedText, QColor(colours.disabled))
    return made


def style_sheet(c: Colours) -> str:
    """Rules beyond the palette; controls keep their native Fusion drawing."""
    check = (resources_dir() / "icons" / f"check-{c.name}.svg").as_posix()
    return f"""
    QToolTip {{ color: {c.text}; background: {c.raised}; border: 1px solid {c.line}; padding: 4px; }}
    QMainWindow::separator {{ background: {c.line}; width: 1px; height: 1px; }}
    QMainWindow::separator:hover {{ background: {c.accent}; }}
    QMenuBar {{ background: {c.window}; border-bottom: 1px solid {c.line}; }}
    QToolBar {{ background: {c.window}; border: 0; border-bottom: 1px solid {c.line}; padding: 4px 6px; spacing: 4px; }}
    QToolBar::separator {{ background: {c.line}; width: 1px; margin: 5px 6px; }}
    QToolBar QToolButton {{ border: 1px solid transparent; border-radius: 6px; padding: 5px 8px; color: {c.text}; }}
    QToolBar QToolButton:hover {{ background: {c.raised}; border-color: {c.line}; }}
    QToolBar QToolButton:focus {{ border-color: {c.accent}; }}
    QToolBar QToolButton:pressed, QToolBar QToolButton:checked {{ background: {c.accent}; color: {c.on_accent}; }}
    QToolBar QToolButton:disabled {{ color: {c.disabled}; }}
    QStatusBar {{ background: {c.window}; border-top: 1px solid {c.line}; }}
    QStatusBar::item {{ border: 0; }}
    QStatusBar QLabel {{ color: {c.muted}; padding: 2px 8px; }}
    QStatusBar QLabel[badge="true"] {{
        color: {c.text}; background: {c.raised}; border: 1px solid {c.line}; border-radius: 8px; padding: 1px 8px; }}
    QWidget[dockTitle="true"] {{ background: {c.window}; border-bottom: 1px solid {c.line}; }}
    QWidget[dockTitle="true"] QLabel {{ font-weight: 600; }}
    QLabel[muted="true"] {{ color: {c.muted}; }}
    QLabel[heading="true"] {{ font-weight: 600; }}
    QLabel[error="true"] {{ color: {c.error}; }}
    QFrame[card="true"] {{ background: {c.base}; border: 1px solid {c.line}; border-radius: 8px; }}
    QFrame[notice="true"] {{ background: {c.warning}; border: 1px solid {c.line}; border-radius: 6px; }}
    QFrame[notice="true"] QLabel {{ color: {c.on_warning}; background: transparent; }}
    QPushButton[primary="true"] {{
        background: {c.accent}; color: {c.on_accent}; border: 1px solid {c.accent}; border-radius: 6px;
        padding: 7px 18px; font-weight: 600; }}
    QPushButton[primary="true"]:hover {{ border-color: {c.text}; }}
    QPushButton[primary="true"]:focus {{ border: 2px solid {c.text}; padding: 6px 17px; }}
    QPushButton[primary="true"]:disabled {{ background: {c.line}; color: {c.muted}; border-color: {c.line}; }}
    QProgressBar {{
        background: {c.base}; border: 1px solid {c.line}; border-radius: 5px; height: 10px; max-height: 10px; }}
    QProgressBar::chunk {{ background: {c.accent}; border-radius: 4px; }}
    QListWidget::item, QTreeWidget::item {{ padding: 4px 2px; }}
    QListWidget, QTreeWidget {{ outline: 0; }}
    QListWidget::indicator {{
        width: 14px; height: 14px; border: 1px solid {c.muted}; border-radius: 3px; background: {c.base}; }}
    QListWidget::indicator:checked {{
        background: {c.accent}; border-color: {c.on_accent}; image: url("{check}"); }}
    QHeaderView::section {{
        background: {c.window}; color: {c.muted}; border: 0; border-bottom: 1px solid {c.line}; padding: 4px 6px; }}
    QAbstractSpinBox {{ min-height: 20px; }}
    QScrollArea {{ border: 0; background: transparent; }}
    """


class Theme(QObject):
    """Keeps the application in the scheme that the system or the user wants.

    Args:
        application: The application to dress.
        mode: ``system`` follows the desktop.
    """

    changed = Signal()

    def __init__(self, application: QApplication, mode: Mode = "system") -> None:
        super().__init__(application)
        self._application = application
        self.mode: Mode = mode
        self.colours = LIGHT
        application.setStyle(QStyleFactory.create("Fusion"))
        application.styleHints().colorSchemeChanged.connect(self._system_changed)
        self.apply(mode)

    @property
    def dark(self) -> bool:
        """Whether the dark scheme is shown."""
        return self.colours is DARK

    def apply(self, mode: Mode) -> None:
        """Show a scheme; ``system`` follows the desktop from now on."""
        self.mode = mode
        dark = mode == "dark" or (
            mode == "system" and self._application.styleHints().colorScheme() == Qt.ColorScheme.Dark
        )
        self.colours = DARK if dark else LIGHT
        self._application.setPalette(palette(self.colours))
        self._application.setStyleSheet(style_sheet(self.colours))
        self.changed.emit()

    def _system_changed(self) -> None:
        if self.mode == "system":
            self.apply("system")
