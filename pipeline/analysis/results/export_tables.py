"""Export the comparison as unrounded tables, and its scores and laws as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.analysis.comparison import Comparison
from pipeline.analysis.laws import BASELINES, Law, LawSelection
from pipeline.analysis.results import trial_table
from pipeline.analysis.results.trial_table import TrialResult

if TYPE_CHECKING:
    import pandas as pd

SYMBOLS = {"α": "alpha", "β": "beta"}  # for names that allow letters of ASCII alone

Interval = dict[str, float | None]


def write_tables(measured: Sequence[TrialResult], found: Comparison, out: Path) -> list[str]:
    """Write ``results``, one row a trial, as CSV and parquet, and the rest as CSV into ``out``; return their names."""
    results = trial_table.build_frame(measured)
    results.to_parquet(out / "results.parquet", index=False, compression="zstd")
    tables = {
        "results.csv": results,
        **{f"{name}.csv": table for name, table in _build_tables(found).items() if len(table)},
    }
    for name, table in tables.items():
        table.to_csv(out / name, index=False, lineterminator="\n")
    return ["results.csv", "results.parquet", *(name for name in tables if name != "results.csv")]


def _build_tables(found: Comparison) -> dict[str, pd.DataFrame]:
    import pandas as pd

    pairs = [pd.DataFrame({"task": task.task, **task.pairwise_tests.pairs.columns}) for task in found.tasks]
    places = [
        {"task": front.task, "quantity": front.cost, "on_front": on, **vars(place)}
        for task in found.tasks
        for front in task.fronts
        for on, members in ((True, front.members), (False, front.others))
        for place in members
    ]
    equals = [{"task": task.task, **vars(one)} for task in found.tasks for one in task.equal_quality_costs]
    laws = [row for task in found.tasks for finding in task.law_selections for row in _list_law_rows(finding)]
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


def _list_law_rows(finding: LawSelection) -> Iterator[dict[str, Any]]:
    """Yield one row per parameter of each law, and one per refused form."""
    question = finding.dataset
    head = {
        "task": question.task, "target": question.target, "axes": " ".join(question.axes), "at": question.condition,
        "recipe": question.recipe, "places": len(finding.observations),
    }  # fmt: skip
    for law in (known for known in (finding.law, *finding.others) if known):
        for one in law.parameters:
            form = {"form": law.form, "chosen": law is finding.law, "held_out_error": finding.get_error(law.form)}
            yield {**head, **form, **_collect_errors(finding), "agreement": law.agreement, **vars(one)}
    yield from ({**head, "form": form, "chosen": False, "refused": why} for form, why in finding.refusals.items())


def _collect_errors(finding: LawSelection) -> dict[str, float | None]:
    errors = {f"held_out_error_of_{name}": finding.get_error(name) for name in BASELINES}
    return {"nested_held_out_error": finding.nested_error, **errors}


def collect_metrics(found: Comparison) -> dict[str, Interval]:
    """Return the scores and the parameters of every chosen law with their intervals, under metrics' names.

    A name is ``score/<cell>``, or ``law/<task>/<target>/<axes>/<parameter>`` as in ``law/mrpc/loss/parameters/alpha``,
    with the recipe after the task where the grid has several. Held-out errors of the laws are included. What is not
    determined has no interval, and an error that was not measured is left out.
    """
    findings = [finding for task in found.tasks for finding in task.law_selections]
    scores = dict(_list_score_metrics(found))
    return scores | {
        name: value for finding in findings if finding.law for name, value in _list_law_metrics(finding, finding.law)
    }


def _list_score_metrics(found: Comparison) -> Iterator[tuple[str, Interval]]:
    for task in found.tasks:
        for cell in task.samples.names:
            low, high = task.samples.get_interval(cell)
            yield (
                f"score/{cell}",
                {"mean": task.samples.get_score(cell), "std": None, "ci95_low": low, "ci95_high": high},
            )


def _list_law_metrics(finding: LawSelection, law: Law) -> Iterator[tuple[str, Interval]]:
    question = finding.dataset
    recipe = f"{question.recipe}/" if question.recipe else ""
    place = f"law/{question.task}/{recipe}{question.target}/{'-'.join(question.axes)}"
    for one in law.parameters:
        ends = (one.low, one.high) if one.determined else (None, None)
        value = {"mean": one.value, "std": None, "ci95_low": ends[0], "ci95_high": ends[1]}
        yield f"{place}/{SYMBOLS.get(one.name, one.name)}", value
    for name, error in {"held_out_error": finding.get_error(law.form), **_collect_errors(finding)}.items():
        if error is not None:
            yield f"{place}/{name}", {"mean": error, "std": None, "ci95_low": None, "ci95_high": None}
