"""The comparison as unrounded tables for notebooks, and its scores and laws as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.analysis.comparison import Comparison
from pipeline.analysis.laws import BASELINES, Finding, Law
from pipeline.analysis.results import trial_table
from pipeline.analysis.results.trial_table import Trial

if TYPE_CHECKING:
    import pandas as pd

SYMBOLS = {"α": "alpha", "β": "beta"}  # for names that allow letters of ASCII alone

Interval = dict[str, float | None]


def write(measured: Sequence[Trial], found: Comparison, out: Path) -> list[str]:
    """Write ``results``, one row a trial, as CSV and parquet, and the rest as CSV into ``out``; return their names."""
    results = trial_table.frame(measured)
    results.to_parquet(out / "results.parquet", index=False, compression="zstd")
    tables = {"results.csv": results, **{f"{name}.csv": table for name, table in _tables(found).items() if len(table)}}
    for name, table in tables.items():
        table.to_csv(out / name, index=False, lineterminator="\n")
    return ["results.csv", "results.parquet", *(name for name in tables if name != "results.csv")]


def _tables(found: Comparison) -> dict[str, pd.DataFrame]:
    import pandas as pd

    pairs = [pd.DataFrame({"task": task.task, **task.differences.pairs.columns}) for task in found.tasks]
    places = [
        {"task": front.task, "quantity": front.cost, "on_front": on, **vars(place)}
        for task in found.tasks
        for front in task.fronts
        for on, members in ((True, front.members), (False, front.others))
        for place in members
    ]
    equals = [{"task": task.task, **vars(one)} for task in found.tasks for one in task.equals]
    laws = [row for task in found.tasks for finding in task.findings for row in _laws(finding)]
    sources = [
        {"tasks": " ".join(analysis.tasks), "metric": analysis.metric, **vars(source)}
        for analysis in found.variances
        for source in analysis.rows
    ]
    differences = pd.concat(pairs) if pairs else pd.DataFrame()
    rows: dict[str, Any] = {
        "laws": laws,
        "differences": differences,
        "fronts": places,
        "equal-quality": equals,
        "variance": sources,
    }
    return {name: pd.DataFrame(table) for name, table in rows.items()}


def _laws(finding: Finding) -> Iterator[dict[str, Any]]:
    """Yield a row for each parameter of each law, and one for each form that was refused."""
    question = finding.question
    asked = {
        "task": question.task, "target": question.target, "axes": " ".join(question.axes), "at": question.condition,
        "places": len(finding.points),
    }  # fmt: skip
    for law in (known for known in (finding.law, *finding.others) if known):
        for one in law.parameters:
            form = {"form": law.form, "chosen": law is finding.law, "held_out_error": finding.error(law.form)}
            yield {**asked, **form, **_errors(finding), "agreement": law.agreement, **vars(one)}
    yield from ({**asked, "form": form, "chosen": False, "refused": why} for form, why in finding.refused.items())


def _errors(finding: Finding) -> dict[str, float | None]:
    errors = {f"held_out_error_of_{name}": finding.error(name) for name in BASELINES}
    return {"nested_held_out_error": finding.nested_error, **errors}


def measures(found: Comparison) -> dict[str, Interval]:
    """Return the scores and the parameters of every chosen law with their intervals, under metrics' names.

    A name is ``score/<cell>``, or ``law/<task>/<target>/<axes>/<parameter>`` as in ``law/mrpc/loss/parameters/alpha``;
    held-out errors of the laws are included. What is not determined has no interval, and an error that was not measured
    is left out.
    """
    findings = [finding for task in found.tasks for finding in task.findings]
    scores = dict(_measure_scores(found))
    return scores | {
        name: value for finding in findings if finding.law for name, value in _measures(finding, finding.law)
    }


def _measure_scores(found: Comparison) -> Iterator[tuple[str, Interval]]:
    for task in found.tasks:
        for cell in task.draws.names:
            low, high = task.draws.interval(cell)
            yield f"score/{cell}", {"mean": task.draws.score(cell), "std": None, "ci95_low": low, "ci95_high": high}


def _measures(finding: Finding, law: Law) -> Iterator[tuple[str, Interval]]:
    question = finding.question
    place = f"law/{question.task}/{question.target}/{'-'.join(question.axes)}"
    for one in law.parameters:
        ends = (one.low, one.high) if one.determined else (None, None)
        value = {"mean": one.value, "std": None, "ci95_low": ends[0], "ci95_high": ends[1]}
        yield f"{place}/{SYMBOLS.get(one.name, one.name)}", value
    for name, error in {"held_out_error": finding.error(law.form), **_errors(finding)}.items():
        if error is not None:
            yield f"{place}/{name}", {"mean": error, "std": None, "ci95_low": None, "ci95_high": None}
