"""Singular values of matrices, and how many of them are worth their numbers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.compression.method_checks import saves
from pipeline.core.errors import UserError


class Spectrum(NamedTuple):
    """W = left @ diag(values) @ right, the values descending: (out, k), (k,), (k, in)."""

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Return rows and columns of the matrix."""
        return len(self.left), self.right.shape[1]

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the factor that reads, (rank, in), and the one that writes, (out, rank), the values split by roots."""
        root = self.values[:rank].sqrt()
        return root[:, None] * self.right[:rank], self.left[:, :rank] * root


def decompose(weight: Tensor, root: Tensor | None = None) -> Spectrum:
    """Return the singular value decomposition of ``weight`` (out, in), in float64.

    With ``root`` L (in, in), lower triangular, the values are those of W L, and ``right`` is V^T L^-1.
    """
    matrix = weight.double() if root is None else weight.double() @ root
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    if root is not None:
        right = torch.linalg.solve_triangular(root, right, upper=False, left=False)
    return Spectrum(left, values, right)


def error(spectra: Sequence[Spectrum], ranks: Sequence[int | None]) -> float:
    """Return the root of the share of squared singular values that is lost at ``ranks``, None for whole."""
    pairs = [(spectrum.values.square(), rank) for spectrum, rank in zip(spectra, ranks, strict=True)]
    lost = sum(float(squares[rank:].sum()) for squares, rank in pairs if rank is not None)
    total = sum(float(squares.sum()) for squares, _ in pairs)
    return (lost / total) ** 0.5 if total else 0.0


def by_energy(values: Tensor, energy: float) -> int:
    """Return the least rank whose squared singular values are at least the share ``energy`` of all."""
    kept = values.cpu().square().cumsum(0)  # on a GPU a sum that is repeatable does not exist
    return 1 + int((kept < energy * kept[-1]).sum())


def by_budget(spectra: Sequence[Spectrum], budget: int) -> list[int | None]:
    """Return the rank of each matrix, None for whole, so that all together hold ``budget`` numbers at most.

    Each has rank 1 to begin with. What comes next is always the rank that removes most squared error for each number
    that it takes, sigma^2 / (m + n); a matrix whose next rank would save nothing can only become whole.
    Raises UserError when not even rank 1 fits.
    """
    ranks: list[int | None] = [1] * len(spectra)
    left = budget - sum(sum(spectrum.size) for spectrum in spectra)
    if left < 0:
        raise UserError(
            f"rank: budget: {budget:,} weights are too few for rank 1 of {len(spectra)} Linears, "
            f"which is {budget - left:,}; use a larger budget"
        )
    squares = [spectrum.values.square().tolist() for spectrum in spectra]
    heap = [_next(number, 1, spectrum.size, squares[number]) for number, spectrum in enumerate(spectra)]
    heapq.heapify(heap)
    while heap:
        _, number, cost, rank = heapq.heappop(heap)
        if cost <= left:
            left -= cost
            ranks[number] = rank
            if rank is not None:
                heapq.heappush(heap, _next(number, rank, spectra[number].size, squares[number]))
    return ranks


def _next(number: int, rank: int, size: tuple[int, int], squares: list[float]) -> tuple[float, int, int, int | None]:
    """Return the step after ``rank``: its negative gain for each weight, the matrix, the cost, the new rank."""
    rows, columns = size
    if saves(rank + 1, rows, columns):
        return -squares[rank] / (rows + columns), number, rows + columns, rank + 1
    cost = rows * columns - rank * (rows + columns)
    return -sum(squares[rank:]) / cost, number, cost, None
