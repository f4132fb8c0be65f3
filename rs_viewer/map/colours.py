"""Look-up tables: from class codes, percents and region ids to premultiplied 32-bit colours.

Guarantees: every table is a numpy ``uint32`` array in the layout of ``QImage.Format_ARGB32_Premultiplied``; colouring
a tile is one gather whose cost does not depend on how many regions there are. Values beyond a table are transparent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PySide6.QtGui import QColor, QImage

CLASS_NODATA = 255
# Named here, on the GUI thread: PySide6 makes such classes when they are first named, and tiles are painted on threads.
_PREMULTIPLIED = QImage.Format.Format_ARGB32_Premultiplied
_OPAQUE = QImage.Format.Format_RGB32
_STRAIGHT = QImage.Format.Format_RGBA8888

# Nine stops of matplotlib's viridis (CC0): readable by colour-blind people and in grey.
_VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")


def premultiplied(red: np.ndarray, green: np.ndarray, blue: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pack channels 0 to 255 into premultiplied colours."""
    a = np.asarray(alpha, dtype=np.uint32)
    packed = a << 24
    for channel, shift in ((red, 16), (green, 8), (blue, 0)):
        packed |= ((np.asarray(channel, dtype=np.uint32) * a + 127) // 255) << shift
    return packed.astype(np.uint32)


def colour_of(color: QColor) -> np.uint32:
    """One colour, packed."""
    red, green, blue, alpha = (np.array(v) for v in (color.red(), color.green(), color.blue(), color.alpha()))
    return np.uint32(premultiplied(red, green, blue, alpha))


def class_table(colors: Sequence[str]) -> np.ndarray:
    """256 colours for class codes; codes without a class, nodata among them, are transparent."""
    table = np.zeros(256, np.uint32)
    for code, color in enumerate(colors[:CLASS_NODATA]):
        table[code] = colour_of(QColor(color))
    return table


def confidence_table() -> np.ndarray:
    """256 colours for percents 1 to 100; 0, which is nodata, and the rest are transparent."""
    stops = np.array([[QColor(c).red(), QColor(c).green(), QColor(c).blue()] for c in _VIRIDIS], dtype=float)
    at = np.linspace(0, len(stops) - 1, 100)
    rgb = [np.interp(at, np.arange(len(stops)), stops[:, i]).round() for i in range(3)]
    table = np.zeros(256, np.uint32)
    table[1:101] = premultiplied(rgb[0], rgb[1], rgb[2], np.full(100, 255))
    return table


def shade_of(ids: np.ndarray) -> np.ndarray:
    """How much lighter (towards 0.3) or darker (towards -0.3) each region id is; neighbours in number differ."""
    mixed = (ids.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(24)
    return (mixed.astype(np.float32) / 255.0 - 0.5) * 0.6


def region_table(codes: np.ndarray, colors: Sequence[str]) -> np.ndarray:
    """A colour for each region id: that of its class, shaded by the id.

    Args:
        codes: Class code by region id (index 0 is no region); 255 for ids that do not exist.
        colors: Class colours by code.
    """
    parts = [QColor(c) for c in colors] or [QColor("#000000")]
    rgb = np.array([(c.red(), c.green(), c.blue()) for c in parts], dtype=np.float32)
    known = codes < len(colors)
    shade = shade_of(np.arange(len(codes)))[:, None]
    picked = rgb[np.where(known, codes, 0)]
    picked = np.where(shade > 0, picked + (255 - picked) * shade, picked * (1 + shade)).round()
    table = premultiplied(picked[:, 0], picked[:, 1], picked[:, 2], np.where(known, 255, 0))
    table[:1] = 0
    return table


def strength_table(strengths: Mapping[int, float]) -> np.ndarray:
    """Highlight strength 0 to 255 by region id; the entry after the last is 0 and serves all larger ids."""
    table = np.zeros(max(strengths, default=0) + 2, np.uint8)
    for region_id, strength in strengths.items():
        if region_id > 0:
            table[region_id] = round(255 * min(max(strength, 0.0), 1.0))
    return table


def looked_up(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``table[values]`` where values may exceed the table: those give 0."""
    if len(table) > np.iinfo(values.dtype).max:
        return np.asarray(table[values])
    inside = values < len(table)
    return np.where(inside, table[np.where(inside, values, 0)], 0).astype(table.dtype)


def over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Premultiplied colours laid over others."""
    keep = 255 - (top >> np.uint32(24))
    result = np.zeros_like(bottom)
    for shift in (0, 8, 16, 24):
        low = (bottom >> np.uint32(shift)) & np.uint32(255)
        high = (top >> np.uint32(shift)) & np.uint32(255)
        result |= (high + (low * keep + np.uint32(127)) // np.uint32(255)) << np.uint32(shift)
    return result


def image_of(colours: np.ndarray) -> QImage:
    """An image of its own memory from packed premultiplied colours [H, W]."""
    packed = np.ascontiguousarray(colours, dtype=np.uint32)
    height, width = packed.shape
    return QImage(packed.data, width, height, width * 4, _PREMULTIPLIED).copy()


def image_of_rgba(rgba: np.ndarray) -> QImage:
    """An image of its own memory from straight RGBA bytes [H, W, 4]; opaque ones come without alpha."""
    data = np.ascontiguousarray(rgba, dtype=np.uint8)
    height, width = data.shape[:2]
    opaque = bool((data[..., 3] == 255).all())
    wanted = _OPAQUE if opaque else _PREMULTIPLIED
    return QImage(data.data, width, height, width * 4, _STRAIGHT).convertToFormat(wanted)
