"""Tables of the comparison: laws, cost at equal quality, and the statistics behind each recommendation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.analysis import comparison
from pipeline.analysis.comparison import TaskComparison
from pipeline.analysis.laws import BASELINES, Law, LawSelection
from pipeline.analysis.recommendation import answer_sentences, select
from pipeline.analysis.recommendation.equal_quality import BELOW, BEYOND, NO_GAIN, EqualQualityCost
from pipeline.analysis.recommendation.limits import SCORE, MetLimit
from pipeline.analysis.recommendation.marginal_gains import MarginalGain
from pipeline.analysis.recommendation.recommendation import Recommendation
from pipeline.analysis.recommendation.select import Alternative, CellSummary, CorrectedScore
from pipeline.analysis.report import formatting
from pipeline.analysis.report.tables.table import Column, Table, TableSection

LAWS_NOTE = (
    "The law with the smallest held-out error is shown: the largest size is held out, and separately the most data. "
    "Held-out error: mean of |predicted / measured - 1|, with the law selected again without the held-out cells; then "
    "that of a straight line in the logarithm of the axis and of a constant. A parameter in brackets, such as (E), is "
    "not determined by the observations: its interval touches a bound or spans more than a factor of ten (see "
    "laws.csv). A law does not apply to other models or data."
)
AXIS_NAMES = {
    "parameters": "N, all parameters", "parameters_non_embedding": "N, without embeddings",
    "train_examples": "D, examples", "train_flops": "C, FLOPs",
}  # fmt: skip
EQUAL_COSTS = {
    "parameters_nonzero": "parameters not zero", "storage_bytes": "stored", "inference_flops": "flops",
    "latency_p50_ms": "p50", "train_flops": "training FLOPs",
}  # fmt: skip
MAX_ALTERNATIVES = 8
ALTERNATIVES_NOTE = (
    "Difference: the cell's score less that of the recommended one; p (Holm) is corrected for all pairs of the task. "
    "Equal: two one-sided tests that the difference is within {margin}, corrected for all cells that fit. More seeds, "
    "more examples: how many would decide, each alone, with a power of 80%. Latency: median over all cells and seeds "
    "with the same computation."
)
REPEATED_NOTE = (
    "The choice was repeated on parts of the examples and seeds, and the chosen cell scored on the rest. Measured: "
    "{measured}; corrected for the choice: {expected}."
)
CERTAIN = 0.995  # a confidence from here on is not mentioned
EQUAL_NOTE = (
    "A cell's cost divided by the cost of an uncompressed model of the same score, interpolated on the front of the "
    "sizes with all data (logarithm of the cost, linear between neighbours). Below 1 the cell is cheaper at its score; "
    "it is called cheaper only if the 95% interval (over examples, seeds and timings) excludes 1. <= or >=: the score "
    "is above or below all uncompressed models, so the nearest one is used. Training FLOPs include those of every cell "
    "in the chain."
)


def create_sections(tasks: Sequence[TaskComparison]) -> list[TableSection]:
    """Return the tables of the comparison as sections of the report."""
    return [
        TableSection("laws", "Laws", create_law_tables(tasks), LAWS_NOTE),
        TableSection("equal", "Cost at equal quality", create_equal_tables(tasks), EQUAL_NOTE),
    ]


def _format_parameters(law: Law) -> str:
    """Return each parameter with its interval; undetermined ones as a name in brackets."""
    return "; ".join(
        f"{one.name} {one.value:.3g} [{one.low:.3g}, {one.high:.3g}]" if one.determined else f"({one.name})"
        for one in law.parameters
    )


def _create_error_column(name: str, title: str) -> Column:
    """Return the column of a baseline's held-out error, empty without a law."""
    return Column(name, title, formatting.format_percent, value=lambda finding: finding.law and finding.get_error(name))


LAW_COLUMNS = (
    Column("target", "of", value=lambda finding: finding.dataset.target),
    Column(
        "axes", "against", value=lambda finding: "; ".join(AXIS_NAMES[axis] for axis in finding.dataset.axes)
    ),
    Column("condition", "at", value=lambda finding: finding.dataset.where),
    Column("observations", "observations", value=lambda finding: len(finding.observations)),
    Column("law", "law", value=lambda finding: finding.law.formula if finding.law else "refused"),
    Column("parameters", "parameters [95%]", _format_parameters, value=lambda finding: finding.law),
    Column(
        "nested_error", "held-out error", formatting.format_percent,
        value=lambda finding: finding.law and finding.nested_error,
    ),
    *(_create_error_column(name, f"of a {name}") for name in BASELINES),
)  # fmt: skip


def create_law_tables(tasks: Sequence[TaskComparison]) -> list[Table]:
    """Return the laws of each task; notes name the forms that were refused and why."""
    return [_create_law_table(task) for task in tasks if task.law_selections]


def _create_law_table(task: TaskComparison) -> Table:
    refused = dict.fromkeys(
        f"{finding.dataset.target} against {_format_axes(finding)}: {form} refused: {why}"
        for finding in task.law_selections
        for form, why in finding.refusals.items()
    )
    return Table(f"{task.task}: laws", LAW_COLUMNS, task.law_selections, tuple(refused))


def _format_axes(finding: LawSelection) -> str:
    return " and ".join(AXIS_NAMES[axis].split(",")[0] for axis in finding.dataset.axes)


def create_equal_tables(tasks: Sequence[TaskComparison]) -> list[Table]:
    """Return the cost of students and compressions at equal quality, for each task that has some."""
    return [table for task in tasks if (table := _create_equal_table(task)).rows]


def _create_equal_table(task: TaskComparison) -> Table:
    by_cell = {(equal.cell, equal.cost): equal for equal in task.equal_quality_costs}
    points = [
        result.point
        for result in task.results
        if result.point.source and any((result.point.cell, cost) in by_cell for cost in EQUAL_COSTS)
    ]
    columns = [
        Column("cell", "derived cell", value=comparison.format_label),
        Column(
            "score",
            comparison.format_metric(task),
            formatting.format_points,
            value=lambda point: task.samples.get_score(point.cell),
        ),
        *(_create_equal_column(cost, title, by_cell) for cost, title in EQUAL_COSTS.items()),
    ]
    return Table(f"{task.task}: cost at equal quality, an uncompressed model's is 1", columns, points)


def _create_equal_column(cost: str, title: str, by_cell: Mapping[tuple[str, str], EqualQualityCost]) -> Column:
    return Column(cost, title, format_equal, value=lambda point: by_cell.get((point.cell, cost)))


def format_equal(equal: EqualQualityCost) -> str:
    """Return a cost ratio with its interval and verdict, ``0.41 [0.39, 0.43] cheaper``."""
    bound = {BEYOND: "<=", BELOW: ">="}.get(equal.where, "")
    verdict = "" if equal.verdict == NO_GAIN else equal.verdict
    return " ".join(filter(None, (bound, f"{equal.ratio:.2f}", _format_interval(equal), verdict)))


def _format_interval(equal: EqualQualityCost) -> str:
    """Return the interval of a ratio; one end of it if the other is unbounded."""
    if math.isinf(equal.high):
        return f"[>= {equal.low:.2f}]" if equal.low else ""
    return f"[{equal.low:.2f}, {equal.high:.2f}]" if equal.low else f"[<= {equal.high:.2f}]"


def create_answer_tables(answer: Recommendation) -> tuple[Table, ...]:
    """Return the statistics behind an answer: the alternatives, the repeated choice, and the limits."""
    tables = (create_alternatives_table(answer), create_repeated_table(answer), create_limits_table(answer))
    return tuple(table for table in tables if table)


def create_repeated_table(answer: Recommendation) -> Table | None:
    """Return how often each cell was chosen in the repeated choices, None with only one cell to choose."""
    pick, expected = answer.choice.recommended, answer.choice.corrected_score
    if pick is None or expected is None or not answer.choice.alternatives:
        return None
    note = REPEATED_NOTE.format(
        measured=_format_score(pick),
        expected=_format_score(expected),
    )
    columns = [
        Column("cell", "cell", value=lambda choice: choice[0]),
        Column("share", "share of repeated choices", formatting.format_percent, value=lambda choice: choice[1]),
    ]
    choices = [*expected.choices.items()][:MAX_ALTERNATIVES]
    return Table(f"{answer.choice.task}: the choice repeated", columns, choices, (note,))


def create_limits_table(answer: Recommendation) -> Table | None:
    """Return how the recommended cell and the named alternative meet the limits; None without limits or cells.

    What a looser limit would buy is shown only if that limit alone excludes a better cell.
    """
    choice = answer.choice
    other = select.find_alternative(choice)
    picks = [pick for pick in (choice.recommended, other.cell if other else None) if pick]
    if not picks or not picks[0].met_limits:
        return None
    metric = answer_sentences.format_metric(choice)
    binding = [miss.key for miss in choice.excluded.violations] if choice.excluded else []
    gains = {gain.key: gain for gain in answer.gains if binding == [gain.key]}
    columns = [
        Column("limit", "limit", value=lambda kept: answer_sentences.format_limit(kept.key, kept.limit, metric)),
        *(_create_pick_column(pick) for pick in picks),
        Column("gain", "gain of a looser limit", _format_gain, value=lambda kept: gains.get(kept.key)),
    ]
    return Table(f"{choice.task}: the limits", columns, picks[0].met_limits)


def _create_pick_column(pick: CellSummary) -> Column:
    by_key = {kept.key: kept for kept in pick.met_limits}
    return Column(pick.name, pick.label, _format_kept, value=lambda kept: by_key.get(kept.key))


def _format_kept(kept: MetLimit) -> str:
    got = formatting.format_points(kept.got) if kept.key == SCORE else answer_sentences.AMOUNTS[kept.key](kept.got)
    if kept.probability is None or kept.probability >= CERTAIN:
        return got
    return f"{got} (kept with {formatting.format_percent(kept.probability)} confidence)"


def _format_gain(gain: MarginalGain) -> str:
    return gain.why_not or f"{gain.unit}: {answer_sentences.format_gain(gain)} points"


def create_alternatives_table(answer: Recommendation) -> Table | None:
    """Return the other cells that fit, compared with the recommended one; None if there are none."""
    choice = answer.choice
    if choice.recommended is None or not choice.alternatives:
        return None
    rows = [choice.recommended, *choice.alternatives[:MAX_ALTERNATIVES]]
    left = len(choice.alternatives) - MAX_ALTERNATIVES
    notes = [
        ALTERNATIVES_NOTE.format(margin=answer_sentences.format_margin(choice)),
        *([f"More cells fit ({left}): see differences.csv."] if left > 0 else []),
    ]
    columns = _create_alternative_columns(answer_sentences.format_metric(choice), f"{100 * choice.margin:g}")
    return Table(f"{choice.task}: other cells that fit", columns, rows, tuple(notes))


def _create_alternative_columns(metric: str, margin: str) -> list[Column]:
    """Return columns over the recommended ``Pick`` and each ``Alternative`` to it."""

    def of_pick(get_value: Callable[[CellSummary], Any]) -> Callable[[CellSummary | Alternative], Any]:
        return lambda row: get_value(row.cell if isinstance(row, Alternative) else row)

    def of_alternative(get_value: Callable[[Alternative], Any]) -> Callable[[CellSummary | Alternative], Any]:
        return lambda row: get_value(row) if isinstance(row, Alternative) else None

    p_title, format_p = f"p equal within {margin}", formatting.format_p_value
    return [
        Column("cell", "cell", value=of_pick(lambda pick: pick.label)),
        Column("score", f"{metric} [95%]", value=of_pick(_format_score)),
        Column("difference", "difference [95%]", value=of_alternative(_format_difference)),
        Column("p", "p (Holm)", format_p, value=of_alternative(lambda row: row.test.corrected_p)),
        Column("equivalence_p", p_title, format_p, value=of_alternative(lambda row: row.equivalence_p)),
        Column("verdict", "verdict", value=lambda row: row.verdict if isinstance(row, Alternative) else "recommended"),
        Column("seeds", "more seeds", value=of_alternative(partial(_format_needed, name="seeds"))),
        Column("examples", "more examples", value=of_alternative(partial(_format_needed, name="examples"))),
        Column("latency_p50_ms", "p50 ms", formatting.format_number, value=of_pick(lambda pick: pick.latency_p50_ms)),
        Column("storage_mb", "MB", formatting.format_number, value=of_pick(_get_megabytes)),
    ]


def _format_needed(row: Alternative, name: str) -> str | None:
    """Return how many more seeds or examples would decide, None if the difference is decided."""
    if row.required is None:
        return None
    count = getattr(row.required, name)
    return "never" if count is None else f"{count:,}"


def _format_difference(row: Alternative) -> str:
    difference = row.test
    interval = formatting.format_score_interval(difference.low, difference.high)
    return f"{100 * difference.difference:+.1f} {interval}".rstrip()


def _format_score(pick: CellSummary | CorrectedScore) -> str:
    return f"{formatting.format_points(pick.score)} {formatting.format_score_interval(pick.low, pick.high)}".rstrip()


def _get_megabytes(pick: CellSummary) -> float | None:
    return pick.storage_bytes / 1e6 if pick.storage_bytes else None
