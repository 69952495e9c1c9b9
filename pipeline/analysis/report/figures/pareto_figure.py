"""Score against each cost: uncompressed models, students and compressions, the Pareto front, and sources of cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from pipeline.analysis.recommendation.pareto import FrontPoint, ParetoFront
from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.tables.table import Table, create_columns
from pipeline.analysis.results.cell_table import CellRow

COSTS = {
    "parameters": "parameters", "parameters_nonzero": "parameters that are not zero",
    "storage_bytes": "bytes stored", "latency_p50_ms": "latency p50, ms",
    "inference_flops": "FLOPs of a forward pass", "train_flops": "FLOPs of the training",
    "train_seconds": "seconds of training",
}  # fmt: skip
TIMES = ("latency_p50_ms", "train_seconds")  # shown without SI prefixes
Side = Literal["left", "right"]
KINDS = {"uncompressed": "circle", "student": "triangle-up", "compressed": "square"}
TOOLTIPS = {"cell": "cell", "kind": "kind", "source": "source", "score": "score", "interval": "95%", "paid": "cost",
            "sure": "on the front"}  # fmt: skip
NAME_GAP = 5  # pixels between a mark and its name
MIN_PROBABILITY = 0.5  # of being on the front, for a name in the figure
SUMMARY = "Uncompressed models, students and compressions in one figure, one panel per cost."
EXPLANATION = (
    "Step: the Pareto front, whose cells no other beats in both score and cost. A fuller mark is more probably on the "
    "front for new examples and seeds. Thin lines connect a cell to the students and compressions derived from it. "
    "Bars: 95% intervals."
)


def create_figures(fronts: Sequence[ParetoFront], rows: Sequence[CellRow]) -> list[Figure]:
    """Return a figure for each task, with a panel for each cost and the cells that have it."""
    tasks = list(dict.fromkeys(front.task for front in fronts))
    return [_create_figure(task, [front for front in fronts if front.task == task], rows) for task in tasks]


def _create_figure(task: str, fronts: Sequence[ParetoFront], rows: Sequence[CellRow]) -> Figure:
    by_cell = {row.cell: row for row in rows if row.task == task}
    marks = {
        front.cost: [_create_mark(place, front, by_cell) for place in (*front.members, *front.others)]
        for front in fronts
    }
    metric = formatting.format_metric(next(iter(by_cell.values())).score_name)
    panels = [_create_panel(front, marks[front.cost], metric) for front in fronts]
    selections = [panel.HOVER_SELECTION, panel.create_legend_selection(panel.KIND, "kind")]
    title = f"{task}: score against each cost"
    members = [f"{COSTS[front.cost]}: {', '.join(place.cell for place in front.members)}" for front in fronts]
    alt_text = f"{SUMMARY} On the front, the cheapest first, of {'; of '.join(members)}."
    numbers = [{"against": COSTS[cost], **mark} for cost, of_cost in marks.items() for mark in of_cost]
    table = Table(f"{title}: numbers", create_columns({"against": "against", **TOOLTIPS}), numbers)
    name = f"fronts-{re.sub('[^A-Za-z0-9._-]+', '-', task)}"
    spec = figure.merge_panels(panels, selections)
    return Figure(name, title, f"{SUMMARY} {EXPLANATION}", alt_text, spec, table)


def _create_mark(place: FrontPoint, front: ParetoFront, by_cell: dict[str, CellRow]) -> dict[str, Any]:
    """Return the mark of a cell, with the position of its source if that has the same cost."""
    row = by_cell[place.cell]
    sources = {by_cell[other.cell].producer: other for other in (*front.members, *front.others)}
    source = sources.get(row.source or "")
    return {
        "x": place.cost, "y": 100 * place.score,
        "low": None if place.low is None else 100 * place.low,
        "high": None if place.high is None else 100 * place.high,
        "left": place.cost_low, "right": place.cost_high,
        "from_x": source.cost if source else None, "from_y": 100 * source.score if source else None,
        "line": place.cell, "cell": place.cell, "kind": _get_kind(row), "source": row.source or "",
        "member": place in front.members,
        "probability": place.probability or 0.0,  # Vega-Lite leaves out marks without a number
        "score": formatting.format_points(place.score),
        "interval": formatting.format_score_interval(place.low, place.high),
        "paid": formatting.format_amount(place.cost), "sure": formatting.format_percent(place.probability),
    }  # fmt: skip


def _get_kind(row: CellRow) -> str:
    return {"distill": "student", "compress": "compressed"}.get(row.section, "uncompressed")


def _create_panel(front: ParetoFront, marks: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    costs = [mark[end] for mark in marks for end in ("x", "left", "right")]
    x_axis = axes.create_log_axis("", costs, "~g" if front.cost in TIMES else "~s")
    y_axis = axes.create_linear_axis(metric, panel.collect_heights(marks))
    x, y, low, color = x_axis.encode_x(), y_axis.encode_y(), y_axis.encode_y("low"), _create_color()
    base = alt.Chart(panel.create_data(marks))
    points = base.mark_point(size=58, filled=False)
    opacity = panel.create_opacity((panel.HOVER, panel.KIND))
    faint = panel.create_opacity((panel.HOVER, panel.KIND), 0.06)
    bars = base.mark_rule(strokeWidth=1, strokeOpacity=0.45)
    sources = base.transform_filter("isValid(datum.from_x)").mark_rule(style="leader", strokeWidth=1)
    from_x, from_y = x_axis.encode_x("from_x"), y_axis.encode_y("from_y")
    layers = [
        _draw_front(front, x_axis, y_axis),
        sources.encode(from_x, from_y, faint, x2=alt.X2("x"), y2=alt.Y2("y")),
        bars.transform_filter("isValid(datum.low)").encode(x, low, faint, color, y2=alt.Y2("high")),
        bars.encode(x_axis.encode_x("left"), y, faint, color, x2=alt.X2("right")),
        points.encode(x, y, opacity, color, *_create_mark_encodings()),
        *_draw_names(marks, front.task, x_axis, y_axis),
        panel.draw_hover_targets(marks, x_axis, y_axis, TOOLTIPS),
    ]
    return figure.merge_layers(layers, COSTS[front.cost], width=panel.WIDTH, height=panel.HEIGHT)


def _create_color() -> alt.Color:
    return alt.Color("kind", type="ordinal", title=None, sort=None, scale=alt.Scale(domain=[*KINDS]))


def _create_mark_encodings() -> list[Any]:
    """Return shape by kind and filling by the probability of being on the front; unknown ones are hollow."""
    scale = alt.Scale(domain=[*KINDS], range=[*KINDS.values()])
    legend = alt.Legend(title="on the front with probability", format="%", values=[0, 0.5, 1], symbolType="circle")
    filling = alt.FillOpacity(
        "probability", type="quantitative", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=legend
    )
    fill = alt.Fill("kind", type="ordinal", title=None, sort=None, scale=alt.Scale(domain=[*KINDS]))
    return [alt.Shape("kind", type="nominal", title=None, sort=None, scale=scale), fill, filling]


def _draw_front(front: ParetoFront, x_axis: Axis, y_axis: Axis) -> alt.Chart:
    """Return the front as a step line: the best score at each cost."""
    corners = [{"x": place.cost, "y": 100 * place.score} for place in front.members]
    last = [{"x": x_axis.high, "y": corners[-1]["y"]}] if corners else []
    step = alt.Chart(panel.create_data([*corners, *last])).mark_line(interpolate="step-after", strokeWidth=1.4)
    return panel.encode_chart(step, x_axis.encode_x(), y_axis.encode_y())


def _draw_names(marks: list[dict[str, Any]], task: str, x_axis: Axis, y_axis: Axis) -> list[alt.Chart]:
    """Return the names of cells that are probably on the front, where they do not overlap."""
    short = panel.format_short_names([mark["cell"] for mark in marks], task)
    positions = {
        mark["cell"]: (panel.WIDTH * x_axis.get_share(mark["x"]), panel.HEIGHT * y_axis.get_share(mark["y"]))
        for mark in marks
    }
    occupied = [(x - NAME_GAP, x + NAME_GAP, y - NAME_GAP) for x, y in positions.values()]  # start, end, foot
    sides: dict[Side, list[dict[str, Any]]] = {"right": [], "left": []}
    likely = [mark for mark in marks if mark["member"] or mark["probability"] >= MIN_PROBABILITY]
    for mark in sorted(likely, key=lambda mark: -mark["probability"]):
        (x, y), width = positions[mark["cell"]], panel.LETTER_WIDTH * len(short[mark["cell"]])
        starts: dict[Side, float] = {"right": x - width - NAME_GAP, "left": x + NAME_GAP}
        for align, start in starts.items():
            end, height = start + width, y + NAME_GAP
            free = all(
                end <= left or start >= right or abs(height - foot) > panel.LINE_HEIGHT
                for left, right, foot in occupied
            )
            if free and start > 0:
                occupied.append((start, end, height))
                sides[align].append({**mark, "name": short[mark["cell"]]})
                break
    return [_draw_text(named, align, x_axis, y_axis) for align, named in sides.items() if named]


def _draw_text(named: list[dict[str, Any]], align: Side, x_axis: Axis, y_axis: Axis) -> alt.Chart:
    shift = -NAME_GAP if align == "right" else NAME_GAP
    mark = alt.Chart(panel.create_data(named)).mark_text(align=align, baseline="bottom", dx=shift, dy=-4)
    opacity = panel.create_opacity((panel.HOVER, panel.KIND))
    return panel.encode_chart(mark, x_axis.encode_x(), y_axis.encode_y(), opacity, text=alt.Text("name:N"))
