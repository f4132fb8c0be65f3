"""QGIS styles: one ``.qml`` that colours and names the classes, for polygons and for rasters alike.

QGIS looks for ``name.qml`` beside both ``name.gpkg`` and ``name.tif``. Guarantees: every style written here has a
vector part (categories on the attribute ``class``) and a raster part (palette), so exports of the same name do not
take each other's style away; the text is valid XML whatever the class names hold.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from engine.inference.pam import PaletteEntry, rgb
from engine.models.card import CardClass

_POLYGONS = "2"  # QGIS's code for the geometry type


def style(
    classes: Sequence[CardClass], palette: Sequence[PaletteEntry], *, attribute: str = "class", filled: bool = True
) -> str:
    """The style as text.

    Args:
        classes: Categories of the polygons, in legend order.
        palette: Values of the raster; none leaves its look to QGIS.
        attribute: Column of the polygons that holds the class name.
        filled: Whether polygons are filled; otherwise their outlines alone are drawn, in the colour of the class.
    """
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    root.append(_categories(classes, attribute, filled))
    ET.SubElement(root, "layerGeometryType").text = _POLYGONS
    if palette:
        root.append(_paletted(palette))
    ET.SubElement(root, "blendMode").text = "0"
    return _document(root)


def kept_palette(path: Path, palette: Sequence[PaletteEntry]) -> Sequence[PaletteEntry]:
    """The palette that a style already has, where a raster of the same name uses it; otherwise the one given."""
    if not (path.exists() and path.with_suffix(".tif").exists()):
        return palette
    try:
        entries = ET.parse(path).getroot().findall("./pipe/rasterrenderer/colorPalette/paletteEntry")
    except ET.ParseError:
        return palette
    return [
        PaletteEntry(int(e.get("value", "0")), e.get("label", ""), e.get("color", "#000000")) for e in entries
    ] or palette


def _categories(classes: Sequence[CardClass], attribute: str, filled: bool) -> ET.Element:
    renderer = ET.Element(
        "renderer-v2", type="categorizedSymbol", attr=attribute, forceraster="0", symbollevels="0", enableorderby="0"
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for number, cls in enumerate(classes):
        ET.SubElement(
            categories,
            "category",
            symbol=str(number),
            value=cls.name,
            label=cls.name,
            render="true",
            type="string",
        )
        symbols.append(_fill(str(number), cls.color, filled))
    return renderer


def _fill(name: str, color: str, filled: bool) -> ET.Element:
    symbol = ET.Element("symbol", name=name, type="fill", alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    properties = {
        "color": _rgba(color),
        "style": "solid" if filled else "no",
        "outline_color": _rgba(_darker(color) if filled else color),
        "outline_style": "solid",
        "outline_width": "0.1" if filled else "0.5",
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }
    options = ET.SubElement(layer, "Option", type="Map")
    for key, value in properties.items():
        ET.SubElement(options, "Option", name=key, value=value, type="QString")
    for key, value in properties.items():  # QGIS before 3.26 reads these
        ET.SubElement(layer, "prop", k=key, v=value)
    return symbol


def _paletted(palette: Sequence[PaletteEntry]) -> ET.Element:
    pipe = ET.Element("pipe")
    provider = ET.SubElement(pipe, "provider")
    ET.SubElement(provider, "resampling", enabled="false", maxOversampling="2")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    colors = ET.SubElement(renderer, "colorPalette")
    for entry in palette:
        ET.SubElement(colors, "paletteEntry", value=str(entry.value), color=entry.color, label=entry.name, alpha="255")
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    return pipe


def _document(root: ET.Element) -> str:
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{body}\n"


def _rgba(color: str) -> str:
    return ",".join(map(str, (*rgb(color), 255)))


def _darker(color: str) -> str:
    return "#" + "".join(f"{round(part * 0.7):02x}" for part in rgb(color))
