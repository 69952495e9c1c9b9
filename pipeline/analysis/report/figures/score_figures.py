"""Score against size, data and training compute, with 95% intervals: one panel per task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import altair as alt

from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.figures.panel import LineLabel
from pipeline.analysis.report.tables import training_cost_tables
from pipeline.analysis.report.tables.table import Table, create_columns
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import CellRow

TOOLTIPS = {
    "cell": "cell", "model": "model", "score": "score", "interval": "95%", "parameters": "parameters",
    "rows": "training examples", "flops": "FLOPs of training",
}  # fmt: skip
SIZES = {"parameters": "parameters", "parameters_non_embedding": "parameters without embeddings"}
MAX_SHIFT = 0.3  # of x, in total over all lines
EXPLANATION = (
    "Colours range from small to large along the legend. Bars: 95% interval over seeds and examples. Dashed: the best "
    "constant answer."
)


@dataclass(frozen=True)
class ScoreLine:
    """One line of a panel: rows ordered by x, label at its end, shade, and a factor that shifts it in x."""

    rows: list[CellRow]
    label: str  # empty if shade and shape identify the line
    shade: str
    shift: float = 1

    @property
    def name(self) -> str:
        """Return a key that is unique over the lines of all tasks."""
        return f"{self.rows[0].family} {self.shade} {self.label}"


@dataclass(frozen=True)
class FigureSpec:
    """What differs between these figures: texts, the field of x, lines, shades, and marks below a panel."""

    name: str
    title: str
    summary: str
    x_field: str
    legend: str
    shades: list[str]
    create_lines: Callable[[list[CellRow]], Iterable[ScoreLine]]
    create_x_axis: Callable[[list[CellRow]], Axis]
    draw_below: Callable[[list[CellRow], Axis], list[alt.Chart]] = lambda rows, x_axis: []


def create_figures(rows: Sequence[CellRow], size: str) -> list[Figure]:
    """Return the figures of the grid's cells that have results; ``size`` is the field of a row for model size."""
    counted = [row for row in training_cost_tables.select_counted(rows) if not row.section]
    figures = [create_size_figure(rows, size), create_data_figure(rows, size)] if select_shown(rows) else []
    return [*figures, create_compute_figure(counted, size)] if counted else figures


def create_size_figure(rows: Sequence[CellRow], size: str) -> Figure:
    """Return scores against model size, a line for each ratio, recipe and family."""
    ratios = sorted({row.ratio for row in select_shown(rows)})
    recipes = list(dict.fromkeys(row.recipe for row in select_shown(rows)))
    shades = {
        (ratio, recipe): _format_ratio(ratio) if len(recipes) == 1 else f"{_format_ratio(ratio)}, {recipe}"
        for ratio, recipe in product(ratios, recipes)
    }

    def create_lines(of_task: list[CellRow]) -> Iterable[ScoreLine]:
        first = list_families(of_task)[0]
        for index, (point, shade) in enumerate(shades.items()):
            for family in list_families(of_task):
                selected = [row for row in of_task if (row.ratio, row.recipe) == point and row.family == family]
                label = shade if family == first else ""
                yield ScoreLine(_sort_rows(selected, size), label, shade, _compute_shift(index, len(shades), 0.05))

    def create_x_axis(of_task: list[CellRow]) -> Axis:
        sizes = sorted({get_number(row, size) for row in of_task})
        longest = max(len(text) for text in format_models(of_task, size).values())
        padding = 14 + panel.LETTER_WIDTH * longest * math.sin(math.radians(panel.MODEL_NAME_ANGLE))
        return axes.create_log_axis(SIZES[size], sizes, ticks=tuple(sizes), labels=False, padding=padding)

    spec = FigureSpec(
        "score-against-size", "Score against size", "Score against size, a line for each share of the data.", size,
        "share of the data", [*shades.values()], create_lines, create_x_axis,
        lambda of_task, x_axis: panel.draw_model_names(format_models(of_task, size), x_axis),
    )  # fmt: skip
    return _create_figure(rows, spec)


def create_data_figure(rows: Sequence[CellRow], size: str) -> Figure:
    """Return scores against the number of training examples, a line for each model."""

    def create_x_axis(of_task: list[CellRow]) -> Axis:
        counts = sorted({get_number(row, "train_examples") for row in of_task})
        return axes.create_log_axis("training examples", counts, ",", ticks=tuple(counts))

    summary = "Score against training examples, a line for each model."
    spec = _create_model_spec(
        rows, size, "score-against-data", "data", summary, "train_examples", create_x_axis, max_shift=0.02
    )
    return _create_figure(rows, spec)


def create_compute_figure(rows: Sequence[CellRow], size: str) -> Figure:
    """Return scores against training FLOPs, a line for each model through its ratios."""

    def create_x_axis(of_task: list[CellRow]) -> Axis:
        return axes.create_log_axis("FLOPs of the training", (get_number(row, "train_flops") for row in of_task))

    summary = "Score against the FLOPs of the training, a line for each model through its shares of the data."
    spec = _create_model_spec(rows, size, "score-against-compute", "compute", summary, "train_flops", create_x_axis)
    return _create_figure(rows, spec)


def _create_model_spec(
    rows: Sequence[CellRow], size: str, name: str, quantity: str, summary: str, x_field: str,
    create_x_axis: Callable[[list[CellRow]], Axis], max_shift: float = 0,
) -> FigureSpec:  # fmt: skip
    """Return a specification with one line per model; models of equal size share a shade and are shifted in x."""
    shades = format_models(select_shown(rows), size)

    def create_lines(of_task: list[CellRow]) -> Iterable[ScoreLine]:
        lines = sorted({(get_number(row, size), row.line, row.family) for row in of_task})
        for index, (number, label, _) in enumerate(lines):
            selected = [row for row in of_task if row.line == label]
            shift = _compute_shift(index, len(lines), max_shift)
            yield ScoreLine(_sort_rows(selected, x_field), label, shades[number], shift)

    title = f"Score against {quantity}"
    return FigureSpec(name, title, summary, x_field, "size", [*shades.values()], create_lines, create_x_axis)


def _compute_shift(index: int, count: int, max_shift: float) -> float:
    """Return the factor in x that separates a line from others at the same x."""
    return 1 + min(max_shift, MAX_SHIFT / count) * (index - (count - 1) / 2)


def select_shown(rows: Iterable[CellRow]) -> list[CellRow]:
    """Return the rows that these figures show: cells of the grid that have results."""
    return [row for row in rows if row.score is not None and not row.section]


def list_families(rows: Iterable[CellRow]) -> list[str]:
    """Return the families among the rows, pretrained first."""
    present = {row.family for row in rows}
    return [family for family in cell_table.FAMILIES if family in present]


def get_number(row: CellRow, name: str) -> float:
    """Return a numeric field of a row that has results."""
    return float(getattr(row, name))


def format_models(rows: Iterable[CellRow], size: str) -> dict[float, str]:
    """Return the name of each size, the smallest first: the models that have it, pretrained ones before others."""
    names: dict[float, list[str]] = {}
    for row in sorted(rows, key=lambda row: (get_number(row, size), cell_table.FAMILIES.index(row.family))):
        models = names.setdefault(get_number(row, size), [])
        if row.model not in models and (row.family == "pretrained" or not models):
            models.append(row.model)
    return {
        number: f"{', '.join(models)}, {formatting.format_parameters(round(number))}"
        for number, models in names.items()
    }


def _create_figure(rows: Sequence[CellRow], spec: FigureSpec) -> Figure:
    """Return a figure with a panel for each task that has results."""
    shown = select_shown(rows)
    tasks = cell_table.list_tasks(shown)
    families = list_families(shown)
    panels = [_create_panel([row for row in shown if row.task == task], spec, families) for task in tasks]
    selections = [
        panel.HOVER_SELECTION,
        panel.create_legend_selection(panel.SHADE, "shade"),
        panel.create_legend_selection(panel.KIND, "family"),
    ]
    alt_text = f"{spec.summary} Panels: {', '.join(tasks)}. {_describe_trends(shown, spec)}"
    columns = create_columns({"task": "task", **TOOLTIPS})
    numbers = Table(f"{spec.title}: numbers", columns, [{"task": row.task, **_format_row(row)} for row in shown])
    merged = figure.merge_panels(panels, selections)
    return Figure(spec.name, spec.title, f"{spec.summary} {EXPLANATION}", alt_text, merged, numbers)


def _create_panel(of_task: list[CellRow], spec: FigureSpec, families: list[str]) -> dict[str, Any]:
    lines = [line for line in spec.create_lines(of_task) if line.rows]
    points = [_create_point(row, line, spec.x_field) for line in lines for row in line.rows]
    first, x_axis, color = of_task[0], spec.create_x_axis(of_task), panel.create_shade_color(spec.legend, spec.shades)
    levels = [] if first.majority_score is None else [100 * first.majority_score]
    heights = panel.collect_heights(points)
    y_axis = axes.create_linear_axis(formatting.format_metric(first.score_name), [*heights, *levels])
    labels = [_create_label(line, spec.x_field) for line in lines if line.label]
    labels += [LineLabel(x_axis.high, height, "constant answer") for height in levels]
    layers = [
        *(panel.draw_level(height, y_axis) for height in levels),
        *panel.draw_lines(points, x_axis, y_axis, color, families, TOOLTIPS),
        *panel.draw_line_labels(labels, x_axis, y_axis, color),
        *spec.draw_below(of_task, x_axis),
    ]
    return figure.merge_layers(layers, first.task, width=panel.WIDTH, height=panel.HEIGHT)


def _create_point(row: CellRow, line: ScoreLine, x_field: str) -> dict[str, Any]:
    return {
        "x": get_number(row, x_field) * line.shift, "y": 100 * get_number(row, "score"),
        "low": None if row.low is None else 100 * row.low, "high": None if row.high is None else 100 * row.high,
        "line": line.name, "shade": line.shade, "family": row.family, **_format_row(row),
    }  # fmt: skip


def _format_row(row: CellRow) -> dict[str, str]:
    """Return the texts of a row, under the keys of ``TOOLTIPS``."""
    return {
        "cell": row.cell, "model": row.model, "score": formatting.format_points(row.score),
        "interval": formatting.format_score_interval(row.low, row.high),
        "parameters": formatting.format_parameters(row.parameters),
        "rows": f"{row.train_examples:,}" if row.train_examples is not None else "",
        "flops": formatting.format_amount(row.train_flops),
    }  # fmt: skip


def _create_label(line: ScoreLine, x_field: str) -> LineLabel:
    last = line.rows[-1]
    x, y = get_number(last, x_field) * line.shift, 100 * get_number(last, "score")
    return LineLabel(x, y, line.label, line.name, line.shade)


def _describe_trends(rows: Sequence[CellRow], spec: FigureSpec) -> str:
    """Return the scores at both ends of x and of the baseline for each task, for the alternative text."""
    trends = []
    for task in cell_table.list_tasks(rows):
        selected = (row for row in rows if row.task == task and row.family == rows[0].family)
        of_task = _sort_rows(selected, spec.x_field)
        first, last = (formatting.format_points(row.score) for row in (of_task[0], of_task[-1]))
        baseline = formatting.format_points(of_task[0].majority_score)
        trends.append(f"{task}: {first} at the smallest x, {last} at the largest; a constant answer {baseline}.")
    return " ".join(trends)


def _sort_rows(rows: Iterable[CellRow], x_field: str) -> list[CellRow]:
    return sorted(rows, key=lambda row: get_number(row, x_field))


def _format_ratio(ratio: float) -> str:
    return "all data" if ratio == 1 else f"{100 * ratio:g}% of the data"
