"""Score against each cost: plain sizes, students and compressions together, the front, and what was made of what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from pipeline.analysis.recommendation.pareto import Front, Place
from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.results.cell_table import Row, Sheet

COSTS = {
    "parameters": "parameters", "parameters_nonzero": "parameters that are not zero",
    "storage_bytes": "bytes stored", "latency_p50_ms": "latency p50, ms",
    "inference_flops": "FLOPs of a forward pass", "train_flops": "FLOPs of the training",
    "train_seconds": "seconds of training",
}  # fmt: skip
TIMES = ("latency_p50_ms", "train_seconds")  # as they are: thousandths of a millisecond would be no unit
Side = Literal["left", "right"]
KINDS = {"plain": "circle", "student": "triangle-up", "compressed": "square"}
TOLD = {"cell": "cell", "kind": "kind", "source": "made of", "score": "score", "interval": "95%", "paid": "cost",
        "sure": "on the front"}  # fmt: skip
GAP = 5  # pixels between a mark and its name
SURE = 0.5  # least probability of being on the front for a name in the picture


def of_tasks(fronts: Sequence[Front], rows: Sequence[Row]) -> list[Figure]:
    """Return a figure for each task: a panel for each cost, with the cells that have it."""
    tasks = list(dict.fromkeys(front.task for front in fronts))
    return [_figure(task, [front for front in fronts if front.task == task], rows) for task in tasks]


def _figure(task: str, fronts: Sequence[Front], rows: Sequence[Row]) -> Figure:
    known = {row.cell: row for row in rows if row.task == task}
    marks = {front.cost: [_mark(place, front, known) for place in (*front.members, *front.others)] for front in fronts}
    metric = formatting.metric(next(iter(known.values())).score_name)
    panels = [_panel(front, marks[front.cost], metric) for front in fronts]
    selections = [panel.POINTED, panel.legend(panel.KIND, "kind")]
    title = f"{task}: score against each cost"
    words = "Plain sizes, students and compressions in one picture, a panel for each cost."
    how = (
        "Step: the front, whose cells no other beats in both score and cost. The fuller a mark, the more probably it "
        "is on the front for new examples and seeds. Thin lines lead from a cell to what was made of it or learned "
        "from it. Bars: 95% intervals."
    )
    members = [f"{COSTS[front.cost]}: {', '.join(place.cell for place in front.members)}" for front in fronts]
    seen = f"{words} On the front, the cheapest first, of {'; of '.join(members)}."
    lines = [[COSTS[cost], *(mark[name] for name in TOLD)] for cost, of_cost in marks.items() for mark in of_cost]
    numbers = Sheet(f"{title}: the numbers", ("against", *TOLD.values()), lines)
    name = f"fronts-{re.sub('[^A-Za-z0-9._-]+', '-', task)}"
    return Figure(name, title, f"{words} {how}", seen, figure.beside(panels, selections), numbers)


def _mark(place: Place, front: Front, known: dict[str, Row]) -> dict[str, Any]:
    """Return a cell's mark, with where its source stands where that has the same cost."""
    row = known[place.cell]
    there = {known[other.cell].made: other for other in (*front.members, *front.others)}
    source = there.get(row.source or "")
    return {
        "x": place.cost, "y": 100 * place.score,
        "low": None if place.low is None else 100 * place.low,
        "high": None if place.high is None else 100 * place.high,
        "left": place.cost_low, "right": place.cost_high,
        "from_x": source.cost if source else None, "from_y": 100 * source.score if source else None,
        "line": place.cell, "cell": place.cell, "kind": _kind(row), "source": row.source or "",
        "member": place in front.members,
        "probability": place.probability or 0.0,  # Vega-Lite leaves out marks without a number
        "score": formatting.points(place.score), "interval": formatting.between(place.low, place.high),
        "paid": formatting.amount(place.cost), "sure": formatting.percent(place.probability),
    }  # fmt: skip


def _kind(row: Row) -> str:
    return {"distill": "student", "compress": "compressed"}.get(row.section, "plain")


def _panel(front: Front, marks: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    places = [mark[end] for mark in marks for end in ("x", "left", "right")]
    across = axes.logarithmic("", places, "~g" if front.cost in TIMES else "~s")
    up = axes.linear(metric, panel.heights(marks))
    base = alt.Chart(panel.values(marks))
    points = base.mark_point(size=58, filled=False)
    held = panel.chosen((panel.HOVER, panel.KIND))
    faint = panel.chosen((panel.HOVER, panel.KIND), 0.06)
    bars = base.mark_rule(strokeWidth=1, strokeOpacity=0.45)
    sources = base.transform_filter("isValid(datum.from_x)").mark_rule(style="leader", strokeWidth=1)
    layers = [
        _step(front, across, up),
        sources.encode(across.x("from_x"), up.y("from_y"), faint, x2=alt.X2("x"), y2=alt.Y2("y")),
        bars.transform_filter("isValid(datum.low)").encode(across.x(), up.y("low"), faint, _color(), y2=alt.Y2("high")),
        bars.encode(across.x("left"), up.y(), faint, _color(), x2=alt.X2("right")),
        points.encode(across.x(), up.y(), held, _color(), *_looks()),
        *_names(marks, front.task, across, up),
        panel.pointed(marks, across, up, TOLD),
    ]
    return figure.layered(layers, COSTS[front.cost], width=panel.WIDTH, height=panel.HEIGHT)


def _color() -> alt.Color:
    return alt.Color("kind", type="ordinal", title=None, sort=None, scale=alt.Scale(domain=[*KINDS]))


def _looks() -> list[Any]:
    """Return shape by kind, and filling by the probability of being on the front; unknown ones are hollow."""
    scale = alt.Scale(domain=[*KINDS], range=[*KINDS.values()])
    legend = alt.Legend(title="on the front with probability", format="%", values=[0, 0.5, 1], symbolType="circle")
    filling = alt.FillOpacity(
        "probability", type="quantitative", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=legend
    )
    fill = alt.Fill("kind", type="ordinal", title=None, sort=None, scale=alt.Scale(domain=[*KINDS]))
    return [alt.Shape("kind", type="nominal", title=None, sort=None, scale=scale), fill, filling]


def _step(front: Front, across: Axis, up: Axis) -> alt.Chart:
    """Return the front as a step line: the best score that so much cost buys."""
    places = [{"x": place.cost, "y": 100 * place.score} for place in front.members]
    last = [{"x": across.high, "y": places[-1]["y"]}] if places else []
    step = alt.Chart(panel.values([*places, *last])).mark_line(interpolate="step-after", strokeWidth=1.4)
    return panel.drawn(step, across.x(), up.y())


def _names(marks: list[dict[str, Any]], task: str, across: Axis, up: Axis) -> list[alt.Chart]:
    """Return the names of cells that are likely on the front, as far as they fit beside each other."""
    short = panel.short([mark["cell"] for mark in marks], task)
    at = {m["cell"]: (panel.WIDTH * across.share(m["x"]), panel.HEIGHT * up.share(m["y"])) for m in marks}
    taken = [(x - GAP, x + GAP, y - GAP) for x, y in at.values()]  # start, end and foot of what is drawn already
    sides: dict[Side, list[dict[str, Any]]] = {"right": [], "left": []}
    likely = [mark for mark in marks if mark["member"] or mark["probability"] >= SURE]
    for mark in sorted(likely, key=lambda mark: -mark["probability"]):
        (x, y), wide = at[mark["cell"]], panel.LETTER * len(short[mark["cell"]])
        starts: dict[Side, float] = {"right": x - wide - GAP, "left": x + GAP}
        for align, start in starts.items():
            end, height = start + wide, y + GAP
            free = all(end <= left or start >= right or abs(height - foot) > panel.LINE for left, right, foot in taken)
            if free and start > 0:
                taken.append((start, end, height))
                sides[align].append({**mark, "name": short[mark["cell"]]})
                break
    return [_text(named, align, across, up) for align, named in sides.items() if named]


def _text(named: list[dict[str, Any]], align: Side, across: Axis, up: Axis) -> alt.Chart:
    away = -GAP if align == "right" else GAP
    mark = alt.Chart(panel.values(named)).mark_text(align=align, baseline="bottom", dx=away, dy=-4)
    return panel.drawn(mark, across.x(), up.y(), panel.chosen((panel.HOVER, panel.KIND)), text=alt.Text("name:N"))
