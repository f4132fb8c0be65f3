"""Pictures of training and tokens: confusion matrices, token maps, attention, contact sheets.

Guarantees: no screen and no window system is needed; the same input gives the same picture, whatever else is drawn
beside it (no scale is shared between pictures unless it is said).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WHITE = (255, 255, 255)
_INK = (30, 30, 36)
_GRID = (224, 224, 228)
_CELL_PX = 34
_SMALL_CELL_PX = 16
_LONG_TABLE = 24
_MARGIN_PX = 14
_CONFUSION_TITLE = "predicted, percent of the true class"
# Anchors of a map from dark to bright whose lightness rises evenly, so that it also reads in grey.
_HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)])
_BLUES = np.array([(255, 255, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107)])


def confusion_picture(confusion: np.ndarray, names: Sequence[str]) -> Image.Image:
    """Draw a confusion matrix: rows are the truth, each cell the share of its row.

    Args:
        confusion: ``[K, K]`` counts.
        names: Class names.
    """
    count = len(names)
    large = count <= _LONG_TABLE
    cell = _CELL_PX if large else _SMALL_CELL_PX
    font, small = _font(13 if large else 11), _font(11 if large else 8)
    rows = confusion.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(rows > 0, confusion / rows, 0.0)
    wide = max(round(font.getlength(name)) for name in names) + 8
    left, top = _MARGIN_PX + wide + 22, _MARGIN_PX + wide + 22
    middle = left + count * cell / 2
    reach = max(count * cell / 2, font.getlength(_CONFUSION_TITLE) / 2)
    picture = Image.new("RGB", (round(middle + reach) + _MARGIN_PX, top + count * cell + _MARGIN_PX), _WHITE)
    pen = ImageDraw.Draw(picture)
    colours = _mapped(shares, _BLUES)
    for row in range(count):
        for col in range(count):
            x, y = left + col * cell, top + row * cell
            pen.rectangle((x, y, x + cell, y + cell), fill=tuple(colours[row, col].tolist()), outline=_GRID)
            share = shares[row, col]
            if share >= 0.005 and (large or row == col):
                ink = _WHITE if share > 0.55 else _INK
                pen.text((x + cell / 2, y + cell / 2), f"{100 * share:.0f}", fill=ink, font=small, anchor="mm")
        pen.text((left - 6, top + row * cell + cell / 2), names[row], fill=_INK, font=font, anchor="rm")
    _upright(picture, [(left + col * cell + cell // 2, name) for col, name in enumerate(names)], top - 6, font)
    pen.text((middle, _MARGIN_PX), _CONFUSION_TITLE, fill=_INK, font=font, anchor="mt")
    _upright(picture, [(_MARGIN_PX + 6, "true")], top + count * cell // 2 + 14, font)
    return picture


def token_colours(count: int) -> np.ndarray:
    """Colours ``[N, 3]`` that tell tokens apart: hues a golden angle apart at three lightnesses."""
    index = np.arange(count)
    hue = index * 0.618034 % 1.0
    value = np.array([0.95, 0.75, 0.55])[index % 3]
    k = (np.array([5.0, 3.0, 1.0])[None] + 6 * hue[:, None]) % 6
    rgb = value[:, None] * (1 - 0.75 * np.clip(np.minimum(k, 4 - k), 0, 1))
    colours: np.ndarray = np.round(255 * rgb).astype(np.uint8)
    return colours


def token_picture(token_map: np.ndarray, count: int, under: np.ndarray | None = None) -> Image.Image:
    """Draw a token map ``[h, w]``, its borders dark; over an image ``[h, w, 3]`` half of it shows through."""
    drawn = token_colours(count)[token_map].astype(np.float32)
    if under is not None:
        drawn = (0.5 * drawn + 0.5 * under).astype(np.float32)
    border = np.zeros(token_map.shape, bool)
    border[:, 1:] |= token_map[:, 1:] != token_map[:, :-1]
    border[1:] |= token_map[1:] != token_map[:-1]
    drawn[border] *= 0.35
    return Image.fromarray(drawn.astype(np.uint8))


def heat_picture(values: np.ndarray, under: np.ndarray | None = None) -> Image.Image:
    """Draw values ``[h, w]`` from their own lowest (dark) to their own highest (bright), over an image if given."""
    low, high = float(values.min()), float(values.max())
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    drawn = _mapped(scaled, _HEAT).astype(np.float32)
    if under is not None:
        drawn = (0.65 * drawn + 0.35 * under).astype(np.float32)
    return Image.fromarray(drawn.astype(np.uint8))


def shown_image(image: np.ndarray) -> np.ndarray:
    """Stored values ``[C, h, w]`` as ``[h, w, 3]`` bytes, stretched by the middle 96 percent of what is shown.

    The first three bands are red, green and blue; of fewer, the first is shown in grey.
    """
    bands = image[[0, 1, 2] if image.shape[0] >= 3 else [0, 0, 0]].astype(np.float32)
    low, high = np.percentile(bands, (2, 98))
    scaled = (bands - low) / max(float(high - low), 1e-9)
    shown: np.ndarray = np.moveaxis(np.clip(255 * scaled, 0, 255), 0, -1).astype(np.uint8)
    return shown


def contact_sheet(
    pictures: Sequence[tuple[str, Image.Image]], columns: int, edge_px: int, title: str = ""
) -> Image.Image:
    """Lay pictures with their captions out in rows, each fitted into a square of ``edge_px``.

    Args:
        pictures: Captions and pictures, row by row.
        columns: Pictures in a row.
        edge_px: Edge of a square.
        title: A line above.
    """
    font = _font(12)
    line, gap = 18, 8
    head = 26 if title else 0
    rows = -(-len(pictures) // columns)
    tall = max(round(picture.height * edge_px / max(picture.size)) for _, picture in pictures)
    sheet = Image.new("RGB", (gap + columns * (edge_px + gap), head + gap + rows * (tall + line + gap)), _WHITE)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((gap, gap), title, fill=_INK, font=_font(14))
    for place, (caption, picture) in enumerate(pictures):
        x = gap + place % columns * (edge_px + gap)
        y = head + gap + place // columns * (tall + line + gap)
        scale = edge_px / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        smooth = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        sheet.paste(picture.resize(size, smooth), (x, y))
        pen.text((x, y + tall + 2), caption, fill=_INK, font=font)
    return sheet


def _mapped(values: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    at = np.linspace(0, 1, len(anchors))
    bands = [np.interp(values, at, anchors[:, band]) for band in range(3)]
    return np.round(np.stack(bands, axis=-1)).astype(np.uint8)


def _upright(picture: Image.Image, texts: Sequence[tuple[int, str]], bottom: int, font: Font) -> None:
    """Write texts upwards, each centred on its column and ending at ``bottom``."""
    for x, text in texts:
        _, _, right, low = font.getbbox(text)
        label = Image.new("L", (max(1, round(right)), max(1, round(low))), 0)
        ImageDraw.Draw(label).text((0, 0), text, fill=255, font=font)
        turned = label.rotate(90, expand=True)
        picture.paste(_INK, (x - turned.width // 2, bottom - turned.height), turned)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
