"""Tables whose law is known: each law written out by hand, over designs of places from tiny to published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.laws import Observation
from pipeline.analysis.laws.forms import ADDITIVE, FLOOR, MULTIPLICATIVE, POWER, Form

Places = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Truth:
    """A form, its parameters in the order in which a law tells them, and the places where it is measured."""

    form: Form
    parameters: tuple[float, ...]
    places: Places

    @property
    def letters(self) -> tuple[str, ...]:
        return ("N", "D")[: len(self.form.exponents)]

    def value(self, at: Sequence[float]) -> float:
        if self.form is POWER:
            a, alpha = self.parameters
            return a * at[0] ** -alpha
        if self.form is FLOOR:
            e, a, alpha = self.parameters
            return e + a * at[0] ** -alpha
        if self.form is MULTIPLICATIVE:
            e, a, alpha, beta = self.parameters
            return e + a * at[0] ** -alpha * at[1] ** -beta
        e, a, alpha, b, beta = self.parameters
        return e + a * at[0] ** -alpha + b * at[1] ** -beta

    def measure(self, at: Sequence[float], noise: float, seeds: int, random: np.random.Generator) -> tuple[float, ...]:
        return tuple(self.value(at) * np.exp(noise * random.standard_normal(seeds)))

    def table(self, noise: float, seeds: int, random: np.random.Generator) -> list[Observation]:
        return [Observation(f"{at}", at, self.measure(at, noise, seeds, random)) for at in self.places]


def line(count: int, low: float = 8e4, high: float = 8e6) -> Places:
    return tuple((float(place),) for place in np.geomspace(low, high, count))


def grid(sizes: int, amounts: int, low: Sequence[float] = (8e4, 100), high: Sequence[float] = (8e6, 1e4)) -> Places:
    first, second = (np.geomspace(a, b, count) for a, b, count in zip(low, high, (sizes, amounts), strict=True))
    return tuple((float(n), float(d)) for n in first for d in second)


HOFFMANN = (1.69, 406.4, 0.34, 410.7, 0.28)  # Hoffmann et al. 2022, eq. 10
BESIROGLU = (1.8172, 482.01, 0.3478, 2085.43, 0.3658)  # Besiroglu et al. 2024


def power(count: int) -> Truth:
    return Truth(POWER, (0.6 * 8e4**0.25, 0.25), line(count))


def floor(count: int) -> Truth:
    return Truth(FLOOR, (0.25, 0.4 * 8e4**0.35, 0.35), line(count))


def additive(sizes: int, amounts: int) -> Truth:
    return Truth(ADDITIVE, (0.2, 0.3 * 8e4**0.4, 0.4, 0.25 * 100**0.35, 0.35), grid(sizes, amounts))


def multiplicative(sizes: int, amounts: int) -> Truth:
    return Truth(MULTIPLICATIVE, (0.2, 0.5 * 8e4**0.3 * 100**0.25, 0.3, 0.25), grid(sizes, amounts))


def published(parameters: tuple[float, ...], sizes: int = 16, amounts: int = 15) -> Truth:
    """Return a published law over about the places of its table: 44 million to 16 billion, 0.3 to 500 billion."""
    return Truth(ADDITIVE, parameters, grid(sizes, amounts, (4.4e7, 3e8), (1.6e10, 5e11)))
