"""Bar chart of the variance of single trials: shares of size, data, task and seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from pipeline.analysis.report import formatting
from pipeline.analysis.report.figures import figure, panel
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.tables.table import Table, create_columns
from pipeline.analysis.statistics.variance import VarianceAnalysis, VarianceSource

BAR_HEIGHT = 26  # pixels
QUARTERS = [0, 0.25, 0.5, 0.75, 1]
TOOLTIPS = {
    "name": "factor", "share": "share", "unbiased": "without noise", "degrees": "degrees of freedom", "p": "p",
}  # fmt: skip
SUMMARY = "Share of the variance of single trials that is due to size, amount of data, task, and seed."
EXPLANATION = (
    "Bar: share of the sum of squares (eta squared). Tick: share without the part that noise alone would explain "
    "(omega squared). The seed is the noise floor: standard deviation of a score over seeds, in hundredths,"
)


def create_figures(analyses: Sequence[VarianceAnalysis]) -> list[Figure]:
    """Return the figure of the analyses that were possible, none if all were refused."""
    shown = [variance for variance in analyses if variance.rows]
    if not shown:
        return []
    spec = figure.merge_panels([_create_panel(variance) for variance in shown], [panel.HOVER_SELECTION])
    refused = " ".join(f"{_format_scope(one)}: {one.refusal}" for one in analyses if one.refusal)
    rows = [{"of": _format_scope(variance), **_format_source(source)} for variance in shown for source in variance.rows]
    numbers = Table("Sources of variance: numbers", create_columns({"of": "of", **TOOLTIPS}), rows)
    noise = "; ".join(_format_noise(variance) for variance in shown)
    caption = f"{SUMMARY} {EXPLANATION} {noise}. {refused}".strip()
    alt_text = f"{SUMMARY} {'; '.join(map(_describe_panel, shown))}."
    return [Figure("variance", "Sources of variance", caption, alt_text, spec, numbers)]


def _describe_panel(variance: VarianceAnalysis) -> str:
    """Return the alternative text of a panel."""
    shares = (f"{_format_name(source)} {formatting.format_percent(source.share)}" for source in variance.rows)
    return f"{_format_scope(variance)}: {', '.join(shares)}"


def _format_scope(variance: VarianceAnalysis) -> str:
    return f"{' and '.join(variance.tasks)}, {formatting.format_metric(variance.metric).split(' (')[0]}"


def _format_noise(variance: VarianceAnalysis) -> str:
    """Return the standard deviation over seeds, of all cells and of the noisiest one."""
    noise = f"{_format_scope(variance)}: {formatting.format_points(variance.noise)}"
    if variance.noisiest_cell is None:
        return noise
    (task, size, data), deviation = variance.noisiest_cell
    return f"{noise}, at most {formatting.format_points(deviation)} ({task}, {size}, ratio {data:g})"


def _format_name(source: VarianceSource) -> str:
    return source.name.replace(" x ", " × ")


def _create_panel(variance: VarianceAnalysis) -> dict[str, Any]:
    bars: list[dict[str, Any]] = [
        {**_format_source(source), "line": source.name, "value": source.share, "least": max(0.0, source.unbiased),
         "end": max(source.share, source.unbiased)}
        for source in variance.rows
    ]  # fmt: skip
    top = max(1.0, *(bar["value"] for bar in bars))
    x = alt.X(
        "value",
        type="quantitative",
        title="share of the variance",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(format="%", values=QUARTERS),
    )
    order = [bar["name"] for bar in bars]
    y = alt.Y("name", type="nominal", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False))
    tips = [alt.Tooltip(field, type="nominal", title=title) for field, title in TOOLTIPS.items()]
    base = alt.Chart(panel.create_data(bars)).encode(x, y, panel.create_opacity((panel.HOVER,)))
    text = base.mark_text(align="left", dx=6).encode(x=alt.X("end", type="quantitative"), text=alt.Text("share:N"))
    bar = base.mark_bar(height=14, fill=alt.expr("accent")).encode(tooltip=tips).properties(name=figure.HOVER_LAYER)
    tick = base.mark_tick(thickness=2, height=20, color=alt.expr("text")).encode(x=alt.X("least", type="quantitative"))
    height = BAR_HEIGHT * len(bars)
    return figure.merge_layers([bar, tick, text], _format_scope(variance), width=panel.WIDTH, height=height)


def _format_source(source: VarianceSource) -> dict[str, str]:
    """Return the texts of a source, under the keys of ``TOOLTIPS``."""
    return {
        "name": _format_name(source), "share": formatting.format_percent(source.share),
        "unbiased": formatting.format_percent(source.unbiased),
        "degrees": str(source.degrees), "p": formatting.format_p_value(source.p),
    }  # fmt: skip
