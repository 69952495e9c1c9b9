"""How a training step grows with depth, width, length and batch: exponents of what was measured, beside the theory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pipeline.scaling import figures, panel
from pipeline.scaling.costs import AXES, Cost, Grown
from pipeline.scaling.table import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMIT = {"depth": 1, "width": 2, "length": 2, "batch": 1}  # exponents as the axis alone grows without bound
UNITS = {"depth": "layers", "width": "hidden size", "length": "tokens of a pair", "batch": "pairs of a batch"}
HEADINGS = ("model", "axis", "from", "to", "exponent of seconds", "95%", "exponent of operations", "in the limit")
GAP = 0.1  # between labels of two lines, as a share of the panel
LEAST = 3  # values, so that an exponent has an interval
APART = 0.12  # ticks of x at least, as a share of the panel


@dataclass(frozen=True)
class Curve:
    """One model's points along one axis, the smallest first, and how its costs grow."""

    label: str
    axis: str
    points: list[Grown]
    color: str

    @property
    def values(self) -> list[float]:
        """Return the places on the axis."""
        return [point.value for point in self.points]

    @property
    def seconds(self) -> tuple[float, float, float]:
        """Return the exponent of the seconds of a step and its 95% interval."""
        return exponent(self.values, [point.seconds for point in self.points])

    @property
    def operations(self) -> list[float]:
        """Return the operations of a step at each place, empty where they were not counted."""
        known = [point.operations for point in self.points if point.operations is not None]
        return known if len(known) == len(self.points) else []


def exponent(values: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """Return b of cost = a value^b by least squares on logarithms, and the ends of its 95% interval (Student's t).

    It takes three values or more. The interval tells how well a power law holds over them, and no more.
    """
    import numpy as np
    from scipy import stats

    fit = stats.linregress(np.log(values), np.log(costs))
    half = stats.t.ppf(0.975, len(values) - 2) * fit.stderr
    return float(fit.slope), float(fit.slope - half), float(fit.slope + half)


def curves(costs: Sequence[Cost], axis: str) -> list[Curve]:
    """Return a curve for each cell that grew along ``axis`` through three values or more, the smallest model first.

    A curve bears its model's name, or its cell's where several cells of the model grew.
    """
    grown = sorted((cost for cost in costs if cost.growth), key=lambda cost: cost.parameters_non_embedding or 0)
    models = [cost.model for cost in grown]
    found = []
    for cost, color in zip(grown, panel.ordered(len(grown)), strict=True):
        label = cost.cell if models.count(cost.model) > 1 else str(cost.model)
        points = sorted((point for point in cost.growth if point.axis == axis), key=lambda point: point.value)
        if len({point.value for point in points}) >= LEAST:
            found.append(Curve(label, axis, points, color))
    return found


def sheets(costs: Sequence[Cost]) -> list[Sheet]:
    """Return the table of exponents, none where nothing grew."""
    rows = [_fitted(curve) for axis in AXES for curve in curves(costs, axis)]
    title = "How a training step grows: exponents of a power law in one side of the shape"
    return [Sheet(title, HEADINGS, rows)] if rows else []


def _fitted(curve: Curve) -> list[str]:
    slope, low, high = curve.seconds
    first, last = curve.values[0], curve.values[-1]
    counted = f"{exponent(curve.values, curve.operations)[0]:.2f}" if curve.operations else ""
    interval, limit = f"[{low:.2f}, {high:.2f}]", str(LIMIT[curve.axis])
    return [curve.label, curve.axis, f"{first:,g}", f"{last:,g}", f"{slope:.2f}", interval, counted, limit]


def cost_against_shape(costs: Sequence[Cost]) -> Figure:
    """Return a panel for each axis: seconds and operations of a step over it, relative to the smallest value."""
    found = [(axis, of_axis) for axis in AXES if (of_axis := curves(costs, axis))]
    columns = min(figures.COLUMNS, max(1, len(found)))
    height = max(1, -(-len(found) // columns))
    with mpl.rc_context(figures.STYLE):
        size = (figures.PANEL[0] * columns, figures.PANEL[1] * height)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(height, columns, squeeze=False)
        for axes in grid.flat[len(found) :]:
            axes.set_axis_off()
        for axes, (axis, of_axis) in zip(grid.flat, found, strict=False):
            _panel(axes, axis, of_axis)
        _explain(figure)
    return figure


def _panel(axes: Axes, axis: str, of_axis: list[Curve]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(axis)
    axes.set_xlabel(UNITS[axis])
    axes.set_ylabel("cost, smallest = 1")
    ends = [_draw(axes, curve) for curve in of_axis]
    values = sorted({value for curve in of_axis for value in curve.values})
    steepest = (values[-1] / values[0]) ** LIMIT[axis]
    axes.plot(
        [values[0], values[-1]], [1, steepest], color=panel.BASELINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1
    )
    ends.append((values[-1], steepest, f"in the limit {LIMIT[axis]}", panel.BASELINE))
    ticks = _thinned(values)
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _round_ticks(axes)
    panel.label_ends(axes, ends, GAP)


def _draw(axes: Axes, curve: Curve) -> tuple[float, float, str, str]:
    """Draw what a curve measured and counted; return where it ends and what is to be said there."""
    start = curve.points[0].seconds
    taken = [point.seconds / start for point in curve.points]
    for point in curve.points:
        if point.seconds_low is not None and point.seconds_high is not None:
            ends = (point.seconds_low / start, point.seconds_high / start)
            axes.vlines(point.value, *ends, color=curve.color, linewidth=1.2, alpha=0.7)
    axes.plot(curve.values, taken, marker="o", color=curve.color, linewidth=1.6, markersize=5)
    slope, low, high = curve.seconds
    label = f"{curve.label}\n{slope:.2f} [{low:.2f}, {high:.2f}]"
    if counted := curve.operations:
        relative = [number / counted[0] for number in counted]
        axes.plot(
            curve.values, relative, linestyle=":", marker="s", color=curve.color, linewidth=1.2, markersize=4,
            markerfacecolor="white",
        )  # fmt: skip
        label += f", counted {exponent(curve.values, counted)[0]:.2f}"
    return curve.values[-1], taken[-1], label, curve.color


def _thinned(values: Sequence[float]) -> list[float]:
    """Return those of rising values whose labels do not touch on a logarithmic axis, the first among them."""
    kept = [values[0]]
    for value in values[1:]:
        if math.log(value / kept[-1]) >= APART * math.log(values[-1] / values[0]):
            kept.append(value)
    return kept


def _round_ticks(axes: Axes) -> None:
    """Put the ticks of a logarithmic y axis at round numbers, and none between them."""
    low, high = axes.get_ylim()
    ticks = figures.round_numbers(low, high)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.set_ylim(low, high)


def _explain(figure: Figure) -> None:
    color = panel.BASELINE
    handles = [
        Line2D([], [], label="seconds, measured", color=color, marker="o"),
        Line2D([], [], label="operations, counted", color=color, marker="s", markerfacecolor="white", linestyle=":"),
        Line2D([], [], label="slope in the limit", color=color, linestyle=(0, (4, 3)), linewidth=1),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, handlelength=3)
