"""Every pair of a task's cells: by how much the one's score is above the other's, and where that is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import altair as alt
import numpy as np

from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import figure, panel
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.results.cell_table import Sheet
from pipeline.analysis.statistics.pairwise_tests import SAME, Difference, Differences

STEP = 15  # pixels of a square
MOST = 40  # cells of a panel, since its squares grow as their square
NAMED = 10  # of the cells not significantly different from the best, in words
TOLD = {"one": "cell", "other": "less", "points": "difference", "interval": "95%", "corrected": "95%, corrected",
        "p": "p, corrected", "verdict": "verdict"}  # fmt: skip
WORDS = "The score of each cell (row) less that of each other (column), the best cell first, in hundredths."
HOW = (
    "A dot: significantly different after correction for all pairs of the task (Holm). Squares without a dot are "
    "inside the noise, however strong their colour."
)


def of_tasks(found: Sequence[Differences]) -> list[Figure]:
    """Return the figure of the tasks that have pairs, the best cells of each, none where there are none."""
    shown = [(differences, _best(differences)) for differences in found if differences.pairs]
    if not shown:
        return []
    most = max(abs(one.between(*pair).difference) for one, best in shown for pair in combinations(best, 2)) or 1.0
    spec = figure.beside([_panel(one, best, 100 * most) for one, best in shown], [panel.POINTED])
    left_out = [
        f" {one.task}: the best {MOST} of {len(one.names)} cells are shown; differences.csv holds every pair."
        for one, best in shown
        if len(best) < len(one.names)
    ]
    lines = [
        [one.task, *_told(pair).values()]
        for one, best in shown
        for pair in (one.between(*both) for both in combinations(sorted(best, key=one.names.index), 2))
    ]
    title = "Which cells differ"
    numbers = Sheet(f"{title}: the numbers", ("task", *TOLD.values()), lines)
    seen = " ".join(_seen(one) for one, _ in shown)
    return [Figure("differences", title, f"{WORDS} {HOW}{''.join(left_out)}", f"{WORDS} {seen}", spec, numbers)]


def _seen(found: Differences) -> str:
    """Describe a panel for those who cannot see it."""
    if np.isnan(found.pairs.columns["p"]).all():
        unknown = f"it is unknown which of the {len(found.pairs)} pairs differ"
        return f"{found.task}: no cell has two seeds that learned, so {unknown}."
    apart = int((found.pairs.columns["verdict"] != SAME).sum())
    named, more = found.best_set()[:NAMED], len(found.best_set()) - NAMED
    others = f" and {more} more" if more > 0 else ""
    return (
        f"{found.task}: {apart} of {len(found.pairs)} pairs differ significantly; not significantly different from "
        "the best: "
        f"{', '.join(named)}{others}."
    )


def _best(found: Differences) -> list[str]:
    """Return the cells that a panel has room for, the best first."""
    ranked = sorted(zip(found.scores, found.names, strict=True), key=lambda cell: (-cell[0], cell[1]))
    return [name for _, name in ranked[:MOST]]


def _panel(found: Differences, ranked: Sequence[str], most: float) -> dict[str, Any]:
    short = panel.short(ranked, found.task)
    squares = [
        {**_told(pair), "row": short[one], "column": short[other], "value": 100 * pair.difference,
         "apart": pair.verdict != SAME, "line": one}
        for one in ranked
        for other in ranked
        if one != other and (pair := found.between(one, other))
    ]  # fmt: skip
    side = STEP * len(ranked)
    order = [short[name] for name in ranked]
    bare: dict[str, Any] = {"ticks": False, "domain": False, "labelLimit": 220}
    row = alt.Y("row", type="nominal", sort=order, title=None, axis=alt.Axis(**bare))
    column = alt.X("column", type="nominal", sort=order, title=None, axis=alt.Axis(labelAngle=-50, **bare))
    color = alt.Color(
        "value", type="quantitative", title="row less column",
        scale=alt.Scale(domain=[-most, 0, most], range="diverging", interpolate="lab"),
        legend=alt.Legend(gradientLength=180),
    )  # fmt: skip
    tips = [alt.Tooltip(field, type="nominal", title=title) for field, title in TOLD.items()]
    base = alt.Chart(panel.values(squares)).encode(column, row)
    dots = base.transform_filter("datum.apart").mark_point(
        filled=True, shape="circle", size=16, fill=alt.expr("text"), stroke=alt.expr("page"), strokeWidth=0.7
    )
    layers = [base.mark_rect().encode(color, tooltip=tips).properties(name=figure.REACHED), dots.encode(tooltip=tips)]
    return figure.layered(layers, found.task, width=side, height=side)


def _told(pair: Difference) -> dict[str, str]:
    """Return what is said of a pair, under the keys of ``TOLD``."""
    return {
        "one": pair.one, "other": pair.other, "points": f"{100 * pair.difference:+.1f}",
        "interval": formatting.between(pair.low, pair.high),
        "corrected": formatting.between(pair.corrected_low, pair.corrected_high),
        "p": formatting.chance(pair.corrected_p),
        "verdict": pair.verdict,
    }  # fmt: skip
