import pytest
import torch
from torch import nn

from engine.models.pointwise import Pointwise, swap_pointwise


@pytest.mark.parametrize("bias", [True, False])
def test_a_swapped_convolution_gives_the_same_numbers(bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(12, 7, 1, bias=bias)
    images = torch.randn(3, 12, 5, 9).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(Pointwise(conv)(images), conv(images), rtol=1e-5, atol=1e-6)


def test_only_plain_pointwise_convolutions_are_swapped() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU()),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 1, padding=1),
    )
    images = torch.randn(2, 4, 8, 8)
    before = module(images)
    assert swap_pointwise(module) == 2
    torch.testing.assert_close(module(images), before, rtol=1e-5, atol=1e-6)
    assert sum(isinstance(part, nn.Conv2d) for part in module.modules()) == 4
