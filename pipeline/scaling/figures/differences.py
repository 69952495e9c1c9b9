"""Every pair of a task's cells: by how much the one's score is above the other's, and where that is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from pipeline.scaling import texts
from pipeline.scaling.differences import SAME, Difference, Differences
from pipeline.scaling.figures import figure, panel
from pipeline.scaling.figures.figure import Figure
from pipeline.scaling.table import Sheet

STEP = 15  # pixels of a square
TOLD = {"one": "cell", "other": "less", "points": "difference", "interval": "95%", "corrected": "95%, corrected",
        "p": "p, corrected", "verdict": "verdict"}  # fmt: skip
WORDS = "The score of each cell (row) less that of each other (column), the best cell first, in hundredths."
HOW = (
    "A dot: told apart from each other after correction for all pairs of the task (Holm). Squares without a dot lie "
    "inside the noise, whatever their colour."
)


def of_tasks(found: Sequence[Differences]) -> list[Figure]:
    """Return the figure of the tasks that have pairs, none where there are none."""
    with_pairs = [differences for differences in found if differences.pairs]
    if not with_pairs:
        return []
    most = max(abs(pair.difference) for differences in with_pairs for pair in differences.pairs) or 1.0
    spec = figure.beside([_panel(differences, 100 * most) for differences in with_pairs], [panel.POINTED])
    apart = [
        f"{one.task}: {sum(pair.verdict != SAME for pair in one.pairs)} of {len(one.pairs)} pairs are told apart; not "
        f"told apart from the best: {', '.join(one.best_set())}"
        for one in with_pairs
    ]
    lines = [[differences.task, *_told(pair).values()] for differences in with_pairs for pair in differences.pairs]
    numbers = Sheet("Differences of all pairs: the numbers", ("task", *TOLD.values()), lines)
    seen = f"{WORDS} {'. '.join(apart)}."
    return [Figure("differences", "Which cells differ", f"{WORDS} {HOW}", seen, spec, numbers)]


def _panel(found: Differences, most: float) -> dict[str, Any]:
    ranked = [
        name for _, name in sorted(zip(found.scores, found.names, strict=True), key=lambda cell: (-cell[0], cell[1]))
    ]
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
        "interval": texts.between(pair.low, pair.high),
        "corrected": texts.between(pair.corrected_low, pair.corrected_high), "p": texts.chance(pair.corrected_p),
        "verdict": pair.verdict,
    }  # fmt: skip
