"""Opening things: dialogs, addresses, drops, recent files, the command line; all lead to one job.

Guarantees: nothing is read on the GUI thread; what cannot be opened leaves what is open as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QMimeData, QObject, Signal
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMenu, QWidget

from rs_viewer import tasks
from rs_viewer.jobs import Failure, Jobs

if TYPE_CHECKING:
    from rs_viewer.panels.messages import Messages
    from rs_viewer.session import Session
    from rs_viewer.workspace import OpenScene, Workspace

RASTERS = "Rasters (*.tif *.tiff *.vrt *.jp2 *.img *.png *.jpg *.jpeg *.nc *.hdf *.h5 *.grd *.asc *.bil *.dat)"
ALL = "All files (*)"
MODEL_SUFFIX = ".safetensors"
AREA_SUFFIXES = {".geojson", ".json", ".gpkg", ".fgb", ".shp", ".kml", ".parquet"}
SEPARATOR = " | "
"""Between the files of one scene in the list of recent sources."""


def dropped_paths(mime: QMimeData) -> list[str]:
    """Files, folders and addresses in what was dragged here."""
    found = []
    for url in mime.urls():
        if url.isLocalFile():
            found.append(url.toLocalFile())
        elif url.scheme() in ("http", "https"):
            found.append(url.toString())
    return found


class Opener(QObject):
    """Opens scenes and analyses into the workspace.

    Signals:
        failed: Something could not be opened: title and :class:`Failure`.
        opened: A scene or analysis is on the map.
        modelDropped: A checkpoint was dropped.
        areaDropped: A vector file was dropped.
    """

    failed = Signal(str, object)
    opened = Signal(object)
    modelDropped = Signal(str)
    areaDropped = Signal(str)

    def __init__(self, jobs: Jobs, workspace: Workspace, session: Session, messages: Messages, window: QWidget) -> None:
        super().__init__(window)
        self._jobs, self._workspace, self._session = jobs, workspace, session
        self._messages, self._window = messages, window

    # Ways to ask ----------------------------------------------------------------------------------------------------

    def ask_scene(self) -> None:
        """Open files chosen in a dialog."""
        names, _ = QFileDialog.getOpenFileNames(
            self._window, "Open a scene", self._session.folder("open"), f"{RASTERS};;{ALL}"
        )
        if names:
            self._session.set_folder("open", Path(names[0]).parent)
            self.open(names)

    def ask_folder(self) -> None:
        """Open a folder chosen in a dialog."""
        name = QFileDialog.getExistingDirectory(self._window, "Open a folder", self._session.folder("open"))
        if name:
            self._session.set_folder("open", name)
            self.open([name])

    def ask_url(self) -> None:
        """Open an address that is typed in."""
        text, accepted = QInputDialog.getText(
            self._window, "Open an address", "Address of a raster (https://…/scene.tif, /vsis3/…, or any GDAL name):"
        )
        if accepted and text.strip():
            self.open([text.strip()])

    def ask_analysis(self) -> None:
        """Open a results folder chosen in a dialog."""
        name = QFileDialog.getExistingDirectory(self._window, "Open a results folder", self._session.folder("analysis"))
        if name:
            self._session.set_folder("analysis", Path(name).parent)
            self.open_analysis(name)

    def drop(self, paths: Sequence[str]) -> None:
        """Open what was dropped: models and areas to the analysis panel, folders each by itself, files together."""
        files = []
        for path in paths:
            suffix = Path(path).suffix.lower()
            if suffix == MODEL_SUFFIX:
                self.modelDropped.emit(path)
            elif suffix in AREA_SUFFIXES and Path(path).name != "analysis.json":
                self.areaDropped.emit(path)
            elif tasks.is_analysis(path) or Path(path).is_dir():
                self.open([path])
            else:
                files.append(path)
        if files:
            self.open(files)

    def fill_recent(self, menu: QMenu) -> None:
        """Fill the menu of recent sources."""
        menu.clear()
        for number, source in enumerate(self._session.recent, start=1):
            first = source.split(SEPARATOR)[0]
            name = Path(first).name or first
            more = source.count(SEPARATOR)
            shown = f"{name} and {more} more" if more else name
            mnemonic = f"&{number} " if number < 10 else ""
            action = menu.addAction(mnemonic + shown.replace("&", "&&"))
            action.setToolTip(source)
            action.setStatusTip(source)
            action.triggered.connect(lambda _=False, s=source: self.open(s.split(SEPARATOR)))
        menu.addSeparator()
        clear = menu.addAction("&Clear List", self._session.clear_recent)
        clear.setEnabled(bool(self._session.recent))

    # The one way to open --------------------------------------------------------------------------------------------

    def open(self, paths: Sequence[str]) -> None:
        """Open a scene (one source, or several that belong together) or an analysis folder."""
        given = tuple(_absolute(str(path)) for path in paths)
        job = self._jobs.submit(f"Opening {Path(given[0]).name}", lambda context: tasks.open_source(context, given))
        job.succeeded.connect(self._opened)
        job.failed.connect(lambda failure: self._failed(given, failure))

    def open_analysis(self, path: str) -> None:
        """Open an analysis folder, whatever is in it."""
        job = self._jobs.submit(f"Opening {Path(path).name}", lambda context: tasks.open_results(context, path))
        job.succeeded.connect(self._opened)
        job.failed.connect(lambda failure: self._failed((path,), failure))

    def _failed(self, paths: tuple[str, ...], failure: Failure) -> None:
        first = paths[0]
        if "://" not in first and not first.startswith("/vsi") and not Path(first).exists():
            self._session.drop_recent(SEPARATOR.join(paths))
        self.failed.emit("Cannot open this", failure)

    def _opened(self, found: tasks.Opened) -> None:
        grid = found.scene.grid if found.scene is not None else found.analysis.grid if found.analysis else None
        self.make_room(grid)
        scene: OpenScene | None = None
        if found.scene is not None:
            scene = self._workspace.add_scene(found.scene, tuple(found.scene.sources))
        if found.after is not None and self._workspace.fits(found.after.grid):
            self._workspace.add_later(scene, found.after)
        elif found.after is not None:
            found.after.close()
        if found.analysis is not None:
            self._workspace.add_analysis(found.analysis, found.analysis.path, scene)
        for text in found.warnings:
            self._messages.warn(text)
        self._session.add_recent(SEPARATOR.join(found.source))
        self.opened.emit(scene if found.analysis is None else self._workspace.analysis)

    def make_room(self, grid: object) -> None:
        """Close what cannot be shown beside something on this grid.

        A map has one CRS: what is in another one goes. Scenes without a place on Earth are shown one at a time.
        """
        if self._workspace.empty:
            return
        nowhere = getattr(grid, "crs", None) is None
        if self._workspace.fits(grid) and not nowhere:
            return
        names = ", ".join(item.scene.name for item in self._workspace.scenes) or "What was open"
        self._workspace.close_all()
        why = "has no place on Earth" if nowhere else "is in another coordinate system"
        self._messages.tell(f"{names} was closed, because the new scene {why}. It is under File > Open Recent.")


def _absolute(path: str) -> str:
    place = Path(path).expanduser()
    return str(place.absolute()) if "://" not in path and place.exists() else path
