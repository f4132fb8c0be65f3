"""``rs-viewer``: the window's entry.

``rs-viewer [PATHS…]`` opens the window with scenes and analyses; ``rs-viewer demo`` shows the whole path on a
labelled scene. Guarantees: the window is up before anything heavy is imported; errors that nobody expected are shown in
a dialog and the window stays; without a display ``demo --screenshot`` needs none.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import engine

if TYPE_CHECKING:
    from rs_viewer.main_window import MainWindow

ORGANISATION = "RS Viewer"
APPLICATION = "RS Viewer"
NO_DISPLAY = (
    "rs-viewer: there is no display to open a window on (DISPLAY and WAYLAND_DISPLAY are unset). "
    "Use rs-engine for work without one, or rs-viewer demo --screenshot FILE."
)


def parser() -> argparse.ArgumentParser:
    """The command line of the window."""
    made = argparse.ArgumentParser(
        prog="rs-viewer",
        description="Open satellite scenes, run tokenizer models over them and look at classes and regions.",
        epilog="rs-viewer demo [--screenshot FILE] [--size N] runs the demo; see rs-viewer demo --help.",
    )
    made.add_argument("paths", nargs="*", metavar="PATH", help="scene, folder of tiles, address or analysis folder")
    made.add_argument("--version", action="version", version=f"rs-viewer {engine.__version__}")
    return made


def demo_parser() -> argparse.ArgumentParser:
    """The command line of the demo."""
    made = argparse.ArgumentParser(
        prog="rs-viewer demo",
        description="Make a labelled scene once, run the shipped land-cover model over it, show the result and print "
        "its agreement with the truth.",
    )
    made.add_argument("--screenshot", metavar="FILE", help="save the window as a PNG and leave; needs no display")
    made.add_argument("--size", type=int, metavar="N", help="edge of the scene in pixels")
    made.add_argument("--model", metavar="NAME", help="a model's name or checkpoint instead of the shipped one")
    return made


def has_display() -> bool:
    """Whether a window can be shown."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: The command line without the program's name; None takes the process's own.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if given[:1] == ["demo"]:
        options = demo_parser().parse_args(given[1:])
        if options.screenshot and not has_display():
            os.environ["QT_QPA_PLATFORM"] = "offscreen"
    else:
        options = parser().parse_args(given)
    if not has_display():
        print(NO_DISPLAY, file=sys.stderr)
        return 1
    return _show(options)


def _show(options: argparse.Namespace) -> int:
    from PySide6.QtCore import QSettings, QTimer
    from PySide6.QtWidgets import QApplication

    from rs_viewer.garbage import GarbageCollector
    from rs_viewer.main_window import MainWindow
    from rs_viewer.session import Session
    from rs_viewer.tasks import switch_interval
    from rs_viewer.theme import Theme

    switch_interval()
    QApplication.setOrganizationName(ORGANISATION)
    QApplication.setApplicationName(APPLICATION)
    QApplication.setApplicationDisplayName(APPLICATION)
    QApplication.setApplicationVersion(engine.__version__)
    QApplication.setDesktopFileName("rs-viewer")
    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    collector = GarbageCollector(application)
    picture = getattr(options, "screenshot", None)
    session = Session(QSettings(os.devnull, QSettings.Format.IniFormat) if picture else None)
    theme = Theme(application, "light" if picture else session.scheme)
    window = MainWindow(session, theme)
    window.catalogue.warm.connect(collector.settle)
    install_hooks(window)
    window.show()
    status = [0]
    if hasattr(options, "screenshot"):
        from rs_viewer.demo import Demo, DemoOptions

        chosen = DemoOptions(options.size, options.model, Path(picture) if picture else None)
        demo = Demo(window, chosen)
        demo.failed.connect(lambda text: _fail(status, text, picture is not None, window))
        demo.finished.connect(lambda: window.close() if picture else None)
        QTimer.singleShot(0, demo.start)
    elif options.paths:
        QTimer.singleShot(0, lambda: _open_all(window, options.paths))
    status[0] = application.exec() or status[0]
    collector.stop()
    return status[0]


def _open_all(window: MainWindow, paths: Sequence[str]) -> None:
    """Folders and analyses each by themselves, files together as one scene, as a drop would."""
    window.opener.drop(list(paths))


def _fail(status: list[int], text: str, leave: bool, window: MainWindow) -> None:
    print(f"rs-viewer: {text}", file=sys.stderr)
    if leave:
        status[0] = 1
        window.close()


def install_hooks(window: MainWindow) -> None:
    """Show errors that nobody expected in a dialog, from whatever thread, and keep the window up."""
    from rs_viewer.hooks import Hooks

    hooks = Hooks(window)

    def seen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            window.close()
            return
        sys.__excepthook__(kind, error, trace)
        hooks.raised.emit(error)

    sys.excepthook = seen
    threading.excepthook = lambda args: seen(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)


if __name__ == "__main__":
    sys.exit(main())
