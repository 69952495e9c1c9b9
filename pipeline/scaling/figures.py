"""Score against size, against data and against compute, with 95% intervals, a panel for each task.

The files are the same bytes each time: text is drawn as paths, ids are salted, and no date is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from pipeline.scaling import compute, panel, table, texts
from pipeline.scaling.panel import Line
from pipeline.scaling.table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: Any = {
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 10,
}
PANEL = (5.4, 3.9)  # inches
COLUMNS = 2
MIN_TICKS = 4


def score_against_size(rows: Sequence[Row], size: str) -> Figure:
    """Return a line for each ratio and family over the models' sizes; ``size`` names the field of a row."""

    def lines(of_task: list[Row]) -> Iterable[Line]:
        ratios = sorted({row.ratio for row in of_task})
        for index, (ratio, color) in enumerate(zip(ratios, panel.ordered(len(ratios)), strict=True)):
            for family in panel.families(of_task):
                chosen = [row for row in of_task if row.ratio == ratio and row.family == family]
                shift = 1 + 0.05 * (index - (len(ratios) - 1) / 2)
                label = _share(ratio) if family == panel.families(of_task)[0] else ""
                yield Line(_sorted(chosen, size), label, color, family, shift)

    def finish(axes: Axes, of_task: list[Row]) -> None:
        panel.name_models(axes, of_task, size)
        across = "parameters\nwithout embeddings" if size == "parameters_non_embedding" else "parameters"
        axes.annotate(across, (1.04, -0.05), xycoords="axes fraction", va="top")

    return _figure(rows, size, lines, finish)


def score_against_data(rows: Sequence[Row], size: str) -> Figure:
    """Return a line for each model over the training examples; ``size`` orders the models' colours."""

    def finish(axes: Axes, of_task: list[Row]) -> None:
        axes.set_xlabel("training examples")
        ticks = sorted({row.train_examples for row in of_task if row.train_examples})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])

    return _figure(rows, "train_examples", lambda of_task: _of_models(of_task, "train_examples", size, 0.02), finish)


def score_against_compute(rows: Sequence[Row], size: str) -> Figure:
    """Return a line for each model over the operations of its training, through its ratios."""

    def finish(axes: Axes, of_task: list[Row]) -> None:
        axes.set_xlabel("operations of the training")
        ticks = round_numbers(*axes.get_xlim())
        axes.set_xticks(ticks, [texts.amount(tick).replace(".00", "").replace(".0", "") for tick in ticks])

    return _figure(
        compute.known(rows), "train_operations", lambda of_task: _of_models(of_task, "train_operations", size), finish
    )


def _of_models(of_task: list[Row], across: str, size: str, apart: float = 0) -> Iterable[Line]:
    """Yield a line for each model, those of like size in one colour, each shifted by a share of x against the next."""
    sizes = sorted({panel.value(row, size) for row in of_task})
    colors = dict(zip(sizes, panel.ordered(len(sizes)), strict=True))
    models = sorted({(panel.value(row, size), row.model, row.family) for row in of_task})
    for index, (number, model, family) in enumerate(models):
        chosen = [row for row in of_task if row.model == model]
        shift = 1 + apart * (index - (len(models) - 1) / 2)
        yield Line(_sorted(chosen, across), model, colors[number], family, shift)


def save(figure: Figure, stem: Path, dpi: int) -> list[Path]:
    """Write ``figure`` as PNG and SVG beside each other; return the two paths."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    with mpl.rc_context({**STYLE, "svg.hashsalt": stem.name}):
        figure.savefig(png, dpi=dpi, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return [png, svg]


def round_numbers(low: float, high: float) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis, powers of ten where they are enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 3), (1, 2, 5)):
        found = [m * 10.0**power for power in powers for m in mantissas if low <= m * 10.0**power <= high]
        if len(found) >= MIN_TICKS:
            break
    return found


def interval(rows: Iterable[Row]) -> str:
    """Return what the bars span: ``seeds`` where every cell has several, else ``examples`` (the bootstrap)."""
    return "seeds" if all(row.ci95_low is not None for row in _drawn(rows)) else "examples"


def _drawn(rows: Iterable[Row]) -> list[Row]:
    """Return what the figures show: cells of the grid that have results."""
    return [row for row in rows if row.score is not None and not row.section]


def _figure(
    rows: Sequence[Row],
    across: str,
    lines: Callable[[list[Row]], Iterable[Line]],
    finish: Callable[[Axes, list[Row]], None],
) -> Figure:
    """Return a figure with a panel for each task that has results."""
    drawn = _drawn(rows)
    tasks = table.tasks(drawn)
    columns = min(COLUMNS, max(1, len(tasks)))
    height = math.ceil(max(1, len(tasks)) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * height), layout="constrained")
        grid = figure.subplots(height, columns, squeeze=False)
        for axes in grid.flat[len(tasks) :]:
            axes.set_axis_off()
        for axes, task in zip(grid.flat, tasks, strict=False):
            of_task = [row for row in drawn if row.task == task]
            panel.draw(axes, of_task, across, [line for line in lines(of_task) if line.rows], interval(drawn))
            finish(axes, of_task)
        panel.explain_families(figure, panel.families(drawn))
        bars = f"bars: 95% interval over {interval(drawn)}"
        figure.supxlabel(bars, x=0.99, ha="right", fontsize=8, color=panel.BASELINE)
    return figure


def _sorted(rows: Iterable[Row], across: str) -> list[Row]:
    return sorted(rows, key=lambda row: panel.value(row, across))


def _share(ratio: float) -> str:
    return "all data" if ratio == 1 else f"{100 * ratio:g}% of the data"
