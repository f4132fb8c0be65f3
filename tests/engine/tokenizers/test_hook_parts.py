"""Parts of the published tokenizer against plain formulas: windows, padding, the matching map, positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.tokenizers.hook import SemanticBlock
from engine.tokenizers.matching import MatchAttention
from engine.tokenizers.position import position_grid
from engine.tokenizers.transformer import SelfAttention


def plain_attention(attn, x):
    """Self-attention written out."""
    b, n, c = x.shape
    q, k, v = (part.view(b, n, attn.heads, -1).transpose(1, 2) for part in attn.qkv(x).split(c, dim=-1))
    weights = (q @ k.transpose(2, 3) / (c // attn.heads) ** 0.5).softmax(dim=-1)
    return attn.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


def test_fused_attention_is_attention():
    torch.manual_seed(0)
    attn = SelfAttention(12, 3)
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(attn(x), plain_attention(attn, x), rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 11), width=st.integers(1, 11), window=st.integers(1, 6))
def test_windows_attend_within_themselves_with_padding_taking_part(height, width, window):
    torch.manual_seed(1)
    block = SemanticBlock(8, 2, window, trained_edge=height)
    x = torch.randn(1, height, width, 8)
    with torch.inference_mode():
        found = block(x)
        normed = block.norm1(x)
        wh, ww = block._window_edge(height), block._window_edge(width)
        attended = torch.zeros_like(x)
        for top in range(0, height, wh):
            for left in range(0, width, ww):
                part = torch.zeros(1, wh, ww, 8)
                piece = normed[:, top : top + wh, left : left + ww]
                part[:, : piece.shape[1], : piece.shape[2]] = piece
                out = plain_attention(block.attn, part.view(1, -1, 8)).view(1, wh, ww, 8)
                attended[:, top : top + wh, left : left + ww] = out[:, : piece.shape[1], : piece.shape[2]]
        expected = x + attended
        expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_odd_seed_maps_have_three_windows_an_edge_at_the_trained_size():
    block = SemanticBlock(8, 2, 9 // 2, trained_edge=9)
    seen = []
    block.attn.register_forward_hook(lambda _m, args, _out: seen.append(args[0].shape))
    block(torch.randn(1, 9, 9, 8))
    assert seen == [(9, 16, 8)]


@settings(max_examples=50, deadline=None)
@given(edge=st.integers(1, 300), window=st.integers(1, 64))
def test_other_sizes_are_padded_by_less_than_one_row_a_window(edge, window):
    block = SemanticBlock(8, 2, window, trained_edge=-1)
    size = block._window_edge(edge)
    windows = -(-edge // size)
    assert windows * size - edge < size
    assert windows * size - edge <= max(1, round(edge / window))


def test_matching_map_is_a_distribution_over_seeds_and_gathers_values():
    torch.manual_seed(2)
    match = MatchAttention(10, 6, 5)
    seeds, queries = torch.randn(3, 20, 10), torch.randn(4, 6)
    gathered, attention = match(queries, seeds)
    assert attention.shape == (3, 4, 20)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(3, 4))
    k, v = match.to_kv(match.norm_media(seeds)).split(5, dim=-1)
    q = match.to_q(match.norm_latents(queries))
    expected = (torch.einsum("nd,bsd->bns", q, k) * 5**-0.5).softmax(dim=2)
    torch.testing.assert_close(attention, expected)
    torch.testing.assert_close(gathered, match.to_out(expected @ v))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_position_tables_keep_constants_and_their_own_size(mode):
    table = torch.randn(1, 36, 3)
    assert torch.equal(position_grid(table, 6, 6, 6, mode), table.view(1, 6, 6, 3))
    constant = torch.full((1, 36, 3), 0.25)
    torch.testing.assert_close(position_grid(constant, 6, 5, 13, mode), torch.full((1, 5, 13, 3), 0.25))
