"""Packed rows: every token once, in its order, and back in its place."""

import pytest
import torch

from pipeline.training.packed_rows import LENGTH_MULTIPLE, TOKENS_MULTIPLE, PackedRows

REAL = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


def test_tokens_lie_one_behind_another_and_zeros_behind_them() -> None:
    packed = PackedRows(3, 5, REAL)
    said = packed.pack(torch.arange(1, 16).view(3, 5))
    assert said[:9].tolist() == [1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert said.shape == (TOKENS_MULTIPLE,)
    assert not said[9:].any()
    assert packed.first.tolist() == [0, 3, 8]


@pytest.mark.parametrize(("parts", "heads"), [(1, 1), (2, 3)])
def test_each_head_gets_its_piece_of_its_token_and_gives_it_back(parts: int, heads: int) -> None:
    packed, size = PackedRows(3, 5, REAL), 4
    flat = torch.randn(packed.total, parts * heads * size)
    split = packed.split(flat, parts, heads)
    assert split.shape == (parts * 3 * heads, LENGTH_MULTIPLE, size)
    seen = split.view(parts, 3, heads, LENGTH_MULTIPLE, size)
    pieces = flat.view(-1, parts, heads, size)
    for part in range(parts):
        for head in range(heads):
            assert torch.equal(seen[part, 1, head, :5], pieces[3:8, part, head])
            assert torch.equal(seen[part, 2, head, 0], pieces[8, part, head])
            assert torch.equal(seen[part, 2, head, 1], pieces[9, part, head])  # padding reads behind the tokens
    back = packed.join(split, parts, heads)
    assert torch.equal(back[:9], flat[:9])
    assert not back[9:].any()


def test_scores_of_padding_are_minus_infinity_and_no_others() -> None:
    bias = PackedRows(3, 5, REAL).bias
    assert bias is not None
    assert (bias[:, 0, 0, :5] == 0).tolist() == REAL.bool().tolist()
    assert torch.isneginf(bias[:, 0, 0, 5:]).all()


def test_rows_without_padding_need_no_mask_and_no_place_for_it() -> None:
    packed = PackedRows(TOKENS_MULTIPLE // LENGTH_MULTIPLE, LENGTH_MULTIPLE, None)
    assert packed.bias is None
    assert (packed.tokens, packed.total) == (TOKENS_MULTIPLE, TOKENS_MULTIPLE)
