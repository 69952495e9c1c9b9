"""What a training step costs as one side of the model's shape, or its batch, grows: a panel for each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from pipeline.analysis.laws import step_growth
from pipeline.analysis.laws.step_growth import Curve
from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.figures.panel import End
from pipeline.analysis.results.cell_table import Sheet
from pipeline.analysis.results.costs import AXES, Cost

APART = 0.12  # ticks of x at least, as a share of the panel
MEASURED, COUNTED = "seconds, measured", "FLOPs, counted"
TOLD = {"model": "model", "what": "what", "at": "at", "cost": "cost", "times": "of the smallest"}
WORDS = "Seconds and FLOPs of a training step as one side of the shape grows, each relative to its smallest."


def cost_against_shape(costs: Sequence[Cost]) -> list[Figure]:
    """Return the figure, none where nothing grew through as many values as an exponent takes."""
    found = {axis: of_axis for axis in AXES if (of_axis := step_growth.curves(costs, axis))}
    if not found:
        return []
    names = list(dict.fromkeys(curve.label for of_axis in found.values() for curve in of_axis))
    selections = [panel.POINTED, panel.legend(panel.SHADE, "shade"), panel.legend(panel.KIND, "family")]
    spec = figure.beside([_panel(axis, of_axis, names) for axis, of_axis in found.items()], selections)
    how = "Right of a line: the exponent of its seconds with its 95% interval, and that of its FLOPs."
    bars = "Bars: 95% interval of the seconds over rounds. Dashed: the slope in the limit."
    curves = [curve for of_axis in found.values() for curve in of_axis]
    seen = " ".join(f"{curve.label}, {curve.axis}: seconds grow with exponent {_exponent(curve)}." for curve in curves)
    numbers = [[curve.axis, *point.values()] for curve in curves for point in map(_told, _points(curve))]
    sheet = Sheet("Cost against shape: the numbers", ("axis", *TOLD.values()), numbers)
    title = "Cost of a training step against shape"
    return [Figure("cost-against-shape", title, f"{WORDS} {how} {bars}", f"{WORDS} {seen}", spec, sheet)]


def _panel(axis: str, of_axis: list[Curve], names: list[str]) -> dict[str, Any]:
    points = [point for curve in of_axis for point in _points(curve)]
    values = sorted({point["x"] for point in points})
    steepest = (values[-1] / values[0]) ** step_growth.LIMIT[axis]
    heights = panel.heights(points)
    across = axes.logarithmic(step_growth.UNITS[axis], values, ",", ticks=tuple(thinned(values)))
    up = axes.logarithmic("cost, smallest = 1", [1, steepest, *heights], ",~g")
    color = panel.shades("model", names)
    ends = [_end(curve) for curve in of_axis]
    limit = End(values[-1], steepest, f"in the limit {step_growth.LIMIT[axis]}")
    layers = [
        _limit(values, steepest, across, up),
        *_curves(points, across, up, color),
        *panel.ends([*ends, limit], across, up, color),
    ]
    return figure.layered(layers, axis, width=panel.WIDTH, height=panel.HEIGHT)


def _points(curve: Curve) -> list[dict[str, Any]]:
    """Return what the curve measured and counted, each relative to its first."""
    first, found = curve.points[0].seconds, []
    common = {"line": curve.label, "shade": curve.label, "model": curve.label}
    for point in curve.points:
        low, high = (None if end is None else end / first for end in (point.seconds_low, point.seconds_high))
        found.append({
            **common, "x": point.value, "y": point.seconds / first, "low": low, "high": high, "family": MEASURED,
            "what": MEASURED, "at": f"{point.value:,g}", "cost": f"{1e3 * point.seconds:.3g} ms",
            "times": formatting.digits(point.seconds / first),
        })  # fmt: skip
    for value, counted in zip(curve.values, curve.flops, strict=False):
        times = counted / curve.flops[0]
        found.append({
            **common, "x": value, "y": times, "low": None, "high": None, "family": COUNTED, "what": COUNTED,
            "at": f"{value:,g}", "cost": formatting.amount(counted), "times": formatting.digits(times),
        })  # fmt: skip
    return found


def _told(point: dict[str, Any]) -> dict[str, str]:
    return {name: point[name] for name in TOLD}


def _curves(points: list[dict[str, Any]], across: Axis, up: Axis, color: alt.Color) -> list[alt.Chart]:
    held = panel.chosen((panel.HOVER, panel.SHADE, panel.KIND))
    base = alt.Chart(panel.values(points)).encode(across.x(), up.y(), color, held)
    counted = f"datum.family == '{COUNTED}'"
    dash = alt.StrokeDashValue([1, 0], condition={"test": counted, "value": [2, 3]})
    scale = alt.Scale(domain=[MEASURED, COUNTED], range=["circle", "square"])
    filled = alt.Legend(symbolFillColor=alt.expr(f"datum.value === '{MEASURED}' ? soft : page"))
    marks = base.encode(alt.Shape("family", type="nominal", title=None, scale=scale, legend=filled))
    return [
        base.mark_rule(strokeWidth=1.3).transform_filter("isValid(datum.low)").encode(up.y("low"), y2=alt.Y2("high")),
        base.mark_line().encode(dash, detail=[alt.Detail("line:N"), alt.Detail("family:N")]),
        marks.mark_point(filled=True, size=50).transform_filter(f"!({counted})"),
        marks.mark_point(fill=alt.expr("page"), size=34).transform_filter(counted),
        panel.pointed(points, across, up, TOLD),
    ]


def _limit(values: list[float], steepest: float, across: Axis, up: Axis) -> alt.Chart:
    data = panel.values([{"x": values[0], "y": 1, "to": values[-1], "top": steepest}])
    return panel.drawn(
        alt.Chart(data).mark_rule(style="baseline"), across.x(), up.y(), x2=alt.X2("to"), y2=alt.Y2("top")
    )


def _exponent(curve: Curve) -> str:
    slope, low, high = curve.seconds
    return f"{slope:.2f} [{low:.2f}, {high:.2f}]"


def _end(curve: Curve) -> End:
    text = f"{curve.label}\n{_exponent(curve)}"
    if counted := curve.flops:
        text += f", counted {step_growth.exponent(curve.values, counted)[0]:.2f}"
    last = curve.points[-1].seconds / curve.points[0].seconds
    return End(curve.values[-1], last, text, curve.label, curve.label)


def thinned(values: Sequence[float]) -> list[float]:
    """Return those of rising values whose labels do not touch on a logarithmic axis, the first among them."""
    kept = [values[0]]
    for value in values[1:]:
        if math.log(value / kept[-1]) >= APART * math.log(values[-1] / values[0]):
            kept.append(value)
    return kept
