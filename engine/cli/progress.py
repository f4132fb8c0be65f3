"""The progress of a run: bars with rate and time left on a terminal, a line now and then in a log file."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from engine.cli.console import say, seconds_text
from engine.inference.events import Event, StageChanged, Started, WindowDone

_LINE_SHARE = 0.1


class RunProgress:
    """Bars for the events of one run.

    Args:
        title: The scene.
        hidden: Show nothing.
    """

    def __init__(self, title: str, *, hidden: bool) -> None:
        self._title = title
        self._hidden = hidden
        console = Console(stderr=True)
        self._lines = not hidden and not console.is_terminal
        self._next_line = _LINE_SHARE
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=hidden or self._lines,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> RunProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, event: Event) -> None:
        """Bring the bars up to an event."""
        if self._hidden:
            return
        if isinstance(event, Started):
            resumed = f", going on after {event.windows_done}" if event.windows_done else ""
            say(
                f"{self._title}: {event.width_px} x {event.height_px} pixels, {event.windows} windows{resumed}, "
                f"on {event.device}"
            )
            self._tasks["windows"] = self._bars.add_task(
                "windows", total=event.windows, completed=event.windows_done, note=""
            )
        elif isinstance(event, WindowDone):
            left = "" if event.seconds_left is None else f", {seconds_text(event.seconds_left)} left"
            note = f"{event.windows_per_s:.1f} windows/s{left}"
            self._bars.update(self._tasks["windows"], completed=event.windows_done, total=event.windows, note=note)
            share = event.windows_done / max(event.windows, 1)
            if self._lines and share >= self._next_line:
                say(f"  {event.windows_done}/{event.windows} windows, {note}")
                self._next_line = share + _LINE_SHARE
        elif isinstance(event, StageChanged):
            task = self._tasks.get(event.stage)
            if task is None:
                task = self._tasks[event.stage] = self._bars.add_task(event.stage, total=100, note="%")
            self._bars.update(task, completed=round(100 * event.fraction))
