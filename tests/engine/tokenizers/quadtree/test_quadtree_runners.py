"""Four runners, one answer: over random sizes, budgets and scores, with ties and infinities; refusals that help."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, OptionError
from engine.tokenizers.quadtree import Layout, run, tokenize
from engine.tokenizers.quadtree.fast import path_max

OTHERS = ("dict", "tensor", "z_curve")
KINDS = ("random", "ties", "constant", "infinite", "zeros", "double", "integer", "half", "nested")


def image_of(batch, height, width, bands=1):
    """Only its shape counts; it takes no memory."""
    return torch.zeros(1, 1, 1, 1).expand(batch, bands, height, width)


def scores_of(layout, batch, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for size, (rows, cols) in zip(layout.splittable_sizes, layout.score_grids, strict=False):
        shape = (batch, rows, cols)
        values = torch.randn(shape, generator=generator)
        few = torch.randint(-2, 3, shape, generator=generator)
        if kind == "ties":
            values = few.float()
        elif kind == "constant":
            values = torch.full(shape, -1.5)
        elif kind == "infinite":
            values = torch.where(few < 0, -math.inf, torch.where(few > 0, math.inf, values))
        elif kind == "zeros":
            values = few.sign().clamp_max(0).float() * 0.0  # minus zero and zero
        elif kind == "double":
            values = 1 + values.double() * 1e-12
        elif kind == "integer":
            values = few
        elif kind == "half":
            values = values.half()
        elif kind == "nested":  # the largest patches score worst: everything hangs below one of them
            values = size + values
        found[size] = values
    return found


@st.composite
def trees(draw):
    min_size = draw(st.sampled_from([1, 2, 3, 7, 16]))
    max_size = min_size << draw(st.integers(0, 4))
    whole = draw(st.booleans())
    edges = [draw(st.integers(1, 3 if whole else 3 * max_size)) * (max_size if whole else 1) for _ in range(2)]
    layout = Layout(*edges, min_size, max_size)
    most = (layout.max_patches - layout.min_patches) // 3
    return layout, layout.min_patches + 3 * draw(st.integers(0, min(most, 60)) | st.integers(max(0, most - 3), most))


@settings(max_examples=150)
@given(tree=trees(), batch=st.integers(1, 3), kind=st.sampled_from(KINDS), seed=st.integers(0, 999))
def test_four_runners_give_one_answer(tree, batch, kind, seed):
    layout, budget = tree
    scores = scores_of(layout, batch, kind, seed)
    images = image_of(batch, layout.height, layout.width)
    sizes = layout.min_size, layout.max_size
    expected = run(images, scores, budget, *sizes, runner="dict")
    for runner in ("fast", "tensor", "z_curve"):
        assert torch.equal(run(images, scores, budget, *sizes, runner=runner), expected), runner
    assert expected.shape == (batch, budget, 3)
    assert expected.dtype == torch.int64
    for boxes in expected.tolist():
        order = [(size, top, left) for left, top, size in boxes]
        assert order == sorted(order)
        covered = torch.zeros(layout.height, layout.width, dtype=torch.int64)
        for left, top, size in boxes:
            assert size in layout.sizes
            assert left % size == top % size == 0
            covered[top : top + size, left : left + size] += 1
        assert bool((covered == 1).all())


def brute_force(scores, layout, cuts):
    """The rule in its plainest words, without a heap."""
    patches = [
        (layout.max_size, row * layout.max_size, col * layout.max_size)
        for row in range(layout.grids[0][0])
        for col in range(layout.grids[0][1])
    ]
    for _ in range(cuts):
        open_ones = [
            (float(scores[size][0, top // size, left // size]), -size, top, left)
            for size, top, left in patches
            if size > layout.min_size and top < layout.height and left < layout.width
        ]
        _, minus, top, left = min(open_ones)
        patches.remove((-minus, top, left))
        half = -minus // 2
        patches += [(half, top + down, left + right) for down in (0, half) for right in (0, half)]
    return sorted(patches)


@settings(max_examples=40)
@given(tree=trees(), kind=st.sampled_from(KINDS), seed=st.integers(0, 999))
def test_the_answer_is_the_rule(tree, kind, seed):
    layout, budget = tree
    cuts = min((budget - layout.min_patches) // 3, 25)
    scores = scores_of(layout, 1, kind, seed)
    images = image_of(1, layout.height, layout.width)
    found = run(images, scores, layout.min_patches + 3 * cuts, layout.min_size, layout.max_size)
    assert [(size, top, left) for left, top, size in found[0].tolist()] == brute_force(scores, layout, cuts)


def test_ties_go_to_the_larger_then_the_upper_then_the_left_patch():
    scores = {size: torch.zeros(1, 64 // size, 64 // size) for size in (16, 32)}
    boxes = run(image_of(1, 64, 64), scores, 4 + 3 * 5, 8, 32)[0].tolist()
    assert [box for box in boxes if box[2] == 32] == []
    assert [box for box in boxes if box[2] == 8] == [[0, 0, 8], [8, 0, 8], [0, 8, 8], [8, 8, 8]]


def test_plus_infinity_is_cut_only_when_nothing_else_is_left():
    scores = {16: torch.full((1, 2, 2), math.inf)}
    scores[16][0, 1, 1] = 1e38
    boxes = run(image_of(1, 32, 32), scores, 7, 8, 16)[0].tolist()
    assert [16, 16, 8] in boxes
    assert len(run(image_of(1, 32, 32), scores, 16, 8, 16)[0]) == 16


def test_nothing_outside_is_ever_cut():
    layout = Layout(40, 24, 4, 32)
    scores = scores_of(layout, 1, "random", 3)
    boxes = run(image_of(1, 40, 24), scores, layout.max_patches, 4, 32)[0]
    beyond = (boxes[:, 0] >= 24) | (boxes[:, 1] >= 40)
    assert int((~beyond).sum()) == 10 * 6
    assert set(boxes[~beyond][:, 2].tolist()) == {4}
    assert max(boxes[beyond][:, 2].tolist()) > 4


@settings(max_examples=30)
@given(tree=trees(), batch=st.integers(1, 2), seed=st.integers(0, 99), antialias=st.booleans())
def test_reading_chosen_patches_is_cutting_up_everything(tree, batch, seed, antialias):
    layout, budget = tree
    scores = scores_of(layout, batch, "random", seed)
    images = torch.randn(batch, 2, layout.height, layout.width, generator=torch.Generator().manual_seed(seed))
    sizes = layout.min_size, layout.max_size
    chosen = tokenize(images, scores, budget, *sizes, antialias=antialias)
    published = tokenize(images, scores, budget, *sizes, runner="tensor", antialias=antialias)
    assert torch.equal(chosen.boxes, published.boxes)
    assert torch.equal(chosen.pixels, published.pixels)
    assert chosen.model_inputs.shape == (batch, budget, 2 * layout.min_size**2 + 3)


def test_pixels_carry_the_gradient_of_chosen_patches():
    images = torch.randn(1, 1, 16, 16, requires_grad=True)
    patches = tokenize(images, {8: torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])}, 7, 4, 8)
    patches.pixels[:, :4].sum().backward()
    assert images.grad[0, 0, :8, :8].eq(1).all()
    assert images.grad.sum() == 64


@pytest.mark.parametrize("grids", [[(1, 1)], [(2, 3), (4, 6), (8, 12)]])
def test_path_max_is_the_largest_on_the_way_down(grids):
    count = sum(rows * cols for rows, cols in grids)
    values = torch.randint(0, 1000, (2, count), generator=torch.Generator().manual_seed(1))
    found = path_max(values, grids)
    start = 0
    above = None
    for rows, cols in grids:
        own = values[:, start : start + rows * cols].view(2, rows, cols)
        if above is not None:
            own = torch.maximum(own, above.repeat_interleave(2, 1).repeat_interleave(2, 2))
        assert torch.equal(found[:, start : start + rows * cols].view(2, rows, cols), own)
        start, above = start + rows * cols, own


GOOD = {32: torch.zeros(1, 8, 8), 64: torch.zeros(1, 4, 4)}


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (101, "Use 100 or 103"), (102, "Use 100 or 103"), (15, "Use 16"), (0, "Use 16"), (-5, "Use 16"),
        (257, "Use 256"), (259, "Use 256"), (255, "Use 253 or 256"),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_be_met_names_the_nearest(budget, says):
    with pytest.raises(EngineError, match=says):
        run(image_of(1, 256, 256), GOOD, budget, 16, 64)


@pytest.mark.parametrize(
    ("min_size", "max_size", "says"),
    [
        (16, 48, "use 32 or 64"),
        (16, 40, "use 32 or 64"),
        (16, 8, "use 16"),
        (3, 7, "use 6 or 12"),
        (0, 8, "min_size is 0"),
    ],
)
def test_sizes_that_do_not_divide_name_those_that_do(min_size, max_size, says):
    with pytest.raises(OptionError, match=says):
        run(image_of(1, 96, 96), GOOD, 100, min_size, max_size)


@pytest.mark.parametrize("shape", [(1, 3, 0, 8), (1, 3, 8, 0), (0, 3, 8, 8), (1, 0, 8, 8), (3, 8, 8)])
def test_an_empty_image_is_refused(shape):
    with pytest.raises(OptionError, match=r"empty|shape"):
        run(torch.zeros(shape), GOOD, 100, 16, 64)


@pytest.mark.parametrize("runner", ["fast", *OTHERS])
def test_scores_that_cannot_be_used_are_refused(runner):
    images = image_of(1, 256, 256)
    bad = {**GOOD, 32: torch.full((1, 8, 8), math.nan)}
    with pytest.raises(OptionError, match=r"NaN.*32"):
        run(images, bad, 100, 16, 64, runner=runner)
    with pytest.raises(OptionError, match="no scores for patches of 64"):
        run(images, {32: GOOD[32]}, 100, 16, 64, runner=runner)
    with pytest.raises(OptionError, match=r"Give \[1, 8, 8\]"):
        run(images, {**GOOD, 32: torch.zeros(1, 64)}, 100, 16, 64, runner=runner)


def test_infinities_of_both_signs_are_no_nan():
    scores = {**GOOD, 32: torch.full((1, 8, 8), math.inf)}
    scores[32][0, 0] = -math.inf
    assert run(image_of(1, 256, 256), scores, 100, 16, 64).shape == (1, 100, 3)


def test_an_unknown_runner_is_named():
    with pytest.raises(OptionError, match="fast, dict, tensor, z_curve"):
        run(image_of(1, 256, 256), GOOD, 100, 16, 64, runner="quick")


def test_one_size_needs_no_scores():
    boxes = run(image_of(2, 20, 30), {}, 6, 10, 10)
    assert boxes[1].tolist() == [[0, 0, 10], [10, 0, 10], [20, 0, 10], [0, 10, 10], [10, 10, 10], [20, 10, 10]]
