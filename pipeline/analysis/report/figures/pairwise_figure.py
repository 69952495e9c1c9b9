"""Heat map of all pairs of a task's cells: difference of their scores, and which differences are significant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import altair as alt
import numpy as np

from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import figure, panel
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.tables.table import Table, create_columns
from pipeline.analysis.statistics.pairwise_tests import NOT_SIGNIFICANT, PairwiseTest, PairwiseTests

SQUARE = 15  # pixels
MAX_CELLS = 40  # per panel: the number of squares grows with its square
MAX_NAMES = 10  # of cells that are not significantly different from the best, in the alternative text
TOOLTIPS = {"one": "cell", "other": "less", "points": "difference", "interval": "95%", "corrected": "95%, corrected",
            "p": "p, corrected", "verdict": "verdict"}  # fmt: skip
TITLE = "Significant differences"
SUMMARY = "The score of each cell (row) less that of each other (column), the best cell first, in hundredths."
EXPLANATION = (
    "A dot: significantly different after correction for all pairs of the task (Holm). Squares without a dot are "
    "within noise, even in strong colours."
)


def create_figures(tests: Sequence[PairwiseTests]) -> list[Figure]:
    """Return the figure of the tasks that have pairs, with the best cells of each; none without pairs."""
    shown = [(differences, _select_best(differences)) for differences in tests if differences.pairs]
    if not shown:
        return []
    largest = max(abs(task.get_test(*pair).difference) for task, best in shown for pair in combinations(best, 2)) or 1.0
    panels = [_create_panel(task, best, 100 * largest) for task, best in shown]
    left_out = [
        f" {task.task}: the best {MAX_CELLS} of {len(task.names)} cells are shown; differences.csv contains every pair."
        for task, best in shown
        if len(best) < len(task.names)
    ]
    rows = [
        {"task": task.task, **_format_pair(task.get_test(*pair))}
        for task, best in shown
        for pair in combinations(sorted(best, key=task.names.index), 2)
    ]
    numbers = Table(f"{TITLE}: numbers", create_columns({"task": "task", **TOOLTIPS}), rows)
    caption = f"{SUMMARY} {EXPLANATION}{''.join(left_out)}"
    alt_text = f"{SUMMARY} {' '.join(_describe_panel(task) for task, _ in shown)}"
    spec = figure.merge_panels(panels, [panel.HOVER_SELECTION])
    return [Figure("differences", TITLE, caption, alt_text, spec, numbers)]


def _describe_panel(tests: PairwiseTests) -> str:
    """Return the alternative text of a panel."""
    if np.isnan(tests.pairs.columns["p"]).all():
        unknown = f"it is unknown which of the {len(tests.pairs)} pairs differ"
        return f"{tests.task}: no cell has two seeds that learned, so {unknown}."
    significant = int((tests.pairs.columns["verdict"] != NOT_SIGNIFICANT).sum())
    named, more = tests.list_best()[:MAX_NAMES], len(tests.list_best()) - MAX_NAMES
    others = f" and {more} more" if more > 0 else ""
    return (
        f"{tests.task}: {significant} of {len(tests.pairs)} pairs differ significantly; not significantly different "
        f"from the best: {', '.join(named)}{others}."
    )


def _select_best(tests: PairwiseTests) -> list[str]:
    """Return the cells that fit into a panel, the best first."""
    ranked = sorted(zip(tests.scores, tests.names, strict=True), key=lambda cell: (-cell[0], cell[1]))
    return [name for _, name in ranked[:MAX_CELLS]]


def _create_panel(tests: PairwiseTests, ranked: Sequence[str], largest: float) -> dict[str, Any]:
    short = panel.format_short_names(ranked, tests.task)
    squares = [
        {**_format_pair(pair), "row": short[one], "column": short[other], "value": 100 * pair.difference,
         "apart": pair.verdict != NOT_SIGNIFICANT, "line": one}
        for one in ranked
        for other in ranked
        if one != other and (pair := tests.get_test(one, other))
    ]  # fmt: skip
    side = SQUARE * len(ranked)
    order = [short[name] for name in ranked]
    options: dict[str, Any] = {"ticks": False, "domain": False, "labelLimit": 220}
    row = alt.Y("row", type="nominal", sort=order, title=None, axis=alt.Axis(**options))
    column = alt.X("column", type="nominal", sort=order, title=None, axis=alt.Axis(labelAngle=-50, **options))
    color = alt.Color(
        "value", type="quantitative", title="row less column",
        scale=alt.Scale(domain=[-largest, 0, largest], range="diverging", interpolate="lab"),
        legend=alt.Legend(gradientLength=180),
    )  # fmt: skip
    tips = [alt.Tooltip(field, type="nominal", title=title) for field, title in TOOLTIPS.items()]
    base = alt.Chart(panel.create_data(squares)).encode(column, row)
    dots = base.transform_filter("datum.apart").mark_point(
        filled=True, shape="circle", size=16, fill=alt.expr("text"), stroke=alt.expr("page"), strokeWidth=0.7
    )
    heat_map = base.mark_rect().encode(color, tooltip=tips).properties(name=figure.HOVER_LAYER)
    return figure.merge_layers([heat_map, dots.encode(tooltip=tips)], tests.task, width=side, height=side)


def _format_pair(pair: PairwiseTest) -> dict[str, str]:
    """Return the texts of a pair, under the keys of ``TOOLTIPS``."""
    return {
        "one": pair.one, "other": pair.other, "points": f"{100 * pair.difference:+.1f}",
        "interval": formatting.format_score_interval(pair.low, pair.high),
        "corrected": formatting.format_score_interval(pair.corrected_low, pair.corrected_high),
        "p": formatting.format_p_value(pair.corrected_p),
        "verdict": pair.verdict,
    }  # fmt: skip
