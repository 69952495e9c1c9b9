"""Packed rows: the tokens of a batch in one sequence, without the padding between rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The number of tokens and the longest row are rounded up to multiples of these. oneDNN compiles a kernel for each new
# shape, about 0.4 ms for each of a layer's 21 products.
TOKENS_MULTIPLE, LENGTH_MULTIPLE = 64, 8


class PackedRows:
    """Indices between ``rows`` padded rows and their packed tokens.

    ``real`` (rows, length) is 1 for tokens and 0 for padding, None without padding. The packed sequence has ``total``
    positions: first the ``tokens`` real ones, then unused ones. Padding reads the first unused position, and nothing
    is read back from it. ``bias`` (rows, 1, 1, longest) is added to attention scores: minus infinity for padding.
    ``first`` (rows,) has the positions of the first tokens.
    """

    def __init__(self, rows: int, length: int, real: Tensor | None) -> None:
        self.rows, self.length, self.longest = rows, length, -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        self.real_indices = torch.arange(rows * length) if real is None else real.reshape(-1).nonzero().squeeze(1)
        self.tokens = len(self.real_indices)
        positions = torch.full((rows, self.longest), self.tokens)
        row, column = self.real_indices // length, self.real_indices % length
        self.padded_indices = row * self.longest + column
        positions.view(-1).index_copy_(0, self.padded_indices, torch.arange(self.tokens))
        padded = self.tokens < positions.numel()
        self.total = -(-(self.tokens + padded) // TOKENS_MULTIPLE) * TOKENS_MULTIPLE
        self.positions, self.first = positions, positions[:, 0].contiguous()
        self.bias = None
        if padded:
            self.bias = torch.zeros(positions.shape).masked_fill_(positions == self.tokens, -torch.inf)[:, None, None]
        self._indices: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def pack(self, padded: Tensor) -> Tensor:
        """Return numbers (rows, length) as (total,), zero in unused positions."""
        return nn.functional.pad(padded.reshape(-1)[self.real_indices], (0, self.total - self.tokens))

    def split(self, flat: Tensor, parts: int, heads: int) -> Tensor:
        """Return (total, parts * heads * size) as (parts * rows * heads, longest, size), padded."""
        rows = flat.view(-1, flat.shape[1] // (parts * heads))
        return rows.index_select(0, self._compute_indices(parts, heads)[0]).view(-1, self.longest, rows.shape[1])

    def join(self, split: Tensor, parts: int, heads: int) -> Tensor:
        """Return (parts * rows * heads, longest, size) as (total, parts * heads * size), zero in unused positions."""
        flat = split.new_empty(self.total, parts * heads * split.shape[2])
        flat[self.tokens :].zero_()
        into = flat[: self.tokens].view(-1, split.shape[2])
        torch.index_select(split.view(-1, split.shape[2]), 0, self._compute_indices(parts, heads)[1], out=into)
        return flat

    def _compute_indices(self, parts: int, heads: int) -> tuple[Tensor, Tensor]:
        """Return for each piece of the split layout its index in the packed layout, and the reverse."""
        if (parts, heads) not in self._indices:
            part, head = torch.arange(parts).view(-1, 1, 1, 1) * heads, torch.arange(heads).view(-1, 1)
            packed = (self.positions * (parts * heads)).view(self.rows, 1, -1) + (part + head)
            row = self.padded_indices.div(self.longest, rounding_mode="floor")
            start = row * (heads - 1) * self.longest + self.padded_indices
            pieces = (part.view(-1, 1) * self.rows + head.view(1, -1)) * self.longest
            self._indices[parts, heads] = packed.view(-1), (start.view(-1, 1) + pieces.view(1, -1)).view(-1)
        return self._indices[parts, heads]
