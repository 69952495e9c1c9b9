"""Laws of loss and error: what was measured, the chosen law with its band, and what was held out and predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from pipeline.analysis.laws import Finding, Law
from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.results.cell_table import Sheet

AXES = {
    "parameters": "parameters", "parameters_non_embedding": "parameters without embeddings",
    "train_examples": "training examples", "train_flops": "FLOPs of the training",
}  # fmt: skip
NAMES = {"train_examples": "data", "train_flops": "compute"}
BEYOND = 2  # times the largest x, up to which a law is drawn
STEPS = 40  # places of a curve
MEASURED, PREDICTED = "measured, mean over seeds", "predicted by the law without it"
TOLD = {"cell": "cell", "what": "what", "at": "at", "value": "value", "interval": "95%", "truth": "measured"}


@dataclass(frozen=True)
class Curve:
    """One line of a law: the places (points, axes), its values and band, and how far the data reach along x."""

    at: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reach: float
    shade: str


def of_findings(findings: Sequence[Finding], size: str) -> list[Figure]:
    """Return a figure for each question of the findings: size, data, compute, size and data together.

    A finding none of whose places a logarithmic axis can show, such as an error of 0, has no panel.
    """
    measured = [finding for finding in findings if _points(finding)]
    asked: list[tuple[str, ...]] = [(size,), ("train_examples",), ("train_flops",)]
    asked += dict.fromkeys(found.question.axes for found in measured if len(found.question.axes) > 1)
    chosen = [[found for found in measured if found.question.axes == across] for across in asked]
    return [_figure(of_axes) for of_axes in chosen if of_axes]


def determined(law: Law) -> bool:
    """Say whether the data tell every exponent: a coefficient is the value at x = 1, far from what is drawn."""
    return all(one.determined for one in law.parameters if one.name in law.shape.exponents)


def _figure(found: Sequence[Finding]) -> Figure:
    across = found[0].question.axes
    names = [NAMES.get(axis, "size") for axis in across]
    title = f"Laws of {' and '.join(names)}"
    shades = list(dict.fromkeys(_shade(at) for at in sorted({p.at[1:] for f in found for p in f.points})))
    panels = [_panel(finding, shades) for finding in found]
    selections = [panel.POINTED, panel.legend(panel.SHADE, "shade"), panel.legend(panel.KIND, "family")]
    words = f"Loss and error (1 - score) against {' and '.join(AXES[axis] for axis in across)}, with the chosen law."
    how = (
        "Points: mean over seeds, small ones single seeds. Line: the law that predicted best what was held out, dashed "
        f"beyond the data, up to {BEYOND} times the largest; shaded: its 95% interval, left out where the data do not "
        "determine its exponents. Crosses: the largest cells as predicted from the others, with 95% intervals; they "
        "chose the law, so its error on other cells is larger."
    )
    numbers = Sheet(f"{title}: the numbers", ("task", "of", *TOLD.values()), [row for f in found for row in _rows(f)])
    name = f"laws-of-{'-and-'.join(names)}"
    spec = figure.beside(panels, selections)
    return Figure(name, title, f"{words} {how} {_said(found)}".strip(), f"{words} {_seen(found)}", spec, numbers)


def _panel(found: Finding, shades: Sequence[str]) -> dict[str, Any]:
    points, seeds, predicted = _points(found), _seeds(found), _predicted(found)
    curves = _curves(found)
    drawn = [place for curve in curves for place in _line(curve)]
    reach = [point["x"] for point in points] + [place["x"] for place in drawn]
    heights = [p["y"] for p in (*points, *seeds, *predicted, *drawn)]
    across = axes.logarithmic(AXES[found.question.axes[0]], reach, ",~s")
    up = axes.logarithmic(found.question.target, heights, "~g", air=0.12)
    color = alt.Color(
        "shade", type="ordinal", title="training examples", sort=None, scale=alt.Scale(domain=[*shades]),
        legend=alt.Legend() if len(shades) > 1 else None,
    )  # fmt: skip
    layers = [
        *_law(drawn, across, up, color),
        *_marks(points, seeds, predicted, across, up, color),
        panel.pointed([*points, *predicted], across, up, TOLD),
    ]
    title = f"{found.question.task}: {found.question.target}, {found.question.condition}"
    return figure.layered(layers, {"text": title, "subtitle": _verdict(found)}, width=panel.WIDTH, height=panel.HEIGHT)


def _law(drawn: list[dict[str, Any]], across: Axis, up: Axis, color: alt.Color) -> list[alt.Chart]:
    base = alt.Chart(panel.values(drawn)).encode(across.x(), color, panel.chosen((panel.HOVER, panel.SHADE)))
    band = base.transform_filter("isValid(datum.low)").mark_area(style="band", clip=True, line=False)
    line = base.mark_line(clip=True).encode(up.y(), detail=alt.Detail("line:N"))
    return [
        band.encode(up.y("low"), y2=alt.Y2("high"), detail=alt.Detail("line:N")),
        line.transform_filter("!datum.beyond"),
        line.mark_line(clip=True, strokeDash=[5, 3]).transform_filter("datum.beyond || datum.last"),
    ]


def _marks(
    points: list[dict[str, Any]], seeds: list[dict[str, Any]], predicted: list[dict[str, Any]], across: Axis, up: Axis,
    color: alt.Color,
) -> list[alt.Chart]:  # fmt: skip
    held = panel.chosen((panel.HOVER, panel.SHADE, panel.KIND))
    scale = alt.Scale(domain=[MEASURED, PREDICTED], range=["circle", "cross"])
    shape = alt.Shape("family", type="nominal", title=None, scale=scale)

    def base(data: list[dict[str, Any]]) -> alt.Chart:
        return alt.Chart(panel.values(data)).encode(across.x(), up.y(), color, held)

    marks = [
        base(seeds).mark_point(filled=True, size=9),
        base(points).mark_point(filled=True, size=55).encode(shape),
    ]
    if predicted:
        bars = base(predicted).transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.2, clip=True)
        marks += [
            bars.encode(up.y("low"), y2=alt.Y2("high")),
            base(predicted).mark_point(filled=True, size=85).encode(shape),
        ]
    return marks


def _common(found: Finding, cell: str, at: Sequence[float]) -> dict[str, Any]:
    """Return what every mark at a place has."""
    told = ", ".join(
        f"{formatting.amount(value)} {AXES[axis]}" for axis, value in zip(found.question.axes, at, strict=True)
    )
    return {"x": at[0], "shade": _shade(at[1:]), "line": _shade(at[1:]), "cell": cell, "at": told}


def _points(found: Finding) -> list[dict[str, Any]]:
    """Return the mean of each place that a logarithmic axis can show."""
    return [
        {
            **_common(found, point.cell, point.at), "y": point.mean, "family": MEASURED, "what": MEASURED,
            "value": formatting.digits(point.mean), "interval": "", "truth": formatting.digits(point.mean),
        }
        for point in found.points
        if 0 < point.mean < math.inf
    ]  # fmt: skip


def _seeds(found: Finding) -> list[dict[str, Any]]:
    return [
        {**_common(found, point.cell, point.at), "y": value, "family": MEASURED}
        for point in found.points
        for value in point.values
        if 0 < value < math.inf
    ]


def _predicted(found: Finding) -> list[dict[str, Any]]:
    """Return what the chosen law, fitted to the other cells, predicts of those that were held out."""
    marks = []
    for held in found.held_out:
        known = held.predicted.get(found.law.form) if found.law else None
        if known is None:
            continue
        columns = (held.cells, held.at, held.truth, known.values, known.low, known.high)
        for cell, at, truth, value, low, high in zip(*columns, strict=True):
            bound = low > 0 and np.isfinite(high)
            marks.append({
                **_common(found, cell, at), "y": value, "low": low if bound else None, "high": high if bound else None,
                "family": PREDICTED, "what": f"{PREDICTED}; largest {AXES[held.axis]} held out",
                "value": formatting.digits(value), "interval": formatting.interval(low, high) if bound else "not known",
                "truth": formatting.digits(truth),
            })  # fmt: skip
    return [mark for mark in marks if mark["y"] > 0]


def _curves(found: Finding) -> list[Curve]:
    """Return the law's lines over x, one for each place of the other axis."""
    if found.law is None:
        return []
    reach = max(point.at[0] for point in found.points)
    x = np.geomspace(min(point.at[0] for point in found.points), BEYOND * reach, STEPS)
    x = np.unique([*x, reach])  # where the line turns into dashes
    curves, unknown = [], (np.zeros(len(x)), np.full(len(x), np.inf))
    for others in sorted({point.at[1:] for point in found.points}):
        at = np.column_stack([x, *(np.full(len(x), other) for other in others)])
        low, high = found.law.band(at) if determined(found.law) else unknown
        curves.append(Curve(at, found.law.predict(at), low, high, reach, _shade(others)))
    return curves


def _line(curve: Curve) -> list[dict[str, Any]]:
    found = []
    for at, value, low, high in zip(curve.at, curve.values, curve.low, curve.high, strict=True):
        bound = low > 0 and np.isfinite(high)
        ends = {"low": float(low), "high": float(high)} if bound else {}
        found.append({
            "x": float(at[0]), "y": float(value), **ends, "shade": curve.shade, "line": curve.shade,
            "beyond": bool(at[0] > curve.reach), "last": bool(at[0] == curve.reach),
        })  # fmt: skip
    return found


def _shade(others: Sequence[float]) -> str:
    """Return what tells the lines of a panel from each other, of which a law in one axis has one."""
    return ", ".join(f"{value:,.0f}" for value in others) or "law"


def _verdict(found: Finding) -> str:
    """Return in a few words what the panel's law is."""
    if found.law is None:
        return "no law: " + ("refused, see below" if found.refused else "nothing to fit")
    known = ", ".join(f"{one.name} = {formatting.digits(one.value)}" for one in found.law.parameters if one.determined)
    open_ = ", ".join(one.name for one in found.law.parameters if not one.determined)
    parts = [found.law.formula, known, f"{open_} not determined" if open_ else ""]
    return "; ".join(part for part in parts if part)


def _said(found: Sequence[Finding]) -> str:
    """Return what the caption says of single panels: refusals with their reasons, and baselines that did better."""
    told: dict[str, list[str]] = {}
    for finding in found:
        said = [f"{form} refused ({why})" for form, why in finding.refused.items()]
        if finding.law and not determined(finding.law):
            said.append("no band, since the data do not determine the exponents")
        if finding.beaten_by:
            said.append(f"a {' and a '.join(finding.beaten_by)} predicted the held-out cells better than the law")
        for text in said:
            told.setdefault(text, []).append(f"{finding.question.task} ({finding.question.target})")
    return " ".join(f"{' and '.join(where)}: {text}." for text, where in told.items())


def _seen(found: Sequence[Finding]) -> str:
    """Say what each panel shows for those who cannot see it."""
    said = []
    for finding in found:
        ends = [formatting.digits(point.mean) for point in (finding.points[0], finding.points[-1])]
        where = f"{finding.question.task}, {finding.question.target}"
        said.append(f"{where}: {ends[0]} at the smallest place, {ends[1]} at the largest; {_verdict(finding)}.")
    return " ".join(said)


def _rows(found: Finding) -> list[list[str]]:
    marks = [*_points(found), *_predicted(found)]
    return [[found.question.task, found.question.target, *(mark[name] for name in TOLD)] for mark in marks]
