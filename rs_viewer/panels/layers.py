"""The list of layers: what is shown, in which order, how strongly.

Guarantees: the list always mirrors the map's stack (top layer first); dragging, keys and buttons all go through the
stack, never around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QPoint, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QAction, QDropEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QSlider,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from rs_viewer.panels.common import Hint
from rs_viewer.panels.quadtree import TokenBudget

if TYPE_CHECKING:
    from rs_viewer.actions import Actions
    from rs_viewer.map.layers import Layer
    from rs_viewer.map.stack import LayerStack

LAYER_ROLE = Qt.ItemDataRole.UserRole


class _List(QListWidget):
    dropped = Signal()

    def dropEvent(self, event: QDropEvent) -> None:
        super().dropEvent(event)
        self.dropped.emit()


class LayersPanel(QStackedWidget):
    """List of layers with visibility, order and opacity.

    Args:
        stack: The map's layers.
        actions: Commands for the context menu.

    Signals:
        selected: A layer was selected, or None.
    """

    selected = Signal(object)

    def __init__(self, stack: LayerStack, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stack = stack
        self._actions = actions
        self.hint = Hint("layers", "No layers", "Drop a satellite scene onto the window, or press Open.")
        self.list = _List()
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.list.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.setAccessibleName("Layers, top first")
        self.list.setAccessibleDescription("Space shows or hides a layer, Ctrl+Up and Ctrl+Down move it")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 100)
        self.slider.setValue(100)
        self.slider.setPageStep(10)
        self.slider.setToolTip("Opacity of the selected layer")
        self.slider.setAccessibleName("Opacity of the selected layer in percent")
        label = QLabel("O&pacity")
        label.setBuddy(self.slider)
        self.value = QLabel("100 %")
        self.value.setMinimumWidth(self.value.fontMetrics().horizontalAdvance("100 %"))
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout()
        row.setContentsMargins(10, 6, 10, 8)
        row.setSpacing(8)
        for widget in (label, self.slider, self.value):
            row.addWidget(widget)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.list, 1)
        self.budget = TokenBudget()
        column.addWidget(self.budget)
        column.addLayout(row)
        self.addWidget(self.hint)
        self.addWidget(page)
        self._page = page
        self.list.itemChanged.connect(self._item_changed)
        self.list.currentItemChanged.connect(self._current_changed)
        self.list.customContextMenuRequested.connect(self._menu)
        self.list.dropped.connect(self._reorder_stack)
        self.slider.valueChanged.connect(self._opacity_changed)
        for signal in (stack.added, stack.removed):
            signal.connect(self._rebuild)
        stack.reordered.connect(self._rebuild)
        stack.changed.connect(self._layer_changed)
        self._rebuild()

    @property
    def layer(self) -> Layer | None:
        """The selected layer."""
        item = self.list.currentItem()
        return cast("Layer", item.data(LAYER_ROLE)) if item is not None else None

    def select(self, layer: Layer) -> None:
        """Select a layer."""
        item = self._item(layer)
        if item is not None:
            self.list.setCurrentItem(item)

    def move_selected(self, up: bool) -> None:
        """Move the selected layer one place."""
        layer = self.layer
        if layer is not None:
            self._stack.move(layer, self._stack.index(layer) + (1 if up else -1))

    def _items(self) -> list[QListWidgetItem]:
        return [self.list.item(row) for row in range(self.list.count())]

    def _item(self, layer: Layer) -> QListWidgetItem | None:
        return next((item for item in self._items() if item.data(LAYER_ROLE) is layer), None)

    def _rebuild(self, *_: object) -> None:
        keep = self.layer
        with QSignalBlocker(self.list):
            self.list.clear()
            for layer in reversed(list(self._stack)):
                item = QListWidgetItem(layer.name)
                item.setData(LAYER_ROLE, layer)
                item.setToolTip(layer.name)
                item.setFlags(
                    Qt.ItemFlag.ItemIsEnabled
                    | Qt.ItemFlag.ItemIsSelectable
                    | Qt.ItemFlag.ItemIsUserCheckable
                    | Qt.ItemFlag.ItemIsDragEnabled
                )
                item.setCheckState(Qt.CheckState.Checked if layer.visible else Qt.CheckState.Unchecked)
                self.list.addItem(item)
        self.setCurrentWidget(self._page if len(self._stack) else self.hint)
        current = self._item(keep) if keep is not None else None
        if current is None and self.list.count():
            current = self.list.item(0)
        if current is not None:
            self.list.setCurrentItem(current)
        self._show_opacity()

    def _reorder_stack(self) -> None:
        order = [item.data(LAYER_ROLE) for item in reversed(self._items())]
        for index, layer in enumerate(order):
            self._stack.move(layer, index)

    def _item_changed(self, item: QListWidgetItem) -> None:
        self._stack.set_visible(item.data(LAYER_ROLE), item.checkState() == Qt.CheckState.Checked)

    def _layer_changed(self, layer: Layer) -> None:
        item = self._item(layer)
        if item is None:
            return
        with QSignalBlocker(self.list):
            item.setCheckState(Qt.CheckState.Checked if layer.visible else Qt.CheckState.Unchecked)
        if layer is self.layer:
            self._show_opacity()

    def _current_changed(self, *_: object) -> None:
        self._show_opacity()
        self.selected.emit(self.layer)

    def _show_opacity(self) -> None:
        layer = self.layer
        percent = round(100 * layer.opacity) if layer is not None else 100
        with QSignalBlocker(self.slider):
            self.slider.setValue(percent)
        self.slider.setEnabled(layer is not None)
        self.value.setText(f"{percent} %")

    def _opacity_changed(self, percent: int) -> None:
        self.value.setText(f"{percent} %")
        if self.layer is not None:
            self._stack.set_opacity(self.layer, percent / 100)

    def _menu(self, place: QPoint) -> None:
        item = self.list.itemAt(place)
        if item is None:
            return
        self.list.setCurrentItem(item)
        menu = self.make_menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.list.viewport().mapToGlobal(place))

    def make_menu(self) -> QMenu:
        """The selected layer's context menu."""
        menu = QMenu(self)
        layer = self.layer
        for key in ("zoom_layer", "bands", "-", "layer_up", "layer_down", "-"):
            if key == "-":
                menu.addSeparator()
            else:
                menu.addAction(self._actions[key])
        style = getattr(layer, "style", None) if getattr(layer, "kind", "") == "regions" else None
        if style is not None:
            fill = QAction("Fill &Areas", menu, checkable=True, checked=style == "fill")
            fill.setStatusTip("Draw regions as areas in shades of their class instead of outlines")
            fill.toggled.connect(lambda on: setattr(layer, "style", "fill" if on else "outline"))
            menu.addAction(fill)
            menu.addSeparator()
        menu.addAction(self._actions["close_layer"])
        return menu
