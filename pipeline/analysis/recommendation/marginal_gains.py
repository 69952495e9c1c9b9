"""What one more unit of each budget would buy, by the slope of a law."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.analysis.statistics.weighted_metrics import Floats

SIZE, DATA, COMPUTE = "size", "data", "compute"
LAW_KINDS = {
    "latency_p50_ms": SIZE,
    "storage_bytes": SIZE,
    "inference_memory_mib": SIZE,
    "train_seconds": COMPUTE,
    "train_examples": DATA,
}
UNITS = {
    "latency_p50_ms": ("ms", 1.0),
    "storage_bytes": ("MB", 1e6),
    "inference_memory_mib": ("MiB", 1.0),
    "train_seconds": ("s of training", 1.0),
    "train_examples": ("labelled examples", 1.0),
}
FACTORS = (2, 5, 10, 20, 50, 100)  # farther than that no law is trusted
MIN_ELASTICITY = 0.01  # exponent of a cost that goes with size; ten times the size then costs 2% more


class ErrorLaw(Protocol):
    """A law of the error (1 - score)."""

    def predict(self, at: npt.ArrayLike) -> Floats:
        """Return the error at coordinates (points, axes): (points,)."""

    def predict_band(self, at: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the 95% interval of the law at (points, axes)."""

    def compute_slope(self, at: tuple[float, ...], axis: int) -> tuple[float, float, float]:
        """Return the error per unit of an axis with its 95% interval."""


@dataclass(frozen=True)
class LawPosition:
    """A law, the coordinates of the recommended cell on it and the axis to move along.

    ``at`` is in natural units, such as (parameters,) or (parameters, examples). ``why_not`` gives the reason without a
    law.
    """

    law: ErrorLaw | None
    at: tuple[float, ...] = ()
    axis: int = 0
    why_not: str = "there is no law"


@dataclass(frozen=True)
class MarginalGain:
    """The score that a ``unit`` more of the budget ``key`` buys, such as ``0.1 ms``, and its 95% interval.

    All three are None where that is not known.
    """

    key: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""


def compute_gain(
    key: str, route: LawPosition, cost: float | None, sizes: Sequence[tuple[float, float]]
) -> MarginalGain:
    """Return what a unit more of a budget buys a cell that costs ``cost``: -d error/dx times dx/d cost.

    A cost that follows size goes as N^b over the uncompressed ``sizes`` (N, cost), so that dN/d cost = N / (b cost):
    for a compressed cell this takes a larger model, compressed alike. Seconds go as FLOPs, dC/ds = C/s; an example is
    one. The unit moves x by a fifth at most, for a slope holds near the cell and not far beyond it. The interval is the
    law's alone: b is taken as it is.
    """
    kind = LAW_KINDS[key]
    power = (fit_elasticity(sizes) or 0.0) if kind == SIZE else 1.0
    follows = power >= MIN_ELASTICITY
    unit, amount = _select_unit(key, cost * power if cost and follows else cost)
    if route.law is None:
        return MarginalGain(key, unit, why_not=route.why_not)
    x, per_cost = route.at[route.axis], 1.0
    if kind != DATA:
        if not cost:
            return MarginalGain(key, unit, why_not="the cell's own cost was not measured")
        if not follows:
            return MarginalGain(key, unit, why_not="the cost does not grow with size over these models")
        per_cost = x / (power * cost)
    value, low, high = (-slope * per_cost * amount for slope in route.law.compute_slope(route.at, route.axis))
    return MarginalGain(key, unit, value, min(low, high), max(low, high))


@dataclass(frozen=True)
class Improvement:
    """A change that beats the baseline by a law: ``factor`` times the size or data of a cell.

    ``amount`` is the resulting size or number of examples, ``score`` the prediction there.
    """

    kind: str
    factor: int
    amount: float
    score: float


def find_improvement(kind: str, route: LawPosition, baseline: float) -> Improvement | None:
    """Return the smallest of the ``FACTORS`` whose 95% interval is above the baseline."""
    if route.law is None:
        return None
    positions = [
        tuple(value * (factor if axis == route.axis else 1) for axis, value in enumerate(route.at))
        for factor in FACTORS
    ]
    errors, (_, high) = route.law.predict(positions), route.law.predict_band(positions)
    for factor, position, error, most in zip(FACTORS, positions, errors, high, strict=True):
        if 1 - most > baseline:
            return Improvement(kind, factor, position[route.axis], 1 - float(error))
    return None


def _select_unit(key: str, cost: float | None) -> tuple[str, float]:
    """Return a power of ten of a budget's unit, at most a fifth of the cost, as text and number."""
    name, amount = UNITS[key]
    power = math.floor(math.log10(cost / amount / 5)) if cost else 0
    size = 10.0 ** (max(0, power) if LAW_KINDS[key] == DATA else power)
    return f"{size:g} {name}", size * amount


def compute_gains(
    routes: Mapping[str, LawPosition],
    costs: Mapping[str, float | None],
    sizes: Mapping[str, Sequence[tuple[float, float]]],
) -> tuple[MarginalGain, ...]:
    """Return the gain of each budget key in ``costs``; ``routes`` are by kind of law."""
    none = LawPosition(None)
    return tuple(
        compute_gain(key, routes.get(LAW_KINDS[key], none), cost, sizes.get(key, ())) for key, cost in costs.items()
    )


def fit_elasticity(sizes: Sequence[tuple[float, float]]) -> float | None:
    """Fit b of cost = a N^b by least squares on logarithms; None below two sizes."""
    if len({size for size, _ in sizes}) < 2:
        return None
    logs = np.log(np.asarray(sizes, float))
    away = logs - logs.mean(0)
    return float(away[:, 0] @ away[:, 1] / (away[:, 0] @ away[:, 0]))
