"""What the window remembers between starts: geometry, panels, recent files, folders, scheme.

Guarantees: settings of another version are ignored, never misread; only paths that were opened are remembered.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from PySide6.QtCore import QByteArray, QSettings

from rs_viewer.theme import Mode

VERSION = 1
RECENT = 10


class Session:
    """Typed access to the settings.

    Args:
        settings: Where they live; None takes the user's own.
    """

    def __init__(self, settings: QSettings | None = None) -> None:
        self._settings = settings if settings is not None else QSettings()
        if self._int("version", VERSION) != VERSION:
            self._settings.clear()
        self._settings.setValue("version", VERSION)

    def _int(self, key: str, default: int) -> int:
        value = self._settings.value(key, default)
        return int(value) if isinstance(value, int | str) and str(value).lstrip("-").isdigit() else default

    def _text(self, key: str) -> str:
        value = self._settings.value(key, "")
        return value if isinstance(value, str) else ""

    def _bytes(self, key: str) -> QByteArray | None:
        value = self._settings.value(key)
        return value if isinstance(value, QByteArray) and not value.isEmpty() else None

    @property
    def geometry(self) -> QByteArray | None:
        """The window's place and size."""
        return self._bytes("window/geometry")

    @property
    def layout(self) -> QByteArray | None:
        """The panels' places."""
        return self._bytes("window/layout")

    def save_window(self, geometry: QByteArray, layout: QByteArray) -> None:
        """Remember the window."""
        self._settings.setValue("window/geometry", geometry)
        self._settings.setValue("window/layout", layout)

    def forget_layout(self) -> None:
        """Start with the first layout next time."""
        self._settings.remove("window/layout")

    @property
    def recent(self) -> list[str]:
        """Sources opened last, newest first."""
        value = self._settings.value("recent", [])
        items = [value] if isinstance(value, str) else value
        return [str(item) for item in items if item][:RECENT] if isinstance(items, list | tuple) else []

    def add_recent(self, source: str) -> None:
        """Put a source first in the list."""
        self._settings.setValue("recent", [source, *(item for item in self.recent if item != source)][:RECENT])

    def drop_recent(self, source: str) -> None:
        """Forget a source, for example because it is gone."""
        self._settings.setValue("recent", [item for item in self.recent if item != source])

    def clear_recent(self) -> None:
        """Forget all sources."""
        self._settings.setValue("recent", [])

    def folder(self, purpose: str) -> str:
        """The folder last used for ``purpose`` (``open``, ``export`` …), else the home folder."""
        folder = self._text(f"folders/{purpose}")
        return folder if folder and Path(folder).is_dir() else str(Path.home())

    def set_folder(self, purpose: str, folder: str | Path) -> None:
        """Remember a folder."""
        self._settings.setValue(f"folders/{purpose}", str(folder))

    @property
    def model(self) -> str:
        """Name of the model chosen last."""
        return self._text("analysis/model")

    @model.setter
    def model(self, name: str) -> None:
        self._settings.setValue("analysis/model", name)

    @property
    def scheme(self) -> Mode:
        """Light, dark or the system's."""
        value = self._text("window/scheme")
        return cast(Mode, value) if value in ("light", "dark") else "system"

    @scheme.setter
    def scheme(self, mode: Mode) -> None:
        self._settings.setValue("window/scheme", mode)

    def save(self) -> None:
        """Write to disk now."""
        self._settings.sync()
