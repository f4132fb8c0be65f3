"""Multiply-accumulates: the published figures, and single operations against their definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.models import create
from engine.models.cost import Macs, count_macs
from engine.models.pointwise import swap_pointwise

PUBLISHED = {
    "lemevit_tiny": (1.779, 1.946),
    "lemevit_small": (3.736, 3.956),
    "lemevit_base": (11.060, 11.741),
    "lemevit_small_v2": (2.270, 2.479),
    "lemevit_tiny_v2": (3.159, 3.339),
    "vit_tiny": (3.151, 7.503),
}
CHANGE = {"tiny": 5.746, "small": 10.713, "base": 28.465}


@pytest.mark.parametrize("name", PUBLISHED)
def test_lemevit_costs_what_is_published(name):
    with torch.device("meta"):
        macs = count_macs(create(name).eval(), torch.empty(1, 3, 224, 224))
    assert (macs.layers / 1e9, macs.total / 1e9) == pytest.approx(PUBLISHED[name], abs=5e-4)


class Stages(nn.Module):
    """The first stages of a dense body, with or without what reaches no map."""

    def __init__(self, body, count, dead):
        super().__init__()
        self.body, self.count, self.dead = body, count, dead

    def forward(self, images):
        seen = self.body.perceive(images, dense=True, look=self.dead, stage_count=self.count)
        if self.dead:
            states = seen.states
            for update in self.body.meta_token_downsample[self.body.look_stage + 1 :]:
                states = update(states)
        return seen.maps[-1]


@pytest.mark.parametrize("size", CHANGE)
def test_change_costs_what_is_published_less_what_reaches_no_output(size):
    with torch.device("meta"):
        model, image = create(f"bit_lemevit_{size}").eval(), torch.empty(1, 3, 256, 256)
        ours = count_macs(model, image, image)
        read, whole = (count_macs(Stages(model.backbone, *which), image) for which in ((4, False), (5, True)))
    assert ours.layers / 1e9 < CHANGE[size]
    # The first update of the meta tokens, 1 M of them, is done once for both dates here.
    assert (ours.layers + 2 * (whole.layers - read.layers)) / 1e9 == pytest.approx(CHANGE[size], abs=2e-3)


class Operation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (lambda x: x @ x.transpose(1, 2), [(2, 3, 5)], Macs(products=2 * 3 * 3 * 5)),
        (lambda x: torch.matmul(x[0], x[1]), [(2, 4, 4)], Macs(products=64)),
        (lambda a, x, y: torch.baddbmm(a, x, y), [(2, 3, 4), (2, 3, 5), (2, 5, 4)], Macs(products=2 * 3 * 4 * 5)),
        (lambda x, y: torch.einsum("bnk,bnhw->bkhw", x, y), [(2, 3, 4), (2, 3, 5, 6)], Macs(products=2 * 3 * 4 * 30)),
        (F.scaled_dot_product_attention, [(2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 8)], Macs(products=2 * 3 * 20 * 16)),
        (F.linear, [(2, 7, 3), (5, 3)], Macs(layers=2 * 7 * 3 * 5)),
        (F.gelu, [(2, 3)], Macs()),
    ],
)
def test_operations_cost_their_definition(function, shapes, expected):
    assert count_macs(Operation(function), *(torch.rand(shape) for shape in shapes)) == expected


def test_layers_cost_their_definition_and_a_swapped_convolution_the_same():
    net = nn.Sequential(
        nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=2, stride=2), nn.ConvTranspose2d(6, 5, 2, stride=2)
    )
    image = torch.rand(1, 4, 9, 9)
    expected = Macs(layers=81 * 24 + 16 * 6 * 27 + 16 * 6 * 5 * 4)
    assert count_macs(net, image) == expected
    assert swap_pointwise(net) == 1
    assert count_macs(net, image) == expected


def test_counting_leaves_no_trace():
    model = create("bit_lemevit_tiny", depths=(1, 1, 1, 1, 1), widths=(32, 32, 32, 32, 32)).eval()
    images = torch.rand(2, 1, 3, 32, 32)
    first = count_macs(model, *images)
    assert count_macs(model, *images) == first
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in model.modules())
    with pytest.raises(RuntimeError):
        count_macs(model, torch.rand(1, 5, 32, 32), torch.rand(1, 5, 32, 32))
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize("name", ["hook_segmenter", "hook_competitive_segmenter", "patch_segmenter"])
def test_other_models_can_be_counted(name):
    with torch.device("meta"):
        macs = count_macs(create(name, num_classes=5).eval(), torch.empty(1, 3, 256, 256))
    assert macs.layers > macs.products > 0
