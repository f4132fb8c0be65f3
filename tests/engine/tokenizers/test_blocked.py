"""Blocks against the written-out forms, on any number of threads."""

import math
import os
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.tokenizers import blocked
from engine.tokenizers.blocked import attend_in_blocks, by_rows, linear, mix, plain
from engine.tokenizers.competitive import DepthwiseBlock
from engine.tokenizers.cores import each
from engine.tokenizers.exponential import powers_and_sums
from engine.tokenizers.hook import DownsampleConv, SemanticBlock
from engine.tokenizers.transformer import Mlp, SelfAttention


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_piece_runs_once_alone_and_in_the_callers_mode(threads):
    seen = []
    with torch.inference_mode():
        each(lambda i: seen.append((i, torch.get_num_threads(), torch.is_inference_mode_enabled())), range(20))
    assert sorted(seen) == [(i, 1, True) for i in range(20)]
    assert torch.get_num_threads() == threads
    each(lambda i: seen.append(torch.is_grad_enabled()), range(2))
    assert seen[20:] == [False, False]


def test_pieces_of_pieces_and_single_pieces_run(threads):
    done = []
    each(lambda i: each(lambda j: done.append((i, j)), range(3)), range(4))
    assert sorted(done) == [(i, j) for i in range(4) for j in range(3)]
    each(done.append, ["single"])
    each(done.append, [])
    assert done[12:] == ["single"]


def test_threads_elsewhere_keep_their_number(threads):
    each(lambda i: None, range(4))
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [threads]


def test_the_first_error_is_raised_and_the_threads_live_on(threads):
    def fail(i):
        if i == 3:
            raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        each(fail, range(6))
    done = []
    each(done.append, range(6))
    assert sorted(done) == list(range(6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_process_makes_threads_of_its_own(threads):
    each(lambda i: None, range(4))
    child = os.fork()
    if child == 0:
        done = []
        torch.set_num_threads(2)
        each(done.append, range(4))
        os._exit(0 if sorted(done) == [0, 1, 2, 3] else 1)
    assert os.waitpid(child, 0)[1] == 0


@settings(max_examples=25)
@given(
    queries=st.integers(1, 40),
    keys=st.integers(1, 40),
    width=st.sampled_from([1, 3, 8]),
    size=st.sampled_from([0.1, 1.0, 30.0]),
    offset=st.sampled_from([0.0, 100.0]),
    edge=st.integers(1, 16),
)
def test_blocks_mix_as_the_softmax_does(queries, keys, width, size, offset, edge):
    torch.manual_seed(queries + 41 * keys)
    q, k, v = (torch.randn(3, n, width) for n in (queries, keys, keys))
    k = size * k + offset
    expected = (q.double() @ k.double().transpose(1, 2)).softmax(dim=2) @ v.double()
    out = torch.empty(queries, 3, width).transpose(0, 1)
    edges = blocked.QUERY_ROWS, blocked.KEY_ROWS
    blocked.QUERY_ROWS, blocked.KEY_ROWS = edge, edge
    try:
        with torch.inference_mode():
            mix(q / math.log(2), k, v, out)
    finally:
        blocked.QUERY_ROWS, blocked.KEY_ROWS = edges
    assert (out - expected).abs().max() <= 2e-5 * max(1.0, size) * v.abs().max()


@settings(max_examples=50)
@given(rows=st.integers(0, 9), columns=st.integers(0, 70), most=st.floats(0.0, 125.0), seed=st.integers(0, 2**32 - 1))
def test_powers_are_powers_and_sums_their_sums(rows, columns, most, seed):
    exponents = np.random.default_rng(seed).uniform(-most, most, (rows, columns)).astype(np.float32)
    sums = np.ones(columns, np.float32)
    expected = np.exp2(exponents.astype(np.float64))
    powers_and_sums(exponents, sums)
    np.testing.assert_allclose(exponents, expected, rtol=3e-7)
    np.testing.assert_allclose(sums, 1 + expected.sum(axis=0), rtol=1e-5)


def test_powers_of_whole_exponents():
    exponents = np.arange(-125, 126, dtype=np.float32)[None]
    expected = np.exp2(exponents)
    powers_and_sums(exponents, np.zeros(251, np.float32))
    np.testing.assert_allclose(exponents, expected, rtol=2e-7)


def test_scores_beyond_the_range_take_the_plain_kernel():
    torch.manual_seed(0)
    q, v = torch.randn(2, 5, 4), torch.randn(2, 9, 4)
    k = 1e3 * torch.randn(2, 9, 4)
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    out = torch.empty_like(q)
    with torch.inference_mode():
        mix(q / math.log(2), k, v, out)
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4)


def test_attention_and_rows_in_blocks_are_what_gradients_see(threads):
    torch.manual_seed(0)
    attention, mlp = SelfAttention(24, 3), Mlp(24)
    x = torch.randn(2, blocked.FEWEST_ROWS + 5, 24)
    expected = attention(x), mlp(x)
    with torch.inference_mode():
        found = attention(x), by_rows(mlp, x.clone())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_heads_are_attended_to_as_many_at_once_as_fit(together, bias, monkeypatch):
    torch.manual_seed(0)
    attention, x = SelfAttention(12, 3), torch.randn(1, 6, 5, 12)
    if not bias:
        attention.qkv.bias = None
    expected = 2 * x[0] + attention(-x.flatten(1, 2)).view(6, 5, 12)
    monkeypatch.setattr(blocked, "SCRATCH_NUMBERS", 3 * 30 * 4 * together + 1)
    monkeypatch.setattr(blocked, "LINEAR_ROWS", 7)
    out = torch.empty(6, 5, 12)
    with torch.inference_mode():
        attend_in_blocks([x[0]], [out], attention, torch.neg, lambda rows, mixed: 2 * rows + mixed)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("window", "height", "width"), [(0, 7, 10), (5, 10, 15), (5, 9, 15), (4, 8, 10)])
def test_semantic_blocks_in_place_are_the_written_out_ones(window, height, width, threads, monkeypatch):
    torch.manual_seed(0)
    block, x = SemanticBlock(12, 3, window, 10), torch.randn(2, height, width, 12)
    expected = block(x)
    monkeypatch.setattr(blocked, "FEWEST_ROWS", 16)
    monkeypatch.setattr(blocked, "LINEAR_ROWS", 20)
    given = x.clone()
    with torch.inference_mode():
        found = block(given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    whole = window == 0 or (height % window == 0 and width % window == 0)
    assert (found is given) == whole


def test_a_long_sequence_takes_blocks_and_a_short_one_does_not(monkeypatch):
    seen = []
    monkeypatch.setattr("engine.tokenizers.transformer.attend_in_blocks", lambda maps, *_: seen.append(len(maps[0])))
    attention = SelfAttention(8, 2)
    for rows in (blocked.FEWEST_ROWS - 1, blocked.FEWEST_ROWS):
        with torch.inference_mode():
            attention(torch.randn(1, rows, 8))
        attention(torch.randn(1, rows, 8))
    assert seen == [blocked.FEWEST_ROWS]


@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_with_gelu_are_exact(bias):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(12, 7, bias=bias), torch.randn(3, 5, 12)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, layer), layer(x), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(linear(x, layer, gelu=True), F.gelu(layer(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_depthwise_block_is_the_same_for_inference(memory):
    torch.manual_seed(0)
    block, x = DepthwiseBlock(6).eval(), torch.randn(2, 6, 5, 9).contiguous(memory_format=memory)
    expected = block(x)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)


def test_blocks_are_for_plain_inference_alone():
    x = torch.ones(2, 2)
    assert not plain(x)
    with torch.no_grad():
        assert plain(x)
        assert not plain(x.double())
        assert not plain(torch.empty(2, 2, device="meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not plain(x)
        with torch.device("cpu"):  # somebody watches the operations
            assert not plain(x)


@settings(max_examples=20)
@given(
    rows=st.integers(1, 11),
    cols=st.integers(1, 9),
    batch=st.integers(1, 2),
    strip=st.integers(1, 5),
    seed=st.integers(0),
)
def test_the_stem_in_strips_is_the_stem(rows, cols, batch, strip, seed, monkeypatch_module):
    torch.manual_seed(seed % 1000)
    stem = DownsampleConv(3, 6, (4, 5, 7)).eval()
    for part in stem.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    images = torch.randn(batch, 3, 4 * rows, 4 * cols)
    monkeypatch_module.setattr("engine.tokenizers.hook.STRIP_ROWS", strip)
    with torch.inference_mode():
        found = stem(images)
    torch.testing.assert_close(found, stem(images), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch
