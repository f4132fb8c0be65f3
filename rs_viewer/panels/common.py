"""Small parts that all panels share: dock titles, headings, hints for empty panels, foldable sections, form rows."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.icons import icon, pixmap

MARGIN_PX = 10
HINT_ICON_PX = 40


class DockTitle(QWidget):
    """A dock's title bar with buttons that keyboard and screen readers reach.

    Args:
        dock: The dock.
    """

    def __init__(self, dock: QDockWidget) -> None:
        super().__init__(dock)
        self.setProperty("dockTitle", True)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        name = dock.windowTitle()
        label = QLabel(name)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN_PX, 3, 4, 3)
        row.setSpacing(0)
        row.addWidget(label)
        row.addStretch(1)
        self._buttons: list[tuple[QToolButton, str]] = []
        for image, action, slot in (
            ("float", f"Detach the panel {name}", lambda: dock.setFloating(not dock.isFloating())),
            ("close", f"Close the panel {name}", dock.close),
        ):
            button = QToolButton()
            button.setAutoRaise(True)
            button.setIconSize(QSize(14, 14))
            button.setToolTip(action)
            button.setAccessibleName(action)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(slot)
            row.addWidget(button)
            self._buttons.append((button, image))
        self.refresh_icons()

    def refresh_icons(self) -> None:
        """Draw the icons anew from the present palette."""
        for button, image in self._buttons:
            button.setIcon(icon(image))


class Hint(QWidget):
    """What an empty panel shows: a picture, what belongs here, and what to do next."""

    def __init__(self, image: str, title: str, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image = image
        self._picture = QLabel()
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.title = QLabel(title)
        self.title.setProperty("heading", True)
        self.text = QLabel(text)
        self.text.setProperty("muted", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 16)
        column.setSpacing(6)
        column.addStretch(1)
        column.addWidget(self._picture)
        for label in (self.title, self.text):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setWordWrap(True)
            column.addWidget(label)
        column.addStretch(1)
        self.setAccessibleName(f"{title}. {text}")
        self.refresh_icons()

    def say(self, title: str, text: str) -> None:
        """Change the words."""
        self.title.setText(title)
        self.text.setText(text)
        self.setAccessibleName(f"{title}. {text}")

    def refresh_icons(self) -> None:
        """Draw the picture anew from the present palette."""
        ratio = self.devicePixelRatioF()
        drawn = pixmap(self._image, self.palette().placeholderText().color().name(), round(HINT_ICON_PX * ratio))
        drawn.setDevicePixelRatio(ratio)
        self._picture.setPixmap(drawn)


class Section(QWidget):
    """A heading that folds what is below it.

    Args:
        title: The heading.
        folded: Whether it starts folded.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, *, folded: bool = True, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QPushButton(title)
        self.button.setFlat(True)
        self.button.setCheckable(True)
        self.button.setAccessibleName(f"{title.replace('&', '')}, foldable section")
        self.button.setStyleSheet("text-align: left; padding: 3px 2px; font-weight: 600; border: 0;")
        self.body = QWidget()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.button)
        column.addWidget(self.body)
        self.button.toggled.connect(self._toggle)
        self.button.setChecked(not folded)
        self._toggle(not folded)

    def _toggle(self, shown: bool) -> None:
        self.body.setVisible(shown)
        self.button.setIcon(icon("down" if shown else "right", on_accent=False))
        self.toggled.emit(shown)

    def refresh_icons(self) -> None:
        """Draw the arrow anew from the present palette."""
        self.button.setIcon(icon("down" if self.button.isChecked() else "right", on_accent=False))


class Notice(QFrame):
    """A sentence on a coloured ground that stays until it no longer holds."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("notice", True)
        self.label = wrapped("")
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 6, 8, 6)
        row.addWidget(self.label)
        self.hide()

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the notice."""
        self.label.setText(text)
        self.label.setAccessibleName(text)
        self.setVisible(bool(text))


def wrapped(text: str, *, muted: bool = False, heading: bool = False, selectable: bool = False) -> QLabel:
    """A label that breaks lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    if muted:
        label.setProperty("muted", True)
    if heading:
        label.setProperty("heading", True)
    if selectable:
        label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
    policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    return label


def labelled(text: str, widget: QWidget, tip: str = "") -> QLabel:
    """A label with a mnemonic for ``widget``, which takes its name and tooltip."""
    label = QLabel(text)
    label.setBuddy(widget)
    widget.setAccessibleName(text.replace("&", "").rstrip(":"))
    if tip:
        widget.setToolTip(tip)
        widget.setAccessibleDescription(tip)
        label.setToolTip(tip)
    return label


def scrolling(widget: QWidget) -> QScrollArea:
    """A frameless scroll area around a widget."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(widget)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return area


def bigger(label: QLabel, by_points: float = 3) -> QLabel:
    """Enlarge a label's font."""
    font = QFont(label.font())
    font.setPointSizeF(font.pointSizeF() + by_points)
    font.setWeight(QFont.Weight.DemiBold)
    label.setFont(font)
    return label
