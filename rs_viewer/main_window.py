"""The window: puts map, panels and commands together; what they do lives in the parts.

Guarantees: the GUI thread never waits; closing during work asks, cancels and closes when the work has ended; every
thread is joined before the window is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QByteArray, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QCloseEvent, QDesktopServices, QDragEnterEvent, QDropEvent, QIcon, QPixmap
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMessageBox, QToolBar, QVBoxLayout, QWidget

from rs_viewer import tasks
from rs_viewer.actions import Actions
from rs_viewer.display import Display
from rs_viewer.exporting import Exporter
from rs_viewer.icons import pixmap
from rs_viewer.inspection import Inspection
from rs_viewer.jobs import Failure, Jobs, Latest
from rs_viewer.map.view import MapView
from rs_viewer.opening import Opener, dropped_paths
from rs_viewer.panels.analysis import AnalysisPanel
from rs_viewer.panels.common import DockTitle
from rs_viewer.panels.inspector import Inspector
from rs_viewer.panels.layers import LayersPanel
from rs_viewer.panels.legend import LegendPanel
from rs_viewer.panels.messages import Messages, error_dialog
from rs_viewer.panels.welcome import Welcome
from rs_viewer.runs import Runs
from rs_viewer.session import Session
from rs_viewer.status_bar import Places
from rs_viewer.workspace import Workspace

if TYPE_CHECKING:
    from engine.inference.device import DeviceInfo
    from engine.inference.events import Finished
    from rs_viewer.theme import Mode, Theme
    from rs_viewer.workspace import OpenAnalysis, OpenScene

FIRST_SIZE = (1480, 920)
SIDE_WIDTHS = (270, 370)
TOOLS = {"tool_pan": "pan", "tool_inspect": "inspect", "tool_roi": "roi"}
SCHEMES: dict[str, Mode] = {"scheme_system": "system", "scheme_light": "light", "scheme_dark": "dark"}


class MainWindow(QMainWindow):
    """RS Viewer's window.

    Args:
        session: What is remembered between starts.
        theme: The application's look.
        models: Checkpoints to offer besides those that are installed.

    Signals:
        ready: Models and devices are known.
    """

    ready = Signal()

    def __init__(self, session: Session, theme: Theme, models: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.session, self.theme = session, theme
        self._extra_models = list(models)
        self._closing = False
        self._waiting_for = {"models", "devices"}
        self.jobs = Jobs(self)
        self.room = tasks.DeviceRoom()
        self.actions_ = Actions(self)
        self.map = MapView()
        self.workspace = Workspace(self.map.layers, self)
        self.messages = Messages()
        self.layers_panel = LayersPanel(self.map.layers, self.actions_)
        self.legend = LegendPanel()
        self.analysis_panel = AnalysisPanel()
        self.inspector = Inspector()
        self.opener = Opener(self.jobs, self.workspace, session, self.messages, self)
        self.exporter = Exporter(self.jobs, session, self)
        self.runs = Runs(self.jobs, self.room, self.workspace, self.map, self.analysis_panel, self)
        self.inspection = Inspection(
            self.jobs, self.room, self.workspace, self.map, self.inspector, self.analysis_panel, self
        )
        self.display = Display(self.jobs, self)
        self.welcome = Welcome(self.actions_, self.map)
        self.setAcceptDrops(True)
        self.setMinimumSize(720, 480)
        self._lay_out()
        self.places = Places(self)
        self._legend_request = Latest(self.jobs, "Counting classes", parent=self)
        self._connect_actions()
        self._connect_parts()
        self._first_layout = self.saveState()
        self._restore()
        self._update()
        self.find_models()
        QTimer.singleShot(0, self._find_devices)

    # Layout ---------------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.messages)
        column.addWidget(self.map, 1)
        self.setCentralWidget(centre)
        self.tool_bar = QToolBar("Tools")
        self.tool_bar.setObjectName("tools")
        self.tool_bar.setMovable(False)
        self.actions_.fill_menu_bar(self.menuBar())
        self.actions_.fill_tool_bar(self.tool_bar)
        self.addToolBar(self.tool_bar)
        self.docks: dict[str, QDockWidget] = {}
        left, right = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
        for key, title, widget, side in (
            ("layers", "Layers", self.layers_panel, left),
            ("legend", "Legend", self.legend, left),
            ("analysis", "Analysis", self.analysis_panel, right),
            ("inspector", "Inspector", self.inspector, right),
        ):
            dock = QDockWidget(title, self)
            dock.setObjectName(key)
            dock.setTitleBarWidget(DockTitle(dock))
            dock.setWidget(widget)
            dock.setMinimumWidth(220)
            self.addDockWidget(side, dock)
            toggle = dock.toggleViewAction()
            toggle.setText(f"&{title}")
            self.actions_.submenus["panels"].addAction(toggle)
            self.docks[key] = dock
        self._first_sizes()
        self.setWindowTitle("RS Viewer")
        image = QPixmap(pixmap("app", "#000000", 256))
        self.setWindowIcon(QIcon(image))

    def _first_sizes(self) -> None:
        horizontal, vertical = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        docks = self.docks
        self.resizeDocks([docks["layers"], docks["analysis"]], list(SIDE_WIDTHS), horizontal)
        self.resizeDocks([docks["layers"], docks["legend"]], [500, 400], vertical)
        self.resizeDocks([docks["analysis"], docks["inspector"]], [480, 420], vertical)

    def _restore(self) -> None:
        self.resize(*FIRST_SIZE)
        if self.session.geometry is not None:
            self.restoreGeometry(self.session.geometry)
        if self.session.layout is not None:
            self.restoreState(self.session.layout)

    def reset_layout(self) -> None:
        """Put all panels back where they were at first."""
        self.session.forget_layout()
        self.actions_["map_only"].setChecked(False)
        self.restoreState(QByteArray(self._first_layout))
        for dock in self.docks.values():
            dock.setFloating(False)
            dock.show()
        self._first_sizes()

    def _map_only(self, on: bool) -> None:
        if on:
            self._shown_docks = [dock for dock in self.docks.values() if not dock.isHidden()]
        for dock in self._shown_docks:
            dock.setVisible(not on)

    # Connections ----------------------------------------------------------------------------------------------------

    def _connect_actions(self) -> None:
        slots: dict[str, Any] = {
            "open": self.opener.ask_scene,
            "open_folder": self.opener.ask_folder,
            "open_url": self.opener.ask_url,
            "open_analysis": self.opener.ask_analysis,
            "demo": self.start_demo,
            "export": self._export,
            "save_picture": lambda: self.exporter.save_picture(self.map.grab_image(), self._name()),
            "close_layer": self._close_layer,
            "close_all": self.workspace.close_all,
            "quit": self.close,
            "zoom_in": self.map.zoom_in,
            "zoom_out": self.map.zoom_out,
            "zoom_fit": self.map.zoom_to_fit,
            "reset_layout": self.reset_layout,
            "run": lambda: self.runs.start(),
            "cancel": self.runs.cancel,
            "find_similar": self.inspection.find_similar,
            "clear_inspection": self.inspection.clear,
            "model_folder": self._open_model_folder,
            "layer_up": lambda: self.layers_panel.move_selected(True),
            "layer_down": lambda: self.layers_panel.move_selected(False),
            "zoom_layer": self._zoom_layer,
            "bands": lambda: self.display.ask(self.layers_panel.layer or self._scene_layer()),
            "shortcuts": self.display.show_shortcuts,
            "about": self.display.show_about,
        }
        for key, slot in slots.items():
            self.actions_[key].triggered.connect(lambda _checked=False, s=slot: s())
        self._shown_docks: list[QDockWidget] = []
        self.actions_["map_only"].toggled.connect(self._map_only)
        for key, tool in TOOLS.items():
            self.actions_[key].toggled.connect(lambda on, t=tool: self.map.set_tool(t) if on else None)
        self.actions_["tool_pan"].setChecked(True)
        for key, mode in SCHEMES.items():
            self.actions_[key].setChecked(mode == self.theme.mode)
            self.actions_[key].triggered.connect(lambda _checked=False, m=mode: self._set_scheme(m))
        recent = self.actions_.submenus["recent"]
        recent.aboutToShow.connect(lambda: self.opener.fill_recent(recent))

    def _connect_parts(self) -> None:
        self.theme.changed.connect(self._refresh_icons)
        self.jobs.changed.connect(self._update)
        self.jobs.idle.connect(self._idle)
        self.opener.failed.connect(self.show_error)
        self.opener.opened.connect(self._opened)
        self.opener.modelDropped.connect(self.add_model)
        self.opener.areaDropped.connect(self.analysis_panel.areaFileRequested)
        self.exporter.failed.connect(self.show_error)
        self.exporter.told.connect(self._tell)
        self.display.failed.connect(self.show_error)
        self.inspection.failed.connect(lambda failure: self.show_error("Cannot read the region", failure))
        self.inspection.told.connect(self._tell)
        self.inspection.shown.connect(lambda: self.docks["inspector"].raise_())
        self.runs.failed.connect(lambda failure: self.show_error("The analysis failed", failure))
        self.runs.warned.connect(self.messages.warn)
        self.runs.rateChanged.connect(self.places.show_rate)
        self.runs.finished.connect(self._run_finished)
        self.runs.on_shares = self.legend.show_shares
        self.map.cursorMoved.connect(self.places.show_place)
        self.map.viewChanged.connect(lambda metres: self.places.show_scale(metres, float(self.logicalDpiX())))
        self.map.roiDrawn.connect(self._roi_drawn)
        self.map.layers.gridChanged.connect(self.places.set_grid)
        self.map.layers.gridChanged.connect(lambda grid: self.welcome.setVisible(grid is None))
        self.map.layers.failed.connect(lambda layer, text: self.messages.warn(f"{layer.name}: {text}"))
        self.layers_panel.selected.connect(self._layer_selected)
        self.workspace.sceneChanged.connect(self._scene_changed)
        self.workspace.analysisChanged.connect(self._analysis_changed)
        self.analysis_panel.modelFileRequested.connect(self.add_model)
        self.analysis_panel.drawRequested.connect(lambda: self.actions_["tool_roi"].setChecked(True))
        self.analysis_panel.device.currentIndexChanged.connect(self._device_chosen)
        self.analysis_panel.changed.connect(self._update)
        self._legend_request.answered.connect(self.legend.show_shares)

    def _refresh_icons(self) -> None:
        self.actions_.refresh_icons()
        for dock in self.docks.values():
            title = dock.titleBarWidget()
            if isinstance(title, DockTitle):
                title.refresh_icons()
        for part in (self.messages, self.analysis_panel, self.inspector, self.layers_panel.hint, self.legend.hint):
            part.refresh_icons()
        self.welcome.refresh_icons()

    def _set_scheme(self, mode: Mode) -> None:
        self.session.scheme = mode
        self.theme.apply(mode)

    # Models and devices ---------------------------------------------------------------------------------------------

    def find_models(self) -> None:
        """List models again, off the GUI thread."""
        extra = tuple(self._extra_models)
        job = self.jobs.submit("Listing models", lambda context: tasks.find_models(context, extra))
        job.succeeded.connect(self._models_found)
        job.failed.connect(lambda failure: self._model_refused(failure))

    def add_model(self, path: str) -> None:
        """Offer a checkpoint and choose it."""
        self._extra_models.append(path)
        self.session.model = path
        self.find_models()

    def _model_refused(self, failure: Failure) -> None:
        self.show_error("Cannot use this model", failure)
        if self._extra_models:
            self._extra_models.pop()
            self.session.model = ""
            self.find_models()

    def _models_found(self, found: tasks.Models) -> None:
        for text in found.warnings:
            self.messages.warn(text)
        prefer = self._extra_models[-1] if self._extra_models else self.session.model
        self.analysis_panel.show_models(found.models, prefer)
        self._became_known("models")

    def _find_devices(self) -> None:
        job = self.jobs.submit("Looking for devices", tasks.find_devices, lane="device")
        job.succeeded.connect(self._devices_found)
        job.failed.connect(lambda failure: self.show_error("No device can be used", failure))

    def _devices_found(self, devices: tuple[DeviceInfo, ...]) -> None:
        self.analysis_panel.device.show_devices(devices)
        self._device_chosen()
        self._became_known("devices")

    def _device_chosen(self) -> None:
        chosen = self.analysis_panel.device.chosen
        if chosen is not None:
            self.places.show_device(chosen.label, chosen.reason)

    @property
    def known(self) -> bool:
        """Whether models and devices are known."""
        return not self._waiting_for

    def _became_known(self, what: str) -> None:
        if what in self._waiting_for:
            self._waiting_for.discard(what)
            if not self._waiting_for:
                self.ready.emit()

    def _open_model_folder(self) -> None:
        def work(context: object) -> str:
            from engine.models.catalog import user_models_dir

            folder = user_models_dir()
            folder.mkdir(parents=True, exist_ok=True)
            return str(folder)

        job = self.jobs.submit("Finding the model folder", work)
        job.succeeded.connect(lambda folder: QDesktopServices.openUrl(QUrl.fromLocalFile(folder)))
        job.failed.connect(lambda failure: self.show_error("Cannot make the model folder", failure))

    # What happens ---------------------------------------------------------------------------------------------------

    def show_error(self, title: str, failure: Failure) -> QMessageBox | None:
        """Tell about an error in a dialog; not while closing."""
        return None if self._closing else error_dialog(self, title, failure)

    def _tell(self, text: str) -> None:
        self.statusBar().showMessage(text, 8000)

    def _name(self) -> str:
        return self.workspace.scene.scene.name if self.workspace.scene else "map"

    def _scene_layer(self) -> Any:
        return self.workspace.scene.layer if self.workspace.scene else None

    def _opened(self, item: OpenScene | OpenAnalysis | None) -> None:
        if item is not None:
            self.map.zoom_to_fit()

    def _scene_changed(self, scene: OpenScene | None) -> None:
        self.setWindowTitle(f"{scene.scene.name} - RS Viewer" if scene else "RS Viewer")
        if scene is not None:
            self.analysis_panel.set_out_dir(tasks.default_out_dir(scene.source, self._documents()))
        self._update()

    @staticmethod
    def _documents() -> str:
        from PySide6.QtCore import QStandardPaths

        return QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)

    def _analysis_changed(self, item: OpenAnalysis | None) -> None:
        self._legend_request.forget()
        if item is None:
            self.legend.clear()
        elif item.complete:
            analysis = item.analysis
            self._legend_request.ask(lambda context: analysis.class_shares())
        else:
            self.legend.show_card(item.analysis.card)
            if not self.runs.running:
                self.analysis_panel.set_out_dir(str(item.path))
        self._update()

    def _layer_selected(self, layer: Any) -> None:
        if layer is not None:
            self.workspace.choose(layer)
        self._update()

    def _close_layer(self) -> None:
        if self.layers_panel.layer is not None:
            self.workspace.close_layer(self.layers_panel.layer)

    def _zoom_layer(self) -> None:
        if self.layers_panel.layer is not None:
            self.map.zoom_to(self.layers_panel.layer.bounds)

    def _roi_drawn(self, points: list[tuple[float, float]]) -> None:
        self.runs.set_drawn(points)
        self.actions_["tool_pan"].setChecked(True)
        self._tell("The run will be limited to this area. Choose «Whole scene» under Area to undo that.")

    def _run_finished(self, event: Finished) -> None:
        self.messages.tell(
            f"The analysis is complete: {event.regions} regions. Click one with Inspect to read about it.",
            "Export…",
            self._export,
        )
        self.actions_["tool_inspect"].setChecked(True)

    def _export(self) -> None:
        if self.workspace.analysis is not None:
            self.exporter.ask(self.workspace.analysis)

    def start_demo(self) -> None:
        """Make the demo scene if need be, open it, run the shipped model, and say how well it agrees with the truth."""
        from rs_viewer.demo import Demo

        demo = Demo(self)
        demo.failed.connect(lambda text: self.show_error("The demo cannot go on", Failure(text, None, "")))
        demo.finished.connect(demo.deleteLater)
        demo.start()

    def _update(self) -> None:
        """Switch commands on and off by what they could do now."""
        layer, analysis = self.layers_panel.layer, self.workspace.analysis
        enabled = {
            "run": self.analysis_panel.can_run,
            "cancel": self.runs.running,
            "export": analysis is not None and analysis.complete,
            "find_similar": self.inspector.region is not None,
            "clear_inspection": self.inspector.region is not None,
            "close_layer": layer is not None,
            "close_all": not self.workspace.empty,
            "save_picture": not self.workspace.empty,
            "zoom_layer": layer is not None,
            "layer_up": layer is not None,
            "layer_down": layer is not None,
            "bands": self._scene_layer() is not None,
            "zoom_fit": not self.workspace.empty,
            "zoom_in": not self.workspace.empty,
            "zoom_out": not self.workspace.empty,
            "demo": not self.runs.running,
        }
        for key, on in enabled.items():
            self.actions_[key].setEnabled(on)

    # Drops and closing ----------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files, folders and addresses."""
        if dropped_paths(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        event.acceptProposedAction()
        self.opener.drop(dropped_paths(event.mimeData()))

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close at once where nothing runs; else ask, cancel, and close when the work has ended."""
        working = [job for job in self.jobs.active if job.asks_on_close]
        if working and not self._closing and not self._may_cancel(working):
            event.ignore()
            return
        if not self._closing:
            self._closing = True
            self.session.save_window(self.saveGeometry(), self.saveState())
            chosen = self.analysis_panel.chosen
            if chosen is not None and not self._extra_models:
                self.session.model = chosen.name
            self.session.save()
            self.jobs.cancel_all()
        if self.jobs.active:
            self.setEnabled(False)
            self._tell("Finishing the present windows before closing…")
            event.ignore()
            return
        self.map.shutdown()
        self.workspace.close_all()
        self.jobs.shutdown()
        event.accept()

    def _may_cancel(self, working: list[Any]) -> bool:
        what = " and ".join(job.title[0].lower() + job.title[1:] for job in working)
        box = QMessageBox(self)
        box.setObjectName("close-question")
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Close RS Viewer?")
        box.setText(f"Work is still going on: {what}.")
        box.setInformativeText(
            "It is cancelled if you close now. What an analysis has done is kept and can be resumed."
        )
        leave = box.addButton("Cancel and Close", QMessageBox.ButtonRole.DestructiveRole)
        stay = box.addButton("Keep Working", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(stay)
        box.setEscapeButton(stay)
        box.exec()
        return box.clickedButton() is leave

    def _idle(self) -> None:
        if self._closing:
            QTimer.singleShot(0, self.close)
