"""How a training step grows with depth, width, length and batch: exponents of what was measured, beside the theory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.analysis.results.costs import CellCost, GrowthPoint

LIMIT_EXPONENTS = {"depth": 1, "width": 2, "length": 2, "batch": 1}  # exponents as the axis alone grows without bound
UNITS = {"depth": "layers", "width": "hidden size", "length": "tokens of a pair", "batch": "pairs of a batch"}
MIN_VALUES = 3  # values, so that an exponent has an interval


@dataclass(frozen=True)
class GrowthCurve:
    """One model's points along one axis, the smallest first, and how its costs grow."""

    label: str
    axis: str
    points: list[GrowthPoint]

    @property
    def values(self) -> list[float]:
        """Return the places on the axis."""
        return [point.value for point in self.points]

    @property
    def seconds_exponent(self) -> tuple[float, float, float]:
        """Return the exponent of the seconds of a step and its 95% interval."""
        return fit_exponent(self.values, [point.seconds for point in self.points])

    @property
    def flops(self) -> list[float]:
        """Return the FLOPs of a step at each place, empty where they were not counted."""
        known = [point.flops for point in self.points if point.flops is not None]
        return known if len(known) == len(self.points) else []


def fit_exponent(values: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """Return b of cost = a value^b by least squares on logarithms, and the ends of its 95% interval (Student's t).

    It takes three values or more. The interval tells how well a power law holds over them, and no more.
    """
    import numpy as np
    from scipy import stats

    fit = stats.linregress(np.log(values), np.log(costs))
    half = stats.t.ppf(0.975, len(values) - 2) * fit.stderr
    return float(fit.slope), float(fit.slope - half), float(fit.slope + half)


def build_curves(costs: Sequence[CellCost], axis: str) -> list[GrowthCurve]:
    """Return a curve for each cell that grew along ``axis`` through three values or more, the smallest model first.

    A curve bears its model's name, or its cell's where several cells of the model grew.
    """
    grown = sorted((cost for cost in costs if cost.growth), key=lambda cost: cost.parameters_non_embedding or 0)
    models = [cost.model for cost in grown]
    found = []
    for cost in grown:
        label = cost.cell if models.count(cost.model) > 1 else str(cost.model)
        points = sorted((point for point in cost.growth if point.axis == axis), key=lambda point: point.value)
        if len({point.value for point in points}) >= MIN_VALUES:
            found.append(GrowthCurve(label, axis, points))
    return found
