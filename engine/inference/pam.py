"""The ``.aux.xml`` beside a raster: category names and an attribute table, where GDAL programs look for them.

The maps of an analysis and the rasters exported from it share this one writer. Guarantees: GDAL, QGIS and ArcGIS read
names and colours from it without a style of their own.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from engine.models.card import CardClass

_INTEGER, _REAL, _TEXT = "0", "1", "2"
_GENERIC, _NAME, _MIN_MAX, _RED, _GREEN, _BLUE = "0", "2", "5", "6", "7", "8"


@dataclass(frozen=True, slots=True)
class PaletteEntry:
    """A raster value with its name and colour ``#rrggbb``."""

    value: int
    name: str
    color: str


def class_palette(classes: Sequence[CardClass]) -> list[PaletteEntry]:
    """The palette of a class map: codes are places in the card's list."""
    return [PaletteEntry(code, cls.name, cls.color) for code, cls in enumerate(classes)]


def sidecar(palette: Sequence[PaletteEntry], *, category_names: bool) -> str:
    """The text of the sidecar.

    Args:
        palette: Values with names and colours, ascending.
        category_names: Whether to write the plain list of names too; it is indexed by value, so it suits codes that
            start near zero.
    """
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    if category_names:
        names = ET.SubElement(band, "CategoryNames")
        by_value = {entry.value: entry.name for entry in palette}
        for value in range(max(by_value, default=-1) + 1):
            ET.SubElement(names, "Category").text = by_value.get(value, "")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    columns = [
        ("Value", _INTEGER, _MIN_MAX),
        ("Class", _TEXT, _NAME),
        ("Red", _INTEGER, _RED),
        ("Green", _INTEGER, _GREEN),
        ("Blue", _INTEGER, _BLUE),
    ]
    for index, (name, kind, usage) in enumerate(columns):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        ET.SubElement(field, "Name").text = name
        ET.SubElement(field, "Type").text = kind
        ET.SubElement(field, "Usage").text = usage
    for index, entry in enumerate(palette):
        row = ET.SubElement(table, "Row", index=str(index))
        for cell in (entry.value, entry.name, *rgb(entry.color)):
            ET.SubElement(row, "F").text = str(cell)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of ``#rrggbb``."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
