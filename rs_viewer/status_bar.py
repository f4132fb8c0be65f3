"""The status bar: where the cursor is (on Earth and in the map's CRS), the scale, the device, the rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PySide6.QtWidgets import QLabel, QMainWindow, QStatusBar

from rs_viewer import format as fmt
from rs_viewer.dialogs import badge


class Places:
    """Fills the status bar of a window.

    Args:
        window: The window.
    """

    def __init__(self, window: QMainWindow) -> None:
        bar = window.statusBar()
        assert isinstance(bar, QStatusBar)
        bar.setSizeGripEnabled(False)
        self.lonlat, self.xy, self.scale = QLabel(), QLabel(), QLabel()
        self.device, self.rate = badge("Looking for devices…"), QLabel()
        for label, name in (
            (self.lonlat, "Latitude and longitude under the cursor"),
            (self.xy, "Map coordinates under the cursor"),
            (self.scale, "Map scale"),
            (self.device, "Device that models run on"),
            (self.rate, "Rate of the running analysis"),
        ):
            label.setAccessibleName(name)
            label.setToolTip(name)
            bar.addPermanentWidget(label)
        self._grid: Any = None
        self._view = (math.nan, 96.0)
        self.show_place(math.nan, math.nan)

    def set_grid(self, grid: Any) -> None:
        """The grid that gives the map its CRS, or None."""
        self._grid = grid
        self.show_place(math.nan, math.nan)
        self.show_scale(*self._view)

    @property
    def crs_name(self) -> str:
        """The CRS as people call it."""
        if self._grid is None:
            return ""
        if self._grid.crs is None:
            return "no CRS, pixels"
        code = self._grid.crs.to_epsg()
        return f"EPSG:{code}" if code else str(self._grid.crs.to_dict().get("proj", "own CRS"))

    def show_place(self, x: float, y: float) -> None:
        """Show a map position; NaN shows none."""
        if self._grid is None:
            self.lonlat.setText("")
            self.xy.setText("")
            return
        if math.isnan(x):
            self.lonlat.setText("")
            self.xy.setText(self.crs_name)
            return
        degrees = self._grid.crs is not None and self._grid.crs.is_geographic
        digits = 6 if degrees else 1
        self.xy.setText(f"{x:.{digits}f}  {y:.{digits}f}  {self.crs_name}")
        if self._grid.crs is None:
            self.lonlat.setText("")
            return
        cols, rows = self._grid.colrow(np.array([x]), np.array([y]))
        lon, lat = self._grid.lonlat(cols, rows)
        self.lonlat.setText(fmt.lonlat(float(lon[0]), float(lat[0])))

    def show_scale(self, metres_per_pixel: float, pixels_per_inch: float) -> None:
        """Show the scale of the map."""
        self._view = (metres_per_pixel, pixels_per_inch)
        known = self._grid is not None and self._grid.crs is not None
        self.scale.setText(fmt.scale(metres_per_pixel, pixels_per_inch) if known else "")

    def show_device(self, label: str, reason: str) -> None:
        """Show the device and why it is used."""
        self.device.setText(label)
        self.device.setToolTip(reason)
        self.device.setAccessibleDescription(reason)

    def show_rate(self, text: str) -> None:
        """Show the rate of a run."""
        self.rate.setText(text)
