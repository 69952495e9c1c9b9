"""Scaling laws of loss and error: measurements, the selected law with its band, and held-out predictions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from pipeline.analysis.laws import Law, LawSelection
from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.tables.table import Table, create_columns

AXIS_TITLES = {
    "parameters": "parameters", "parameters_non_embedding": "parameters without embeddings",
    "train_examples": "training examples", "train_flops": "FLOPs of the training",
}  # fmt: skip
NAMES = {"train_examples": "data", "train_flops": "compute"}
EXTRAPOLATION = 2  # a law is drawn up to this multiple of the largest x
CURVE_POINTS = 40
MEASURED, PREDICTED = "measured, mean over seeds", "predicted by the law without it"
TOOLTIPS = {"cell": "cell", "what": "what", "at": "at", "value": "value", "interval": "95%", "truth": "measured"}
EXPLANATION = (
    "Points: mean over seeds; small points: single seeds. Line: the law with the smallest held-out error, dashed "
    f"beyond the data, up to {EXTRAPOLATION} times the largest x; shaded: its 95% interval, left out if the data do "
    "not determine its exponents. Crosses: the largest cells as predicted from the others, with 95% intervals; the law "
    "was selected on them, so its error on other cells is larger."
)


@dataclass(frozen=True)
class LawCurve:
    """One line of a law: its points (points, axes), values and band, the largest x of the data, and its shade."""

    at: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    max_x: float
    shade: str


def create_figures(findings: Sequence[LawSelection], size: str) -> list[Figure]:
    """Return a figure for each combination of axes: size, data, compute, size and data together.

    A finding without values that a logarithmic axis can show, such as only errors of 0, has no panel.
    """
    shown = [finding for finding in findings if _create_points(finding)]
    combinations: list[tuple[str, ...]] = [(size,), ("train_examples",), ("train_flops",)]
    combinations += dict.fromkeys(one.dataset.axes for one in shown if len(one.dataset.axes) > 1)
    by_axes = [[finding for finding in shown if finding.dataset.axes == names] for names in combinations]
    return [_create_figure(selected) for selected in by_axes if selected]


def is_determined(law: Law) -> bool:
    """Return whether the data determine every exponent; coefficients are values at x = 1, far outside the data."""
    return all(one.determined for one in law.parameters if one.name in law.shape.exponents)


def _create_figure(findings: Sequence[LawSelection]) -> Figure:
    axis_names = findings[0].dataset.axes
    names = [NAMES.get(axis, "size") for axis in axis_names]
    title = f"Laws of {' and '.join(names)}"
    others = sorted({point.at[1:] for finding in findings for point in finding.observations})
    shades = list(dict.fromkeys(map(_format_shade, others)))
    panels = [_create_panel(finding, shades) for finding in findings]
    selections = [
        panel.HOVER_SELECTION,
        panel.create_legend_selection(panel.SHADE, "shade"),
        panel.create_legend_selection(panel.KIND, "family"),
    ]
    against = " and ".join(AXIS_TITLES[axis] for axis in axis_names)
    summary = f"Loss and error (1 - score) against {against}, with the selected law."
    columns = create_columns({"task": "task", "target": "of", **TOOLTIPS})
    rows = [
        {"task": finding.dataset.task, "target": finding.dataset.target, **mark}
        for finding in findings
        for mark in (*_create_points(finding), *_create_predictions(finding))
    ]
    caption = f"{summary} {EXPLANATION} {_format_remarks(findings)}".strip()
    alt_text = f"{summary} {' '.join(map(_describe_panel, findings))}"
    spec, numbers = figure.merge_panels(panels, selections), Table(f"{title}: numbers", columns, rows)
    return Figure(f"laws-of-{'-and-'.join(names)}", title, caption, alt_text, spec, numbers)


def _create_panel(finding: LawSelection, shades: Sequence[str]) -> dict[str, Any]:
    question = finding.dataset
    points, seeds, predictions = _create_points(finding), _create_seed_points(finding), _create_predictions(finding)
    curve = [point for one in _compute_curves(finding) for point in _create_curve_points(one)]
    x_values = [point["x"] for point in (*points, *curve)]
    y_values = [point["y"] for point in (*points, *seeds, *predictions, *curve)]
    x_axis = axes.create_log_axis(AXIS_TITLES[question.axes[0]], x_values, ",~s")
    y_axis = axes.create_log_axis(question.target, y_values, "~g", margin=0.12)
    color = alt.Color(
        "shade", type="ordinal", title="training examples", sort=None, scale=alt.Scale(domain=[*shades]),
        legend=alt.Legend() if len(shades) > 1 else None,
    )  # fmt: skip
    layers = [
        *_draw_law(curve, x_axis, y_axis, color),
        *_draw_marks(points, seeds, predictions, x_axis, y_axis, color),
        panel.draw_hover_targets([*points, *predictions], x_axis, y_axis, TOOLTIPS),
    ]
    title = {
        "text": f"{question.task}: {question.target}, {question.where}", "subtitle": _format_law(finding),
    }  # fmt: skip
    return figure.merge_layers(layers, title, width=panel.WIDTH, height=panel.HEIGHT)


def _draw_law(curve: list[dict[str, Any]], x_axis: Axis, y_axis: Axis, color: alt.Color) -> list[alt.Chart]:
    opacity = panel.create_opacity((panel.HOVER, panel.SHADE))
    base = alt.Chart(panel.create_data(curve)).encode(x_axis.encode_x(), color, opacity)
    band = base.transform_filter("isValid(datum.low)").mark_area(style="band", clip=True, line=False)
    line = base.mark_line(clip=True).encode(y_axis.encode_y(), detail=alt.Detail("line:N"))
    return [
        band.encode(y_axis.encode_y("low"), y2=alt.Y2("high"), detail=alt.Detail("line:N")),
        line.transform_filter("!datum.beyond"),
        line.mark_line(clip=True, strokeDash=[5, 3]).transform_filter("datum.beyond || datum.last"),
    ]


def _draw_marks(
    points: list[dict[str, Any]], seeds: list[dict[str, Any]], predictions: list[dict[str, Any]], x_axis: Axis,
    y_axis: Axis, color: alt.Color,
) -> list[alt.Chart]:  # fmt: skip
    opacity = panel.create_opacity((panel.HOVER, panel.SHADE, panel.KIND))
    scale = alt.Scale(domain=[MEASURED, PREDICTED], range=["circle", "cross"])
    shape = alt.Shape("family", type="nominal", title=None, scale=scale)

    def create_chart(data: list[dict[str, Any]]) -> alt.Chart:
        return alt.Chart(panel.create_data(data)).encode(x_axis.encode_x(), y_axis.encode_y(), color, opacity)

    marks = [
        create_chart(seeds).mark_point(filled=True, size=9),
        create_chart(points).mark_point(filled=True, size=55).encode(shape),
    ]
    if predictions:
        bars = create_chart(predictions).transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.2, clip=True)
        marks += [
            bars.encode(y_axis.encode_y("low"), y2=alt.Y2("high")),
            create_chart(predictions).mark_point(filled=True, size=85).encode(shape),
        ]
    return marks


def _create_mark(finding: LawSelection, cell: str, at: Sequence[float]) -> dict[str, Any]:
    """Return the fields that every mark of an observation has."""
    text = ", ".join(
        f"{formatting.format_amount(value)} {AXIS_TITLES[axis]}"
        for axis, value in zip(finding.dataset.axes, at, strict=True)
    )
    return {"x": at[0], "shade": _format_shade(at[1:]), "line": _format_shade(at[1:]), "cell": cell, "at": text}


def _create_points(finding: LawSelection) -> list[dict[str, Any]]:
    """Return the mean of each observation that a logarithmic axis can show."""
    return [
        {
            **_create_mark(finding, point.cell, point.at), "y": point.mean, "family": MEASURED, "what": MEASURED,
            "value": formatting.format_number(point.mean), "interval": "",
            "truth": formatting.format_number(point.mean),
        }
        for point in finding.observations
        if 0 < point.mean < math.inf
    ]  # fmt: skip


def _create_seed_points(finding: LawSelection) -> list[dict[str, Any]]:
    return [
        {**_create_mark(finding, point.cell, point.at), "y": value, "family": MEASURED}
        for point in finding.observations
        for value in point.values
        if 0 < value < math.inf
    ]


def _create_predictions(finding: LawSelection) -> list[dict[str, Any]]:
    """Return the held-out cells as the selected law, fitted to the others, predicts them."""
    marks = []
    for held in finding.holdouts:
        prediction = held.predictions.get(finding.law.form) if finding.law else None
        if prediction is None:
            continue
        columns = (held.cells, held.at, held.truth, prediction.values, prediction.low, prediction.high)
        for cell, at, truth, value, low, high in zip(*columns, strict=True):
            bounded = low > 0 and np.isfinite(high)
            marks.append({
                **_create_mark(finding, cell, at), "y": value,
                "low": low if bounded else None, "high": high if bounded else None,
                "family": PREDICTED, "what": f"{PREDICTED}; largest {AXIS_TITLES[held.axis]} held out",
                "value": formatting.format_number(value),
                "interval": formatting.format_interval(low, high) if bounded else "not known",
                "truth": formatting.format_number(truth),
            })  # fmt: skip
    return [mark for mark in marks if mark["y"] > 0]


def _compute_curves(finding: LawSelection) -> list[LawCurve]:
    """Return the law's lines over x, one for each value of the other axis."""
    if finding.law is None:
        return []
    max_x = max(point.at[0] for point in finding.observations)
    x = np.geomspace(min(point.at[0] for point in finding.observations), EXTRAPOLATION * max_x, CURVE_POINTS)
    x = np.unique([*x, max_x])  # where the line turns into dashes
    curves, unknown = [], (np.zeros(len(x)), np.full(len(x), np.inf))
    for others in sorted({point.at[1:] for point in finding.observations}):
        at = np.column_stack([x, *(np.full(len(x), other) for other in others)])
        low, high = finding.law.predict_band(at) if is_determined(finding.law) else unknown
        curves.append(LawCurve(at, finding.law.predict(at), low, high, max_x, _format_shade(others)))
    return curves


def _create_curve_points(curve: LawCurve) -> list[dict[str, Any]]:
    points = []
    for at, value, low, high in zip(curve.at, curve.values, curve.low, curve.high, strict=True):
        ends = {"low": float(low), "high": float(high)} if low > 0 and np.isfinite(high) else {}
        points.append({
            "x": float(at[0]), "y": float(value), **ends, "shade": curve.shade, "line": curve.shade,
            "beyond": bool(at[0] > curve.max_x), "last": bool(at[0] == curve.max_x),
        })  # fmt: skip
    return points


def _format_shade(others: Sequence[float]) -> str:
    """Return the key of a panel's line: the values of the other axes; a law in one axis has one line."""
    return ", ".join(f"{value:,.0f}" for value in others) or "law"


def _format_law(finding: LawSelection) -> str:
    """Return the formula of a panel's law with its determined parameters, or why there is none."""
    if finding.law is None:
        return "no law: " + ("refused, see below" if finding.refusals else "nothing to fit")
    parameters = finding.law.parameters
    determined = ", ".join(
        f"{one.name} = {formatting.format_number(one.value)}" for one in parameters if one.determined
    )
    undetermined = ", ".join(one.name for one in parameters if not one.determined)
    parts = [finding.law.formula, determined, f"{undetermined} not determined" if undetermined else ""]
    return "; ".join(part for part in parts if part)


def _format_remarks(findings: Sequence[LawSelection]) -> str:
    """Return remarks on single panels: refused forms with reasons, missing bands, and better baselines."""
    panels_by_remark: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        remarks = [f"{form} refused ({why})" for form, why in finding.refusals.items()]
        if finding.law and not is_determined(finding.law):
            remarks.append("no band, since the data do not determine the exponents")
        if finding.better_baselines:
            remarks.append(
                f"a {' and a '.join(finding.better_baselines)} predicted the held-out cells better than the law"
            )
        for remark in remarks:
            panels_by_remark[remark].append(f"{finding.dataset.task} ({finding.dataset.target})")
    return " ".join(f"{' and '.join(panels)}: {remark}." for remark, panels in panels_by_remark.items())


def _describe_panel(finding: LawSelection) -> str:
    """Return the alternative text of a panel."""
    first, last = (
        formatting.format_number(point.mean) for point in (finding.observations[0], finding.observations[-1])
    )
    name = f"{finding.dataset.task}, {finding.dataset.target}"
    return f"{name}: {first} at the smallest observation, {last} at the largest; {_format_law(finding)}."
