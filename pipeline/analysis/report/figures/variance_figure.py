"""How the variance of single trials is shared out between size, data, task and seed: bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import figure, panel
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.results.cell_table import Sheet
from pipeline.analysis.statistics.variance import Source, Variance

BAR = 26  # pixels
QUARTERS = [0, 0.25, 0.5, 0.75, 1]
TOLD = {"name": "factor", "share": "share", "unbiased": "without noise", "degrees": "degrees of freedom", "p": "p"}
WORDS = "How much of the variance of single trials comes from which size, how much data, which task, and the seed."
HOW = (
    "Bar: share of the sum of squares (eta squared). Tick: what is left without what noise alone would explain (omega "
    "squared). The seed is the noise floor: standard deviation of a score over seeds, in hundredths,"
)


def shares(found: Sequence[Variance]) -> list[Figure]:
    """Return the figure of the analyses that were not refused, none where all were."""
    known = [variance for variance in found if variance.rows]
    if not known:
        return []
    spec = figure.beside([_panel(variance) for variance in known], [panel.POINTED])
    seen = [
        f"{_where(variance)}: {', '.join(f'{_name(s)} {formatting.percent(s.share)}' for s in variance.rows)}"
        for variance in known
    ]
    refused = " ".join(f"{_where(variance)}: {variance.refused}" for variance in found if variance.refused)
    lines = [[_where(variance), *_told(source).values()] for variance in known for source in variance.rows]
    numbers = Sheet("What matters: the numbers", ("of", *TOLD.values()), lines)
    noise = "; ".join(_noise(variance) for variance in known)
    caption = f"{WORDS} {HOW} {noise}. {refused}".strip()
    return [Figure("variance", "What matters", caption, f"{WORDS} {'; '.join(seen)}.", spec, numbers)]


def _where(variance: Variance) -> str:
    return f"{' and '.join(variance.tasks)}, {formatting.metric(variance.metric).split(' (')[0]}"


def _noise(variance: Variance) -> str:
    """Say how far a score lies off from seed to seed, over all cells and in the loudest."""
    noise = f"{_where(variance)}: {formatting.points(variance.noise)}"
    if variance.loudest is None:
        return noise
    (task, size, data), most = variance.loudest
    return f"{noise}, most {formatting.points(most)} ({task}, {size}, ratio {data:g})"


def _name(source: Source) -> str:
    return source.name.replace(" x ", " × ")


def _panel(variance: Variance) -> dict[str, Any]:
    bars: list[dict[str, Any]] = [
        {**_told(source), "line": source.name, "value": source.share, "least": max(0.0, source.unbiased),
         "end": max(source.share, source.unbiased)}
        for source in variance.rows
    ]  # fmt: skip
    top = max(1.0, *(bar["value"] for bar in bars))
    scale = alt.Scale(domain=[0, top], nice=False)
    across = alt.X(
        "value",
        type="quantitative",
        title="share of the variance",
        scale=scale,
        axis=alt.Axis(format="%", values=QUARTERS),
    )
    order = [bar["name"] for bar in bars]
    row = alt.Y("name", type="nominal", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False))
    tips = [alt.Tooltip(field, type="nominal", title=title) for field, title in TOLD.items()]
    base = alt.Chart(panel.values(bars)).encode(across, row, panel.chosen((panel.HOVER,)))
    text = base.mark_text(align="left", dx=6).encode(x=alt.X("end", type="quantitative"), text=alt.Text("share:N"))
    bar = base.mark_bar(height=14, fill=alt.expr("accent")).encode(tooltip=tips).properties(name=figure.REACHED)
    tick = base.mark_tick(thickness=2, height=20, color=alt.expr("text")).encode(x=alt.X("least", type="quantitative"))
    return figure.layered([bar, tick, text], _where(variance), width=panel.WIDTH, height=BAR * len(bars))


def _told(source: Source) -> dict[str, str]:
    """Return what is said of a source, under the keys of ``TOLD``."""
    return {
        "name": _name(source), "share": formatting.percent(source.share),
        "unbiased": formatting.percent(source.unbiased),
        "degrees": str(source.degrees), "p": formatting.chance(source.p),
    }  # fmt: skip
