"""Quadtree and vanilla tokenizers, reverse quadtree and pictures: grids, gradients, weights of a plain ViT."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import CheckpointError, OptionError
from engine.tokenizers.patch import PatchTokenizer
from engine.tokenizers.quadtree import (
    Layout,
    PixelBlur,
    QuadtreeTokenizer,
    Random,
    VanillaTokenizer,
    patch_index,
    render,
    reverse,
    run,
)
from engine.tokenizers.quadtree.position import sinusoidal


@st.composite
def forests(draw):
    min_size = draw(st.sampled_from([1, 3, 4]))
    max_size = min_size << draw(st.integers(0, 4))
    height, width = (draw(st.integers(1, 3 * max_size)) for _ in range(2))
    layout = Layout(height, width, min_size, max_size)
    cuts = draw(st.integers(0, min((layout.max_patches - layout.min_patches) // 3, 40)))
    images = torch.zeros(2, 1, height, width)
    scores = Random(draw(st.integers(0, 99)))(images, min_size, max_size)
    return layout, run(images, scores, layout.min_patches + 3 * cuts, min_size, max_size)


@settings(max_examples=60)
@given(forest=forests(), keep=st.integers(0, 7))
def test_the_patch_of_every_cell_is_found(forest, keep):
    layout, boxes = forest
    if keep:  # any set of patches will do, in any order
        boxes = boxes[:, torch.randperm(boxes.shape[1], generator=torch.Generator().manual_seed(keep))][:, ::2]
    found = patch_index(boxes, layout.height, layout.width, layout.min_size)
    m = layout.min_size
    expected = torch.full_like(found, -1)
    for image, ours in enumerate(boxes.tolist()):
        for number, (left, top, size) in enumerate(ours):
            expected[image, top // m : (top + size) // m, left // m : (left + size) // m] = number
    assert torch.equal(found, expected)


@settings(max_examples=20)
@given(forest=forests())
def test_reverse_copies_tokens_and_adds_their_gradients(forest):
    layout, boxes = forest
    features = torch.randn(2, boxes.shape[1], 3, dtype=torch.float64, requires_grad=True)
    grid = reverse(features, boxes, layout.height, layout.width, layout.min_size)
    index = patch_index(boxes, layout.height, layout.width, layout.min_size)
    for image in range(2):
        assert torch.equal(grid[image].permute(1, 2, 0), features[image][index[image]])
    grid.sum().backward()
    cells = torch.stack([torch.bincount(one.flatten(), minlength=boxes.shape[1]) for one in index])
    assert torch.equal(features.grad, cells[:, :, None].expand(-1, -1, 3).double())


def test_cells_without_a_patch_are_zero():
    boxes = torch.tensor([[[0, 0, 8], [8, 8, 2]]])
    grid = reverse(torch.ones(1, 2, 1), boxes, 12, 12, 2)
    assert int(grid.sum()) == 16 + 1
    with pytest.raises(OptionError, match="leave the class token out"):
        reverse(torch.ones(1, 3, 1), boxes, 12, 12, 2)


def test_tokens_claim_the_cells_of_their_boxes():
    torch.manual_seed(0)
    tokenizer = QuadtreeTokenizer(PixelBlur(), 35, 4, 16, 2, 12)
    images = torch.randn(3, 2, 64, 32)
    seen = tokenizer.perceive(images)
    tokens = seen.tokens
    assert tokens.features.shape == (3, 35, 12)
    assert tokens.assignment.shape == (3, 35, 16, 8)
    assert bool((tokens.assignment.sum(dim=1) == 1).all())
    assert torch.equal(tokens.token_map, patch_index(seen.patches.boxes, 64, 32, 4))
    assert seen.inside is None
    assert torch.equal(tokenizer(images).features, tokens.features)
    assert tokenizer.sequence(tokens.features).shape == (3, 36, 12)


def test_patches_outside_claim_nothing():
    tokenizer = QuadtreeTokenizer(PixelBlur(), 4 + 3 * 6, 4, 16, 1, 8, class_token=False)
    seen = tokenizer.perceive(torch.randn(1, 1, 20, 20))
    claimed = seen.tokens.assignment.flatten(2).sum(dim=2) > 0
    assert torch.equal(claimed, seen.inside)
    assert not bool(seen.inside.all())
    assert int(seen.patches.pixels[~seen.inside].abs().sum()) == 0
    assert tokenizer.sequence(seen.tokens.features) is seen.tokens.features


def test_a_tree_of_smallest_patches_is_the_vanilla_tokenizer():
    torch.manual_seed(0)
    vanilla = VanillaTokenizer(8, 3, 16)
    quadtree = QuadtreeTokenizer(PixelBlur(), 32, 8, 32, 3, 16)
    quadtree.load_state_dict(vanilla.state_dict())
    images = torch.randn(2, 3, 32, 64)
    one, other = vanilla(images), quadtree(images)
    torch.testing.assert_close(one.features, other.features)
    assert torch.equal(one.token_map, other.token_map)
    published = VanillaTokenizer(8, 3, 16, half_cell=False)
    published.load_state_dict(vanilla.state_dict())
    plain = published(images).features[0, 0] - sinusoidal(torch.zeros(()), 8).repeat(2)
    torch.testing.assert_close(plain, one.features[0, 0] - sinusoidal(torch.tensor(0.5), 8).repeat(2))


def test_weights_of_a_plain_vit_fit_both():
    torch.manual_seed(0)
    vit = PatchTokenizer(64, 3, 16, 8, class_token=True)
    state = {
        "cls_token": vit.cls_token,
        "patch_embed.proj.weight": vit.proj.weight,
        "patch_embed.proj.bias": vit.proj.bias,
    }
    for tokenizer in (VanillaTokenizer(8, 3, 16), QuadtreeTokenizer(PixelBlur(), 16, 8, 16, 3, 16)):
        tokenizer.load_patch_embed({**state, "head.weight": torch.zeros(2, 16)})
        assert torch.equal(tokenizer.proj.weight, vit.proj.weight)
        tokenizer.load_state_dict(vit.state_dict())
        with pytest.raises(CheckpointError, match=r"proj.bias is missing"):
            tokenizer.load_patch_embed({key: value for key, value in state.items() if "bias" not in key})
        with pytest.raises(CheckpointError, match=r"\[16, 3, 8, 8\]"):
            tokenizer.load_patch_embed({**state, "patch_embed.proj.weight": torch.zeros(16, 3, 16, 16)})


def test_the_loss_reaches_the_projection():
    tokenizer = QuadtreeTokenizer(PixelBlur(), 7, 4, 8, 1, 8)
    features = tokenizer(torch.randn(1, 1, 16, 16)).features
    features.square().sum().backward()
    assert float(tokenizer.proj.weight.grad.abs().sum()) > 0


def test_widths_and_sizes_that_cannot_work_are_refused():
    with pytest.raises(OptionError, match="embed_dim is 7"):
        VanillaTokenizer(8, 3, 7)
    with pytest.raises(OptionError, match="patch_size is 0"):
        VanillaTokenizer(0, 3, 8)
    with pytest.raises(OptionError, match="use 16 or 32"):
        QuadtreeTokenizer(PixelBlur(), 7, 8, 24, 3, 8)


def test_positions_have_the_published_form():
    found = sinusoidal(torch.tensor([0.0, 2.5]), 7)
    assert found.shape == (2, 7)
    assert found[0].tolist() == [0, 0, 0, 1, 1, 1, 0]
    angles = 2.5 * torch.tensor([1.0, 1e-2, 1e-4])
    torch.testing.assert_close(found[1], torch.cat((angles.sin(), angles.cos(), torch.zeros(1))))
    assert bool(sinusoidal(torch.tensor([3.0]), 2).isfinite().all())


def picture(height, width):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("style", ["blur", "thumbnails"])
def test_pictures_are_resampled_as_pillow_does(style):
    image = picture(64, 32)
    boxes = run(image[None].float(), PixelBlur()(image[None].float(), 4, 16), 8 + 3 * 4, 4, 16)[0]
    source = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    expected = source.copy() if style == "blur" else Image.new("RGB", source.size, "white")
    for left, top, size in boxes.tolist():
        small = source.crop((left, top, left + size, top + size)).resize((4, 4), Image.Resampling.BILINEAR)
        start = 0 if style == "blur" else (size - 4) // 2
        patch = small.resize((size, size), Image.Resampling.BILINEAR) if style == "blur" else small
        expected.paste(patch, (left + start, top + start))
    found = render(image, boxes, 4, style=style, lines=False)
    assert np.array_equal(found.numpy(), np.asarray(expected))


def test_lines_lie_on_the_last_pixels_of_patches():
    boxes = torch.tensor([[0, 0, 4], [4, 0, 4], [0, 4, 4], [4, 4, 4], [8, 0, 8]])
    found = render(torch.ones(3, 7, 15), boxes, 4, style="plain")
    dark = found[..., 0] < 255
    assert dark[:, 0].all()
    assert dark[0].all()
    assert dark[3, :8].all()
    assert dark[:, 3].all()
    assert dark[:, 7].all()
    assert not dark[1:7, 8:].any()
    assert not dark[1:3, 1:3].any()


def test_pictures_of_any_values_and_one_band():
    boxes = torch.tensor([[0, 0, 8]])
    grey = render(torch.linspace(-3, 5, 64).view(1, 8, 8), boxes, 2, style="plain", lines=False)
    assert int(grey.min()) == 0
    assert int(grey.max()) == 255
    assert bool((grey[..., 0] == grey[..., 2]).all())
    with pytest.raises(OptionError, match="one band or three"):
        render(torch.zeros(4, 8, 8), boxes, 2)
    with pytest.raises(OptionError, match="blur, thumbnails, plain"):
        render(torch.zeros(3, 8, 8), boxes, 2, style="sketch")
