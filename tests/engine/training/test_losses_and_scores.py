import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.training.segmentation.losses import outline_loss, spectral_loss
from engine.training.segmentation.scores import scores_from_confusion


def test_a_perfect_partition_leaves_no_spectral_variance() -> None:
    colours = torch.zeros(1, 3, 8, 8)
    colours[..., 4:] = 1
    right = torch.zeros(1, 2, 8, 8)
    right[:, 0, :, :4] = 1
    right[:, 1, :, 4:] = 1
    blind = torch.full((1, 2, 8, 8), 0.5)
    assert float(spectral_loss(right, colours)) < 1e-4
    assert float(spectral_loss(blind, colours)) > 0.9


def test_borders_cost_less_where_the_image_has_an_edge() -> None:
    colours = torch.zeros(1, 3, 8, 8)
    colours[..., 4:] = 1
    on_edge, off_edge = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    on_edge[:, 0, :, :4] = on_edge[:, 1, :, 4:] = 1
    off_edge[:, 0, :, :2] = off_edge[:, 1, :, 2:] = 1
    assert float(outline_loss(on_edge, colours)) < 1e-3 < float(outline_loss(off_edge, colours))


@given(st.lists(st.integers(0, 50), min_size=9, max_size=9))
def test_scores_match_the_definition(counts: list[int]) -> None:
    matrix = np.array(counts).reshape(3, 3)
    scores = scores_from_confusion(matrix)
    for k in range(3):
        union = matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]
        if union:
            assert scores.iou[k] == pytest.approx(matrix[k, k] / union)
        else:
            assert np.isnan(scores.iou[k])
    assert scores.pixels == matrix.sum()
