"""Low-rank replacements of a Linear and of an embedding table: products of two narrower matrices."""

from __future__ import annotations

from torch import nn


class LowRankLinear(nn.Sequential):
    """Two Linears instead of one: y = (x A^T) B^T + b, with A (rank, in) and B (out, rank)."""

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool) -> None:
        super().__init__(nn.Linear(in_features, rank, bias=False), nn.Linear(rank, out_features, bias=bias))
        self.rank = rank


class LowRankEmbedding(nn.Sequential):
    """A narrow table and a Linear instead of a table (ALBERT, Lan et al. 2020, section 3.1)."""

    def __init__(self, rows: int, size: int, rank: int, padding_idx: int | None) -> None:
        super().__init__(nn.Embedding(rows, rank, padding_idx=padding_idx), nn.Linear(rank, size, bias=False))
        self.rank = rank
