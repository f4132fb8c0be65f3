"""Pieces of tiles: those at their own scale are the tile's pixels, untouched."""

import numpy as np
import pytest

from engine.training.segmentation.pieces import PieceMaker
from engine.training.segmentation.recipe import Pieces
from engine.training.segmentation.tiles import Tile

PLAIN = {
    **dict.fromkeys(
        ("mosaic", "blobs", "gain", "band_gain", "band_offset", "gamma", "desaturate", "blur", "noise"), 0.0
    ),
    "crop_px": 32,
}


@pytest.fixture
def tile():
    values = np.random.default_rng(0).permutation(np.arange(100, 100 + 48 * 48)).reshape(48, 48)
    image = np.stack([values, values // 2, 2 * values]).astype(np.float32)
    return Tile("tile", image, (values % 5).astype(np.uint8))


def untouched(tile, **settings):
    """Share of samples whose pixels all are pixels of the tile, with their labels."""
    maker = PieceMaker(Pieces(kind="pieces", **PLAIN, **settings), lambda rng: tile, 1e4)
    count = 0
    for seed in range(40):
        image, labels = maker.make(np.random.default_rng(seed))
        first = (image[0].numpy() * 1e4).round(3)
        whole = np.array_equal(first, np.rint(first))
        if whole:
            np.testing.assert_array_equal(labels.numpy(), np.rint(first) % 5)
        count += whole
    return count / 40


def test_pieces_at_their_own_scale_are_not_resampled(tile):
    assert untouched(tile, scale=(0.7, 1.4), own_scale=1.0) == 1.0
    assert untouched(tile, scale=(0.7, 1.4)) <= 0.2
    assert 0.2 < untouched(tile, scale=(0.7, 1.4), own_scale=0.5) < 0.8
