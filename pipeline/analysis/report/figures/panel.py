"""What the panels of several figures have: lines with intervals that answer to the pointer, baselines, names at ends.

A family is told apart by the shape and the filling of its points and by the dash of its lines; how much there is of
something (size, data) by shades. Where several values stand at one place of x they are shifted against each other.
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
from pipeline.analysis.report.figures.figure import REACHED

WIDTH, HEIGHT = 400, 280  # pixels; the page gives panels another width
SLANT, NAMES_APART = 40, 0.06  # names below a panel: degrees; a share of its width from one to the next
LETTER, LINE = 5.6, 14  # pixels of a letter's width, about, and from one line of words to the next
DASHES: dict[str, list[float]] = {"pretrained": [1, 0], "fresh": [6, 3], "random": [1.5, 3]}
SHAPES = {"pretrained": "circle", "fresh": "diamond", "random": "square"}
DIM = 0.12  # what the pointer or the legend did not choose
HOVER, SHADE, KIND = "pointed", "shades", "kinds"  # selections: one line; legends' entries

POINTED: dict[str, Any] = {
    "name": HOVER, "select": {"type": "point", "on": "pointerover", "clear": "pointerout", "fields": ["line"]},
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """What stands right of a panel at the end of a line."""

    x: float
    y: float
    text: str
    line: str = ""
    shade: str | None = None


def legend(name: str, field: str) -> dict[str, Any]:
    """Return a selection by a click on the entries of a field's legend."""
    return {"name": name, "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def chosen(names: Sequence[str], hidden: float = DIM) -> alt.OpacityValue:
    """Return the opacity of what all the selections hold; a selection holds everything until it is used."""
    test = {"and": [{"param": name} for name in names]}
    return alt.OpacityValue(hidden, condition={"test": test, "value": 1})


def shades(title: str, names: Sequence[str]) -> alt.Color:
    """Return the colour of what there is less or more of, from the least."""
    return alt.Color("shade", type="ordinal", title=title, sort=None, scale=alt.Scale(domain=[*names]))


def dash() -> alt.StrokeDashValue:
    """Return the dash of a family's lines; as a scale it would have a legend beside that of the shapes."""
    first, *others = DASHES.items()
    conditions = [{"test": f"datum.family == '{family}'", "value": lengths} for family, lengths in others]
    return alt.StrokeDashValue(first[1], condition=conditions)


def shape(families: Sequence[str]) -> alt.Shape:
    """Return the shape of a family's points."""
    scale = alt.Scale(domain=[*families], range=[SHAPES[family] for family in families])
    return alt.Shape("family", type="nominal", title=None, scale=scale, legend=_legend(families))


def _legend(families: Sequence[str]) -> alt.Legend | None:
    """Return the legend of families, where there are several: filled as the points are."""
    if len(families) < 2:
        return None
    return alt.Legend(symbolFillColor=alt.expr("datum.value === 'pretrained' ? soft : page"))


def values(points: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Return points as the data of a layer, in a text that altair need not copy again and again."""
    return alt.InlineData(values=json.dumps([*points]))


def short(cells: Sequence[str], task: str) -> dict[str, str]:
    """Return the cells' names without their task's, where no two become the same."""
    without = [cell.removeprefix(f"{task}-") for cell in cells]
    return dict(zip(cells, without if len(set(without)) == len(set(cells)) else cells, strict=True))


def drawn(marks: alt.Chart, *encodings: Any, **others: Any) -> alt.Chart:
    """Return marks with their encodings, as what altair does not say they are: a chart."""
    chart: alt.Chart = marks.encode(*encodings, **others)
    return chart


def heights(points: Iterable[dict[str, Any]]) -> list[float]:
    """Return all that the y axis of points and their intervals is to hold."""
    return [point[end] for point in points for end in ("y", "low", "high") if point[end] is not None]


def lines(
    points: Sequence[dict[str, Any]], across: Axis, up: Axis, color: alt.Color, families: Sequence[str],
    told: dict[str, str],
) -> list[alt.Chart]:  # fmt: skip
    """Return the layers of lines through points with their intervals.

    A point has ``x``, ``y``, ``low`` and ``high`` (None without an interval), ``line``, ``shade``, ``family``, and a
    text for each field that ``told`` gives a title: what is said where one points at it.
    """
    base = alt.Chart(values(points)).encode(across.x(), up.y(), color, chosen((HOVER, SHADE, KIND)))
    marks = base.encode(shape(families))
    return [
        base.mark_rule(strokeWidth=1.3).transform_filter("isValid(datum.low)").encode(up.y("low"), y2=alt.Y2("high")),
        base.mark_line().encode(dash(), detail=alt.Detail("line:N")),
        marks.mark_point(filled=True, size=50).transform_filter("datum.family == 'pretrained'"),
        marks.mark_point(fill=alt.expr("page"), size=42).transform_filter("datum.family != 'pretrained'"),
        pointed(points, across, up, told),
    ]


def pointed(points: Sequence[dict[str, Any]], across: Axis, up: Axis, told: dict[str, str]) -> alt.Chart:
    """Return unseen marks, larger than the points, that answer to the pointer."""
    tips = [alt.Tooltip(field, type="nominal", title=title) for field, title in told.items()]
    unseen = alt.Chart(values(points), name=REACHED).mark_point(filled=True, size=260, opacity=0, aria=False)
    return drawn(unseen, across.x(), up.y(), alt.Detail("line:N"), tooltip=tips)


def level(y: float, up: Axis) -> alt.Chart:
    """Return a dashed line through a panel."""
    return drawn(alt.Chart(values([{"y": y}])).mark_rule(style="baseline"), up.y())


def ends(found: Sequence[End], across: Axis, up: Axis, color: alt.Color | None = None) -> list[alt.Chart]:
    """Return names right of a panel, pushed apart where lines end close to each other, with threads to the ends.

    Of more names than there is room for some stand for all, evenly over the ends.
    """
    gap = max(end.text.count("\n") + 1 for end in found) * LINE / HEIGHT
    ranked = sorted(found, key=lambda end: end.y)
    found = [ranked[place] for place in fitting(len(ranked), gap)]
    places = axes.apart([up.share(end.y) for end in found], gap)
    data = values(
        {"x": end.x, "y": end.y, "side": across.high, "place": up.at(place), "text": end.text.split("\n"),
         "line": end.line, "shade": end.shade}
        for end, place in zip(found, places, strict=True)
    )  # fmt: skip
    held = chosen((HOVER, SHADE)) if color else alt.OpacityValue(1)
    thread = (
        alt.Chart(data)
        .mark_rule(style="leader")
        .encode(across.x(), up.y(), held, x2=alt.X2("side"), y2=alt.Y2("place"))
    )
    name = alt.Chart(data).mark_text(align="left", baseline="middle", dx=7, lineHeight=12)
    return [
        thread.encode(color) if color else thread,
        name.encode(across.x("side"), up.y("place"), held, text=alt.Text("text:N")),
    ]


def fitting(count: int, gap: float) -> range:
    """Return which of so many names fit between 0 and 1 with a gap between neighbours, evenly over their order."""
    return range(0, count, math.ceil(count / (1 // gap + 1)))


def names(named: dict[float, str], across: Axis) -> list[alt.Chart]:
    """Return the names of models below their places, pushed apart where sizes are close, some where they are many."""
    items = [*named.items()]
    named = dict(items[place] for place in fitting(len(items), NAMES_APART))
    places = axes.apart([across.share(number) for number in named], NAMES_APART)
    data = values(
        {"x": number, "place": across.at(place), "name": name}
        for (number, name), place in zip(named.items(), places, strict=True)
    )
    below = HEIGHT + 12
    level = replace(across, labels=False)
    thread = alt.Chart(data).mark_rule(strokeWidth=0.6)
    ends = {"x2": alt.X2("place"), "y": alt.value(HEIGHT), "y2": alt.value(below)}
    name = alt.Chart(data).mark_text(angle=360 - SLANT, align="right", baseline="middle")
    return [
        thread.encode(level.x(), **ends),
        name.encode(level.x("place"), y=alt.value(below + 3), text=alt.Text("name:N")),
    ]
