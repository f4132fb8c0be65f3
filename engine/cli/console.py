"""What the commands share: where text goes, how JSON is written, how warnings look.

Guarantees: results go to standard output, everything else to standard error; with ``--json`` standard output holds
one JSON object a line and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import typer

from engine.errors import EngineError, EngineWarning


def say(text: str) -> None:
    """A sentence about what happens, on standard error."""
    typer.echo(text, err=True)


def say_error(error: EngineError) -> None:
    """An error as its one sentence."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {error.message}", err=True)


def say_warning(warning: EngineWarning) -> None:
    """A warning as its one sentence."""
    typer.echo(f"{typer.style('warning:', fg='yellow', bold=True)} {warning.message}", err=True)


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output, at once (a program may be waiting)."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """The same in types that JSON knows; values that are no finite number become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Warning):
        return {"kind": type(value).__name__, "message": str(value)}
    if hasattr(value, "item"):  # numpy scalars
        return plain(value.item())
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def route_warnings(debug: bool) -> None:
    """Show our own warnings as sentences; those of libraries only while debugging."""
    fallback = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if isinstance(message, EngineWarning):
            say_warning(message)
        elif debug:
            fallback(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def seconds_text(seconds: float) -> str:
    """``0:42``, ``12:05`` or ``1:02:03``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


def size_text(size_bytes: float) -> str:
    """``812 KB``, ``3.4 MB`` or ``1.2 GB``."""
    for unit in ("bytes", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def path_size(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size
