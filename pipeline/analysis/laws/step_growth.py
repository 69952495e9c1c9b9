"""How a training step grows with depth, width, length and batch: measured exponents and their theory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.analysis.results.costs import CellCost, GrowthPoint

LIMIT_EXPONENTS = {"depth": 1, "width": 2, "length": 2, "batch": 1}  # exponents as the axis alone grows without bound
UNITS = {"depth": "layers", "width": "hidden size", "length": "tokens of a pair", "batch": "pairs of a batch"}
MIN_VALUES = 3  # values, so that an exponent has an interval


@dataclass(frozen=True)
class GrowthCurve:
    """One model's measurements along one axis, smallest first."""

    label: str
    axis: str
    points: list[GrowthPoint]

    @property
    def values(self) -> list[float]:
        """Return the values on the axis."""
        return [point.value for point in self.points]

    @property
    def seconds_exponent(self) -> tuple[float, float, float]:
        """Return the exponent of seconds per step with its 95% interval."""
        return fit_exponent(self.values, [point.seconds for point in self.points])

    @property
    def flops(self) -> list[float]:
        """Return the FLOPs per step at each value, empty if they were not counted."""
        known = [point.flops for point in self.points if point.flops is not None]
        return known if len(known) == len(self.points) else []


def fit_exponent(values: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """Fit b of cost = a value^b by least squares on logs, with its 95% interval (Student's t).

    It needs three values or more. The interval describes only how well a power law holds over them.
    """
    import numpy as np
    from scipy import stats

    fit = stats.linregress(np.log(values), np.log(costs))
    half = stats.t.ppf(0.975, len(values) - 2) * fit.stderr
    return float(fit.slope), float(fit.slope - half), float(fit.slope + half)


def build_curves(costs: Sequence[CellCost], axis: str) -> list[GrowthCurve]:
    """Build a curve for each cell with three values or more along ``axis``, smallest model first.

    The label is the model's name, or the cell's name if several cells of the model were measured.
    """
    grown = sorted((cost for cost in costs if cost.growth), key=lambda cost: cost.parameters_non_embedding or 0)
    models = [cost.model for cost in grown]
    growth_curves = []
    for cost in grown:
        label = cost.cell if models.count(cost.model) > 1 else str(cost.model)
        points = sorted((point for point in cost.growth if point.axis == axis), key=lambda point: point.value)
        if len({point.value for point in points}) >= MIN_VALUES:
            growth_curves.append(GrowthCurve(label, axis, points))
    return growth_curves
