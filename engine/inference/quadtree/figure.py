"""Figures of quadtrees: panels with captions in rows, written as one picture.

Guarantees: nothing but Pillow is needed, its own font included; the file bears its name only when it is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from engine.errors import OutputError
from engine.inference.quadtree.colours import level_colours

Pixels = npt.NDArray[np.uint8]

_PANEL_PX = 560
_GAP_PX = 28
_INK, _PALE, _PAPER, _BAR = "#20242a", "#667080", "#ffffff", "#4a7ebb"
_TITLE_PX, _CAPTION_PX, _NOTE_PX = 30, 20, 16
_DIMMED = 0.82


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture with what it shows.

    Attributes:
        pixels: ``[h, w, 3]``.
        caption: A few words.
        note: A line of figures below, in grey.
    """

    pixels: Pixels
    caption: str
    note: str = ""


def write_figure(path: Path, title: str, note: str, rows: Sequence[Sequence[Panel]], sizes: Sequence[int] = ()) -> Path:
    """Write panels in rows; all are brought to one width.

    Args:
        path: The file.
        title: What is shown.
        note: A line of figures below.
        rows: The panels.
        sizes: Sizes of patches in pixels whose colours are explained, the smallest first.

    Raises:
        OutputError: The file cannot be written; or its suffix names no picture.
    """
    pictures = [[_fitted(panel.pixels) for panel in row] for row in rows]
    columns = max(len(row) for row in rows)
    width = columns * _PANEL_PX + (columns + 1) * _GAP_PX
    text = 2 * _NOTE_PX + _CAPTION_PX
    heights = [max(picture.height for picture in row) for row in pictures]
    top = _GAP_PX + _TITLE_PX + _NOTE_PX + _GAP_PX
    height = top + sum(edge + text + _GAP_PX for edge in heights)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, _GAP_PX - 6), title, _INK, _font(_TITLE_PX))
    draw.text((_GAP_PX, _GAP_PX + _TITLE_PX + 4), note, _PALE, _font(_NOTE_PX))
    _explain(draw, sizes, width - _GAP_PX)
    for row, shown, edge in zip(rows, pictures, heights, strict=True):
        for column, (panel, picture) in enumerate(zip(row, shown, strict=True)):
            left = _GAP_PX + column * (_PANEL_PX + _GAP_PX)
            sheet.paste(picture, (left, top))
            draw.text((left, top + edge + 6), panel.caption, _INK, _font(_CAPTION_PX))
            draw.text((left, top + edge + 10 + _CAPTION_PX), panel.note, _PALE, _font(_NOTE_PX))
        top += edge + text + _GAP_PX
    return _save(sheet, path)


def _explain(draw: ImageDraw.ImageDraw, sizes: Sequence[int], right: int) -> None:
    """Colours of patch sizes in a line that ends at ``right``."""
    font, top = _font(_NOTE_PX), _GAP_PX + _TITLE_PX + 4
    for size, colour in reversed(tuple(zip(sizes, level_colours(len(sizes)), strict=True))):
        text = f"{size} px"
        right -= round(draw.textlength(text, font))
        draw.text((right, top), text, _PALE, font)
        right -= _NOTE_PX + 6
        draw.rectangle((right, top + 1, right + _NOTE_PX, top + 1 + _NOTE_PX), fill=colour, outline=_PALE)
        right -= _NOTE_PX


def outlined(pixels: Pixels, boxes: npt.NDArray[np.int64], min_size: int, levels: int) -> Pixels:
    """A picture with its patches outlined in the colours of their sizes, large enough that lines stay apart."""
    height, width = pixels.shape[:2]
    factor = max(1, round(_PANEL_PX / width))
    dim = Image.fromarray((pixels * _DIMMED).astype(np.uint8))
    large = dim.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    colours = level_colours(levels)
    for left, top, size in boxes[::-1].tolist():  # large ones first, so that small ones keep their colour
        edges = (left * factor, top * factor, (left + size) * factor, (top + size) * factor)
        draw.rectangle(edges, outline=colours[(size // min_size).bit_length() - 1])
    return np.asarray(large)


def bars(names: Sequence[str], values: Sequence[float], unit: str, shape: tuple[int, int]) -> Pixels:
    """Horizontal bars on a logarithmic scale, each with its value."""
    height, width = shape
    sheet = Image.new("RGB", (width, height), "#f4f6f8")
    draw = ImageDraw.Draw(sheet)
    low, high = np.log10(min(values)) - 0.3, np.log10(max(values))
    step = height / (len(names) + 0.5)
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        top = step * (number + 0.35)
        length = (width - 200) * (np.log10(value) - low) / max(high - low, 1e-9)
        draw.text((16, top), name, _INK, _font(_CAPTION_PX))
        draw.rectangle((16, top + 26, 16 + length, top + 26 + step * 0.35), fill=_BAR)
        draw.text((26 + length, top + 24 + step * 0.1), f"{value:.1f} {unit}", _INK, _font(_NOTE_PX))
    return np.asarray(sheet)


def _fitted(pixels: Pixels) -> Image.Image:
    picture = Image.fromarray(pixels)
    height = max(1, round(picture.height * _PANEL_PX / picture.width))
    if picture.width == _PANEL_PX:
        return picture
    smooth = picture.width > _PANEL_PX
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return picture.resize((_PANEL_PX, height), how)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _save(sheet: Image.Image, path: Path) -> Path:
    path = path.expanduser().absolute()
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(draft)
        draft.replace(path)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"the figure cannot be written: {' '.join(str(error).split())}", where=path, remedy="Name a .png file."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return path
