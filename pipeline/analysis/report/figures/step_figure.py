"""Cost of a training step as one side of the model's shape, or its batch, grows: one panel per axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from pipeline.analysis.laws import step_growth
from pipeline.analysis.laws.step_growth import GrowthCurve
from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.figures.panel import LineLabel
from pipeline.analysis.report.tables.table import Table, create_columns
from pipeline.analysis.results.costs import AXES, CellCost

MIN_TICK_GAP = 0.12  # between ticks of x, as a share of the panel
MEASURED, COUNTED = "seconds, measured", "FLOPs, counted"
TOOLTIPS = {"model": "model", "what": "what", "at": "at", "cost": "cost", "times": "of the smallest"}
TITLE = "Cost of a training step against shape"
SUMMARY = "Seconds and FLOPs of a training step as one side of the shape grows, each relative to its smallest."
EXPLANATION = (
    "Right of a line: the exponent of its seconds with its 95% interval, and that of its FLOPs. Bars: 95% interval of "
    "the seconds over rounds. Dashed: the slope in the limit."
)


def create_figures(costs: Sequence[CellCost]) -> list[Figure]:
    """Return the figure, none if no axis was measured at enough values for an exponent."""
    by_axis = {axis: curves for axis in AXES if (curves := step_growth.build_curves(costs, axis))}
    if not by_axis:
        return []
    curves = [curve for of_axis in by_axis.values() for curve in of_axis]
    names = list(dict.fromkeys(curve.label for curve in curves))
    selections = [
        panel.HOVER_SELECTION,
        panel.create_legend_selection(panel.SHADE, "shade"),
        panel.create_legend_selection(panel.KIND, "family"),
    ]
    panels = [_create_panel(axis, of_axis, names) for axis, of_axis in by_axis.items()]
    spec = figure.merge_panels(panels, selections)
    trends = " ".join(f"{one.label}, {one.axis}: seconds grow with exponent {_format_exponent(one)}." for one in curves)
    rows = [{"axis": curve.axis, **point} for curve in curves for point in _create_points(curve)]
    numbers = Table("Cost against shape: numbers", create_columns({"axis": "axis", **TOOLTIPS}), rows)
    return [Figure("cost-against-shape", TITLE, f"{SUMMARY} {EXPLANATION}", f"{SUMMARY} {trends}", spec, numbers)]


def _create_panel(axis: str, curves: list[GrowthCurve], names: list[str]) -> dict[str, Any]:
    points = [point for curve in curves for point in _create_points(curve)]
    values = sorted({point["x"] for point in points})
    steepest = (values[-1] / values[0]) ** step_growth.LIMIT_EXPONENTS[axis]
    heights = panel.collect_heights(points)
    x_axis = axes.create_log_axis(step_growth.UNITS[axis], values, ",", ticks=tuple(select_ticks(values)))
    y_axis = axes.create_log_axis("cost, smallest = 1", [1, steepest, *heights], ",~g")
    color = panel.create_shade_color("model", names)
    limit = LineLabel(values[-1], steepest, f"in the limit {step_growth.LIMIT_EXPONENTS[axis]}")
    layers = [
        _draw_limit(values, steepest, x_axis, y_axis),
        *_draw_curves(points, x_axis, y_axis, color),
        *panel.draw_line_labels([*map(_create_label, curves), limit], x_axis, y_axis, color),
    ]
    return figure.merge_layers(layers, axis, width=panel.WIDTH, height=panel.HEIGHT)


def _create_points(curve: GrowthCurve) -> list[dict[str, Any]]:
    """Return the measured and counted points of a curve, each relative to its first."""
    first, points = curve.points[0].seconds, []
    common = {"line": curve.label, "shade": curve.label, "model": curve.label}
    for point in curve.points:
        low, high = (None if end is None else end / first for end in (point.seconds_low, point.seconds_high))
        points.append({
            **common, "x": point.value, "y": point.seconds / first, "low": low, "high": high, "family": MEASURED,
            "what": MEASURED, "at": f"{point.value:,g}", "cost": f"{1e3 * point.seconds:.3g} ms",
            "times": formatting.format_number(point.seconds / first),
        })  # fmt: skip
    for value, flops in zip(curve.values, curve.flops, strict=False):
        times = flops / curve.flops[0]
        points.append({
            **common, "x": value, "y": times, "low": None, "high": None, "family": COUNTED, "what": COUNTED,
            "at": f"{value:,g}", "cost": formatting.format_amount(flops), "times": formatting.format_number(times),
        })  # fmt: skip
    return points


def _draw_curves(points: list[dict[str, Any]], x_axis: Axis, y_axis: Axis, color: alt.Color) -> list[alt.Chart]:
    opacity = panel.create_opacity((panel.HOVER, panel.SHADE, panel.KIND))
    base = alt.Chart(panel.create_data(points)).encode(x_axis.encode_x(), y_axis.encode_y(), color, opacity)
    counted = f"datum.family == '{COUNTED}'"
    dash = alt.StrokeDashValue([1, 0], condition={"test": counted, "value": [2, 3]})
    scale = alt.Scale(domain=[MEASURED, COUNTED], range=["circle", "square"])
    legend = alt.Legend(symbolFillColor=alt.expr(f"datum.value === '{MEASURED}' ? soft : page"))
    marks = base.encode(alt.Shape("family", type="nominal", title=None, scale=scale, legend=legend))
    bars = base.mark_rule(strokeWidth=1.3).transform_filter("isValid(datum.low)")
    return [
        bars.encode(y_axis.encode_y("low"), y2=alt.Y2("high")),
        base.mark_line().encode(dash, detail=[alt.Detail("line:N"), alt.Detail("family:N")]),
        marks.mark_point(filled=True, size=50).transform_filter(f"!({counted})"),
        marks.mark_point(fill=alt.expr("page"), size=34).transform_filter(counted),
        panel.draw_hover_targets(points, x_axis, y_axis, TOOLTIPS),
    ]


def _draw_limit(values: list[float], steepest: float, x_axis: Axis, y_axis: Axis) -> alt.Chart:
    data = panel.create_data([{"x": values[0], "y": 1, "to": values[-1], "top": steepest}])
    rule = alt.Chart(data).mark_rule(style="baseline")
    return panel.encode_chart(rule, x_axis.encode_x(), y_axis.encode_y(), x2=alt.X2("to"), y2=alt.Y2("top"))


def _format_exponent(curve: GrowthCurve) -> str:
    slope, low, high = curve.seconds_exponent
    return f"{slope:.2f} [{low:.2f}, {high:.2f}]"


def _create_label(curve: GrowthCurve) -> LineLabel:
    text = f"{curve.label}\n{_format_exponent(curve)}"
    if flops := curve.flops:
        text += f", counted {step_growth.fit_exponent(curve.values, flops)[0]:.2f}"
    last = curve.points[-1].seconds / curve.points[0].seconds
    return LineLabel(curve.values[-1], last, text, curve.label, curve.label)


def select_ticks(values: Sequence[float]) -> list[float]:
    """Return those of increasing values whose labels do not overlap on a logarithmic axis, including the first."""
    ticks = [values[0]]
    for value in values[1:]:
        if math.log(value / ticks[-1]) >= MIN_TICK_GAP * math.log(values[-1] / values[0]):
            ticks.append(value)
    return ticks
