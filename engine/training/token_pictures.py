"""Pictures of what a model perceives: token maps, each token's attention, contact sheets, also through the epochs.

Guarantees: each picture's scale is its own (a token's attention from its lowest to its highest value), so nothing
changes with what is drawn beside it; a token keeps its colour over all pictures of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.errors import OutputError
from engine.models.card import ModelCard
from engine.training.drawing import contact_sheet, heat_picture, shown_image, token_picture
from engine.training.perception import Perceived

SHEET_EDGE_PX = 160
SHEET_COLUMNS = 8
EPOCH_TOKENS = 6
"""Tokens whose attention an epochs' sheet shows."""


def save_pictures(seen: Perceived, card: ModelCard, folder: Path, most_tokens: int) -> list[Path]:
    """Write the pictures of one image.

    ``image.png``, ``tokens.png`` (map over the image), ``map.png`` (the token numbers themselves, 16 bits),
    ``attention-007.png`` for each token, ``sheet.png`` with all of them.

    Args:
        seen: What the model perceived.
        card: Its card.
        folder: Where; it is made.
        most_tokens: Of more tokens, those that hold most pixels are shown.

    Raises:
        OutputError: The folder cannot be written to.
    """
    under = shown_image(seen.shown)
    tokens = token_picture(seen.token_map, seen.count, under)
    chosen = largest_tokens(seen, most_tokens)
    share = np.bincount(seen.token_map.ravel(), minlength=seen.count) / seen.token_map.size
    heats = [(token, heat_picture(_grown(seen.attention[token], under.shape), under)) for token in chosen]
    sheet = contact_sheet(
        [
            ("image", Image.fromarray(under)),
            (f"{seen.count} tokens", tokens),
            *((f"token {token}: {share[token]:.0%}", heat) for token, heat in heats),
        ],
        SHEET_COLUMNS,
        SHEET_EDGE_PX,
        f"{folder.name}, {card.title}",
    )
    pictures = {
        "image.png": Image.fromarray(under),
        "tokens.png": tokens,
        "map.png": Image.fromarray(seen.token_map.astype(np.uint16)),
        **{f"attention-{token:03d}.png": heat for token, heat in heats},
        "sheet.png": sheet,
    }
    return _save(pictures, folder)


def save_epochs(seen: Sequence[tuple[str, Perceived]], card: ModelCard, folder: Path) -> list[Path]:
    """Write ``epochs.png``: a row for each of several states of a model, the token map and some tokens' attention.

    Args:
        seen: Names of the states, as they follow one another, and what each perceived in one image.
        card: Card of the last state.
        folder: Where; it is made.

    Raises:
        OutputError: The folder cannot be written to.
    """
    last = seen[-1][1]
    under = shown_image(last.shown)
    chosen = largest_tokens(last, EPOCH_TOKENS)
    cells: list[tuple[str, Image.Image]] = []
    for name, state in seen:
        cells.append((name, token_picture(state.token_map, state.count, under)))
        for token in chosen:
            cells.append((f"token {token}", heat_picture(_grown(state.attention[token], under.shape), under)))
    title = f"{folder.name}, {card.title}"
    return _save({"epochs.png": contact_sheet(cells, 1 + len(chosen), SHEET_EDGE_PX, title)}, folder)


def largest_tokens(seen: Perceived, most: int) -> list[int]:
    """The tokens that hold most pixels, in the order of their numbers."""
    pixels = np.bincount(seen.token_map.ravel(), minlength=seen.count)
    return sorted(np.argsort(-pixels, kind="stable")[:most].tolist())


def _grown(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    drawn = Image.fromarray(values.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    return np.asarray(drawn)


def _save(pictures: dict[str, Image.Image], folder: Path) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            picture.save(folder / name)
    except OSError as error:
        raise OutputError(
            f"the pictures cannot be written: {error}", where=folder, remedy="Name a folder that can be written to."
        ) from error
    return [folder / name for name in pictures]
