"""Every command of the window, declared once: menus, toolbar, shortcuts, tooltips and status tips come from here.

Guarantees: a command has one text, one icon and one shortcut wherever it appears; a tooltip names the shortcut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QToolBar, QToolButton

from rs_viewer.icons import icon


@dataclass(frozen=True, slots=True)
class Spec:
    """What a command looks like.

    Attributes:
        key: Name in the program.
        text: Menu text with its mnemonic.
        tip: What it does, a sentence for tooltip and status bar.
        icon: Icon name, or none.
        shortcut: Key sequence in portable text.
        group: Exclusive group of switches it belongs to.
        checkable: Whether it is a switch.
        label: Shorter text for the toolbar.
    """

    key: str
    text: str
    tip: str
    icon: str = ""
    shortcut: str = ""
    group: str = ""
    checkable: bool = False
    label: str = ""


SPECS = (
    Spec("open", "&Open Scene…", "Open a raster file, or several that belong together", "open", "Ctrl+O", label="Open"),
    Spec(
        "open_folder",
        "Open &Folder…",
        "Open a folder of tiles or of single-band files as one scene",
        "folder",
        "Ctrl+Shift+O",
    ),
    Spec(
        "open_url",
        "Open &URL…",
        "Open a raster on the web (cloud-optimised GeoTIFF) or any GDAL address",
        "link",
        "Ctrl+U",
    ),
    Spec(
        "open_analysis",
        "Open &Analysis…",
        "Reopen a results folder together with its scene",
        "analysis",
        "Ctrl+Shift+A",
    ),
    Spec(
        "demo",
        "Try the &Demo",
        "Make a labelled demo scene, run the shipped model over it and compare with the truth",
        "",
        "",
    ),
    Spec("export", "&Export…", "Write regions, maps, objects or patches to a file for your GIS", "export", "Ctrl+E"),
    Spec("save_picture", "Save &Picture…", "Save the map as it is shown to a PNG file", "camera", "Ctrl+Shift+S"),
    Spec("close_layer", "&Close Layer", "Close the selected layer; files stay untouched", "close", "Ctrl+W"),
    Spec("close_all", "Close A&ll", "Close all scenes and analyses; files stay untouched", "", "Ctrl+Shift+W"),
    Spec("quit", "&Quit", "Close RS Viewer", "", "Ctrl+Q"),
    Spec("zoom_in", "Zoom &In", "Look closer", "zoom-in", "Ctrl++"),
    Spec("zoom_out", "Zoom &Out", "See more", "zoom-out", "Ctrl+-"),
    Spec("zoom_fit", "Zoom to &Fit", "Show everything", "zoom-fit", "Ctrl+0", label="Fit"),
    Spec(
        "scheme_system", "As the &System", "Follow the desktop's light or dark scheme", group="scheme", checkable=True
    ),
    Spec("scheme_light", "&Light", "Use the light scheme", group="scheme", checkable=True),
    Spec("scheme_dark", "&Dark", "Use the dark scheme", group="scheme", checkable=True),
    Spec("map_only", "&Map Only", "Hide or bring back all panels", "", "F9", checkable=True),
    Spec("reset_layout", "&Reset Layout", "Put all panels back where they were at first", "reset"),
    Spec("tool_pan", "&Pan", "Drag the map; the wheel zooms", "pan", "P", "tool", True, "Pan"),
    Spec(
        "tool_inspect",
        "I&nspect",
        "Point at regions to outline them, click one to read about it",
        "inspect",
        "I",
        "tool",
        True,
        "Inspect",
    ),
    Spec(
        "tool_roi",
        "Re&gion of Interest",
        "Draw a polygon; double click or Enter ends it",
        "roi",
        "R",
        "tool",
        True,
        "ROI",
    ),
    Spec("run", "&Run", "Run the model over the scene", "run", "Ctrl+R", label="Run"),
    Spec(
        "cancel",
        "&Cancel Run",
        "Stop after the present windows; what is done is kept",
        "cancel",
        "Ctrl+.",
        label="Cancel",
    ),
    Spec(
        "find_similar",
        "&Find Similar Regions",
        "Show regions that look to the model like the inspected one",
        "similar",
        "Ctrl+F",
    ),
    Spec("clear_inspection", "C&lear Inspection", "Remove outlines, highlights and attention", "clear", "Esc"),
    Spec("model_folder", "Open &Model Folder", "Show the folder that your own models are found in", "folder"),
    Spec("layer_up", "Move &Up", "Draw the selected layer above the next one", "up", "Ctrl+Up"),
    Spec("layer_down", "Move &Down", "Draw the selected layer below the next one", "down", "Ctrl+Down"),
    Spec("zoom_layer", "&Zoom to Layer", "Show the whole selected layer", "zoom-fit", "Ctrl+L"),
    Spec(
        "bands",
        "&Bands and Contrast…",
        "Choose which bands are shown as red, green and blue, and how they are stretched",
        "bands",
        "Ctrl+B",
    ),
    Spec(
        "quadtree",
        "&Quadtree…",
        "Cut the scene into patches, small where there is much to see, large where it is plain",
        "quadtree",
        "Ctrl+T",
    ),
    Spec(
        "compare",
        "Compare &Two Scenes…",
        "Find what changed between two scenes of one place",
        "compare",
        "Ctrl+D",
    ),
    Spec("shortcuts", "&Keyboard Shortcuts", "List every command with its keys", "help", "F1"),
    Spec("about", "&About RS Viewer", "Version and licence", "info"),
)

SEPARATOR = "-"
MENUS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "&File",
        (
            "open",
            "open_folder",
            "open_url",
            "open_analysis",
            "recent",
            "-",
            "export",
            "save_picture",
            "-",
            "close_layer",
            "close_all",
            "-",
            "quit",
        ),
    ),
    (
        "&View",
        (
            "zoom_in",
            "zoom_out",
            "zoom_fit",
            "-",
            "tool_pan",
            "tool_inspect",
            "tool_roi",
            "-",
            "panels",
            "map_only",
            "reset_layout",
            "-",
            "appearance",
        ),
    ),
    ("&Analysis", ("run", "cancel", "-", "compare", "-", "find_similar", "clear_inspection", "-", "model_folder")),
    ("&Layers", ("bands", "quadtree", "zoom_layer", "-", "layer_up", "layer_down", "-", "close_layer")),
    ("&Help", ("demo", "-", "shortcuts", "about")),
)
SUBMENUS = {"recent": "Open &Recent", "panels": "Pane&ls", "appearance": "&Appearance"}
TOOLBAR = (
    "open",
    "run",
    "cancel",
    "-",
    "tool_pan",
    "tool_inspect",
    "tool_roi",
    "-",
    "zoom_in",
    "zoom_out",
    "zoom_fit",
    "-",
    "export",
)
ICON_ONLY = {"zoom_in", "zoom_out"}


class Actions(QObject):
    """The actions of a window, made from :data:`SPECS`.

    Attributes:
        submenus: Menus that the window fills itself: ``recent``, ``panels``, ``appearance``.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._actions: dict[str, QAction] = {}
        self._groups: dict[str, QActionGroup] = {}
        self.submenus: dict[str, QMenu] = {}
        for spec in SPECS:
            action = QAction(spec.text, self)
            action.setObjectName(spec.key)
            action.setCheckable(spec.checkable)
            if spec.shortcut:
                action.setShortcut(QKeySequence(spec.shortcut, QKeySequence.SequenceFormat.PortableText))
            action.setIconText(spec.label or spec.text.replace("&", "").rstrip("…"))
            if spec.group:
                group = self._groups.setdefault(spec.group, QActionGroup(self))
                group.addAction(action)
            self._actions[spec.key] = action
            self.explain(spec.key)
        self.refresh_icons()

    def __getitem__(self, key: str) -> QAction:
        return self._actions[key]

    def __iter__(self) -> Iterator[QAction]:
        return iter(self._actions.values())

    def explain(self, key: str, reason: str = "") -> None:
        """Say what a command does, or why it cannot be used now."""
        spec, action = next(spec for spec in SPECS if spec.key == key), self._actions[key]
        plain = spec.text.replace("&", "").rstrip("…")
        keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        action.setToolTip(f"<b>{plain}</b>{f' ({keys})' if keys else ''}<br>{reason or spec.tip}")
        action.setStatusTip(reason or spec.tip)

    def refresh_icons(self) -> None:
        """Draw the icons anew from the present palette."""
        for spec in SPECS:
            if spec.icon:
                self._actions[spec.key].setIcon(icon(spec.icon))

    def fill_menu_bar(self, bar: QMenuBar) -> None:
        """Build all menus."""
        for title, keys in MENUS:
            menu = bar.addMenu(title)
            menu.setToolTipsVisible(False)
            for key in keys:
                if key == SEPARATOR:
                    menu.addSeparator()
                elif key in SUBMENUS:
                    self.submenus[key] = menu.addMenu(SUBMENUS[key])
                else:
                    menu.addAction(self._actions[key])
        for key in ("scheme_system", "scheme_light", "scheme_dark"):
            self.submenus["appearance"].addAction(self._actions[key])

    def fill_tool_bar(self, bar: QToolBar) -> None:
        """Build the toolbar; its buttons can be reached with the Tab key."""
        for key in TOOLBAR:
            if key == SEPARATOR:
                bar.addSeparator()
                continue
            action = self._actions[key]
            bar.addAction(action)
            button = bar.widgetForAction(action)
            if isinstance(button, QToolButton):
                only_icon = key in ICON_ONLY
                style = Qt.ToolButtonStyle
                button.setToolButtonStyle(style.ToolButtonIconOnly if only_icon else style.ToolButtonTextBesideIcon)
                button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
                button.setAccessibleName(action.text().replace("&", "").rstrip("…"))


def shortcut_table() -> list[tuple[str, str]]:
    """Commands with their keys, for the help dialog."""
    rows = []
    for spec in SPECS:
        if spec.shortcut:
            keys = QKeySequence(spec.shortcut, QKeySequence.SequenceFormat.PortableText)
            rows.append((spec.text.replace("&", "").rstrip("…"), keys.toString(QKeySequence.SequenceFormat.NativeText)))
    return rows
