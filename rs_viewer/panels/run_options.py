"""The foldable part of the analysis panel: windows, resolution, batch, precision, and what becomes a region.

Guarantees: what is left on «automatic» stays out of the options, so the engine's own defaults hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from rs_viewer import format as fmt
from rs_viewer.panels.common import labelled
from rs_viewer.panels.patch_fields import PatchFields

if TYPE_CHECKING:
    from engine.inference.device import DeviceInfo
    from engine.models.card import ModelCard

SIZE_STEP_PX = 32
LARGEST_WINDOW_PX = 4096
MOST_PATCHES, PATCH_STEP = 10_000_000, 100


class RunOptions(QWidget):
    """Fields for everything that is seldom changed."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._card: ModelCard | None = None
        self.window_px = self._number(LARGEST_WINDOW_PX, " px")
        self.overlap_px = self._number(LARGEST_WINDOW_PX, " px")
        self.overlap_px.setMinimum(-1)
        self.overlap_px.setSpecialValueText("As the model says")
        self.overlap_px.setValue(-1)
        self.resolution = QComboBox()
        for text, value in (
            ("Automatic", "auto"),
            ("The scene's own", "native"),
            ("The model's", "model"),
            ("In metres…", "metres"),
        ):
            self.resolution.addItem(text, value)
        self.metres = QDoubleSpinBox()
        self.metres.setRange(0.01, 10_000)
        self.metres.setDecimals(2)
        self.metres.setValue(4)
        self.metres.setSuffix(" m")
        self.batch = self._number(1024, " windows")
        self.batch.setSingleStep(1)
        self.precision = QComboBox()
        self.precision.addItem("float32", "float32")
        self.precision.addItem("bfloat16", "bfloat16")
        self.min_region_m2 = QDoubleSpinBox()
        self.min_region_m2.setRange(-1, 1e9)
        self.min_region_m2.setDecimals(0)
        self.min_region_m2.setSuffix(" m²")
        self.min_region_m2.setSpecialValueText("32 pixels' worth")
        self.min_region_m2.setValue(-1)
        self.regions = QComboBox()
        self.regions.addItem("Of the model's tokens", "tokens")
        self.regions.addItem("Patches of a quadtree", "quadtree")
        self.tokens = self._number(MOST_PATCHES, " patches")
        self.tokens.setGroupSeparatorShown(True)
        self.tokens.setSingleStep(PATCH_STEP)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for text, widget, tip in (
            ("&Window", self.window_px, "Edge of the windows the scene is cut into"),
            ("O&verlap", self.overlap_px, "How far neighbouring windows overlap; they are blended there"),
            ("Resolutio&n", self.resolution, "Ground resolution the model works at"),
            ("In &metres", self.metres, "Size of a pixel on the ground"),
            ("&Batch", self.batch, "Windows that go through the model at once"),
            ("&Precision", self.precision, "Arithmetic on the device; bfloat16 is faster on new hardware"),
            ("S&mallest region", self.min_region_m2, "Smaller regions join their best neighbour"),
            ("Re&gions", self.regions, "What becomes a region: what the model itself perceives, or given patches"),
            ("Budge&t", self.tokens, "Patches that the area is cut into, small where there is something to see"),
        ):
            form.addRow(labelled(text, widget, tip), widget)
        self._form = form
        self.patches = PatchFields(form, own_model=False)
        self._regions_changed()
        form.setRowVisible(self.metres, False)
        self.resolution.currentIndexChanged.connect(self._resolution_changed)
        for box in (self.window_px, self.overlap_px, self.batch, self.tokens):
            box.valueChanged.connect(self.changed)
        self.regions.currentIndexChanged.connect(self._regions_changed)
        self.patches.changed.connect(self.changed)
        for decimal in (self.metres, self.min_region_m2):
            decimal.valueChanged.connect(self.changed)
        self.precision.currentIndexChanged.connect(self.changed)

    @staticmethod
    def _number(most: int, suffix: str) -> QSpinBox:
        box = QSpinBox()
        box.setRange(0, most)
        box.setSingleStep(SIZE_STEP_PX)
        box.setSuffix(suffix)
        box.setSpecialValueText("Automatic")
        return box

    def show_card(self, card: ModelCard | None) -> None:
        """Say what the model's own values are."""
        self._card = card
        if card is not None:
            self.window_px.setSpecialValueText(f"{card.window_px} px, as the model")
            self.overlap_px.setSpecialValueText("as the model")
        draws = card is None or card.task == "segmentation"
        self.regions.setEnabled(draws)
        self._form.setRowVisible(self.regions, draws)
        self.patches.show_card(card)
        self._regions_changed()

    @property
    def cuts(self) -> bool:
        """Whether regions are the patches of a quadtree."""
        return bool(self.regions.currentData() == "quadtree") and self.regions.isEnabled()

    def _regions_changed(self) -> None:
        self._form.setRowVisible(self.tokens, self.cuts)
        self.min_region_m2.setSpecialValueText("Any size" if self.cuts else "32 pixels' worth")
        self.patches.show(self.cuts)

    def _resolution_changed(self) -> None:
        self._form.setRowVisible(self.metres, self.resolution.currentData() == "metres")
        self.changed.emit()

    def values(self) -> dict[str, Any]:
        """Keyword arguments for ``AnalysisOptions``; fields on «automatic» are left out."""
        chosen: dict[str, Any] = {"precision": self.precision.currentData()}
        if self.window_px.value() > 0:
            chosen["window_px"] = max(self.window_px.value(), 16)
        if self.overlap_px.value() >= 0:
            chosen["overlap_px"] = self.overlap_px.value()
        if self.batch.value() > 0:
            chosen["batch"] = self.batch.value()
        if self.min_region_m2.value() >= 0:
            chosen["min_region_m2"] = self.min_region_m2.value()
        if self.cuts:
            budget = {"tokens": self.tokens.value()} if self.tokens.value() > 0 else {}
            chosen["quadtree"] = self.patches.values() | budget
        resolution = self.resolution.currentData()
        chosen["gsd"] = self.metres.value() if resolution == "metres" else resolution
        return chosen


class DeviceChooser(QComboBox):
    """Lists the devices that work, the best first, and says which one «automatic» means."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.devices: tuple[DeviceInfo, ...] = ()
        self.addItem("Looking for devices…", "auto")
        self.setMinimumContentsLength(12)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)

    def show_devices(self, devices: Sequence[DeviceInfo]) -> None:
        """Fill the list."""
        self.devices = tuple(devices)
        keep = self.currentData()
        with QSignalBlocker(self):
            self.clear()
            for device in devices:
                memory = f" ({fmt.bytes_(device.memory_bytes)})" if device.memory_bytes else ""
                self.addItem(f"{device.label}{memory}", device.name)
                self.setItemData(self.count() - 1, device.reason, 3)
            index = self.findData(keep)
            self.setCurrentIndex(max(index, 0))
        self._explain()
        self.currentIndexChanged.connect(self._explain)

    def _explain(self) -> None:
        chosen = self.chosen
        if chosen is not None:
            self.setToolTip(f"{chosen.label}. {chosen.reason}")
            self.setAccessibleDescription(chosen.reason)

    @property
    def chosen(self) -> DeviceInfo | None:
        """The device chosen, once devices are known."""
        return next((device for device in self.devices if device.name == self.currentData()), None)
