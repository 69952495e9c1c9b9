"""The shapes that a law may take: sums of terms that fall as powers of the axes.

With one exponent to an axis every form is ``sum over terms t of c_t * product over the axes x in t of x^-a_x``, where
all coefficients and exponents are at least 0. So one piece of code computes them all, and their derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.analysis.laws.law_types import Floats

MAX_EXPONENT = 5.0  # an exponent above it says that one step of the axis reaches the floor; data then tell no exponent


@dataclass(frozen=True)
class Form:
    """A shape of law: its terms, each with the axes that it falls along, and the names of what is fitted.

    ``terms`` is ``(terms, axes)``; ``coefficients`` names one number a term and ``exponents`` one an axis.
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
        """Return the law as it is written, such as ``E + A / N^α``, with a symbol for each axis."""
        return " + ".join(map(lambda name, term: self._format_term(name, term, symbols), self.coefficients, self.terms))

    def _format_term(self, name: str, term: tuple[int, ...], symbols: tuple[str, ...]) -> str:
        below = [f"{symbol}^{power}" for symbol, power, used in zip(symbols, self.exponents, term, strict=True) if used]
        return f"{name} / {below[0]}" if len(below) == 1 else f"{name} / ({' '.join(below)})" if below else name

    def get_display_order(self) -> list[int]:
        """Return the parameters' places in the order in which they are told: each coefficient, then its exponents."""
        told: list[int] = []
        for place, term in enumerate(self.terms):
            told.append(place)
            told.extend(len(self.terms) + axis for axis, used in enumerate(term) if used)
        return told

    def get_names(self) -> tuple[str, ...]:
        """Return the parameters' names as they stand in theta: coefficients, then exponents."""
        return (*self.coefficients, *self.exponents)

    def compute_basis(self, exponents: Floats, logs: Floats) -> Floats:
        """Return the terms at coefficient 1 of exponents (sets, axes) at logs (points, axes): (sets, points, terms)."""
        terms: Floats = np.exp(-((exponents[:, None, :] * logs) @ np.array(self.terms, dtype=float).T))
        return terms

    def compute_values(self, theta: Floats, logs: Floats) -> Floats:
        """Return the law of each parameter set ``(sets, size)`` at logarithms ``(points, axes)``: (sets, points)."""
        split = len(self.terms)
        values: Floats = (self.compute_basis(theta[:, split:], logs) @ theta[:, :split, None])[:, :, 0]
        return values

    def compute_derivatives(self, theta: Floats, logs: Floats) -> tuple[Floats, Floats]:
        """Return the values and what each parameter adds to them: (sets, points), (sets, points, size)."""
        split = len(self.terms)
        basis = self.compute_basis(theta[:, split:], logs)
        parts = basis * theta[:, None, :split]
        by_axis = -(parts @ np.array(self.terms, dtype=float)) * logs
        return parts.sum(axis=2), np.concatenate([basis, by_axis], axis=2)

    def compute_slopes(self, theta: Floats, logs: Floats, axis: int) -> Floats:
        """Return the derivative of the law by the logarithm of an axis: (sets, points)."""
        split = len(self.terms)
        falls = theta[:, :split] * np.array(self.terms, dtype=float)[:, axis]
        slopes: Floats = np.einsum("bt,bnt->bn", falls, self.compute_basis(theta[:, split:], logs))
        return -theta[:, split + axis, None] * slopes

    def get_bounds(self) -> tuple[Floats, Floats]:
        """Return the lower and the upper bound of each parameter."""
        upper = [np.inf] * len(self.coefficients) + [MAX_EXPONENT] * len(self.exponents)
        return np.zeros(self.size), np.array(upper)


POWER = Form("power", ((1,),), ("A",), ("α",))
FLOOR = Form("power with floor", ((0,), (1,)), ("E", "A"), ("α",))
ADDITIVE = Form("additive", ((0, 0), (1, 0), (0, 1)), ("E", "A", "B"), ("α", "β"))
MULTIPLICATIVE = Form("multiplicative", ((0, 0), (1, 1)), ("E", "A"), ("α", "β"))
BY_AXES = {1: (POWER, FLOOR), 2: (ADDITIVE, MULTIPLICATIVE)}
