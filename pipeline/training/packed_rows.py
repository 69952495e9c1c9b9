"""Rows of tokens one behind another, without the padding between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# To which the number of tokens and the longest row are rounded up: oneDNN compiles a kernel for each new shape, about
# 0.4 ms for each of a layer's 21 products.
TOKENS, LENGTH = 64, 8


class Packed:
    """Where the tokens of ``rows`` padded rows stand once only the real ones are left, one behind another.

    ``real`` (rows, length), 1 or 0, says which they are, None that all are. The ``total`` packed places begin with the
    ``tokens`` real ones; what is padding reads the first place behind them, of which nothing comes back. ``bias``
    (rows, 1, 1, longest) is added to scores: minus infinity for padding. ``first`` (rows,) are the places of first
    tokens.
    """

    def __init__(self, rows: int, length: int, real: Tensor | None) -> None:
        self.rows, self.length, self.longest = rows, length, -(-length // LENGTH) * LENGTH
        self.there = torch.arange(rows * length) if real is None else real.reshape(-1).nonzero().squeeze(1)
        self.tokens = len(self.there)
        place = torch.full((rows, self.longest), self.tokens)
        row, column = self.there // length, self.there % length
        self.slot = row * self.longest + column
        place.view(-1).index_copy_(0, self.slot, torch.arange(self.tokens))
        padded = self.tokens < place.numel()
        self.total = -(-(self.tokens + padded) // TOKENS) * TOKENS
        self.place, self.first = place, place[:, 0].contiguous()
        self.bias = None
        if padded:
            self.bias = torch.zeros(place.shape).masked_fill_(place == self.tokens, -torch.inf)[:, None, None]
        self._indices: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def pack(self, padded: Tensor) -> Tensor:
        """Return numbers (rows, length) as (total,), zero behind the tokens."""
        return nn.functional.pad(padded.reshape(-1)[self.there], (0, self.total - self.tokens))

    def split(self, flat: Tensor, parts: int, heads: int) -> Tensor:
        """Return (total, parts * heads * size) as (parts * rows * heads, longest, size), padded."""
        rows = flat.view(-1, flat.shape[1] // (parts * heads))
        return rows.index_select(0, self._index(parts, heads)[0]).view(-1, self.longest, rows.shape[1])

    def join(self, split: Tensor, parts: int, heads: int) -> Tensor:
        """Return (parts * rows * heads, longest, size) as (total, parts * heads * size), zero behind the tokens."""
        flat = split.new_empty(self.total, parts * heads * split.shape[2])
        flat[self.tokens :].zero_()
        into = flat[: self.tokens].view(-1, split.shape[2])
        torch.index_select(split.view(-1, split.shape[2]), 0, self._index(parts, heads)[1], out=into)
        return flat

    def _index(self, parts: int, heads: int) -> tuple[Tensor, Tensor]:
        """Return which of the sized pieces of the packed tokens each place of the split ones is, and the other way."""
        if (parts, heads) not in self._indices:
            part, head = torch.arange(parts).view(-1, 1, 1, 1) * heads, torch.arange(heads).view(-1, 1)
            there = (self.place * (parts * heads)).view(self.rows, 1, -1) + (part + head)
            row = self.slot.div(self.longest, rounding_mode="floor")
            begun = row * (heads - 1) * self.longest + self.slot
            pieces = (part.view(-1, 1) * self.rows + head.view(1, -1)) * self.longest
            self._indices[parts, heads] = there.view(-1), (begun.view(-1, 1) + pieces.view(1, -1)).view(-1)
        return self._indices[parts, heads]
