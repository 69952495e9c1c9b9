"""Singular value decompositions, and the choice of ranks by energy or by a budget of parameters."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Spectrum(NamedTuple):
    """W = left @ diag(values) @ right, the values descending: (out, k), (k,), (k, in)."""

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Return rows and columns of the matrix."""
        return len(self.left), self.right.shape[1]

    def compute_factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the factors (rank, in) and (out, rank); each has the roots of the singular values."""
        root = self.values[:rank].sqrt()
        return root[:, None] * self.right[:rank], self.left[:, :rank] * root


def decompose(weight: Tensor, root: Tensor | None = None) -> Spectrum:
    """Return the singular value decomposition of ``weight`` (out, in), in float64.

    With ``root`` L (in, in), lower triangular, the values are those of W L, and ``right`` is V^T L^-1.
    """
    import torch

    matrix = weight.double() if root is None else weight.double() @ root
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    if root is not None:
        right = torch.linalg.solve_triangular(root, right, upper=False, left=False)
    return Spectrum(left, values, right)


def compute_error(spectra: Sequence[Spectrum], ranks: Sequence[int | None]) -> float:
    """Return the relative error at ``ranks``: the root of the lost share of the squared singular values.

    A rank of None leaves the matrix as it is.
    """
    pairs = [(spectrum.values.square(), rank) for spectrum, rank in zip(spectra, ranks, strict=True)]
    lost = sum(float(squares[rank:].sum()) for squares, rank in pairs if rank is not None)
    total = sum(float(squares.sum()) for squares, _ in pairs)
    return (lost / total) ** 0.5 if total else 0.0


def is_smaller(rank: int, rows: int, columns: int) -> bool:
    """Return whether two factors of ``rank`` have fewer weights than the matrix: r < mn / (m + n)."""
    return rank * (rows + columns) < rows * columns


def select_by_fraction(fraction: float, rows: int, columns: int) -> int:
    """Return the rank that is ``fraction`` of the full rank, at least 1."""
    return max(1, round(fraction * min(rows, columns)))


def select_by_energy(values: Tensor, energy: float) -> int:
    """Return the smallest rank that keeps the share ``energy`` of the squared singular values."""
    sums = values.cpu().square().cumsum(0)  # on a GPU no repeatable sum exists
    return 1 + int((sums < energy * sums[-1]).sum())


def select_by_budget(spectra: Sequence[Spectrum], budget: int) -> list[int | None]:
    """Return the rank of each matrix, None for unchanged, so that all have at most ``budget`` weights in total.

    All ranks start at 1. The next rank is always the one that removes most squared error per weight,
    sigma^2 / (m + n). A matrix whose next rank would not make it smaller can only become unchanged.
    Raises UserError if rank 1 of every matrix exceeds the budget.
    """
    ranks: list[int | None] = [1] * len(spectra)
    left = budget - sum(sum(spectrum.size) for spectrum in spectra)
    if left < 0:
        raise UserError(
            f"rank: budget: {budget:,} weights are too few for rank 1 of {len(spectra)} Linears, "
            f"which is {budget - left:,}; use a larger budget"
        )
    squares = [spectrum.values.square().tolist() for spectrum in spectra]
    heap = [_compute_next(number, 1, spectrum.size, squares[number]) for number, spectrum in enumerate(spectra)]
    heapq.heapify(heap)
    while heap:
        _, number, cost, rank = heapq.heappop(heap)
        if cost <= left:
            left -= cost
            ranks[number] = rank
            if rank is not None:
                heapq.heappush(heap, _compute_next(number, rank, spectra[number].size, squares[number]))
    return ranks


def _compute_next(
    number: int, rank: int, size: tuple[int, int], squares: list[float]
) -> tuple[float, int, int, int | None]:
    """Return the step after ``rank``: its negative gain per weight, the matrix, the cost, the new rank."""
    rows, columns = size
    if is_smaller(rank + 1, rows, columns):
        return -squares[rank] / (rows + columns), number, rows + columns, rank + 1
    cost = rows * columns - rank * (rows + columns)
    return -sum(squares[rank:]) / cost, number, cost, None
