"""Score against size, against data and against compute, with 95% intervals, a panel for each task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import axes, figure, panel
from pipeline.analysis.report.figures.axes import Axis
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.figures.panel import End
from pipeline.analysis.results import cell_table, compute
from pipeline.analysis.results.cell_table import Row, Sheet

TOLD = {
    "cell": "cell", "model": "model", "score": "score", "interval": "95%", "parameters": "parameters",
    "rows": "training examples", "flops": "FLOPs of training",
}  # fmt: skip
SIZES = {"parameters": "parameters", "parameters_non_embedding": "parameters without embeddings"}
WIDEST = 0.3  # of x, over which all lines are shifted
LOOKS = "Colours run along the legend from little to much."
BARS = "Bars: 95% interval over seeds and examples. Dashed: the best constant answer."


@dataclass(frozen=True)
class Line:
    """Rows of one line in the order of x, what stands at its end, its shade, and a factor that shifts it in x."""

    rows: list[Row]
    label: str  # empty where shade and shape say enough
    shade: str
    shift: float = 1

    @property
    def name(self) -> str:
        """Return what tells the line from others, of other tasks too."""
        return f"{self.rows[0].family} {self.shade} {self.label}"


@dataclass(frozen=True)
class View:
    """What a figure asks: its words, the field along x, its lines, and what their shades tell."""

    name: str
    title: str
    words: str
    across: str
    shade: str
    shades: list[str]
    lines: Callable[[list[Row]], Iterable[Line]]
    axis: Callable[[list[Row]], Axis]
    below: Callable[[list[Row], Axis], list[alt.Chart]] = lambda of_task, across: []


def of_all(rows: Sequence[Row], size: str) -> list[Figure]:
    """Return the figures of the grid's cells that have results; ``size`` names the field of a row that is size."""
    counted = [row for row in compute.known(rows) if not row.section]
    found = [against_size(rows, size), against_data(rows, size)] if drawn(rows) else []
    return [*found, against_compute(counted, size)] if counted else found


def against_size(rows: Sequence[Row], size: str) -> Figure:
    """Return a line for each ratio and family over the models' sizes."""
    ratios = sorted({row.ratio for row in drawn(rows)})

    def lines(of_task: list[Row]) -> Iterable[Line]:
        first = families(of_task)[0]
        for index, ratio in enumerate(ratios):
            for family in families(of_task):
                chosen = [row for row in of_task if row.ratio == ratio and row.family == family]
                label = _share(ratio) if family == first else ""
                yield Line(_sorted(chosen, size), label, _share(ratio), _shift(index, len(ratios), 0.05))

    def across(of_task: list[Row]) -> Axis:
        sizes = sorted({value(row, size) for row in of_task})
        longest = max(len(text) for text in models(of_task, size).values())
        deep = 14 + panel.LETTER * longest * math.sin(math.radians(panel.SLANT))
        return axes.logarithmic(SIZES[size], sizes, ticks=tuple(sizes), labels=False, padding=deep)

    words = "Score against size, a line for each share of the data."
    shares = [_share(ratio) for ratio in ratios]
    view = View("score-against-size", "Score against size", words, size, "share of the data", shares, lines, across,
                lambda of_task, axis: panel.names(models(of_task, size), axis))  # fmt: skip
    return _figure(rows, view)


def against_data(rows: Sequence[Row], size: str) -> Figure:
    """Return a line for each model over the training examples."""

    def across(of_task: list[Row]) -> Axis:
        counts = sorted({value(row, "train_examples") for row in of_task})
        return axes.logarithmic("training examples", counts, ",", ticks=tuple(counts))

    words = "Score against training examples, a line for each model."
    return _figure(rows, _by_model(rows, size, "score-against-data", "data", words, "train_examples", across, 0.02))


def against_compute(rows: Sequence[Row], size: str) -> Figure:
    """Return a line for each model over the FLOPs of its training, through its ratios."""

    def across(of_task: list[Row]) -> Axis:
        return axes.logarithmic("FLOPs of the training", (value(row, "train_flops") for row in of_task))

    words = "Score against the FLOPs of the training, a line for each model through its shares of the data."
    return _figure(rows, _by_model(rows, size, "score-against-compute", "compute", words, "train_flops", across))


def _by_model(
    rows: Sequence[Row], size: str, name: str, what: str, words: str, across: str,
    axis: Callable[[list[Row]], Axis], apart: float = 0,
) -> View:  # fmt: skip
    """Return a view with a line for each model, those of like size in one shade, each shifted against the next."""
    shade = models(drawn(rows), size)

    def lines(of_task: list[Row]) -> Iterable[Line]:
        known = sorted({(value(row, size), row.model, row.family) for row in of_task})
        for index, (number, model, _) in enumerate(known):
            chosen = [row for row in of_task if row.model == model]
            yield Line(_sorted(chosen, across), model, shade[number], _shift(index, len(known), apart))

    return View(name, f"Score against {what}", words, across, "size", [*shade.values()], lines, axis)


def _shift(index: int, count: int, apart: float) -> float:
    """Return the factor in x of one of the lines that would else lie over each other."""
    return 1 + min(apart, WIDEST / count) * (index - (count - 1) / 2)


def drawn(rows: Iterable[Row]) -> list[Row]:
    """Return what these figures show: cells of the grid that have results."""
    return [row for row in rows if row.score is not None and not row.section]


def families(rows: Iterable[Row]) -> list[str]:
    """Return the families among the rows, the ordinary one first."""
    present = {row.family for row in rows}
    return [family for family in cell_table.FAMILIES if family in present]


def value(row: Row, name: str) -> float:
    """Return a field of a row that has results."""
    return float(getattr(row, name))


def models(rows: Iterable[Row], size: str) -> dict[float, str]:
    """Return what stands for each size, the smallest first: the models that have it, pre-trained ones before others."""
    names: dict[float, list[str]] = {}
    for row in sorted(rows, key=lambda row: (value(row, size), cell_table.FAMILIES.index(row.family))):
        known = names.setdefault(value(row, size), [])
        if row.model not in known and (row.family == "pretrained" or not known):
            known.append(row.model)
    return {number: f"{', '.join(known)}, {formatting.count(round(number))}" for number, known in names.items()}


def _figure(rows: Sequence[Row], view: View) -> Figure:
    """Return a figure with a panel for each task that has results."""
    shown = drawn(rows)
    tasks = cell_table.tasks(shown)
    panels = [_panel([row for row in shown if row.task == task], view, families(shown)) for task in tasks]
    selections = [panel.POINTED, panel.legend(panel.SHADE, "shade"), panel.legend(panel.KIND, "family")]
    seen = f"{view.words} Panels: {', '.join(tasks)}. {_trend(shown, view)}"
    spec = figure.beside(panels, selections)
    return Figure(view.name, view.title, f"{view.words} {LOOKS} {BARS}", seen, spec, _numbers(shown, view))


def _panel(of_task: list[Row], view: View, kinds: list[str]) -> dict[str, Any]:
    found = [line for line in view.lines(of_task) if line.rows]
    points = [_point(row, line, view.across) for line in found for row in line.rows]
    first, across, color = of_task[0], view.axis(of_task), panel.shades(view.shade, view.shades)
    levels = [] if first.majority_score is None else [100 * first.majority_score]
    heights = panel.heights(points)
    up = axes.linear(formatting.metric(first.score_name), [*heights, *levels])
    named = [_end(line, view.across) for line in found if line.label]
    baseline = [End(across.high, height, "constant answer") for height in levels]
    layers = [
        *(panel.level(height, up) for height in levels),
        *panel.lines(points, across, up, color, kinds, TOLD),
        *panel.ends([*named, *baseline], across, up, color),
        *view.below(of_task, across),
    ]
    return figure.layered(layers, first.task, width=panel.WIDTH, height=panel.HEIGHT)


def _point(row: Row, line: Line, across: str) -> dict[str, Any]:
    return {
        "x": value(row, across) * line.shift, "y": 100 * value(row, "score"),
        "low": None if row.low is None else 100 * row.low, "high": None if row.high is None else 100 * row.high,
        "line": line.name, "shade": line.shade, "family": row.family, **_told(row),
    }  # fmt: skip


def _told(row: Row) -> dict[str, str]:
    """Return what is said of a row, under the keys of ``TOLD``."""
    return {
        "cell": row.cell, "model": row.model, "score": formatting.points(row.score),
        "interval": formatting.between(row.low, row.high), "parameters": formatting.count(row.parameters),
        "rows": f"{row.train_examples:,}" if row.train_examples is not None else "",
        "flops": formatting.amount(row.train_flops),
    }  # fmt: skip


def _end(line: Line, across: str) -> End:
    last = line.rows[-1]
    return End(value(last, across) * line.shift, 100 * value(last, "score"), line.label, line.name, line.shade)


def _numbers(rows: Sequence[Row], view: View) -> Sheet:
    lines = [[row.task, *_told(row).values()] for row in rows]
    return Sheet(f"{view.title}: the numbers", ("task", *TOLD.values()), lines)


def _trend(rows: Sequence[Row], view: View) -> str:
    """Say what is seen: from where to where the score goes between the two ends of x."""
    said = []
    for task in cell_table.tasks(rows):
        of_task = _sorted((row for row in rows if row.task == task and row.family == rows[0].family), view.across)
        first, last = (formatting.points(row.score) for row in (of_task[0], of_task[-1]))
        baseline = formatting.points(of_task[0].majority_score)
        said.append(f"{task}: {first} at the smallest place, {last} at the largest; a constant answer {baseline}.")
    return " ".join(said)


def _sorted(rows: Iterable[Row], across: str) -> list[Row]:
    return sorted(rows, key=lambda row: value(row, across))


def _share(ratio: float) -> str:
    return "all data" if ratio == 1 else f"{100 * ratio:g}% of the data"
