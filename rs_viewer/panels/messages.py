"""How the window speaks up: a banner above the map for warnings and results, dialogs for errors.

Guarantees: a banner never takes the keyboard and never covers a dialog; the same sentence is not shown twice at once;
an error always says what happened, where, and what would work, with details for faults of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMessageBox, QPushButton, QToolButton, QVBoxLayout, QWidget

from rs_viewer.icons import icon, pixmap
from rs_viewer.jobs import Failure
from rs_viewer.panels.common import wrapped

MOST_BANNERS = 3
MOST_WIDTH_PX = 760
MARGIN_PX = 12


class Banner(QFrame):
    """One sentence with a button to put it away and, at most, one to act on it.

    Signals:
        dismissed: One of its buttons was pressed.
    """

    dismissed = Signal()

    def __init__(self, text: str, image: str, action: str = "", slot: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.text = text
        self._image = image
        self.setProperty("notice", True)
        self._picture = QLabel()
        label = wrapped(text, selectable=True)
        label.setAccessibleName(text)
        self._close = QToolButton()
        self._close.setAutoRaise(True)
        self._close.setIconSize(QSize(14, 14))
        self._close.setToolTip("Dismiss")
        self._close.setAccessibleName(f"Dismiss: {text}")
        self._close.clicked.connect(self.dismissed)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 6, 6)
        row.setSpacing(10)
        row.addWidget(self._picture)
        row.addWidget(label, 1)
        if slot is not None:
            button = QPushButton(action)
            button.clicked.connect(slot)
            button.clicked.connect(self.dismissed)
            row.addWidget(button)
        row.addWidget(self._close)
        self.setAccessibleName(text)
        self.refresh_icons()

    def refresh_icons(self) -> None:
        """Draw the icons anew from the present palette."""
        ratio = self.devicePixelRatioF()
        drawn = pixmap(self._image, self.palette().windowText().color().name(), round(18 * ratio))
        drawn.setDevicePixelRatio(ratio)
        self._picture.setPixmap(drawn)
        self._close.setIcon(icon("close"))


class Messages(QWidget):
    """Banners over the top of the map; the map keeps its place and size under them.

    Args:
        over: The map.
    """

    def __init__(self, over: QWidget) -> None:
        super().__init__(over)
        self._over = over
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._banners: list[Banner] = []  # not asked of the column: its entries are deleted unseen by Python
        self.setAccessibleName("Messages")
        over.installEventFilter(self)
        self.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay at the top of the map, whatever its size."""
        if watched is self._over and event.type() == QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)

    def _place(self) -> None:
        banners = self._banners
        self.setVisible(bool(banners))
        width = min(self._over.width() - 2 * MARGIN_PX, MOST_WIDTH_PX)
        if not banners or width <= 0:
            return
        height = sum(banner.heightForWidth(width) for banner in banners) + 6 * (len(banners) - 1)
        self.setGeometry((self._over.width() - width) // 2, MARGIN_PX, width, height)
        self.raise_()

    @property
    def texts(self) -> list[str]:
        """What is being shown, oldest first."""
        return [banner.text for banner in self._banners]

    def warn(self, text: str, action: str = "", slot: Callable[[], object] | None = None) -> None:
        """Show a warning."""
        self._add(Banner(text, "warning", action, slot))

    def tell(self, text: str, action: str = "", slot: Callable[[], object] | None = None) -> None:
        """Show good or neutral news."""
        self._add(Banner(text, "info", action, slot))

    def _add(self, banner: Banner) -> None:
        for old in list(self._banners):
            if old.text == banner.text or len(self._banners) >= MOST_BANNERS:
                self._drop(old)
        self._column.addWidget(banner)
        self._banners.append(banner)
        banner.dismissed.connect(lambda: self._drop(banner))
        self._place()

    def _drop(self, banner: Banner) -> None:
        if banner not in self._banners:  # put away already
            return
        self._banners.remove(banner)
        self._column.removeWidget(banner)
        banner.hide()
        banner.deleteLater()
        self._place()

    def clear(self) -> None:
        """Put all banners away."""
        for banner in list(self._banners):
            self._drop(banner)

    def refresh_icons(self) -> None:
        """Draw the icons anew from the present palette."""
        for banner in self._banners:
            banner.refresh_icons()


def error_dialog(parent: QWidget | None, title: str, failure: Failure) -> QMessageBox:
    """A dialog for an error; shown without blocking, deleted when closed."""
    box = QMessageBox(parent)
    box.setObjectName("error")
    box.setIcon(QMessageBox.Icon.Critical if failure.details else QMessageBox.Icon.Warning)
    box.setWindowTitle(title)
    box.setTextFormat(Qt.TextFormat.PlainText)
    what = failure.what.rstrip(".") + "."
    box.setText(what[0].upper() + what[1:])
    rest = [text for text in (failure.where, failure.remedy) if text]
    box.setInformativeText("\n\n".join(rest))
    if failure.details:
        box.setDetailedText(failure.details)
    box.setStandardButtons(QMessageBox.StandardButton.Ok)
    box.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setWindowModality(Qt.WindowModality.WindowModal)
    box.open()
    return box


def may_cancel(parent: QWidget, work: Sequence[str]) -> bool:
    """Ask whether work that goes on may be cancelled, so that the window can close.

    Args:
        parent: The window.
        work: What goes on.
    """
    what = " and ".join(title[0].lower() + title[1:] for title in work)
    box = QMessageBox(parent)
    box.setObjectName("close-question")
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Close RS Viewer?")
    box.setText(f"Work is still going on: {what}.")
    box.setInformativeText("It is cancelled if you close now. What an analysis has done is kept and can be resumed.")
    leave = box.addButton("Cancel and Close", QMessageBox.ButtonRole.DestructiveRole)
    stay = box.addButton("Keep Working", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(stay)
    box.setEscapeButton(stay)
    box.exec()
    return box.clickedButton() is leave
