"""The window: puts map, panels and commands together; what they do lives in the parts.

Guarantees: the GUI thread never waits; closing during work asks, cancels and closes when the work has ended; every
thread is joined before the window is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QStandardPaths, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QIcon
from PySide6.QtWidgets import QMainWindow, QMessageBox, QToolBar

from rs_viewer import folders, tasks
from rs_viewer.actions import Actions
from rs_viewer.catalogue import Catalogue
from rs_viewer.cells import Cells
from rs_viewer.comparing import Comparisons
from rs_viewer.display import Display
from rs_viewer.docks import Docks
from rs_viewer.exporting import Exporter
from rs_viewer.icons import pixmap
from rs_viewer.inspection import Inspection
from rs_viewer.jobs import Failure, Jobs
from rs_viewer.legends import Legends
from rs_viewer.map.view import MapView
from rs_viewer.objects import Objects
from rs_viewer.opening import Opener, dropped_paths
from rs_viewer.panels.analysis import AnalysisPanel
from rs_viewer.panels.inspector import Inspector
from rs_viewer.panels.layers import LayersPanel
from rs_viewer.panels.legend import LegendPanel
from rs_viewer.panels.messages import Messages, error_dialog, may_cancel
from rs_viewer.panels.welcome import Welcome
from rs_viewer.parts import Parts
from rs_viewer.quadtrees import Quadtrees
from rs_viewer.runs import Runs, found_text
from rs_viewer.session import Session
from rs_viewer.status_bar import Places
from rs_viewer.workspace import Workspace

if TYPE_CHECKING:
    from engine.inference.events import Finished
    from rs_viewer.theme import Mode, Theme
    from rs_viewer.workspace import OpenAnalysis, OpenScene, OpenTree

FIRST_SIZE = (1480, 920)
LEAST_SIZE = (720, 480)
TOLD_MS = 8000
NO_FEATURES = "Only regions can be compared: objects, cells and patches bear no features"
TOOLS = {"tool_pan": "pan", "tool_inspect": "inspect", "tool_roi": "roi"}
SCHEMES: dict[str, Mode] = {"scheme_system": "system", "scheme_light": "light", "scheme_dark": "dark"}


class MainWindow(QMainWindow):
    """RS Viewer's window.

    Args:
        session: What is remembered between starts.
        theme: The application's look.
        models: Checkpoints to offer besides those that are installed.
    """

    def __init__(self, session: Session, theme: Theme, models: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.session, self.theme = session, theme
        self._closing = False
        self.jobs = Jobs(self)
        self.room = tasks.DeviceRoom()
        self.commands = Actions(self)
        self.map = MapView()
        self.workspace = Workspace(self.map.layers, self)
        self.welcome = Welcome(self.commands, self.map)
        self.messages = Messages(self.map)
        self.layers_panel = LayersPanel(self.map.layers, self.commands)
        self.legend = LegendPanel()
        self.analysis_panel = AnalysisPanel()
        self.inspector = Inspector()
        self.catalogue = Catalogue(self.jobs, self.analysis_panel, session, models, self)
        self.opener = Opener(self.jobs, self.workspace, session, self.messages, self)
        self.exporter = Exporter(self.jobs, session, self)
        self.display = Display(self.jobs, self)
        parts = Parts(self.jobs, self.room, self.workspace, self.map, self.analysis_panel)
        self.runs = Runs(parts, self)
        self.comparisons = Comparisons(parts, self.runs, self.opener, session, self)
        self.inspection = Inspection(parts, self.inspector, self)
        self.objects = Objects(parts, self.inspector, self)
        self.cells = Cells(parts, self.inspector, self)
        self.quadtrees = Quadtrees(parts, self.inspector, self.layers_panel.budget, self)
        self.legends = Legends(self.jobs, self.workspace, self.legend, self.runs, self.objects, self.quadtrees)
        self._lay_out()
        self._connect_actions()
        self._connect_parts()
        self._restore()
        self._update()
        self.catalogue.start()

    # Layout ---------------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.setAcceptDrops(True)
        self.setMinimumSize(*LEAST_SIZE)
        self.setWindowTitle("RS Viewer")
        self.setWindowIcon(QIcon(pixmap("app", "#000000", 256)))
        self.setCentralWidget(self.map)
        self.tool_bar = QToolBar("Tools")
        self.tool_bar.setObjectName("tools")
        self.tool_bar.setMovable(False)
        self.commands.fill_menu_bar(self.menuBar())
        self.commands.fill_tool_bar(self.tool_bar)
        self.addToolBar(self.tool_bar)
        panels = {
            "layers": self.layers_panel,
            "legend": self.legend,
            "analysis": self.analysis_panel,
            "inspector": self.inspector,
        }
        self.docks = Docks(self, panels, self.commands.submenus["panels"])
        self.places = Places(self)

    def _restore(self) -> None:
        self.resize(*FIRST_SIZE)
        self.docks.remember_first()
        if self.session.geometry is not None:
            self.restoreGeometry(self.session.geometry)
        if self.session.layout is not None:
            self.restoreState(self.session.layout)

    def reset_layout(self) -> None:
        """Put all panels back where they were at first."""
        self.session.forget_layout()
        self.commands["map_only"].setChecked(False)
        self.docks.reset()

    # Connections ----------------------------------------------------------------------------------------------------

    def _connect_actions(self) -> None:
        slots: dict[str, Any] = {
            "open": self.opener.ask_scene,
            "open_folder": self.opener.ask_folder,
            "open_url": self.opener.ask_url,
            "open_analysis": self.opener.ask_analysis,
            "export": self._export,
            "save_picture": lambda: self.exporter.save_picture(self.map.grab_image(), self._name()),
            "close_layer": self._close_layer,
            "close_all": self.workspace.close_all,
            "quit": self.close,
            "zoom_in": self.map.zoom_in,
            "zoom_out": self.map.zoom_out,
            "zoom_fit": self.map.zoom_to_fit,
            "reset_layout": self.reset_layout,
            "run": self.runs.start,
            "cancel": self.runs.cancel,
            "compare": self.comparisons.ask,
            "find_similar": self.inspection.find_similar,
            "clear_inspection": self.inspector.cleared.emit,
            "model_folder": self.catalogue.open_model_folder,
            "layer_up": lambda: self.layers_panel.move_selected(True),
            "layer_down": lambda: self.layers_panel.move_selected(False),
            "zoom_layer": self._zoom_layer,
            "bands": lambda: self.display.ask(self.layers_panel.layer, self._scene_layer()),
            "quadtree": self.quadtrees.ask,
            "demo": self.start_demo,
            "shortcuts": self.display.show_shortcuts,
            "about": self.display.show_about,
        }
        for key, slot in slots.items():
            self.commands[key].triggered.connect(lambda _checked=False, s=slot: s())
        self.commands["map_only"].toggled.connect(lambda on: self.docks.show_all(not on))
        for key, tool in TOOLS.items():
            self.commands[key].toggled.connect(lambda on, t=tool: self.map.set_tool(t) if on else None)
        self.commands["tool_pan"].setChecked(True)
        for key, mode in SCHEMES.items():
            self.commands[key].setChecked(mode == self.theme.mode)
            self.commands[key].triggered.connect(lambda _checked=False, m=mode: self._set_scheme(m))
        recent = self.commands.submenus["recent"]
        recent.aboutToShow.connect(lambda: self.opener.fill_recent(recent))

    def _connect_parts(self) -> None:
        self.theme.changed.connect(self._refresh_icons)
        self.jobs.changed.connect(self._update)
        self.jobs.idle.connect(self._idle)
        for part in (self.opener, self.exporter, self.display, self.catalogue, self.quadtrees, self.comparisons):
            part.failed.connect(self.show_error)
        self.opener.opened.connect(self._opened)
        self.opener.modelDropped.connect(self.catalogue.add_model)
        self.opener.areaDropped.connect(self.analysis_panel.areaFileRequested)
        self.exporter.told.connect(self.tell)
        self.comparisons.told.connect(self.messages.tell)
        self.catalogue.warned.connect(self.messages.warn)
        self.catalogue.deviceShown.connect(self.places.show_device)
        self.inspection.failed.connect(lambda failure: self.show_error("Cannot read the region", failure))
        self.objects.failed.connect(lambda failure: self.show_error("Cannot read the objects", failure))
        self.cells.failed.connect(lambda failure: self.show_error("Cannot read the cell", failure))
        for pointing in (self.inspection, self.objects, self.cells, self.quadtrees):
            pointing.told.connect(self.tell)
            pointing.shown.connect(lambda: self.docks.bring_up("inspector"))
            pointing.shown.connect(self._update)
        self.quadtrees.added.connect(lambda item: self.layers_panel.select(item.layer))
        self.workspace.treeChanged.connect(self._tree_changed)
        self.runs.grown.connect(self.objects.grow)
        self.inspector.cleared.connect(self._update)
        self.inspector.spectrum.pictureRequested.connect(self.exporter.save_picture)
        self.inspector.spectrum.tableRequested.connect(self.exporter.save_table)
        self.runs.started.connect(self._update)
        self.runs.failed.connect(lambda failure: self.show_error("The analysis failed", failure))
        self.runs.warned.connect(self.messages.warn)
        self.runs.rateChanged.connect(self.places.show_rate)
        self.runs.finished.connect(self._run_finished)
        self.map.cursorMoved.connect(self.places.show_place)
        self.map.viewChanged.connect(lambda metres: self.places.show_scale(metres, float(self.logicalDpiX())))
        self.map.roiDrawn.connect(self._roi_drawn)
        self.map.layers.gridChanged.connect(self.places.set_grid)
        self.map.layers.gridChanged.connect(lambda grid: self.welcome.setVisible(grid is None))
        self.map.layers.failed.connect(lambda layer, text: self.messages.warn(f"{layer.name}: {text}"))
        self.layers_panel.selected.connect(self._layer_selected)
        self.workspace.sceneChanged.connect(self._scene_changed)
        self.workspace.analysisChanged.connect(self._analysis_changed)
        self.analysis_panel.drawRequested.connect(lambda: self.commands["tool_roi"].setChecked(True))
        self.analysis_panel.changed.connect(self._update)

    def _refresh_icons(self) -> None:
        for part in (
            self.commands,
            self.docks,
            self.welcome,
            self.messages,
            self.layers_panel.hint,
            self.legend.hint,
            self.analysis_panel,
            self.inspector,
        ):
            part.refresh_icons()

    def _set_scheme(self, mode: Mode) -> None:
        self.session.scheme = mode
        self.theme.apply(mode)

    # What happens ---------------------------------------------------------------------------------------------------

    def show_error(self, title: str, failure: Failure) -> QMessageBox | None:
        """Tell about an error in a dialog; not while closing."""
        return None if self._closing else error_dialog(self, title, failure)

    def tell(self, text: str) -> None:
        """Say something in the status bar for a while."""
        self.statusBar().showMessage(text, TOLD_MS)

    def _name(self) -> str:
        return self.workspace.scene.scene.name if self.workspace.scene else "map"

    def _scene_layer(self) -> Any:
        return self.workspace.scene.layer if self.workspace.scene else None

    def _opened(self, item: OpenScene | OpenAnalysis | None) -> None:
        if item is not None:
            self.layers_panel.select(item.main_layer)
            self.map.zoom_to_fit()

    def _scene_changed(self, scene: OpenScene | None) -> None:
        self.setWindowTitle(f"{scene.scene.name} - RS Viewer" if scene else "RS Viewer")
        if scene is not None:
            documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
            self.analysis_panel.set_out_dir(folders.default_out_dir(scene.source, documents))
        self._update()

    def _tree_changed(self, tree: OpenTree | None) -> None:
        self.inspector.cleared.emit()
        if tree is None:
            self._analysis_changed(self.workspace.analysis)

    def _analysis_changed(self, item: OpenAnalysis | None) -> None:
        if item is not None and not item.complete and not self.runs.running:
            self.analysis_panel.set_out_dir(str(item.path))
        self.objects.follow(item)
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
        self.commands["tool_pan"].setChecked(True)
        self.tell("The run will be limited to this area. Choose «Whole scene» under Area to undo that.")

    def _run_finished(self, event: Finished) -> None:
        self.messages.tell(
            f"The analysis is complete: {found_text(event, compared=self.runs.compares)}. "
            "Click one with Inspect to read about it.",
            "Export…",
            self._export,
        )
        self.commands["tool_inspect"].setChecked(True)

    def _export(self) -> None:
        if self.workspace.pointed == "patches":
            self.quadtrees.export(self.session)
        elif self.workspace.analysis is not None:
            self.exporter.ask(self.workspace.analysis)

    def start_demo(self) -> None:
        """Make the demo scene if need be, open it, run the shipped model, and say how well it agrees with the truth."""
        from rs_viewer.demo import Demo

        demo = Demo(self)
        demo.failed.connect(lambda text: self.show_error("The demo cannot go on", Failure(text, None, "")))
        for signal in (demo.failed, demo.finished):
            signal.connect(demo.deleteLater)
        demo.start()

    def _update(self) -> None:
        """Switch commands on and off by what they could do now."""
        if self._closing:
            return
        layer, analysis = self.layers_panel.layer is not None, self.workspace.analysis
        some, inspected = not self.workspace.empty, self.inspector.region is not None
        self.commands.explain("find_similar", "" if self.workspace.pointed == "regions" else NO_FEATURES)
        enabled = {
            "run": self.analysis_panel.can_run,
            "cancel": self.runs.running,
            "export": self.workspace.pointed == "patches" or (analysis is not None and analysis.complete),
            **dict.fromkeys(("bands", "quadtree"), self._scene_layer() is not None),
            **dict.fromkeys(("demo", "compare"), not self.runs.running),
            "find_similar": inspected,
            "clear_inspection": self.inspector.occupied,
            **dict.fromkeys(("close_layer", "zoom_layer", "layer_up", "layer_down"), layer),
            **dict.fromkeys(("close_all", "save_picture", "zoom_fit", "zoom_in", "zoom_out"), some),
        }
        for key, on in enabled.items():
            self.commands[key].setEnabled(on)

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
        if not self._closing:
            if working and not may_cancel(self, [job.title for job in working]):
                event.ignore()
                return
            self._leave()
        if self.jobs.active:
            self.setEnabled(False)
            self.tell("Finishing the present windows before closing…")
            event.ignore()
            return
        self.map.shutdown()
        self.workspace.close_all()
        self.jobs.shutdown()
        event.accept()

    def _leave(self) -> None:
        self._closing = True
        self.catalogue.stop()
        self.runs.stop()
        self.quadtrees.stop()
        self.comparisons.stop()
        self.session.save_window(self.saveGeometry(), self.saveState())
        self.catalogue.remember_model()
        self.session.save()
        self.jobs.cancel_all()

    def _idle(self) -> None:
        if self._closing:
            QTimer.singleShot(0, self.close)
