"""Parts that panels of several figures share: lines with intervals, hover targets, baselines, labels.

Model families differ in the shape and filling of points and in the dash of lines; amounts (size, data) differ in shade.
Values at the same x are shifted against each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from pipeline.analysis.report.figures import axes
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import HOVER_LAYER

WIDTH, HEIGHT = 400, 280  # pixels; the page may scale panels
MODEL_NAME_ANGLE, MODEL_NAME_GAP = 40, 0.06  # below a panel: degrees; distance as a share of its width
LETTER_WIDTH, LINE_HEIGHT = 5.6, 14  # pixels, approximately
DASHES: dict[str, list[float]] = {"pretrained": [1, 0], "fresh": [6, 3], "random": [1.5, 3]}
SHAPES = {"pretrained": "circle", "fresh": "diamond", "random": "square"}
DIM = 0.12  # opacity of marks that are not selected
HOVER, SHADE, KIND = "pointed", "shades", "kinds"  # names of selections: one line; entries of legends

HOVER_SELECTION: dict[str, Any] = {
    "name": HOVER, "select": {"type": "point", "on": "pointerover", "clear": "pointerout", "fields": ["line"]},
}  # fmt: skip


@dataclass(frozen=True)
class LineLabel:
    """A text to the right of a panel, at the end of a line."""

    x: float
    y: float
    text: str
    line: str = ""
    shade: str | None = None


def create_legend_selection(name: str, field: str) -> dict[str, Any]:
    """Return a selection by a click on the entries of a field's legend."""
    return {"name": name, "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def create_opacity(names: Sequence[str], dim: float = DIM) -> alt.OpacityValue:
    """Return the opacity of marks: 1 if every selection contains them, else ``dim``; unused selections contain all."""
    test = {"and": [{"param": name} for name in names]}
    return alt.OpacityValue(dim, condition={"test": test, "value": 1})


def create_shade_color(title: str, names: Sequence[str]) -> alt.Color:
    """Return the colour of an amount; ``names`` are ordered from the smallest."""
    return alt.Color("shade", type="ordinal", title=title, sort=None, scale=alt.Scale(domain=[*names]))


def create_dash() -> alt.StrokeDashValue:
    """Return the dash of a family's lines; as a scale it would have a second legend."""
    first, *others = DASHES.items()
    conditions = [{"test": f"datum.family == '{family}'", "value": lengths} for family, lengths in others]
    return alt.StrokeDashValue(first[1], condition=conditions)


def create_shape(families: Sequence[str]) -> alt.Shape:
    """Return the shape of a family's points."""
    scale = alt.Scale(domain=[*families], range=[SHAPES[family] for family in families])
    return alt.Shape("family", type="nominal", title=None, scale=scale, legend=_create_family_legend(families))


def _create_family_legend(families: Sequence[str]) -> alt.Legend | None:
    """Return the legend of several families, with symbols filled like the points."""
    if len(families) < 2:
        return None
    return alt.Legend(symbolFillColor=alt.expr("datum.value === 'pretrained' ? soft : page"))


def create_data(points: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Return points as the data of a layer, as JSON text because altair copies other forms repeatedly."""
    return alt.InlineData(values=json.dumps([*points]))


def format_short_names(cells: Sequence[str], task: str) -> dict[str, str]:
    """Return the names of cells without the task's prefix, unless two names would become equal."""
    without = [cell.removeprefix(f"{task}-") for cell in cells]
    return dict(zip(cells, without if len(set(without)) == len(set(cells)) else cells, strict=True))


def encode_chart(marks: alt.Chart, *encodings: Any, **others: Any) -> alt.Chart:
    """Return marks with their encodings, typed as a chart, which altair's own annotation lacks."""
    chart: alt.Chart = marks.encode(*encodings, **others)
    return chart


def collect_heights(points: Iterable[dict[str, Any]]) -> list[float]:
    """Return every y value of points and their intervals."""
    return [point[end] for point in points for end in ("y", "low", "high") if point[end] is not None]


def draw_lines(
    points: Sequence[dict[str, Any]], x_axis: Axis, y_axis: Axis, color: alt.Color, families: Sequence[str],
    tooltips: dict[str, str],
) -> list[alt.Chart]:  # fmt: skip
    """Return the layers of lines through points with their intervals.

    A point has ``x``, ``y``, ``low`` and ``high`` (None without an interval), ``line``, ``shade``, ``family``, and a
    text for each field of ``tooltips``, which maps fields to titles.
    """
    opacity = create_opacity((HOVER, SHADE, KIND))
    base = alt.Chart(create_data(points)).encode(x_axis.encode_x(), y_axis.encode_y(), color, opacity)
    bars = base.mark_rule(strokeWidth=1.3).transform_filter("isValid(datum.low)")
    marks = base.encode(create_shape(families))
    return [
        bars.encode(y_axis.encode_y("low"), y2=alt.Y2("high")),
        base.mark_line().encode(create_dash(), detail=alt.Detail("line:N")),
        marks.mark_point(filled=True, size=50).transform_filter("datum.family == 'pretrained'"),
        marks.mark_point(fill=alt.expr("page"), size=42).transform_filter("datum.family != 'pretrained'"),
        draw_hover_targets(points, x_axis, y_axis, tooltips),
    ]


def draw_hover_targets(
    points: Sequence[dict[str, Any]], x_axis: Axis, y_axis: Axis, tooltips: dict[str, str]
) -> alt.Chart:
    """Return invisible marks, larger than the points, that react to the pointer."""
    tips = [alt.Tooltip(field, type="nominal", title=title) for field, title in tooltips.items()]
    targets = alt.Chart(create_data(points), name=HOVER_LAYER).mark_point(
        filled=True, size=260, opacity=0, aria=False
    )  # fmt: skip
    return encode_chart(targets, x_axis.encode_x(), y_axis.encode_y(), alt.Detail("line:N"), tooltip=tips)


def draw_level(y: float, y_axis: Axis) -> alt.Chart:
    """Return a dashed horizontal line through a panel."""
    return encode_chart(alt.Chart(create_data([{"y": y}])).mark_rule(style="baseline"), y_axis.encode_y())


def draw_line_labels(
    labels: Sequence[LineLabel], x_axis: Axis, y_axis: Axis, color: alt.Color | None = None
) -> list[alt.Chart]:
    """Return labels right of a panel without overlap, connected to the ends of their lines.

    If there is not enough space for all, some are shown, evenly over the ends.
    """
    gap = max(label.text.count("\n") + 1 for label in labels) * LINE_HEIGHT / HEIGHT
    ranked = sorted(labels, key=lambda label: label.y)
    labels = [ranked[index] for index in select_fitting(len(ranked), gap)]
    positions = axes.resolve_overlaps([y_axis.get_share(label.y) for label in labels], gap)
    data = create_data(
        {"x": label.x, "y": label.y, "side": x_axis.high, "place": y_axis.get_value(position),
         "text": label.text.split("\n"), "line": label.line, "shade": label.shade}
        for label, position in zip(labels, positions, strict=True)
    )  # fmt: skip
    opacity = create_opacity((HOVER, SHADE)) if color else alt.OpacityValue(1)
    leader = (
        alt.Chart(data)
        .mark_rule(style="leader")
        .encode(x_axis.encode_x(), y_axis.encode_y(), opacity, x2=alt.X2("side"), y2=alt.Y2("place"))
    )
    text = alt.Chart(data).mark_text(align="left", baseline="middle", dx=7, lineHeight=12)
    return [
        leader.encode(color) if color else leader,
        text.encode(x_axis.encode_x("side"), y_axis.encode_y("place"), opacity, text=alt.Text("text:N")),
    ]


def select_fitting(count: int, gap: float) -> range:
    """Return the indices of labels that fit between 0 and 1 with ``gap`` between neighbours, evenly over all."""
    return range(0, count, math.ceil(count / (1 // gap + 1)))


def draw_model_names(names: dict[float, str], x_axis: Axis) -> list[alt.Chart]:
    """Return the names of models below their sizes without overlap; some of them if there are many."""
    items = [*names.items()]
    names = dict(items[index] for index in select_fitting(len(items), MODEL_NAME_GAP))
    positions = axes.resolve_overlaps([x_axis.get_share(size) for size in names], MODEL_NAME_GAP)
    data = create_data(
        {"x": size, "place": x_axis.get_value(position), "name": name}
        for (size, name), position in zip(names.items(), positions, strict=True)
    )
    below = HEIGHT + 12
    unlabelled = replace(x_axis, labels=False)
    leader = alt.Chart(data).mark_rule(strokeWidth=0.6)
    ends = {"x2": alt.X2("place"), "y": alt.value(HEIGHT), "y2": alt.value(below)}
    text = alt.Chart(data).mark_text(angle=360 - MODEL_NAME_ANGLE, align="right", baseline="middle")
    return [
        leader.encode(unlabelled.encode_x(), **ends),
        text.encode(unlabelled.encode_x("place"), y=alt.value(below + 3), text=alt.Text("name:N")),
    ]
