"""Functional forms of scaling laws: sums of terms that fall as powers of the axes.

Each axis has one exponent, so every form is ``sum over terms t of c_t * product over the axes x in t of x^-a_x`` with
non-negative coefficients and exponents. One implementation computes all forms and their derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.analysis.laws.law_types import Floats

MAX_EXPONENT = 5.0  # above it one step reaches the floor, so data do not determine the exponent


@dataclass(frozen=True)
class Form:
    """A functional form: which axes each term falls along, and parameter names.

    ``terms`` is ``(terms, axes)``; ``coefficients`` has one name per term and ``exponents`` one per axis.
    """

    name: str
    terms: tuple[tuple[int, ...], ...]
    coefficients: tuple[str, ...]
    exponents: tuple[str, ...]

    @property
    def size(self) -> int:
        """Return the number of parameters."""
        return len(self.coefficients) + len(self.exponents)

    def format_formula(self, symbols: tuple[str, ...]) -> str:
        """Format the law, such as ``E + A / N^α``, with one symbol per axis."""
        return " + ".join(map(lambda name, term: self._format_term(name, term, symbols), self.coefficients, self.terms))

    def _format_term(self, name: str, term: tuple[int, ...], symbols: tuple[str, ...]) -> str:
        below = [f"{symbol}^{power}" for symbol, power, used in zip(symbols, self.exponents, term, strict=True) if used]
        return f"{name} / {below[0]}" if len(below) == 1 else f"{name} / ({' '.join(below)})" if below else name

    def get_display_order(self) -> list[int]:
        """Return parameter indices in display order: each coefficient, then its exponents."""
        order: list[int] = []
        for index, term in enumerate(self.terms):
            order.append(index)
            order.extend(len(self.terms) + axis for axis, used in enumerate(term) if used)
        return order

    def get_names(self) -> tuple[str, ...]:
        """Return the parameter names in the order of ``params``: coefficients, then exponents."""
        return (*self.coefficients, *self.exponents)

    def compute_basis(self, exponents: Floats, logs: Floats) -> Floats:
        """Return all terms with coefficient 1: (sets, axes), (points, axes) to (sets, points, terms)."""
        terms: Floats = np.exp(-((exponents[:, None, :] * logs) @ np.array(self.terms, dtype=float).T))
        return terms

    def compute_values(self, params: Floats, logs: Floats) -> Floats:
        """Return values for parameter sets (sets, size) at logs (points, axes): (sets, points)."""
        split = len(self.terms)
        values: Floats = (self.compute_basis(params[:, split:], logs) @ params[:, :split, None])[:, :, 0]
        return values

    def compute_derivatives(self, params: Floats, logs: Floats) -> tuple[Floats, Floats]:
        """Return values and their derivatives by parameter: (sets, points), (sets, points, size)."""
        split = len(self.terms)
        basis = self.compute_basis(params[:, split:], logs)
        parts = basis * params[:, None, :split]
        by_axis = -(parts @ np.array(self.terms, dtype=float)) * logs
        return parts.sum(axis=2), np.concatenate([basis, by_axis], axis=2)

    def compute_slopes(self, params: Floats, logs: Floats, axis: int) -> Floats:
        """Return the derivative by the logarithm of one axis: (sets, points)."""
        split = len(self.terms)
        falls = params[:, :split] * np.array(self.terms, dtype=float)[:, axis]
        slopes: Floats = np.einsum("bt,bnt->bn", falls, self.compute_basis(params[:, split:], logs))
        return -params[:, split + axis, None] * slopes

    def get_bounds(self) -> tuple[Floats, Floats]:
        """Return the lower and upper bound of each parameter."""
        upper = [np.inf] * len(self.coefficients) + [MAX_EXPONENT] * len(self.exponents)
        return np.zeros(self.size), np.array(upper)


POWER = Form("power", ((1,),), ("A",), ("α",))
FLOOR = Form("power with floor", ((0,), (1,)), ("E", "A"), ("α",))
ADDITIVE = Form("additive", ((0, 0), (1, 0), (0, 1)), ("E", "A", "B"), ("α", "β"))
MULTIPLICATIVE = Form("multiplicative", ((0, 0), (1, 1)), ("E", "A"), ("α", "β"))
BY_AXES = {1: (POWER, FLOOR), 2: (ADDITIVE, MULTIPLICATIVE)}
